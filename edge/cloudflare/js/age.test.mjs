import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_MESSAGE, relay } from "./age.mjs";

/** One end of a WebSocket, and what was done with it. */
class Socket extends EventTarget {
  sent = [];
  closed = [];
  accept() {}
  send(data) {
    if (this.closed.length) throw new TypeError("it is closed");
    this.sent.push(data);
  }
  close(code, reason) {
    this.closed.push([code, reason]);
  }
  receives(data) {
    this.dispatchEvent(Object.assign(new Event("message"), { data }));
  }
}

function relayed() {
  const [near, far, end] = [new Socket(), new Socket(), new AbortController()];
  relay(near, far, end.signal);
  return { near, far, end };
}

test("messages up to the limit pass in both directions", () => {
  const { near, far } = relayed();
  const messages = ["", "text", "x".repeat(MAX_MESSAGE), "\u{1f511}".repeat(MAX_MESSAGE / 4), new ArrayBuffer(MAX_MESSAGE)];
  for (const message of messages) {
    near.receives(message);
    far.receives(message);
  }
  assert.deepEqual([near.sent, far.sent], [messages, messages]);
  assert.deepEqual([near.closed, far.closed], [[], []]);
});

test("a message beyond it ends both sides, and goes nowhere", () => {
  const tooBig = ["x".repeat(MAX_MESSAGE + 1), "\u20ac".repeat(MAX_MESSAGE / 2), new ArrayBuffer(MAX_MESSAGE + 1)];
  for (const message of tooBig) {
    for (const [from, to] of [
      ["near", "far"],
      ["far", "near"],
    ]) {
      const sides = relayed();
      sides[from].receives(message);
      sides[from].receives("more");
      assert.deepEqual(sides[to].sent, []);
      assert.deepEqual(sides[from].closed, [[1009, "message_too_big"]]);
      assert.deepEqual(sides[to].closed, [[1001, "message_too_big"]]);
    }
  }
});

test("both sides end with the route's age, and with each other", () => {
  const { near, far, end } = relayed();
  end.abort();
  assert.deepEqual([near.closed, far.closed], [[[1001, "max_connection_age"]], [[1001, "max_connection_age"]]]);
  for (const [code, passed] of [
    [4_000, [4_000, "bye"]],
    [1_006, [1_001, undefined]],
  ]) {
    const sides = relayed();
    sides.far.dispatchEvent(Object.assign(new Event("close"), { code, reason: "bye" }));
    assert.deepEqual(sides.near.closed, [passed]);
  }
});
