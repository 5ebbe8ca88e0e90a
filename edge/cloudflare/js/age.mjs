// Ending what outlives a route's `max_connection_age`: bodies on their way, and WebSockets.

/** How a WebSocket is closed whose time is over: whoever opens it again is asked for its key again. */
const GOING_AWAY = 1001;
/** How one is closed that sends a message beyond `MAX_MESSAGE` bytes. The runtime does not say how much of what was sent is still
 * unsent, so that a side which reads slowly cannot make the other one wait: what a single message takes has to be bounded. */
const TOO_BIG = 1009;
export const MAX_MESSAGE = 1 << 20;

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
  relay(near, response.webSocket, signal);
  return new Response(null, { status: 101, headers: response.headers, webSocket: client });
}

/** Makes one WebSocket of two. */
export function relay(near, far, signal) {
  for (const [from, to] of [
    [near, far],
    [far, near],
  ]) {
    from.binaryType = "arraybuffer";
    from.accept();
    from.addEventListener("message", ({ data }) => {
      if (fits(data)) return quietly(() => to.send(data));
      quietly(() => from.close(TOO_BIG, "message_too_big"));
      quietly(() => to.close(GOING_AWAY, "message_too_big"));
    });
    from.addEventListener("close", ({ code, reason }) =>
      quietly(() => (isSendable(code) ? to.close(code, reason) : to.close(GOING_AWAY))),
    );
    from.addEventListener("error", () => quietly(() => to.close(GOING_AWAY)));
    signal.addEventListener("abort", () => quietly(() => from.close(GOING_AWAY, "max_connection_age")));
  }
}

/** Whether a message is not too long, in bytes. A unit of a text takes three at most, so that short ones are not counted. */
function fits(data) {
  if (typeof data !== "string") return data.byteLength <= MAX_MESSAGE;
  return data.length * 3 <= MAX_MESSAGE || new TextEncoder().encode(data).length <= MAX_MESSAGE;
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
