import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { configured } from "./config.mjs";

const good = {
  NIGHTLATCH_SET: "set_a",
  NIGHTLATCH_SOURCE: "https://keys.example/v1/sets/set_a/",
  NIGHTLATCH_ORIGIN: "https://api.example",
  NIGHTLATCH_ROOT: "a root",
  NIGHTLATCH_PEPPERS: "some peppers",
};

test("the least configuration, and what Rust is told of it", () => {
  let told;
  const settings = configured(good, 7, (text) => {
    told = text;
    return "";
  });
  assert.deepEqual(settings.source, { kind: "url", place: "https://keys.example/v1/sets/set_a" });
  assert.deepEqual(settings.origin, { kind: "url", place: "https://api.example" });
  assert.equal(settings.timeoutMs, 3_000);
  assert.deepEqual(told.split("\0"), ["set_a", "a root", "", "some peppers", "", "1000", "3000", "0", "7"]);
});

test("sources and origins that are bound", () => {
  const source = (text) => configured({ ...good, NIGHTLATCH_SOURCE: text }, 0, () => "").source;
  assert.deepEqual(source("r2:SETS"), { kind: "r2", place: "SETS", prefix: "" });
  assert.deepEqual(source("kv:SETS/a//b/"), { kind: "kv", place: "SETS", prefix: "a//b/" });
  const origin = (text) => configured({ ...good, NIGHTLATCH_ORIGIN: text }, 0, () => "").origin;
  assert.deepEqual(origin("service:BACKEND"), { kind: "service", place: "BACKEND", prefix: "" });
  assert.deepEqual(origin("verdict"), { kind: "verdict" });
});

test("each wrong variable is named and not shown", () => {
  const log = mock.method(console, "error", () => {});
  for (const [name, value] of [
    ["NIGHTLATCH_SET", ""],
    ["NIGHTLATCH_ROOT", ""],
    ["NIGHTLATCH_PEPPERS", undefined],
    ["NIGHTLATCH_SOURCE", "ftp://keys.example"],
    ["NIGHTLATCH_SOURCE", "https:///x"],
    ["NIGHTLATCH_SOURCE", "https://user@keys.example"],
    ["NIGHTLATCH_SOURCE", "r2:"],
    ["NIGHTLATCH_SOURCE", "service:SETS"],
    ["NIGHTLATCH_ORIGIN", "verdicts"],
    ["NIGHTLATCH_ORIGIN", "service:9"],
    ["NIGHTLATCH_ORIGIN", "kv:SETS"],
    ["NIGHTLATCH_REPORT_URL", "reports.example"],
    ["NIGHTLATCH_TOKEN", "a b"],
    ["NIGHTLATCH_PUSH_TOKEN", "short"],
    ["NIGHTLATCH_POLL_SECONDS", "0"],
    ["NIGHTLATCH_POLL_SECONDS", "1.5"],
    ["NIGHTLATCH_FETCH_TIMEOUT_MS", "30001"],
  ]) {
    const { wrong } = configured({ ...good, [name]: value }, 0, () => "");
    assert.equal(wrong?.variable, name, `${name} = ${value}`);
    assert.ok(!value || value.length < 6 || !`${wrong.message} ${log.mock.calls.at(-1).arguments}`.includes(value));
  }
  const { wrong } = configured(good, 0, () => "NIGHTLATCH_PEPPERS\nis not a list");
  assert.deepEqual({ ...wrong }, { variable: "NIGHTLATCH_PEPPERS", reason: "is not a list" });
});
