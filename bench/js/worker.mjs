// The same module in workerd: takes bytes by POST and runs a measure by GET. Whoever asks holds the watch, because the
// clock in here stands still while code runs.
import { Bench, initSync } from "nightlatch-bench-wasm";

import module from "./index_bg.wasm";

initSync({ module });
let bench;

const takes = {
  set: async (request) => {
    const { set, verifier, pepper_id, pepper } = await request.json();
    bench = new Bench(set, verifier, pepper_id, Uint8Array.from(pepper));
  },
  head: async (request) => bench.put_head(await request.text()),
  texts: async (request) => bench.put_texts(await request.text()),
  tags: async (request) => bench.put_tags(await request.bytes()),
  index: async (request) => bench.put_index(await request.bytes()),
  part: async (request) => bench.put_part(await request.bytes()),
};
const runs = {
  nothing: () => 0,
  load: () => bench.load(),
  hit: () => bench.lookups(),
  verdict: () => bench.verdicts(),
  compressions: () => bench.compressions(),
};

export default {
  async fetch(request) {
    const name = new URL(request.url).pathname.slice(1);
    const outcome = request.method === "POST" ? await takes[name](request) : runs[name]();
    return new Response(String(outcome));
  },
};
