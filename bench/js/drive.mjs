// Drives worker.mjs in workerd: node drive.mjs FIXTURE URL ROUNDS
import { Fixture, fact, median } from "./common.mjs";

const [fixtureAt, url, roundsText] = process.argv.slice(2);
const fixture = new Fixture(fixtureAt);
const { keys } = fixture.config;
const post = async (name, body) => {
  const answer = await fetch(`${url}/${name}`, { method: "POST", body });
  if (!answer.ok) throw new Error(`${name}: ${await answer.text()}`);
  await answer.arrayBuffer();
};
const run = async (name) => {
  const start = performance.now();
  const answer = await fetch(`${url}/${name}`);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${name}: ${text}`);
  return performance.now() - start;
};

await post("set", fixture.text("set.json"));
await post("head", fixture.heads[0]);
const { index, parts } = fixture.base(1);
await post("index", index);
for (const part of parts) await post("part", part);
await run("load");
const lines = fixture.text("texts").trimEnd();
await post("texts", lines);
await post("tags", fixture.bytes("tags"));
const count = lines.split("\n").length;

const times = { nothing: [], hit: [], verdict: [], compressions: [] };
for (let round = 0; round <= Number(roundsText); round += 1) {
  for (const [name, values] of Object.entries(times)) {
    const took = await run(name);
    if (round > 0) values.push(took);
  }
}
const { nothing, ...measured } = Object.fromEntries(Object.entries(times).map(([name, all]) => [name, median(all)]));
for (const [name, took] of Object.entries(measured)) fact(`workerd.${keys}.${name}`, ((took - nothing) * 1e6) / count);
