// The set in WebAssembly under Node: node wasm.mjs FIXTURE BENCH_MODULE PACKAGE ROUNDS
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { Fixture, fact, interleaved, median, timed } from "./common.mjs";

const [fixtureAt, moduleAt, packageAt, roundsText] = process.argv.slice(2);
const rounds = Number(roundsText);
const fixture = new Fixture(fixtureAt);
const { keys } = fixture.config;
const { Bench, initSync } = await import(join(moduleAt, "nightlatch_bench_wasm.js"));
initSync({ module: readFileSync(join(moduleAt, "nightlatch_bench_wasm_bg.wasm")) });
const bench = fixture.make(Bench);
bench.put_head(fixture.heads[0]);

// Loading, from bytes that are in the module's memory.
const { index, parts } = fixture.base(1);
const put = () => {
  bench.put_index(index);
  for (const part of parts) bench.put_part(part);
};
const loads = Array.from({ length: 3 * rounds }, () => {
  put();
  return timed(() => bench.load());
});
fact(`load.${keys}.wasm`, median(loads));
fact(`load.${keys}.copy`, timed(put));
bench.load();

// Lookups and verdicts.
const [tags, strangers] = [fixture.bytes("tags"), fixture.bytes("strangers")];
const lines = fixture.text("texts").trimEnd();
const texts = lines.split("\n").map((text) => text.normalize());
const count = texts.length;
const ns = (run) => (timed(run) * 1e6) / count;
bench.put_texts(lines);
const expect = (found, wanted) => {
  if (found !== wanted) throw new Error(`found ${found} of ${wanted}`);
};

const { Verifier } = await import(join(packageAt, "node.mjs"));
const verifier = fixture.make(Verifier);
fixture.follow(verifier, fixture.heads[0]);

const digest = (text) => createHash("sha256").update(text).digest("base64url");
const map = new Map(texts.map((text, number) => [digest(text), number]));
for (let number = 0; map.size < Math.min(keys, 1_000_000); number += 1) map.set(digest(String(number)), number);

const contenders = {
  hit() {
    bench.put_tags(tags);
    return ns(() => expect(bench.lookups(), count));
  },
  dependent: () => ns(() => bench.dependent(0)),
  miss() {
    bench.put_tags(strangers);
    return ns(() => expect(bench.lookups(), 0));
  },
  verdict: () => ns(() => expect(bench.verdicts(), count)),
  shape: () => ns(() => expect(bench.shapes(), count)),
  tag: () => ns(() => bench.tags_of_texts()),
  compressions: () => ns(() => bench.compressions()),
  string: () =>
    ns(() => {
      let allowed = 0;
      for (const text of texts) allowed += (verifier.verify(text, fixture.now) & 0xff) === 0 ? 1 : 0;
      expect(allowed, count);
    }),
  node: () =>
    ns(() => {
      let found = 0;
      for (const text of texts) found += map.has(digest(text)) ? 1 : 0;
      expect(found, count);
    }),
};
for (const [name, value] of Object.entries(interleaved(rounds, contenders))) fact(`wasm.${keys}.${name}`, value);

// Deltas of a thousand changes, then the next epoch, as often as there are rounds: a slice counts with the median of its
// rounds, so that the longest is one that takes long and not one that was interrupted.
const [opens, applies, slices] = [[], [], []];
for (let round = 0; round < rounds; round += 1) {
  bench.put_head(fixture.heads[0]);
  put();
  bench.load();
  for (let version = 1; version < fixture.heads.length - 1; version += 1) {
    bench.put_file(fixture.file(`delta-0-1-${version}-${version + 1}`));
    opens.push(timed(() => bench.open_delta()));
    applies.push(timed(() => bench.apply()));
  }
  bench.put_head(fixture.heads.at(-1));
  bench.put_file(fixture.file("rebase-0-2"));
  const steps = [timed(() => bench.begin_rebase())];
  for (let done = false; !done; ) steps.push(timed(() => (done = bench.rebase_step())));
  slices.push(steps);
}
fact(`apply.${keys}.wasm_first`, applies[0]);
fact(`apply.${keys}.wasm_warm`, median(applies.slice(1)));
fact(`apply.${keys}.wasm_open`, median(opens));
const steps = slices[0].map((_, number) => median(slices.map((round) => round[number])));
fact(`rebase.${keys}.wasm`, steps.reduce((sum, step) => sum + step, 0));
fact(`rebase.${keys}.wasm_longest`, Math.max(...steps));

if (keys === 1_000_000) {
  const rows = Array.from({ length: keys }, (_, number) => `"${digest(String(number))}":[${number % 1024},${number},7]`);
  const json = `{${rows.join(",")}}`;
  rows.length = 0;
  let parsed;
  fact(`load.${keys}.json_parse`, timed(() => (parsed = JSON.parse(json))));
  if (Object.keys(parsed).length !== keys) throw new Error("JSON lost keys");
}
