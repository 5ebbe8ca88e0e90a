// Reading a set's files: over HTTP, from R2, or from KV. Shared caches are bypassed: an old head would be refused, and a fresh
// one must not wait. Only KV has a cache of its own, which nobody can bypass.

/** Something cannot be had now; the message is for the log. */
export class Unavailable extends Error {}

/** The longest signed note, in bytes. */
export const MAX_NOTE = 16_384;
/** Bytes that cross to Rust at a time: it copies them, and a part of a base must not be in memory twice. */
const CHUNK = 65_536;
/** Seconds for which KV may answer from its cache: the least it allows, for what changes; and for what never does. */
const KV_FRESH = 30;
const KV_FOR_EVER = 86_400;

/** What comes of a promise of the runtime's; whatever fails there is no answer. */
const answerOf = (promise) =>
  promise.catch(() => {
    throw new Unavailable("the source did not answer in time");
  });

/**
 * Asks for a file: `{body, etag}`, `{unchanged: true}` where it is still the one of `etag`, or nothing where there is none. Of
 * one that is `doubted`, nothing that has been kept for long will do.
 */
export async function ask(env, settings, name, signal, { etag, doubted } = {}) {
  const { kind, place, prefix } = settings.source;
  if (kind === "url") return get(settings, `${place}/${name}`, signal, etag);
  const store = env[place];
  if (typeof store?.get !== "function") throw new Unavailable("what NIGHTLATCH_SOURCE names is not bound");
  const key = prefix + name;
  if (kind === "r2") {
    const object = await answerOf(store.get(key, etag ? { onlyIf: { etagDoesNotMatch: etag } } : {}));
    return object ? { unchanged: !object.body, body: object.body, etag: object.etag } : undefined;
  }
  const read = (cacheTtl) => answerOf(store.get(key, { type: "stream", cacheTtl }));
  // That a file is missing is kept, too, and so is one that came damaged: whoever looks again must not be told what was true a
  // day ago. A read that wants it fresh renews what the cache keeps.
  const mayBeOld = name.startsWith("files/") && !doubted;
  const body = (mayBeOld && (await read(KV_FOR_EVER))) || (await read(KV_FRESH));
  return body ? { body } : undefined;
}

async function get(settings, url, signal, etag) {
  // A length that was checked must not grow while it is unpacked.
  const headers = { ...authorised(settings), "accept-encoding": "identity" };
  if (etag) headers["if-none-match"] = etag;
  // Redirects are not followed: the token is for this place alone.
  const response = await answerOf(fetch(url, { headers, signal, cache: "no-store", redirect: "manual" }));
  const { status, body } = response;
  if (status === 200) return { body, etag: response.headers.get("etag") };
  body?.cancel().catch(() => {});
  if (status === 304 && etag) return { unchanged: true };
  if (status === 404) return undefined;
  throw new Unavailable(`the source answered ${status}`);
}

/** Posts a report; true where it was taken. */
export async function post(settings, url, body, signal) {
  const headers = { ...authorised(settings), "content-type": "application/json" };
  try {
    const response = await fetch(url, { method: "POST", headers, body, signal, redirect: "manual" });
    response.body?.cancel().catch(() => {});
    return response.status === 200;
  } catch {
    return false;
  }
}

const authorised = ({ token }) => (token ? { authorization: `Bearer ${token}` } : {});

/** Reads a stream to its end. `take(bytes)` says whether it may go on. */
export async function read(stream, take) {
  const reader = stream?.getReader();
  for (;;) {
    const { done, value } = reader ? await answerOf(reader.read()) : { done: true };
    if (done) return;
    for (let at = 0; at < value.length; at += CHUNK) {
      if (take(value.subarray(at, at + CHUNK))) continue;
      reader.cancel().catch(() => {});
      throw new Unavailable("the file is longer than it may be");
    }
  }
}

/** Reads a note. */
export async function noteOf(stream) {
  const chunks = [];
  let left = MAX_NOTE;
  await read(stream, (bytes) => (left -= bytes.length) >= 0 && chunks.push(bytes));
  try {
    return await new Blob(chunks).arrayBuffer().then((bytes) => new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new Unavailable("the note is not text");
  }
}
