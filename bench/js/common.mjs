// What the measures in JavaScript share: facts, rounds, and the files of a fixture.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** Prints a fact. */
export function fact(name, value) {
  console.log(JSON.stringify({ name, value }));
}

export function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

/** Milliseconds that a call takes. */
export function timed(run) {
  const start = performance.now();
  run();
  return performance.now() - start;
}

/** Runs all contenders in every round, the first only to warm up, and gives the medians of what they return. */
export function interleaved(rounds, contenders) {
  const times = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round += 1) {
    for (const [name, run] of Object.entries(contenders)) {
      const took = run();
      if (round > 0) times[name].push(took);
    }
  }
  return Object.fromEntries(Object.entries(times).map(([name, values]) => [name, median(values)]));
}

/** The files of a fixture, as `nightlatch-bench fixture` writes them. */
export class Fixture {
  constructor(directory) {
    this.directory = directory;
    this.config = JSON.parse(this.text("set.json"));
    this.pepper = Uint8Array.from(this.config.pepper);
    this.now = this.config.issued + 1000;
    this.heads = Array.from({ length: this.config.heads }, (_, number) => this.text(`head-${number}`));
    this.names = readdirSync(join(directory, "files"));
  }

  text(name) {
    return readFileSync(join(this.directory, name), "utf8");
  }

  bytes(name) {
    return readFileSync(join(this.directory, name));
  }

  file(name) {
    return this.bytes(join("files", name));
  }

  path(name) {
    return join(this.directory, "files", name);
  }

  /** Index and parts of an epoch's base. */
  base(epoch) {
    const parts = this.names.filter((name) => name.startsWith(`base-0-${epoch}-`));
    parts.sort((a, b) => Number(a.split("-")[3]) - Number(b.split("-")[3]));
    return { index: this.file(`base-0-${epoch}`), parts: parts.map((name) => this.file(name)) };
  }

  /** An object of either module with what an edge is told. */
  make(Class) {
    const { set, verifier, pepper_id } = this.config;
    return new Class(set, verifier, pepper_id, this.pepper);
  }

  /** Puts a head into force in a verifier of the package. */
  follow(verifier, head) {
    const files = verifier.offer(head, this.now).map(({ name }) => this.file(name));
    return verifier.finish(files, this.now);
  }
}
