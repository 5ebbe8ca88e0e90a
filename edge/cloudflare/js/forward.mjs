// Sending an admitted request on to its origin.

import { throughCache } from "./cache.mjs";
import { pairs } from "./answer.mjs";

/** Fields that belong to one connection (RFC 9110 §7.6.1), and the host, which follows from the URL. */
const HOP_BY_HOP = [
  "connection",
  "host",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];

/** Whether a field (its name in lower case) may not come from a client. `_` counts as `-`, as it does in CGI. */
function isRemoved(name) {
  const plain = name.replaceAll("_", "-");
  return plain.startsWith("x-nightlatch-") || plain === "x-api-key";
}

/** The identity headers of an admission. */
export function identityOf({ keyId, principal, workspace, scopes, signature }) {
  const headers = {
    "x-nightlatch-key-id": keyId,
    "x-nightlatch-principal": principal,
    "x-nightlatch-workspace": workspace,
    "x-nightlatch-scopes": scopes,
  };
  if (signature) headers["x-nightlatch-signature"] = signature;
  return headers;
}

/** The fields the origin receives: the client's, without keys and disguises, and who the client is. */
function outgoing(request, admission, keepAuthorization) {
  const headers = new Headers(request.headers);
  for (const name of [...headers.keys()]) if (isRemoved(name)) headers.delete(name);
  for (const name of headers.get("connection")?.split(",") ?? []) if (name.trim()) headers.delete(name.trim());
  for (const name of HOP_BY_HOP) headers.delete(name);
  if (!keepAuthorization) headers.delete("authorization");
  if (admission.keyId) {
    for (const [name, value] of Object.entries(identityOf(admission))) headers.set(name, value);
  }
  return headers;
}

/**
 * Forwards a request and gives the origin's answer, or throws where there is none. `origin` is `{kind: "url", place}` or
 * `{kind: "service", place}`; a service sees the URL as the client wrote it. When `signal` fires, what is still being sent is
 * cut off.
 */
export function forward(request, env, ctx, origin, admission, { keepAuthorization, cache, signal }) {
  const service = origin.kind === "service";
  const base = service ? new URL(request.url).origin : origin.place;
  const init = {
    method: request.method,
    headers: outgoing(request, admission, keepAuthorization),
    body: request.body,
    // The client follows redirects itself, if it likes: the next hop may be nobody's business here.
    redirect: "manual",
    cache: "no-store",
    signal,
  };
  // The gate lets no other request for a WebSocket through than those whose connection ends some day.
  if (signal && request.headers.get("upgrade")?.toLowerCase() === "websocket") init.headers.set("upgrade", "websocket");
  const send = () => (service ? env[origin.place].fetch(base + admission.target, init) : fetch(base + admission.target, init));
  return cache && !keepAuthorization ? throughCache(request, ctx, admission, send) : send();
}

/** The origin's answer with what has to be announced: Rust's `{name}\n{value}\n…`. */
export function announced(response, announcement) {
  const out = new Response(response.body, response);
  for (const [name, value] of pairs(announcement.split("\n"))) {
    if (name === "link") out.headers.append(name, value);
    else out.headers.set(name, value);
  }
  return out;
}
