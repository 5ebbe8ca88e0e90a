// Answers that the Worker gives itself.

const PROBLEM = "application/problem+json";

/** What a request is called in its answer and in the logs. */
export const requestId = (request) => request.headers.get("cf-ray") ?? crypto.randomUUID();

/** The answer Rust wrote: `{status}\n{name}\n{value}\n…\n\n{body}`. */
export function written(text) {
  const end = text.indexOf("\n\n");
  const [status, ...fields] = text.slice(0, end).split("\n");
  return new Response(text.slice(end + 2), { status: Number(status), headers: pairs(fields) });
}

/** Name, value, name, value … as pairs. */
export function pairs(fields) {
  const out = [];
  for (let at = 0; at + 1 < fields.length; at += 2) out.push([fields[at], fields[at + 1]]);
  return out;
}

/** The answer of a Worker whose variables are missing or wrong. No value of one is in it. */
export const misconfigured = (request, { variable, reason }) =>
  problem(request, 500, "edge_misconfigured", "The edge is misconfigured", `${variable} ${reason}.`);

/** The answer when there is no state to ask: the module trapped, or was started anew meanwhile. */
export const cold = (request) =>
  problem(
    request,
    503,
    "set_stale",
    "Keys cannot be checked right now",
    "This edge is starting anew, so nothing is said about the key. Try again shortly.",
    [["retry-after", "2"]],
  );

/** A problem document (RFC 9457). */
export function problem(request, status, code, title, detail, more = []) {
  const type = `urn:nightlatch:problem:${code}`;
  const body = JSON.stringify({ type, title, status, detail, code, request_id: requestId(request) });
  const headers = [["content-type", PROBLEM], ["cache-control", "no-store"], ...more];
  return new Response(body, { status, headers });
}
