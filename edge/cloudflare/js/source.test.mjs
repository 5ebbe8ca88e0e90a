import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { ask, MAX_NOTE, noteOf, post, read, Unavailable } from "./source.mjs";

const realFetch = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = realFetch;
});

const bodyOf = (bytes) => new Response(bytes).body;
const url = { source: { kind: "url", place: "https://keys.example/a" }, token: "a token" };

test("KV is asked once more before a file counts as missing, and its caches are told what may be old", async () => {
  const asked = [];
  const SETS = {
    get: async (key, options) => {
      asked.push([key, options.cacheTtl]);
      return asked.length === 3 ? bodyOf("late") : null;
    },
  };
  const settings = { source: { kind: "kv", place: "SETS", prefix: "a/" } };
  assert.equal(await ask({ SETS }, settings, "head"), undefined);
  assert.equal(await noteOf((await ask({ SETS }, settings, "files/x")).body), "late");
  assert.deepEqual(asked, [
    ["a/head", 30],
    ["a/files/x", 86_400],
    ["a/files/x", 30],
  ]);
});

test("a file that came damaged is not taken from what KV has kept for a day", async () => {
  const asked = [];
  const SETS = {
    get: async (key, { cacheTtl }) => {
      asked.push(cacheTtl);
      return bodyOf(cacheTtl > 60 ? "damaged" : "repaired");
    },
  };
  const settings = { source: { kind: "kv", place: "SETS", prefix: "" } };
  const textOf = async (doubted) => noteOf((await ask({ SETS }, settings, "files/x", undefined, { doubted })).body);
  assert.equal(await textOf(false), "damaged");
  assert.equal(await textOf(true), "repaired");
  assert.deepEqual(asked, [86_400, 30]);
});

test("R2 says whether an object is still the one of its tag", async () => {
  const settings = { source: { kind: "r2", place: "SETS", prefix: "" } };
  const SETS = { get: async (key, { onlyIf }) => (key === "head" ? { etag: "1", body: onlyIf ? undefined : "bytes" } : null) };
  assert.equal((await ask({ SETS }, settings, "head", undefined, { etag: "1" })).unchanged, true);
  assert.deepEqual(await ask({ SETS }, settings, "head"), { unchanged: false, body: "bytes", etag: "1" });
  assert.equal(await ask({ SETS }, settings, "trust"), undefined);
  await assert.rejects(ask({}, settings, "head"), Unavailable);
});

test("over HTTP the token goes along, nothing is followed, and each answer means one thing", async () => {
  let seen;
  let answer;
  globalThis.fetch = async (address, init) => {
    seen = { address, ...init };
    return answer;
  };
  answer = new Response("text", { headers: { etag: '"1"' } });
  const found = await ask({}, url, "head", undefined, { etag: '"0"' });
  assert.deepEqual([await noteOf(found.body), found.etag], ["text", '"1"']);
  assert.equal(seen.address, "https://keys.example/a/head");
  assert.equal(seen.headers.authorization, "Bearer a token");
  assert.deepEqual([seen.headers["if-none-match"], seen.redirect, seen.cache], ['"0"', "manual", "no-store"]);
  answer = new Response(null, { status: 304 });
  assert.deepEqual(await ask({}, url, "head", undefined, { etag: '"1"' }), { unchanged: true });
  await assert.rejects(ask({}, url, "head"), /answered 304/);
  answer = new Response("", { status: 404 });
  assert.equal(await ask({}, url, "head"), undefined);
  for (const status of [204, 302, 401, 500]) {
    answer = new Response(null, { status });
    await assert.rejects(ask({}, url, "head"), new RegExp(`answered ${status}`));
  }
  globalThis.fetch = async () => Promise.reject(new TypeError("no route to host"));
  await assert.rejects(ask({}, url, "head"), Unavailable);
  assert.equal(await post(url, "https://keys.example/reports", "{}"), false);
});

test("a stream is handed on in pieces, and cut off where it is too long", async () => {
  const sizes = [];
  await read(bodyOf(new Uint8Array(150_000)), (bytes) => sizes.push(bytes.length));
  assert.ok(sizes.every((size) => size <= 65_536) && sizes.reduce((sum, size) => sum + size) === 150_000);
  await read(null, () => assert.fail("there is nothing"));
  await assert.rejects(
    read(bodyOf("too long"), () => false),
    /longer than it may be/,
  );
  assert.equal((await noteOf(bodyOf("x".repeat(MAX_NOTE)))).length, MAX_NOTE);
  await assert.rejects(noteOf(bodyOf("x".repeat(MAX_NOTE + 1))), Unavailable);
  await assert.rejects(noteOf(bodyOf(new Uint8Array([255]))), /not text/);
});
