// Push: news of a head the moment it is published, by way of a Durable Object. It speeds things up and does nothing else:
// without it, or when it lies, isolates poll as ever.

import * as rust from "nightlatch-edge";

import { problem } from "./answer.mjs";
import { flight, sleep } from "./flight.mjs";
import { markOf } from "./heads.mjs";
import { MAX_NOTE, noteOf } from "./source.mjs";

const PATH = "/.well-known/nightlatch/push/";
/** Milliseconds for which one request listens on behalf of its isolate: the runtime ends what outlives it by 30 s. */
const LISTEN_MS = 25_000;
/** Milliseconds between two questions where there was no answer, or one that was worth nothing. */
const PAUSE_MS = 1_000;

/** The object that holds the set's freshest head. */
const heads = ({ heads, set }) => heads.get(heads.idFromName(set));

/** Whether a request is a push, whatever comes of it. */
export const isPush = (request) => request.url.includes(PATH) && new URL(request.url).pathname.startsWith(PATH);

/** Takes a push, or the connection for many, from whoever holds the secret. */
export async function pushed(request, settings) {
  const set = new URL(request.url).pathname.slice(PATH.length);
  if (!settings.pushToken || set !== settings.set) {
    return problem(request, 404, "route_not_found", "No such route", "Nothing is pushed here.");
  }
  if (!(await isSame(request.headers.get("authorization") ?? "", `Bearer ${settings.pushToken}`))) {
    return problem(request, 401, "token_invalid", "The token is not valid", "Send NIGHTLATCH_PUSH_TOKEN as a bearer token.");
  }
  const upgrade = request.headers.get("upgrade")?.toLowerCase();
  if (upgrade !== "websocket" && request.method !== "POST") {
    return problem(request, 405, "method_not_allowed", "The method is not allowed", "POST a head, or open a WebSocket.");
  }
  if (Number(request.headers.get("content-length")) > MAX_NOTE) {
    return problem(request, 413, "body_too_large", "The body is too large", "A head is shorter than 16 KiB.");
  }
  const headers = upgrade ? { upgrade: "websocket" } : {};
  const { method, body } = request;
  try {
    return await heads(settings).fetch(`https://heads/${settings.set}`, { method, body, headers });
  } catch (error) {
    console.warn(`nightlatch: the object that heads are pushed to does not answer: ${error?.name}`);
    return problem(request, 503, "push_unavailable", "Push is not available", "Edges find the head without it, only later.");
  }
}

/** Compares digests, so that the time it takes says nothing of the texts. */
async function isSame(left, right) {
  const [a, b] = await Promise.all(
    [left, right].map(async (text) => new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)))),
  );
  return a.reduce((different, byte, at) => different | (byte ^ b[at]), 0) === 0;
}

/**
 * Listens for news while there is traffic: one request at a time does, in its own `waitUntil`, and makes a flight for the
 * head it hears of. It begins when a head is in force, and ends before the runtime ends it.
 */
export function listen(env, ctx, settings) {
  const now = Date.now();
  if (!settings.head || now < (settings.listening ?? 0)) return;
  settings.listening = now + LISTEN_MS + PAUSE_MS;
  ctx.waitUntil(
    listening(env, settings, now + LISTEN_MS).finally(() => {
      settings.listening = 0;
    }),
  );
}

async function listening(env, settings, end) {
  while (Date.now() < end) {
    const signal = AbortSignal.timeout(Math.max(end - Date.now(), 1));
    const news = await next(settings, signal);
    const isNews = news && bodyOf(news) !== bodyOf(settings.head.text);
    if (isNews && (await flight(env, settings, rust.begin_pushed(), news))) continue;
    if (news !== "") await sleep(PAUSE_MS);
  }
}

/** A newer head than the one in force, or the empty text where there is none yet; nothing where nobody answers. */
async function next(settings, signal) {
  try {
    const after = markOf(settings.head.text, settings.set);
    const answer = await heads(settings).fetch(`https://heads/${settings.set}?after=${after}`, { signal });
    return answer.status === 204 ? "" : await noteOf(answer.body);
  } catch {
    return undefined;
  }
}

/** A note without its signatures. The head in force is no news, whoever signed it besides: to take it for news would put off
 * the next poll. */
const bodyOf = (note) => note.slice(0, note.lastIndexOf("\n\n"));
