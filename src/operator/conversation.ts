/**
 * What is said on one connection of an operator.
 *
 * @module
 */

import { describeError } from "../events.ts";
import { LineReader } from "../protocol.ts";
import type { ControlConnection, ControlHandlers, ProcessHost } from "../types.ts";
import { decodeOrder, encodeReply, type Order, type Reply } from "./words.ts";

/** The longest order, in characters. */
const MAX_LINE = 4096;

/** How long somebody may be connected who asks for nothing. */
const IDLE_MS = 30_000;

/** How long an operator may take to read why he is hung up on. */
const LINGER_MS = 1000;

/** How much somebody may leave unread, in characters, and still be told more. */
const MAX_UNREAD = 1_048_576;

/**
 * Does what operators ask for. Resolves with what is told them in the end; what it throws is the reason why not. Whoever
 * asked may hang up before.
 */
export type Obey = (order: Order, tell: (progress: string) => void, gone: Promise<void>) => Promise<Reply>;

/** Takes the orders that come by one connection, one after the other, and answers each. */
export class Conversation implements ControlHandlers {
  readonly #host: ProcessHost;
  readonly #connection: ControlConnection;
  readonly #obey: Obey;
  readonly #lines = new LineReader(MAX_LINE);
  readonly #gone = Promise.withResolvers<void>();
  #answer: Promise<void> | undefined;
  #idle: Disposable | undefined;
  #isRefused = false;
  #unread = 0;

  constructor(host: ProcessHost, connection: ControlConnection, obey: Obey) {
    this.#host = host;
    this.#connection = connection;
    this.#obey = obey;
    connection.unref();
    this.#awaitOrder();
  }

  /** Resolves when the operator has the last word on what was asked. */
  async flush(): Promise<void> {
    await this.#answer;
    await this.#connection.flush();
  }

  /** Hangs up. */
  close(): void {
    this.#connection.close();
  }

  /** Hangs up, but not at once: what comes still and is not read would keep the reason from whoever sent it. */
  refuse(reason: string): void {
    this.#isRefused = true;
    this.#idle?.[Symbol.dispose]();
    this.#say({ type: "failed", reason });
    this.#host.setTimer(LINGER_MS, () => this.close()).unref();
  }

  /** Something came. */
  data(chunk: Uint8Array): void {
    if (this.#isRefused) return;
    try {
      this.#lines.push(chunk, (line) => this.#take(line));
    } catch (error) {
      this.refuse(describeError(error));
    }
  }

  /** The operator is gone. */
  closed(): void {
    this.#idle?.[Symbol.dispose]();
    this.#isRefused = true;
    this.#gone.resolve();
  }

  /** Only whole orders count: half a line now and then would hold a place for ever. */
  #awaitOrder(): void {
    if (this.#isRefused) return;
    const timer = this.#host.setTimer(IDLE_MS, () => {
      this.refuse(`no order came within ${IDLE_MS / 1000} seconds: connect again to give one`);
    });
    timer.unref();
    this.#idle = timer;
  }

  #take(line: string): void {
    if (this.#isRefused) return;
    if (this.#answer !== undefined) {
      return this.refuse("one order at a time: wait for the answer to the one before, or connect once more");
    }
    this.#idle?.[Symbol.dispose]();
    this.#answer = this.#do(line).then(() => {
      this.#answer = undefined;
      this.#awaitOrder();
    });
  }

  async #do(line: string): Promise<void> {
    try {
      const order = decodeOrder(line);
      this.#say(await this.#obey(order, (text) => this.#say({ type: "progress", text }), this.#gone.promise));
    } catch (error) {
      this.#say({ type: "failed", reason: describeError(error) });
    }
  }

  /** Whoever does not read, such as a terminal that is stopped, is not to fill the memory of this process. */
  #say(reply: Reply): void {
    if (this.#unread > MAX_UNREAD) return this.close();
    const text = encodeReply(reply);
    this.#connection.send(text);
    if (this.#unread === 0) void this.#connection.flush().then(() => this.#unread = 0);
    this.#unread += text.length;
  }
}
