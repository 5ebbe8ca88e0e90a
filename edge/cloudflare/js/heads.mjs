// The freshest head of one set, for isolates that wait for news: a Durable Object, `NightlatchHeads`.
//
// It believes nobody and nobody has to believe it: isolates check signatures and take nothing older than what they have.
// Whatever it does, they poll as ever. It keeps what is newer by its numbers and hands it on.

import { MAX_NOTE, noteOf } from "./source.mjs";

/** Milliseconds for which whoever waits for news is kept waiting at most. */
const LONGEST_WAIT_MS = 25_000;
/** Milliseconds after which a head gives way to any other: what was never a head must not be in the way for ever. */
const STANDS_MS = 600_000;
/** Pushers that may be connected. One is usual, and its successor. */
const MOST_PUSHERS = 8;

/** The place of a head in the order of all heads of its set, as text; nothing where a text is no head of that set. */
export function markOf(text, set) {
  const lines = new Map(text.split("\n").map((line) => line.split(" ", 2)));
  const numbers = ["incarnation", "epoch", "version", "issued"].map((name) => lines.get(name));
  const isHead = text.startsWith("nightlatch.head/") && lines.get("set") === set;
  return isHead && numbers.every((number) => /^\d{1,15}$/.test(number)) ? numbers.join(".") : undefined;
}

/** Whether one mark comes after another, or after none. */
export function isNewer(mark, than) {
  if (!than) return true;
  const [left, right] = [mark, than].map((text) => text.split(".").map(Number));
  const at = left.findIndex((number, index) => number !== right[index]);
  return at >= 0 && left[at] > right[at];
}

export class NightlatchHeads {
  #ctx;
  /** `{text, mark, at}` */
  #head;
  #waiting = new Set();

  constructor(ctx) {
    this.#ctx = ctx;
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
    ctx.blockConcurrencyWhile(async () => {
      this.#head = await ctx.storage.get("head");
    });
  }

  /** The path is `/{set}`. POST or a WebSocket pushes, GET waits for a head that is newer than `?after=`. */
  async fetch(request) {
    const url = new URL(request.url);
    const set = url.pathname.slice(1);
    if (request.headers.get("upgrade") === "websocket") return this.#connect(set);
    if (request.method === "GET") return this.#news(url.searchParams.get("after"));
    const answer = await this.#take(await noteOf(request.body).catch(() => ""), set);
    return Response.json(answer, { status: answer.ok ? 200 : 400 });
  }

  #connect(set) {
    const [client, server] = Object.values(new WebSocketPair());
    const others = this.#ctx.getWebSockets();
    if (others.length >= MOST_PUSHERS) others[0].close(1008, "too_many_pushers");
    this.#ctx.acceptWebSocket(server, [set]);
    return new Response(null, { status: 101, webSocket: client });
  }

  async webSocketMessage(socket, message) {
    const isNote = typeof message === "string" && message.length <= MAX_NOTE;
    const [set] = this.#ctx.getTags(socket);
    socket.send(JSON.stringify(isNote ? await this.#take(message, set) : { ok: false, error: "not_a_head" }));
  }

  webSocketClose(socket, code) {
    socket.close(code === 1005 || code === 1006 ? 1000 : code);
  }

  async #take(text, set) {
    const mark = markOf(text, set);
    if (!mark) return { ok: false, error: "not_a_head" };
    const stands = this.#head && Date.now() < this.#head.at + STANDS_MS;
    if (stands && !isNewer(mark, this.#head.mark)) return { ok: true, news: false };
    this.#head = { text, mark, at: Date.now() };
    for (const wake of this.#waiting) wake();
    await this.#ctx.storage.put("head", this.#head);
    return { ok: true, news: true };
  }

  async #news(after) {
    const isNews = () => this.#head && isNewer(this.#head.mark, after);
    if (!isNews()) {
      await new Promise((wake) => {
        const timer = setTimeout(() => done(), LONGEST_WAIT_MS);
        const done = () => {
          clearTimeout(timer);
          this.#waiting.delete(done);
          wake();
        };
        this.#waiting.add(done);
      });
    }
    return isNews() ? new Response(this.#head.text) : new Response(null, { status: 204 });
  }
}
