import assert from "node:assert/strict";
import { test } from "node:test";

import { announced, forward, identityOf } from "./forward.mjs";

const admission = {
  target: "/status?x=1",
  keyId: "key_0123456789",
  principal: "prn_1",
  workspace: "ws_a",
  scopes: "a b",
  signature: "t=1, v1=00",
};

/** Forwards a request with these headers to a service that echoes what it gets. */
async function received(headers, options = {}, who = admission) {
  let seen;
  const env = {
    BACKEND: {
      fetch: async (url, init) => {
        seen = { url, ...init, headers: new Headers(init.headers) };
        return new Response("ok");
      },
    },
  };
  const request = new Request("https://api.example/ignored", { headers });
  const origin = { kind: "service", place: "BACKEND" };
  await forward(request, env, {}, origin, who, { keepAuthorization: false, cache: false, ...options });
  return seen;
}

test("the origin is told who calls, whatever the client says", async () => {
  const seen = await received({ "X-Nightlatch-Key-Id": "forged", "x_nightlatch_more": "x", "X-API-Key": "secret" });
  assert.equal(seen.url, "https://api.example/status?x=1");
  assert.equal(seen.redirect, "manual");
  assert.equal(seen.cache, "no-store");
  assert.deepEqual(Object.fromEntries(seen.headers), identityOf(admission));
});

test("authorization goes only where it is not ours", async () => {
  const headers = { authorization: "Basic eDp5" };
  assert.equal((await received(headers)).headers.get("authorization"), null);
  assert.equal((await received(headers, { keepAuthorization: true })).headers.get("authorization"), "Basic eDp5");
});

test("a preflight goes on as nobody", async () => {
  const seen = await received({ "x-nightlatch-principal": "prn_0", "x-kept": "1" }, {}, { target: "/status" });
  assert.deepEqual(Object.fromEntries(seen.headers), { "x-kept": "1" });
});

test("announcements join links and replace the rest", () => {
  const response = new Response("body", { headers: { link: "</a>; rel=next", sunset: "origin's" } });
  const out = announced(response, "sunset\nSun, 06 Nov 1994 08:49:37 GMT\nlink\n</b>; rel=x\n");
  assert.equal(out.headers.get("sunset"), "Sun, 06 Nov 1994 08:49:37 GMT");
  assert.equal(out.headers.get("link"), "</a>; rel=next, </b>; rel=x");
});
