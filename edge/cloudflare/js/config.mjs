// What the Worker is told by its variables and secrets. README.md lists them. Values are never repeated, in errors least of
// all.

/** A variable that is missing or wrong; the message says which and what, without its value. */
class Misconfigured extends Error {
  constructor(variable, reason) {
    super(`${variable} ${reason}`);
    this.variable = variable;
    this.reason = reason;
  }
}

const BINDING = /^[A-Za-z_]\w*$/;
/** An `http(s)` URL without query, fragment or user. What is still wrong fails when it is fetched. */
const BASE_URL = /^https?:\/\/[!-~]+$/;

/**
 * Reads the configuration and gives Rust its part through `configure(text)`, which answers nothing, or a variable and what
 * is wrong with it in two lines. Answers the settings, or `{wrong: {variable, reason}}`.
 */
export function configured(env, begun, configure) {
  try {
    return read(env, begun, configure);
  } catch (error) {
    if (!(error instanceof Misconfigured)) throw error;
    console.error(`nightlatch: ${error.message}`);
    return { wrong: error };
  }
}

function read(env, begun, configure) {
  const value = (name) => (typeof env[name] === "string" ? env[name] : "");
  const required = (name) => {
    if (!value(name)) throw new Misconfigured(name, "is not set");
    return value(name);
  };
  const set = required("NIGHTLATCH_SET");
  const [root, verifier] = [value("NIGHTLATCH_ROOT"), value("NIGHTLATCH_VERIFIER")];
  if (!root && !verifier) throw new Misconfigured("NIGHTLATCH_ROOT", "is not set, nor is NIGHTLATCH_VERIFIER");
  const peppers = required("NIGHTLATCH_PEPPERS");
  const source = place("NIGHTLATCH_SOURCE", required, ["r2", "kv"], "an http(s) URL, r2:BINDING or kv:BINDING");
  const origin =
    value("NIGHTLATCH_ORIGIN") === "verdict"
      ? { kind: "verdict" }
      : place("NIGHTLATCH_ORIGIN", required, ["service"], "an http(s) URL, service:BINDING or the word verdict");
  const reportUrl = value("NIGHTLATCH_REPORT_URL");
  if (reportUrl && !baseUrl(reportUrl)) throw new Misconfigured("NIGHTLATCH_REPORT_URL", "is not an http(s) URL");
  const token = value("NIGHTLATCH_TOKEN");
  if (!/^[!-~]*$/.test(token)) throw new Misconfigured("NIGHTLATCH_TOKEN", "has white space or is not ASCII");
  const pushToken = value("NIGHTLATCH_PUSH_TOKEN");
  if (pushToken && pushToken.length < 16) throw new Misconfigured("NIGHTLATCH_PUSH_TOKEN", "is shorter than 16 bytes");
  const pollMs = 1_000 * number("NIGHTLATCH_POLL_SECONDS", value, 1, 1, 3_600);
  const timeoutMs = number("NIGHTLATCH_FETCH_TIMEOUT_MS", value, 3_000, 50, 30_000);
  const originKey = value("NIGHTLATCH_ORIGIN_KEY");

  const parts = [set, root, verifier, peppers, originKey, pollMs, timeoutMs, reportUrl ? 1 : 0, begun];
  const [variable, reason] = configure(parts.join("\0")).split("\n");
  if (reason) throw new Misconfigured(variable, reason);
  return { set, source, origin, reportUrl, token, pushToken, timeoutMs, heads: env.NIGHTLATCH_HEADS };
}

/** `{kind, place, prefix}`: a base URL, or a binding and what its keys begin with. */
function place(name, required, kinds, what) {
  const text = required(name);
  const url = baseUrl(text);
  if (url) return { kind: "url", place: url };
  const [, kind, binding, rest] = /^(\w+):([^/]*)\/?(.*)$/.exec(text) ?? [];
  if (!kinds.includes(kind) || !BINDING.test(binding)) throw new Misconfigured(name, `is not ${what}`);
  const prefix = rest.replace(/\/+$/, "").replace(/^\/+/, "");
  return { kind, place: binding, prefix: prefix && `${prefix}/` };
}

/** The URL without trailing slashes, where it is one. */
function baseUrl(text) {
  const url = text.replace(/\/+$/, "");
  return BASE_URL.test(url) && !/[?#@\\"]|^https?:\/\/\//.test(url) ? url : undefined;
}

function number(name, value, usual, least, most) {
  const text = value(name);
  if (!text) return usual;
  const parsed = /^\d+$/.test(text) ? Number(text) : 0;
  if (parsed < least || parsed > most) throw new Misconfigured(name, `is not a whole number from ${least} to ${most}`);
  return parsed;
}
