/**
 * A connection of a client that reads each byte of an answer, and knows how it ended.
 *
 * @module
 */
import { connect, type Socket } from "node:net";
import type { Where } from "./client.ts";

/** How long an answer may take; whoever hangs has lost. */
const PATIENCE_MS = 20_000;

/** A response as it came. */
export interface Answer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** What ended a connection before its answer was complete. */
export class Lost extends Error {
  /** Whether the server closed it without a byte of an answer. */
  readonly isClosedUnanswered: boolean;

  constructor(what: string, isClosed: boolean, text: string) {
    super(`${what} after ${text.length} bytes of the answer`);
    this.isClosedUnanswered = isClosed && text === "";
  }
}

/** A connection that reads answers one after another. */
export class Connection {
  /** When the client began to open it. */
  readonly begunAt = performance.now();
  /** When it last said something. */
  sentAt: number | undefined;
  /** For how long nothing had passed before that, in milliseconds. */
  silentMs = 0;
  /** The client's port, once it is connected by TCP. */
  port: number | undefined;
  readonly #socket: Socket;
  /** When anything passed last. */
  #at = this.begunAt;
  #text = "";
  #ended: string | undefined;
  #changed = (): void => {};

  constructor(where: Where) {
    const socket = "port" in where ? connect({ port: where.port, host: "127.0.0.1" }) : connect({ path: where.path });
    this.#socket = socket;
    if ("port" in where) socket.setNoDelay(true);
    socket.setEncoding("latin1");
    socket.on("data", (text) => {
      this.#at = performance.now();
      this.#take(() => this.#text += text);
    });
    socket.on("error", (error) => this.#take(() => this.#ended ??= error.message));
    socket.on("close", () => this.#take(() => this.#ended ??= "the connection was closed"));
  }

  /** Resolves when the system has made the connection, whoever accepts it later. */
  async open(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#socket.once("connect", resolve);
      this.#socket.once("error", reject);
    });
    this.port = this.#socket.localPort;
  }

  get isOpen(): boolean {
    return this.#ended === undefined;
  }

  /** What has come and was not read. */
  get rest(): string {
    return this.#text;
  }

  send(text: string): void {
    this.sentAt = performance.now();
    this.silentMs = this.sentAt - this.#at;
    this.#at = this.sentAt;
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
      if (this.#ended !== undefined) throw new Lost(this.#ended, true, this.#text);
      if (performance.now() >= deadline) throw new Lost(`nothing came for ${PATIENCE_MS} ms`, false, this.#text);
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

/** A frame of a client: masked, by zeros. */
export function frame(opcode: number, payload: string): string {
  return String.fromCharCode(0x80 | opcode, 0x80 | payload.length, 0, 0, 0, 0) + payload;
}

/** A frame of a server: not masked, and short. */
export function parseFrame(text: string) {
  const length = text.charCodeAt(1) & 0x7f;
  if (text.length < 2 || text.length < 2 + length) return undefined;
  return {
    found: { opcode: text.charCodeAt(0) & 0x0f, payload: text.slice(2, 2 + length) },
    rest: text.slice(2 + length),
  };
}
