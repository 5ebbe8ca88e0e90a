// A flight: asks for the head, fetches what it implies, and has it put into force. What is believed and what comes next is
// Rust's to say (src/refresh.rs); what is here does the fetching.

import * as rust from "nightlatch-edge";

import { ask, noteOf, read, Unavailable } from "./source.mjs";
import * as step from "./step.mjs";

/** Files asked for at a time. A request may have six connections open, and one of them goes to its origin. */
const PARALLEL = 5;
/** Milliseconds for which a head from KV has to be valid, not to run out on its way through KV's caches. */
const KV_VALIDITY_MS = 120_000;

/**
 * Makes the flight of that number: for the source's head, or for one that was `pushed`, a text. Answers 0 where it failed, 1
 * where it did not, and 2 where a report is to be sent besides.
 */
export async function flight(env, settings, number, pushed) {
  let trouble = "";
  try {
    await refresh(env, settings, number, pushed);
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    trouble = error.message;
  }
  if (rust.wants_deny()) takeDeny(settings, await lookForDeny(env, settings, settings.timeoutMs));
  return rust.land(number, trouble, pushed !== undefined);
}

async function refresh(env, settings, number, pushed) {
  for (;;) {
    const signal = AbortSignal.timeout(settings.timeoutMs);
    const found = rust.set_out(number);
    if (found & step.IS_WORKING) {
      // A set that rebases does so in slices, between which requests have their turn.
      do await sleep(0);
      while (rust.work());
      continue;
    }
    // Without a trust note no head is believed, and a head may be old: all at once, so that a cold start waits once.
    const trust = found & step.LACKS_TRUST ? noteNamed(env, settings, "trust", signal) : undefined;
    trust?.catch(() => {});
    const denied = found & step.KNOWS_HEAD ? undefined : lookForDeny(env, settings, settings.timeoutMs / 2);
    const head = pushed ? { text: pushed } : await headOf(env, settings, found & step.KNOWS_HEAD, signal);
    if (head.unchanged) return rust.unchanged();
    let next = rust.offer(number, head.text);
    if (next === step.NEEDS_TRUST) {
      const note = await (trust ?? noteNamed(env, settings, "trust", signal));
      next = rust.trust(number, note, head.text);
    }
    // Before anything is answered from the head.
    takeDeny(settings, await denied);
    if (next === step.FETCH) next = await fetchAll(env, settings, number, signal);
    if (next === step.WORKING) continue;
    if (next === step.IN_FORCE) {
      if (settings.source.kind === "kv") warnOfShort(settings, head.text);
      settings.head = head;
    }
    return;
  }
}

/** A note beside the head; empty where there is none. */
async function noteNamed(env, settings, name, signal) {
  const answer = await ask(env, settings, name, signal);
  return answer ? noteOf(answer.body) : "";
}

/** The deny note; nothing where it cannot be had. It says what the control plane cannot while nothing is heard of it. */
async function lookForDeny(env, settings, ms) {
  try {
    return await noteNamed(env, settings, "deny", AbortSignal.timeout(ms));
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
  }
}

function takeDeny(settings, note) {
  if (note && note !== settings.deny && rust.deny(note)) settings.deny = note;
}

/** The source's head: `{text, etag}`, or `{unchanged: true}` where it is the one in force. */
async function headOf(env, settings, known, signal) {
  const { text, etag } = settings.head ?? {};
  const answer = await ask(env, settings, "head", signal, { etag: known ? etag : undefined });
  if (!answer) throw new Unavailable("the source has no head");
  if (answer.unchanged) return answer;
  const now = await noteOf(answer.body);
  return { text: now, etag: answer.etag, unchanged: known && now === text };
}

/** Fetches what an offered head takes, and hands it over. Nothing is left to do where it did not work out. */
async function fetchAll(env, settings, number, signal) {
  for (;;) {
    const small = linesOf(rust.files(number));
    const lacks = await fetchEach(env, settings, number, small, 0, signal);
    if (lacks !== undefined) {
      // By the base, where its source lacks what only a shorter way needs.
      if (rust.by_base(number, lacks) === step.FETCH) continue;
      throw new Unavailable(`the source has no ${small[lacks]}`);
    }
    const [ms, ...parts] = linesOf(rust.parts(number));
    // Another flight is loading a base.
    if (ms === "-") return step.PASSED;
    if (ms) {
      const late = AbortSignal.timeout(Number(ms));
      const lost = await fetchEach(env, settings, number, parts, small.length, late);
      if (lost !== undefined) throw new Unavailable(`the source has no ${parts[lost - small.length]}`);
    }
    return rust.finish(number);
  }
}

/**
 * Fetches files in order. A few are asked for ahead and wait for their turn, so that a distance is paid for once. Answers
 * nothing, or the number of one that the source does not have; `first` is the number of the first.
 */
async function fetchEach(env, settings, number, names, first, signal) {
  const asked = [];
  const doubted = rust.doubts_files();
  try {
    for (let at = 0; at < names.length; at += 1) {
      while (asked.length < Math.min(at + PARALLEL, names.length)) {
        const answer = ask(env, settings, `files/${names[asked.length]}`, signal, { doubted });
        answer.catch(() => {});
        asked.push(answer);
      }
      const answer = await asked[at];
      asked[at] = undefined;
      if (!answer) return first + at;
      rust.begin_file(number, first + at);
      await read(answer.body, (bytes) => rust.append(number, bytes));
    }
  } finally {
    // What nobody reads would keep its connection.
    for (const left of asked) left?.then((answer) => answer?.body?.cancel()).catch(() => {});
  }
}

function warnOfShort(settings, text) {
  const at = (name) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1]);
  if (settings.warned || at("valid-until") - at("issued") >= KV_VALIDITY_MS) return;
  settings.warned = true;
  console.warn("nightlatch: heads are valid for less than 120 s, and KV may hold one back for 60 s: use the KV timing");
}

const linesOf = (text) => text.split("\n").filter((line) => line);

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
