// The built package against the golden files of the formats: `cargo xtask build-npm` first.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";

import { Code, Verifier } from "../pkg/node.mjs";

test("Node finds its entry by the package's name", () => {
  const require = createRequire(new URL("../pkg/package.json", import.meta.url));
  assert.ok(require.resolve("nightlatch-edge").endsWith("/pkg/node.mjs"));
});

const golden = new URL("../../../crates/keyset/golden/v2/", import.meta.url);
const read = (name) => readFileSync(new URL(name, golden));
const head = read("head").toString();
const field = (name) => head.match(new RegExp(`^${name} (.*)$`, "m"))[1];
const now = Number(field("issued"));
const pepper = new Uint8Array(32).fill(5);
const verifier = () => new Verifier(field("set"), read("verifier").toString().trim(), field("pepper"), pepper);

function loaded() {
  const copy = verifier();
  const files = copy.offer(head, now);
  assert.equal(copy.finish(files.map(({ name }) => read(name)), now), false);
  return copy;
}

test("the files that a head names put it into force", () => {
  const copy = verifier();
  assert.equal(copy.verify("anything", now) & 0xff, Code.Stale);
  const files = copy.offer(head, now);
  assert.ok(files.every(({ name, maxLength }) => read(name).length <= maxLength));
  copy.finish(files.map(({ name }) => read(name)), now);
  assert.equal(copy.version, Number(field("version")));
  assert.equal(copy.keys, Number(field("keys")));
  assert.equal(copy.offer(head, now).length, 0);
});

test("files may come in pieces", () => {
  const copy = verifier();
  for (const [number, { name }] of copy.offer(head, now).entries()) {
    const bytes = read(name);
    for (let at = 0; at < bytes.length; at += 100) copy.append(number, bytes.subarray(at, at + 100));
  }
  copy.finish([], now);
  assert.equal(copy.keys, Number(field("keys")));
});

test("every key of the set gets its verdict", () => {
  const copy = loaded();
  const find = (number) => {
    const text = Buffer.alloc(4);
    text.writeUInt32LE(number);
    return copy.find(createHash("sha256").update(text).digest(), now);
  };
  assert.equal(find(1), Code.Invalid, "it left the set when the epoch ended");
  assert.equal(find(2) & 0xff, Code.Retiring);
  assert.equal(copy.deadline, 1_900_000_000);
  assert.equal(find(3), Code.Revoked);
  assert.equal(find(4), Code.Disabled);
  assert.equal(find(5) & 0xff, Code.Allowed);
  for (let number = 10; number < 40; number += 1) {
    const verdict = find(number);
    assert.equal(verdict & 0xff, Code.Allowed);
    assert.equal(copy.subject, number);
    assert.equal(copy.scopes(verdict >>> 8), "invoices:read new");
    assert.equal(copy.tier(verdict >>> 8), "gold");
  }
  assert.equal(find(40), Code.Invalid);
  assert.equal(copy.subject, 0);
});

test("strangers, no keys and no times are told apart", () => {
  const copy = loaded();
  assert.equal(copy.verify("nl_live_not a key", now), Code.Invalid);
  assert.equal(copy.find(new Uint8Array(32), now), Code.Invalid);
  assert.equal(copy.verify("anything", Number(field("valid-until"))), Code.Stale);
  assert.equal(copy.verify("anything", NaN), Code.Stale);
});

test("a clock that is set back does not prolong what a head allows, whichever call was told the time", () => {
  const over = Number(field("valid-until"));
  const isOver = /no longer valid/;
  for (const tell of [
    (copy) => copy.verify("anything", over),
    (copy) => copy.find(new Uint8Array(32), over),
    (copy) => assert.throws(() => copy.offer(head, over), isOver),
  ]) {
    const copy = loaded();
    assert.equal(copy.verify("nobody's", NaN), Code.Stale);
    assert.equal(copy.verify("nobody's", now), Code.Invalid);
    tell(copy);
    assert.equal(copy.verify("nobody's", now), Code.Stale);
    assert.equal(copy.find(new Uint8Array(32), now), Code.Stale);
    assert.throws(() => copy.offer(head, now), isOver);
  }
  const copy = verifier();
  const files = copy.offer(head, now).map(({ name }) => read(name));
  assert.throws(() => copy.finish(files, over), isOver);
  assert.throws(() => copy.offer(head, now), isOver);
});

test("a head is believed, timely and of this set, or refused", () => {
  const copy = verifier();
  assert.throws(() => copy.offer(head.replace(/^keys .*$/m, "keys 7"), now), /signature/);
  assert.throws(() => copy.offer(head, Number(field("valid-until"))), /no longer valid/);
  // One that has not been told a later time before.
  assert.throws(() => verifier().offer(head, now - Number(field("skew")) - 1), /future/);
  const other = new Verifier(field("set"), read("verifier").toString().trim(), field("pepper"), new Uint8Array(32));
  assert.throws(() => other.offer(head, now), /pepper/);
  assert.throws(() => new Verifier(field("set"), "x", "p", pepper));
});

test("wrong files leave the copy as it was", () => {
  const copy = verifier();
  const files = copy.offer(head, now).map(({ name }) => Uint8Array.from(read(name)));
  files[0][100] ^= 1;
  assert.throws(() => copy.finish(files, now));
  assert.equal(copy.verify("anything", now), Code.Stale);
  assert.throws(() => copy.finish([], now), /no file/);
  const [first] = copy.offer(head, now);
  assert.throws(() => copy.append(0, new Uint8Array(first.maxLength + 1)), /longer/);
});

test("by a root, a head needs a trust note first", () => {
  // Any verifier key will do: what matters is that no note of it is there.
  const copy = Verifier.withRoot(field("set"), read("verifier").toString().trim(), field("pepper"), pepper);
  assert.equal(copy.needsTrust, false);
  assert.equal(copy.offer(head, now).length, 0);
  assert.equal(copy.needsTrust, true);
  assert.throws(() => copy.takeTrust(head), /note/);
  assert.throws(() => copy.offer(head, now), /no trust note/);
  assert.equal(copy.needsTrust, false);
  assert.equal(copy.verify("anything", now) & 0xff, Code.Stale);
});
