// Ending what outlives a route's `max_connection_age`: bodies on their way, and WebSockets.

/** How a WebSocket is closed whose time is over: whoever opens it again is asked for its key again. */
const GOING_AWAY = 1001;

/** The answer, whose body is cut off when `signal` fires before all of it has been sent. To `fetch`, such a signal says nothing
 * any more once the answer has begun. */
export function ending(response, signal) {
  if (!response.body) return response;
  const { readable, writable } = new IdentityTransformStream();
  response.body.pipeTo(writable, { signal }).catch(() => {});
  return new Response(readable, response);
}

/** The answer that opens a WebSocket: what comes from one side goes to the other until `signal` fires, or one closes. */
export function relayed(response, signal) {
  const [client, near] = Object.values(new WebSocketPair());
  const far = response.webSocket;
  for (const [from, to] of [
    [near, far],
    [far, near],
  ]) {
    from.binaryType = "arraybuffer";
    from.accept();
    from.addEventListener("message", ({ data }) => quietly(() => to.send(data)));
    from.addEventListener("close", ({ code, reason }) =>
      quietly(() => (isSendable(code) ? to.close(code, reason) : to.close(GOING_AWAY))),
    );
    from.addEventListener("error", () => quietly(() => to.close(GOING_AWAY)));
    signal.addEventListener("abort", () => quietly(() => from.close(GOING_AWAY, "max_connection_age")));
  }
  return new Response(null, { status: 101, headers: response.headers, webSocket: client });
}

/** Some codes say how a connection broke: they are read, never sent. */
const isSendable = (code) => code >= 1000 && ![1004, 1005, 1006, 1015].includes(code);

/** Closing or sending what has just closed is no error. */
function quietly(act) {
  try {
    act();
  } catch {
    // Nothing is left to do for it.
  }
}
