// The Worker's entry: receives requests, asks Rust once, and does what the verdict says.

import * as rust from "nightlatch-edge";

import { ending, relayed } from "./age.mjs";
import { cold, misconfigured, requestId, written } from "./answer.mjs";
import { configured } from "./config.mjs";
import { flight, sleep } from "./flight.mjs";
import { announced, forward, identityOf } from "./forward.mjs";
import { isPush, listen, pushed } from "./push.mjs";
import { post } from "./source.mjs";
import { LANDED_REPORT } from "./step.mjs";
import * as verdicts from "./verdict.mjs";

export { NightlatchHeads } from "./heads.mjs";

/** Milliseconds between two looks of a request that waits while another one fetches the set. */
const LOOK_AGAIN_MS = 10;
/** Milliseconds in which sightings are gathered into one report. */
const GATHER_MS = 50;
/** Milliseconds a report may take. */
const REPORT_MS = 5_000;
/** Milliseconds a flight may go on when it has to load a whole base. */
const FLIGHT_MS = 30_000;

const SLEEP = 0;
const FLY = 1;
/** What the configuration says and what is known of the source, until the module is started anew. */
let settings;
/** How many modules there have been before this one: no number of a flight comes twice. */
let modules = 0;

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
  settings ??= configured(env, modules * 2 ** 20, (text) => rust.configure(text, crypto.randomUUID()));
  if (settings.wrong) return misconfigured(request, settings.wrong);
  if (settings.heads) {
    if (isPush(request)) return pushed(request, settings);
    listen(env, ctx, settings);
  }
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
  if (verdict & verdicts.REPORT) ctx.waitUntil(sleep(GATHER_MS).then(report));
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
  // From now on: the key is good now.
  const seconds = verdict >>> verdicts.AGE;
  const signal = seconds ? AbortSignal.timeout(seconds * 1_000) : undefined;
  try {
    const options = { keepAuthorization, cache, signal };
    let response = await forward(request, env, ctx, settings.origin, admission, options);
    if (signal) response = response.webSocket ? relayed(response, signal) : ending(response, signal);
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
  const landed = flight(env, settings, rust.flights());
  const afterwards = landed.then((landing) => (landing === LANDED_REPORT ? report() : undefined));
  ctx.waitUntil(atMost(FLIGHT_MS + REPORT_MS, afterwards));
  return landed;
}

/** Sends what was seen. What does not arrive goes with the next report. */
async function report() {
  const [sequence, body] = rust.report().split("\n");
  const arrived = body ? await post(settings, settings.reportUrl, body, AbortSignal.timeout(REPORT_MS)) : true;
  if (!arrived) console.warn("nightlatch: a report did not arrive; it goes with the next one");
  rust.reported(Number(sequence), arrived);
}

/** A trap leaves the module unusable. It starts anew, cold; this request is asked to come again. */
function crashed(request, error) {
  console.error(`nightlatch: the module trapped and starts anew: ${error}`);
  settings = undefined;
  modules += 1;
  try {
    rust.__wbg_reset_state();
  } catch (again) {
    console.error(`nightlatch: it does not start: ${again}`);
  }
  return cold(request);
}

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
