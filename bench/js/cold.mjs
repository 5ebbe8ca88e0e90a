// A fresh process, from bytes to the first verdict: node cold.mjs FIXTURE BENCH_MODULE
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { Fixture, fact, timed } from "./common.mjs";

const [fixtureAt, moduleAt] = process.argv.slice(2);
const fixture = new Fixture(fixtureAt);
const { keys } = fixture.config;
const bytes = readFileSync(join(moduleAt, "nightlatch_bench_wasm_bg.wasm"));
const { index, parts } = fixture.base(1);
const [first, ...texts] = fixture.text("texts").split("\n", 50);
const { Bench, initSync } = await import(join(moduleAt, "nightlatch_bench_wasm.js"));

let module;
let bench;
fact(`cold.${keys}.compile`, timed(() => (module = new WebAssembly.Module(bytes))));
fact(
  `cold.${keys}.instantiate`,
  timed(() => {
    initSync({ module });
    bench = fixture.make(Bench);
  }),
);
const put = () => {
  bench.put_head(fixture.heads[0]);
  bench.put_index(index);
  for (const part of parts) bench.put_part(part);
};
const judge = (text) => {
  if (!bench.first_verdict(text)) throw new Error("the key is not found");
};
fact(`cold.${keys}.copy`, timed(put));
fact(`cold.${keys}.first`, timed(() => judge(first)));
// The same again once the code has run: what does not come from V8's own start.
let last;
for (const text of texts) {
  put();
  last = timed(() => judge(text));
}
fact(`cold.${keys}.warm`, last);
