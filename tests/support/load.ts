/**
 * Clients that tell each request that is lost: raw sockets, no second try. Each kind runs until it is told to stop.
 *
 * @module
 */
import type { Where } from "./client.ts";
import { Connection, frame, Lost, parseFrame } from "./connection.ts";

/** A request that was lost. Times are those of `performance.now()`. */
export interface Failure {
  readonly kind: string;
  readonly what: string;
  readonly at: number;
  /** Of the connection: when the client began to open it, when it last said something, and its port there. */
  readonly begunAt: number | undefined;
  readonly sentAt: number | undefined;
  readonly port: number | undefined;
  /** Whether all clients were held up at that time. */
  readonly wasHeldUp: boolean;
}

/** What became of the requests of all clients. */
export class Tally {
  readonly sent: Record<string, number> = {};
  readonly answered: Record<string, number> = {};
  /** By which worker they were answered. */
  readonly workers = new Set<string>();
  readonly failures: Failure[] = [];
  /**
   * Requests over a connection that was used before, which the server closed without a byte of an answer, since their
   * client took too long to ask.
   */
  readonly idleRaces: Record<string, number> = {};
  /** The same of any client, and of new connections, where it or all were held up for about as long as a drain waits. */
  readonly heldUp: Record<string, number> = {};
  /** Connections that the server closed while nothing was asked, though it had not said that it would. */
  readonly idleCloses: Record<string, number> = {};
  /** WebSockets that were told to go elsewhere while a message was on its way (their client sends it again). */
  cutShort = 0;
  readonly #pulse: Pulse;

  constructor(pulse: Pulse) {
    this.#pulse = pulse;
  }

  /** Whether a client, or all, were held up lately, so that an idle connection may have been closed under a request. */
  wasHeldUp(connection?: Connection): boolean {
    return this.#pulse.wasHeldUp || (connection?.silentMs ?? 0) > HELD_UP_MS;
  }

  count(what: Record<string, number>, kind: string): void {
    what[kind] = (what[kind] ?? 0) + 1;
  }

  fail(kind: string, error: unknown, connection: Connection | undefined): void {
    const what = error instanceof Error ? error.message : String(error);
    const { begunAt, sentAt, port } = connection ?? {};
    const wasHeldUp = this.wasHeldUp(connection);
    this.failures.push({ kind, what, at: performance.now(), begunAt, sentAt, wasHeldUp, port });
  }
}

/** A drain closes a connection that is idle for a second: clients that were held up for longer than this find it so. */
const HELD_UP_MS = 500;

/** For so long after that it may be the reason of what a client sees. */
const AFTERMATH_MS = 1000;

/** Whether this process, in which all clients are, was held up lately. */
class Pulse implements Disposable {
  #beatAt = performance.now();
  #lateAt = -Infinity;
  readonly #timer = setInterval(() => this.#beat(), 50);

  get wasHeldUp(): boolean {
    const now = performance.now();
    return now - this.#beatAt > HELD_UP_MS || now - this.#lateAt < AFTERMATH_MS;
  }

  #beat(): void {
    const now = performance.now();
    if (now - this.#beatAt > HELD_UP_MS) this.#lateAt = now;
    this.#beatAt = now;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** A client: a loop that ends when `stop` aborts. */
export type ClientLoop = (where: Where, tally: Tally, stop: AbortSignal) => Promise<void>;

interface Asked {
  readonly text: string;
  /** What is to come back, after the name of the worker and a space. */
  readonly expected: string;
}

interface Kind {
  readonly name: string;
  readonly ask: (sequence: number) => Asked;
  /** Whether each request asks for the end of its connection; a server need not say so again. */
  readonly isOnce?: boolean;
  /** How long the client waits between an answer and its next request. */
  readonly thinkMs?: number;
  /** Whether an idle connection may be closed under a request, since its client thinks longer than a drain waits. */
  readonly mayRace?: boolean;
}

/** Whether a server has closed a connection without a byte of an answer. */
function isClosedUnanswered(error: unknown): error is Lost {
  return error instanceof Lost && error.isClosedUnanswered;
}

let sequence = 0;

/** How long a client waits after a failure: the system may refuse a connection at once, and nothing else would run. */
const FAILED_MS = 10;

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Requests one after another, over one connection for as long as the server lets it. */
function http({ name, ask, isOnce = false, thinkMs = 0, mayRace = false }: Kind): ClientLoop {
  return async (where, tally, stop) => {
    let connection: Connection | undefined;
    while (!stop.aborted) {
      if (connection?.isOpen === false) {
        if (!tally.wasHeldUp()) tally.count(tally.idleCloses, name);
        connection = undefined;
      }
      const isReused = connection !== undefined;
      const asked = ask(sequence++);
      tally.count(tally.sent, name);
      try {
        if (connection === undefined) await (connection = new Connection(where)).open();
        const goesOn = await exchange(connection, tally, name, asked);
        if (isOnce || !goesOn) connection = void connection.close();
      } catch (error) {
        const isRace = isClosedUnanswered(error);
        if (isRace && isReused && mayRace) tally.count(tally.idleRaces, name);
        else if (isRace && tally.wasHeldUp(connection)) tally.count(tally.heldUp, name);
        else tally.fail(name, error, connection);
        connection = void connection?.close();
        await pause(FAILED_MS);
      }
      if (thinkMs > 0) await pause(thinkMs);
    }
    connection?.close();
  };
}

/** One request, checked to the last byte; gives whether the connection may be used again. */
async function exchange(connection: Connection, tally: Tally, kind: string, asked: Asked): Promise<boolean> {
  connection.send(asked.text);
  const { status, headers, body } = await connection.answer();
  const space = body.indexOf(" ");
  if (status !== 200 || body.slice(space + 1) !== asked.expected) {
    throw new Error(`the answer was wrong: ${status} ${JSON.stringify(body.slice(0, 100))} for ${asked.expected}`);
  }
  if (connection.rest !== "") throw new Error(`more came than the answer: ${JSON.stringify(connection.rest)}`);
  tally.count(tally.answered, kind);
  tally.workers.add(body.slice(0, space));
  return headers.get("connection") !== "close";
}

function get(path: string, more = ""): string {
  return `GET ${path} HTTP/1.1\r\nhost: x\r\n${more}\r\n`;
}

function word(sequence: number, more = ""): Asked {
  return { text: get(`/word/n${sequence}`, more), expected: `n${sequence}` };
}

/** A connection for each request. */
export const oneShot = http({
  name: "one shot",
  isOnce: true,
  ask: (sequence) => word(sequence, "connection: close\r\n"),
});

/** Requests at a rate, so many a second, each over a connection of its own, whatever becomes of those before. */
export function atRate(rate: () => number): ClientLoop {
  return async (where, tally, stop) => {
    const running = new Set<Promise<void>>();
    let owed = 0;
    for (let last = performance.now(); !stop.aborted;) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      const now = performance.now();
      owed += (now - last) * rate() / 1000;
      last = now;
      for (; owed >= 1; owed--) {
        const one = once(where, tally);
        running.add(one);
        void one.then(() => running.delete(one));
      }
    }
    await Promise.all(running);
  };
}

async function once(where: Where, tally: Tally): Promise<void> {
  const kind = "at a rate";
  const connection = new Connection(where);
  tally.count(tally.sent, kind);
  try {
    await connection.open();
    await exchange(connection, tally, kind, word(sequence++, "connection: close\r\n"));
  } catch (error) {
    if (isClosedUnanswered(error) && tally.wasHeldUp(connection)) tally.count(tally.heldUp, kind);
    else tally.fail(kind, error, connection);
  }
  connection.close();
}

/** Many requests over a connection. */
export function keepAlive(thinkMs: number, mayRace = false): ClientLoop {
  return http({ name: `keep-alive, ${thinkMs} ms between`, ask: (sequence) => word(sequence), thinkMs, mayRace });
}

/** Bodies of 16 KB, there and back. */
export const post = http({
  name: "post",
  ask(sequence) {
    const body = `${sequence} `.repeat(16_384).slice(0, 16_384);
    return { text: `POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`, expected: body };
  },
});

const streamed = Array.from({ length: 20 }, (_, part) => `part${part};`).join("");

/** Answers that come in twenty parts over a second. */
export const stream = http({ name: "stream", ask: () => ({ text: get("/stream"), expected: streamed }) });

const UPGRADE = "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n" +
  "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/** Messages through a WebSocket, which is opened again when the server says that it goes away. */
export const webSocket: ClientLoop = async (where, tally, stop) => {
  const kind = "web socket";
  while (!stop.aborted) {
    let connection: Connection | undefined;
    try {
      await (connection = new Connection(where)).open();
      connection.send(get("/socket", UPGRADE));
      const { status } = await connection.answer();
      if (status !== 101) throw new Error(`the upgrade was answered by ${status}`);
      while (!stop.aborted && await echo(connection, tally, kind));
    } catch (error) {
      if (!isClosedUnanswered(error) || !tally.wasHeldUp(connection)) tally.fail(kind, error, connection);
    }
    connection?.close();
  }
};

/** One message; gives whether the server is still there for the next. */
async function echo(connection: Connection, tally: Tally, kind: string): Promise<boolean> {
  const message = `w${sequence++}`;
  tally.count(tally.sent, kind);
  // A close frame that is there to be read is read first: Node.js drops it where a write finds that the server has gone.
  await new Promise<void>((resolve) => setImmediate(resolve));
  if (connection.rest === "") connection.send(frame(1, message));
  const found = await connection.read(parseFrame).catch((error: unknown) => {
    // Between looking and writing the server may go (Deno waits for no answer to its close frame), and the frame is dropped
    // with that: always where the write itself finds it, which is on a Unix socket, else where the client was held up.
    if (isClosedUnanswered(error) && (error.message.startsWith("write EPIPE") || tally.wasHeldUp(connection))) {
      return undefined;
    }
    throw error;
  });
  if (found === undefined) {
    tally.cutShort++;
    return false;
  }
  const { opcode, payload } = found;
  if (opcode === 8) {
    const code = payload.charCodeAt(0) * 256 + payload.charCodeAt(1);
    if (code !== 1001) throw new Error(`it was closed by ${code}`);
    tally.cutShort++;
    connection.send(frame(8, payload));
    return false;
  }
  if (payload !== message) throw new Error(`${JSON.stringify(payload.slice(0, 40))} came back for ${message}`);
  tally.count(tally.answered, kind);
  return true;
}

/** Clients who are there all the time, and leave some of the machine to others. */
export const PACED: readonly ClientLoop[] = [atRate(() => 200), keepAlive(5), keepAlive(100)];

/** Clients under load. */
export interface Load extends AsyncDisposable {
  readonly tally: Tally;
  /** Lets each client finish what it asked. */
  stop(): Promise<Tally>;
}

/** Runs clients until told to stop. */
export function load(where: Where, loops: readonly ClientLoop[]): Load {
  const pulse = new Pulse();
  const tally = new Tally(pulse);
  const stop = new AbortController();
  const running = loops.map((loop) => loop(where, tally, stop.signal));
  const end = async (): Promise<void> => {
    stop.abort();
    await Promise.all(running);
    pulse[Symbol.dispose]();
  };
  return {
    tally,
    async stop() {
      await end();
      return tally;
    },
    [Symbol.asyncDispose]: end,
  };
}

/** Runs the same clients at each of several places. */
export function loadAll(places: readonly Where[], loops: readonly ClientLoop[]): readonly Load[] & AsyncDisposable {
  const loads = places.map((where) => load(where, loops));
  return Object.assign(loads, {
    [Symbol.asyncDispose]: async () => void await Promise.all(loads.map((one) => one[Symbol.asyncDispose]())),
  });
}
