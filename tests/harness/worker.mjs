// Runs the built Worker in workerd for a test, through Miniflare.
//
// Argument: the path of a JSON file, see `workerd.rs`. Then a conversation of JSON lines: this program
// first writes {"ready":{"urls":[…],"admin":"…"}}, then answers each line it reads. It ends when its standard input
// does, so that no workerd outlives the test that wanted it, however that test died.
//
// At `admin`, the Worker's KV namespaces are open to other programs: GET, PUT and DELETE of /kv/{binding}/{key} for the bytes
// of a value, and GET of /kv/{binding}?prefix=… for {"keys":[…]}.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Log, LogLevel, Miniflare } from "miniflare";

const config = JSON.parse(await readFile(process.argv[2], "utf8"));

const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

const script = config.sabotage.reduce((text, [part, replacement]) => {
  if (!text.includes(part)) throw new Error(`the script has no ${part}`);
  return text.replaceAll(part, () => replacement);
}, await readFile(join(config.build, "index.js"), "utf8"));

/** A running program as a service binding. */
const external = (address) => ({ external: { address, http: {} } });

/** Miniflare takes no Node buffers. */
const plainBytes = (buffer) => new Uint8Array(buffer).buffer;

const worker = (isolate) => ({
  name: `edge-${isolate}`,
  modules: [
    { type: "ESModule", path: join(config.build, "index.js"), contents: script },
    { type: "CompiledWasm", path: join(config.build, "index_bg.wasm") },
  ],
  modulesRoot: config.build,
  compatibilityDate: config.compatibility_date,
  bindings: config.variables,
  r2Buckets: Object.fromEntries(config.buckets.map((name) => [name, name])),
  kvNamespaces: Object.fromEntries(config.namespaces.map((name) => [name, name])),
  // One object for all isolates, as there is one for all of a network.
  durableObjects: config.heads
    ? { NIGHTLATCH_HEADS: { className: "NightlatchHeads", scriptName: "edge-0", useSQLite: true } }
    : {},
  serviceBindings: Object.fromEntries(
    Object.entries(config.services).map(([name, address]) => [name, external(address)]),
  ),
  // Straight to the Worker: Miniflare's own front door would rewrite request targets first.
  unsafeDirectSockets: [{ host: "127.0.0.1", port: config.ports[isolate] ?? 0 }],
});

const names = Array.from({ length: config.isolates }, (_, isolate) => `edge-${isolate}`);
const miniflare = new Miniflare({
  host: "127.0.0.1",
  port: 0,
  cf: false,
  log: new Log(LogLevel.WARN),
  handleRuntimeStdio(stdout, stderr) {
    stdout.pipe(process.stderr);
    stderr.pipe(process.stderr);
  },
  workers: names.map((_, isolate) => worker(isolate)),
});

const answers = {
  async put({ bucket, key, base64 }) {
    const r2 = await miniflare.getR2Bucket(bucket, names[0]);
    await r2.put(key, plainBytes(Buffer.from(base64, "base64")));
  },
  async put_file({ bucket, key, path }) {
    const r2 = await miniflare.getR2Bucket(bucket, names[0]);
    await r2.put(key, plainBytes(await readFile(path)));
  },
};

/** Every key of a namespace with this prefix. */
async function keysOf(namespace, prefix) {
  const keys = [];
  let cursor;
  do {
    const page = await namespace.list({ prefix, cursor });
    keys.push(...page.keys.map((key) => key.name));
    cursor = page.cursor;
  } while (cursor);
  return keys;
}

async function administer(request, response) {
  const url = new URL(request.url, "http://admin");
  const [, , binding, ...rest] = url.pathname.split("/");
  const key = rest.map(decodeURIComponent).join("/");
  const namespace = await miniflare.getKVNamespace(binding, names[0]);
  if (!key) return response.end(JSON.stringify({ keys: await keysOf(namespace, url.searchParams.get("prefix") ?? "") }));
  if (request.method === "PUT") {
    const body = Buffer.concat(await request.toArray());
    await namespace.put(key, plainBytes(body));
    return response.end();
  }
  if (request.method === "DELETE") {
    await namespace.delete(key);
    return response.end();
  }
  const value = await namespace.get(key, "arrayBuffer");
  if (value === null) response.statusCode = 404;
  return response.end(value === null ? undefined : Buffer.from(value));
}

const admin = createServer((request, response) => {
  administer(request, response).catch((error) => {
    response.statusCode = 500;
    response.end(String(error?.stack ?? error));
  });
});

try {
  await miniflare.ready;
  const urls = [];
  for (const name of names) urls.push((await miniflare.unsafeGetDirectURL(name)).origin);
  admin.listen(0, "127.0.0.1");
  await once(admin, "listening");
  say({ ready: { urls, admin: `http://127.0.0.1:${admin.address().port}` } });
  for await (const line of createInterface({ input: process.stdin })) {
    const { call, ...rest } = JSON.parse(line);
    try {
      await answers[call](rest);
      say({ done: call });
    } catch (error) {
      say({ failed: String(error?.stack ?? error) });
    }
  }
} catch (error) {
  say({ failed: String(error?.stack ?? error) });
  process.exitCode = 1;
} finally {
  admin.close();
  admin.closeAllConnections();
  await miniflare.dispose();
}
