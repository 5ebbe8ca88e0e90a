// What a copy of a set occupies, in the package as it ships: node --expose-gc memory.mjs FIXTURE PACKAGE NAME
//
// Counted are the module's whole memory, which never shrinks and so holds every peak inside it, and what JavaScript's
// heap grew by at most. Files come in pieces of 64 KiB through one buffer, as a fetched body does.
import { closeSync, openSync, readSync } from "node:fs";
import { join } from "node:path";

import { Fixture, fact, timed } from "./common.mjs";

const [fixtureAt, packageAt, label] = process.argv.slice(2);
const fixture = new Fixture(fixtureAt);
const { Verifier } = await import(join(packageAt, "node.mjs"));
const texts = fixture.text("texts").split("\n", 1000);
const piece = new Uint8Array(64 * 1024);
globalThis.gc();
const before = process.memoryUsage().heapUsed;
const verifier = fixture.make(Verifier);

let heap = 0;
const look = () => (heap = Math.max(heap, process.memoryUsage().heapUsed - before));
const occupied = (moment) => {
  look();
  fact(`memory.${label}.${moment}`, verifier.memoryBytes + heap);
};

function follow(head) {
  for (const [number, { name }] of verifier.offer(head, fixture.now).entries()) {
    const file = openSync(fixture.path(name));
    for (let read; (read = readSync(file, piece)) > 0; ) verifier.append(number, piece.subarray(0, read));
    closeSync(file);
    look();
  }
  return verifier.finish([], fixture.now);
}

function ask() {
  for (const text of texts) if ((verifier.verify(text, fixture.now) & 0xff) >= 6) throw new Error("no answer");
}

follow(fixture.heads[0]);
ask();
occupied("loaded");
for (const head of fixture.heads.slice(1, -1)) follow(head);
ask();
occupied("changed");

let total = 0;
for (let more = follow(fixture.heads.at(-1)); more; ) {
  const took = timed(() => (more = verifier.work()));
  total += took;
  look();
  verifier.verify(texts[0], fixture.now);
}
ask();
occupied("rebased");
fact(`memory.${label}.keys`, verifier.keys);
fact(`memory.${label}.copy`, verifier.copyBytes);
fact(`memory.${label}.heap`, heap);
fact(`memory.${label}.rebase`, total);
