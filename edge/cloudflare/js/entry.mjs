// The Worker's entry: receives requests, asks Rust once, and does what the verdict says.

import * as rust from "nightlatch-edge";

import { cold, misconfigured, requestId, written } from "./answer.mjs";
import { announced, forward, identityOf } from "./forward.mjs";
import * as verdicts from "./verdict.mjs";

/** Milliseconds between two looks of a request that waits while another one fetches the set. */
const LOOK_AGAIN_MS = 10;
/** Milliseconds in which sightings are gathered into one report. */
const GATHER_MS = 50;
/** Milliseconds a report may take, its own timeout included. */
const REPORT_MS = 6_000;
/** Milliseconds a flight may go on when it has to load a whole base. */
const FLIGHT_MS = 30_000;

const SLEEP = 0;
const FLY = 1;
const LANDED_REPORT = 2;
const WORKING = 3;

/** What `configure` answered, until the module is started anew. */
let settings;

export default {
  fetch(request, env, ctx) {
    try {
      return respond(request, env, ctx);
    } catch (error) {
      return crashed(request, error);
    }
  },
};

function respond(request, env, ctx) {
  settings ??= configure(env);
  if (settings.wrong) return misconfigured(request, settings.wrong);
  const line = lineOf(request);
  const verdict = rust.decide(line, Date.now(), false);
  switch (verdict & verdicts.OUTCOME) {
    case verdicts.WAIT:
      return waitForSet(request, env, ctx, line).catch((error) => crashed(request, error));
    case verdicts.PROBE:
      return lookOnce(request, env, ctx, line).catch((error) => crashed(request, error));
    default:
      return carryOut(request, env, ctx, line, verdict);
  }
}

function configure(env) {
  const [state, ...rest] = rust.configure(env, crypto.randomUUID()).split("\n");
  if (state !== "ok") return { wrong: { variable: rest[0], reason: rest[1] } };
  const [timeout, kind, place] = rest;
  return { timeoutMs: Number(timeout), origin: { kind, place } };
}

/** What Rust is told of a request; src/line.rs reads it. */
function lineOf(request) {
  const { method, headers } = request;
  const preflight =
    method === "OPTIONS" && headers.has("origin") ? headers.get("access-control-request-method") : null;
  return `${method}\n${request.url}\n${headers.get("authorization") ?? ""}\n${headers.get("x-api-key") ?? ""}\n${
    headers.get("upgrade") ?? ""
  }\n${preflight ?? ""}`;
}

function carryOut(request, env, ctx, line, verdict) {
  if (verdict & verdicts.REFRESH) fly(env, ctx);
  if (verdict & verdicts.REPORT) ctx.waitUntil(atMost(GATHER_MS + REPORT_MS, sleep(GATHER_MS).then(rust.send_report)));
  const outcome = verdict & verdicts.OUTCOME;
  if (outcome !== verdicts.ALLOW && outcome !== verdicts.PREFLIGHT) {
    const text = rust.refusal(line, Date.now(), requestId(request));
    return text ? written(text) : cold(request);
  }
  const [target, keyId, principal, workspace, scopes, signature] = rust.admission().split("\n");
  const admission = { target, keyId, principal, workspace, scopes, signature };
  const announcement = verdict & verdicts.RETIRING ? rust.announcement() : "";
  if (settings.origin.kind !== "verdict") {
    return forwarded(request, env, ctx, admission, announcement, verdict);
  }
  const identity = keyId ? identityOf(admission) : {};
  const response = new Response(null, { status: 204, headers: identity });
  return announcement ? announced(response, announcement) : response;
}

async function forwarded(request, env, ctx, admission, announcement, verdict) {
  const keepAuthorization = (verdict & verdicts.KEEP_AUTHORIZATION) !== 0;
  const cache = (verdict & verdicts.CACHE) !== 0;
  try {
    const response = await forward(request, env, ctx, settings.origin, admission, { keepAuthorization, cache });
    return announcement ? announced(response, announcement) : response;
  } catch (error) {
    const id = requestId(request);
    console.warn(`nightlatch: the origin did not answer request ${id}: ${error?.name}`);
    return written(rust.unreachable(id));
  }
}

/** A request that cannot be answered yet fetches the set itself, or waits for whoever does, each by its own timer. */
async function waitForSet(request, env, ctx, line) {
  const deadline = Date.now() + settings.timeoutMs;
  const arrived = rust.flights();
  for (;;) {
    const turn = rust.turn(arrived, Date.now());
    if (turn === SLEEP) await sleep(LOOK_AGAIN_MS);
    else if (turn === FLY) await atMost(deadline - Date.now(), fly(env, ctx));
    const lastWord = turn !== SLEEP || Date.now() >= deadline;
    const verdict = rust.decide(line, Date.now(), lastWord);
    switch (verdict & verdicts.OUTCOME) {
      case verdicts.WAIT:
        break;
      case verdicts.PROBE:
        return lookOnce(request, env, ctx, line);
      default:
        return carryOut(request, env, ctx, line, verdict);
    }
  }
}

/** Fetches the head before an unknown key is refused that may be newer than the set. */
async function lookOnce(request, env, ctx, line) {
  await atMost(settings.timeoutMs, fly(env, ctx));
  return carryOut(request, env, ctx, line, rust.decide(line, Date.now(), true));
}

/** Makes the flight that Rust has just granted. It goes on when this request's client has gone. */
function fly(env, ctx) {
  const landed = flight(env, rust.flights());
  const afterwards = landed.then((landing) => (landing === LANDED_REPORT ? rust.send_report() : undefined));
  ctx.waitUntil(atMost(FLIGHT_MS + REPORT_MS, afterwards));
  return landed;
}

/** A set that rebases does so in slices, between which requests have their turn. */
async function flight(env, number) {
  for (;;) {
    const landing = await rust.fly(env, number);
    if (landing !== WORKING) return landing;
    do await sleep(0);
    while (rust.work());
  }
}

/** A trap leaves the module unusable. It starts anew, cold; this request is asked to come again. */
function crashed(request, error) {
  console.error(`nightlatch: the module trapped and starts anew: ${error}`);
  settings = undefined;
  try {
    rust.__wbg_reset_state();
  } catch (again) {
    console.error(`nightlatch: it does not start: ${again}`);
  }
  return cold(request);
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** What `promise` comes to, or nothing after `ms`. A promise of a module that has been replaced never settles. */
async function atMost(ms, promise) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, Math.max(ms, 0));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
