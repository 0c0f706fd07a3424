/**
 * Clients that tell each request that is lost: raw sockets, no second try. Each kind runs until it is told to stop.
 *
 * @module
 */
import { connect, type Socket } from "node:net";

/** How long an answer may take; whoever hangs has lost. */
const PATIENCE_MS = 20_000;

/** What became of the requests of all clients. */
export class Tally {
  answered: Record<string, number> = {};
  /** By which worker they were answered. */
  readonly workers = new Set<string>();
  readonly failures: string[] = [];
  /** WebSockets that were told to go elsewhere while a message was on its way (their client sends it again). */
  cutShort = 0;

  count(kind: string, worker?: string): void {
    this.answered[kind] = (this.answered[kind] ?? 0) + 1;
    if (worker !== undefined) this.workers.add(worker);
  }

  fail(kind: string, what: string): void {
    this.failures.push(`${kind}: ${what}`);
  }
}

/** A response as it came. */
interface Answer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** What ended a connection before its answer was complete. */
function lost(what: string, text: string): Error {
  return new Error(`${what} after ${text.length} bytes of the answer`);
}

/** A connection that reads answers one after another. */
class Connection {
  readonly #socket: Socket;
  #text = "";
  #ended: string | undefined;
  #changed = (): void => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (text) => this.#take(() => this.#text += text));
    socket.on("error", (error) => this.#take(() => this.#ended ??= error.message));
    socket.on("close", () => this.#take(() => this.#ended ??= "the connection was closed"));
  }

  static async open(port: number): Promise<Connection> {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.setNoDelay(true);
    const connection = new Connection(socket);
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return connection;
  }

  get isOpen(): boolean {
    return this.#ended === undefined;
  }

  send(text: string): void {
    this.#socket.write(text, "latin1");
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Waits until `parse` finds what it looks for in what has come, and takes that away. */
  async read<T>(parse: (text: string) => { readonly found: T; readonly rest: string } | undefined): Promise<T> {
    const deadline = performance.now() + PATIENCE_MS;
    while (true) {
      const parsed = parse(this.#text);
      if (parsed !== undefined) {
        this.#text = parsed.rest;
        return parsed.found;
      }
      if (this.#ended !== undefined) throw lost(this.#ended, this.#text);
      if (performance.now() >= deadline) throw lost(`nothing came for ${PATIENCE_MS} ms`, this.#text);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000);
        this.#changed = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async answer(): Promise<Answer> {
    return await this.read(parseAnswer);
  }

  #take(change: () => void): void {
    change();
    this.#changed();
  }
}

function parseAnswer(text: string): { readonly found: Answer; readonly rest: string } | undefined {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const [first = "", ...lines] = text.slice(0, end).split("\r\n");
  const headers = new Map(lines.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim().toLowerCase()] as const;
  }));
  const status = Number(first.split(" ")[1]);
  const rest = text.slice(end + 4);
  if (status === 101) return { found: { status, headers, body: "" }, rest };
  if (headers.get("transfer-encoding") === "chunked") {
    const chunked = parseChunks(rest);
    return chunked && { found: { status, headers, body: chunked.body }, rest: chunked.rest };
  }
  const length = Number(headers.get("content-length") ?? NaN);
  if (Number.isNaN(length)) throw new Error(`an answer without a length: ${JSON.stringify(text.slice(0, 200))}`);
  return rest.length < length
    ? undefined
    : { found: { status, headers, body: rest.slice(0, length) }, rest: rest.slice(length) };
}

function parseChunks(text: string): { readonly body: string; readonly rest: string } | undefined {
  let body = "";
  for (let at = 0;;) {
    const line = text.indexOf("\r\n", at);
    if (line < 0) return undefined;
    const length = Number.parseInt(text.slice(at, line), 16);
    const next = line + 2 + length + 2;
    if (text.length < next) return undefined;
    if (length === 0) return { body, rest: text.slice(next) };
    body += text.slice(line + 2, line + 2 + length);
    at = next;
  }
}

/** A client: a loop that ends when `stop` aborts. */
export type ClientLoop = (port: number, tally: Tally, stop: AbortSignal) => Promise<void>;

let sequence = 0;

/** One request, checked to the last byte; gives whether the connection may be used again. */
async function ask(
  connection: Connection,
  tally: Tally,
  kind: string,
  request: string,
  body: string,
): Promise<boolean> {
  connection.send(request);
  const { status, headers, body: got } = await connection.answer();
  const [worker = "", ...words] = got.split(" ");
  const echoed = words.join(" ");
  if (status !== 200 || echoed !== body) {
    tally.fail(kind, `the answer was wrong: ${status} ${JSON.stringify(got.slice(0, 100))} for ${body.slice(0, 40)}`);
  } else {
    tally.count(kind, worker);
  }
  return headers.get("connection") !== "close";
}

const get = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nhost: x\r\n${more}\r\n`;

/** A connection for each request. */
export const oneShot: ClientLoop = async (port, tally, stop) => {
  while (!stop.aborted) {
    const word = `n${sequence++}`;
    try {
      const connection = await Connection.open(port);
      await ask(connection, tally, "one shot", get(`/word/${word}`, "connection: close\r\n"), word);
      connection.close();
    } catch (error) {
      tally.fail("one shot", String(error));
    }
  }
};

/** Many requests over a connection, until the server says `Connection: close`. */
export function keepAlive(thinkMs: number): ClientLoop {
  const kind = `keep-alive, ${thinkMs} ms between`;
  return async (port, tally, stop) => {
    while (!stop.aborted) {
      try {
        const connection = await Connection.open(port);
        for (let goesOn = true; goesOn && !stop.aborted;) {
          const word = `k${sequence++}`;
          goesOn = await ask(connection, tally, kind, get(`/word/${word}`), word);
          if (goesOn && thinkMs > 0) await new Promise((resolve) => setTimeout(resolve, thinkMs));
        }
        connection.close();
      } catch (error) {
        tally.fail(kind, String(error));
      }
    }
  };
}

/** Bodies of 16 KB, there and back. */
export const post: ClientLoop = async (port, tally, stop) => {
  while (!stop.aborted) {
    try {
      const connection = await Connection.open(port);
      for (let goesOn = true; goesOn && !stop.aborted;) {
        const body = `${sequence++} `.repeat(16_384).slice(0, 16_384);
        const request = `POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
        goesOn = await ask(connection, tally, "post", request, body);
      }
      connection.close();
    } catch (error) {
      tally.fail("post", String(error));
    }
  }
};

/** Answers that come in twenty parts over a second. */
export const stream: ClientLoop = async (port, tally, stop) => {
  const whole = Array.from({ length: 20 }, (_, part) => `part${part};`).join("");
  while (!stop.aborted) {
    try {
      const connection = await Connection.open(port);
      await ask(connection, tally, "stream", get("/stream"), whole);
      connection.close();
    } catch (error) {
      tally.fail("stream", String(error));
    }
  }
};

/** Messages through a WebSocket, which is opened again when the server says that it goes away. */
export const webSocket: ClientLoop = async (port, tally, stop) => {
  const upgrade = "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n" +
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
  while (!stop.aborted) {
    try {
      const connection = await Connection.open(port);
      connection.send(get("/socket", upgrade));
      const { status } = await connection.answer();
      if (status !== 101) throw new Error(`the upgrade was answered by ${status}`);
      for (let goesOn = true; goesOn && !stop.aborted;) {
        const word = `w${sequence++}`;
        connection.send(frame(1, word));
        const { opcode, payload } = await connection.read(parseFrame);
        if (opcode === 8) {
          const code = payload.charCodeAt(0) * 256 + payload.charCodeAt(1);
          if (code !== 1001) tally.fail("web socket", `it was closed by ${code}`);
          tally.cutShort++;
          connection.send(frame(8, payload));
          goesOn = false;
        } else if (payload === word) tally.count("web socket");
        else tally.fail("web socket", `${JSON.stringify(payload.slice(0, 40))} came back for ${word}`);
      }
      connection.close();
    } catch (error) {
      tally.fail("web socket", String(error));
    }
  }
};

/** A frame of a client: masked, by zeros. */
function frame(opcode: number, payload: string): string {
  return String.fromCharCode(0x80 | opcode, 0x80 | payload.length, 0, 0, 0, 0) + payload;
}

function parseFrame(text: string) {
  const length = text.charCodeAt(1) & 0x7f;
  if (text.length < 2 || text.length < 2 + length) return undefined;
  return {
    found: { opcode: text.charCodeAt(0) & 0x0f, payload: text.slice(2, 2 + length) },
    rest: text.slice(2 + length),
  };
}

/** Runs clients until told to stop, and gives what became of their requests. */
export function load(port: number, loops: readonly ClientLoop[]): { readonly tally: Tally; stop(): Promise<Tally> } {
  const tally = new Tally();
  const stop = new AbortController();
  const running = loops.map((loop) => loop(port, tally, stop.signal));
  return {
    tally,
    async stop() {
      stop.abort();
      await Promise.all(running);
      return tally;
    },
  };
}
