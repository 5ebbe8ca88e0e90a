// Shared caching of answers, for routes that ask for it. The key holds the principal and its scopes, so that nobody is
// served what another was answered. The cache is the location's own; a Worker without one goes to the origin.

const ALLOWED = /(?:^|[,\s])(?:s-maxage|max-age)=[1-9]/;
const FORBIDDEN = /(?:^|[,\s])(?:no-store|no-cache|private)/;

/** Whether a request may be answered from the cache at all. */
const asksForCache = (request) =>
  request.method === "GET" &&
  !request.headers.has("range") &&
  !FORBIDDEN.test(request.headers.get("cache-control")?.toLowerCase() ?? "");

/** Whether the origin lets an answer be kept. */
function mayKeep(response) {
  const control = response.headers.get("cache-control")?.toLowerCase() ?? "";
  const vary = response.headers.get("vary")?.toLowerCase() ?? "accept-encoding";
  return (
    response.status === 200 &&
    ALLOWED.test(control) &&
    !FORBIDDEN.test(control) &&
    vary === "accept-encoding" &&
    !response.headers.has("set-cookie")
  );
}

/** Answers from the cache, or from `origin()` and keeps the answer where both sides allow it. */
export async function throughCache(request, ctx, { target, workspace, principal, scopes }, origin) {
  if (!asksForCache(request) || typeof caches === "undefined") return origin();
  const whose = [workspace, principal, scopes].map(encodeURIComponent).join("/");
  const key = `https://nightlatch.invalid/${whose}${target}`;
  const cache = await caches.open("nightlatch");
  const kept = await cache.match(key);
  if (kept) return kept;
  const response = await origin();
  if (mayKeep(response)) ctx.waitUntil(cache.put(key, response.clone()));
  return response;
}
