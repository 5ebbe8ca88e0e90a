import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { isNewer, markOf, NightlatchHeads } from "./heads.mjs";

const head = (version, { issued = 5, set = "set_a", incarnation = 0 } = {}) =>
  `nightlatch.head/4\nset ${set}\nincarnation ${incarnation}\nepoch 1\nversion ${version}\nissued ${issued}\n\n— who signature\n`;

/** What an object finds around it. What it has stored outlives it. */
function context(stored = new Map()) {
  const ready = [];
  const storage = { get: async (name) => stored.get(name), put: async (name, value) => void stored.set(name, value) };
  const blockConcurrencyWhile = (work) => void ready.push(work());
  return { stored, ready, ctx: { storage, blockConcurrencyWhile, setWebSocketAutoResponse() {} } };
}

let around;
let heads;

async function begin(stored) {
  around = context(stored);
  heads = new NightlatchHeads(around.ctx);
  await Promise.all(around.ready);
}

beforeEach(async () => {
  globalThis.WebSocketRequestResponsePair = class {};
  await begin();
});

const push = async (text) => {
  const answer = await heads.fetch(new Request("https://heads/set_a", { method: "POST", body: text }));
  return [answer.status, await answer.json()];
};
const news = (after) => heads.fetch(new Request(`https://heads/set_a?after=${after}`));

test("marks are read of heads of the set, and compare as heads do", () => {
  assert.equal(markOf(head(7), "set_a"), "0.1.7.5");
  assert.equal(markOf(head(7), "set_b"), undefined);
  for (const text of ["", "no head", head("x"), head("1".repeat(16)), head(7).replace("epoch 1\n", "")]) {
    assert.equal(markOf(text, "set_a"), undefined, text);
  }
  assert.ok(isNewer("0.1.10.5", "0.1.9.6") && isNewer("1.0.0.0", "0.9.9.9") && isNewer("0.1.7.6", "0.1.7.5"));
  assert.ok(!isNewer("0.1.7.5", "0.1.7.5") && !isNewer("0.1.7.5", "0.2.0.0") && isNewer("0.0.0.0", ""));
});

test("what is newer is kept and handed on, what is older is not", async () => {
  assert.deepEqual(await push(head(7)), [200, { ok: true, news: true }]);
  assert.deepEqual(await push(head(6)), [200, { ok: true, news: false }]);
  assert.deepEqual(await push("nonsense"), [400, { ok: false, error: "not_a_head" }]);
  assert.equal(await (await news("0.1.6.5")).text(), head(7));
  // Another one takes over, as after hibernation.
  await begin(around.stored);
  assert.equal(await (await news("0.1.6.5")).text(), head(7));
});

test("whoever waits is told of the next head", async () => {
  await push(head(7));
  const waiting = [news("0.1.7.5"), news("0.1.7.5")];
  await new Promise(setImmediate);
  await push(head(7, { issued: 6 }));
  for (const answer of waiting) assert.equal(await (await answer).text(), head(7, { issued: 6 }));
});

test("a head that is ahead of all others is not in the way for ever", async (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 1_000_000 });
  await push(head(900_000));
  assert.deepEqual(await push(head(8)), [200, { ok: true, news: false }]);
  t.mock.timers.tick(600_000);
  assert.deepEqual(await push(head(8)), [200, { ok: true, news: true }]);
});

test("nobody is kept waiting for longer than a request may last", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const waiting = news("0.1.7.5");
  await new Promise(setImmediate);
  t.mock.timers.tick(25_000);
  assert.equal((await waiting).status, 204);
});
