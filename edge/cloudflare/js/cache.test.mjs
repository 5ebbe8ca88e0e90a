import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { throughCache } from "./cache.mjs";

const kept = new Map();
const alice = { target: "/a?b", workspace: "ws_a", principal: "prn_1", scopes: "read" };
const bob = { ...alice, principal: "prn_2" };

beforeEach(() => {
  kept.clear();
  globalThis.caches = {
    open: async () => ({
      match: async (key) => kept.get(key)?.clone(),
      put: async (key, response) => void kept.set(key, response),
    }),
  };
});

/** Asks twice and says how often the origin was asked. */
async function asked({ who = [alice, alice], request = {}, answer = {} }) {
  let count = 0;
  const pending = [];
  const ctx = { waitUntil: (promise) => pending.push(promise) };
  const { headers = { "cache-control": "max-age=60" }, status = 200 } = answer;
  for (const subject of who) {
    await throughCache(new Request("https://api.example/a?b", request), ctx, subject, async () => {
      count += 1;
      return new Response("body", { status, headers });
    });
    await Promise.all(pending);
  }
  return count;
}

test("an answer is kept for whom it was given, and for nobody else", async () => {
  assert.equal(await asked({}), 1);
  assert.equal(await asked({ who: [bob, bob] }), 1);
  assert.equal(await asked({ who: [{ ...alice, scopes: "read write" }] }), 1);
});

test("nothing is kept that either side does not want kept", async () => {
  for (const headers of [
    {},
    { "cache-control": "max-age=0" },
    { "cache-control": "private, max-age=60" },
    { "cache-control": "max-age=60, no-store" },
    { "cache-control": "max-age=60", vary: "accept" },
    { "cache-control": "max-age=60", "set-cookie": "a=b" },
  ]) {
    assert.equal(await asked({ answer: { headers } }), 2, JSON.stringify(headers));
  }
  assert.equal(await asked({ answer: { status: 404, headers: { "cache-control": "max-age=60" } } }), 2);
  assert.equal(await asked({ request: { method: "POST" } }), 2);
  assert.equal(await asked({ request: { headers: { "cache-control": "no-cache" } } }), 2);
  assert.equal(await asked({ request: { headers: { range: "bytes=0-1" } } }), 2);
});
