/**
 * The operator's socket of a running manager: takes orders, tells how they go.
 *
 * @module
 */

import { describeError } from "../events.ts";
import { LineReader } from "../protocol.ts";
import type { ControlConnection, ControlHandlers, ControlListener, ProcessHost } from "../types.ts";
import { decodeOrder, encodeReply, type Order, type Reply } from "./words.ts";

/** The longest order, in characters. */
const MAX_LINE = 4096;

/** How many operators may be connected at a time: the descriptors are for workers. */
const MAX_CONNECTIONS = 64;

/** How long an operator may take to read the last word. */
const PATIENCE_MS = 1000;

/**
 * Does what operators ask for. Resolves with what is told them in the end; what it throws is the reason why not. Whoever
 * asked may hang up before.
 */
export type Obey = (order: Order, tell: (progress: string) => void, gone: Promise<void>) => Promise<Reply>;

/** Listens to operators. Who may connect is for the directory of the socket to say. */
export class OperatorServer implements AsyncDisposable {
  readonly #host: ProcessHost;
  readonly #obey: Obey;
  readonly #listener: ControlListener;
  readonly #connections = new Set<ControlConnection>();
  /** What is being done for operators. */
  readonly #orders = new Set<Promise<void>>();

  constructor(host: ProcessHost, path: string, obey: Obey) {
    this.#host = host;
    this.#obey = obey;
    this.#listener = host.listenControl(path, (connection) => this.#accept(connection));
    this.#listener.unref();
  }

  /** Hangs up on all operators, once they have the last word; those who do not read it are not waited for. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener[Symbol.dispose]();
    const over = Promise.withResolvers<void>();
    using _timer = this.#host.setTimer(PATIENCE_MS, over.resolve);
    await Promise.race([over.promise, this.#sayAll()]);
    for (const connection of this.#connections) connection.close();
  }

  async #sayAll(): Promise<void> {
    await Promise.all(this.#orders);
    await Promise.all([...this.#connections].map((connection) => connection.flush()));
  }

  #accept(connection: ControlConnection): ControlHandlers {
    connection.unref();
    const lines = new LineReader(MAX_LINE);
    const say = (reply: Reply): void => connection.send(encodeReply(reply));
    const gone = Promise.withResolvers<void>();
    const isTooMany = this.#connections.size >= MAX_CONNECTIONS;
    let isRefused = false;
    let isBusy = false;
    const take = async (line: string): Promise<void> => {
      if (isBusy) return refuse("one order at a time: wait for the answer to the one before, or connect once more");
      isBusy = true;
      const taken = this.#take(line, say, gone.promise);
      this.#orders.add(taken);
      await taken;
      this.#orders.delete(taken);
      isBusy = false;
    };
    // Not at once: what comes still and is not read would keep the reason from whoever sent it.
    const refuse = (reason: string): void => {
      isRefused = true;
      say({ type: "failed", reason });
      this.#host.setTimer(PATIENCE_MS, () => connection.close()).unref();
    };
    if (!isTooMany) this.#connections.add(connection);
    return {
      data: (chunk) => {
        if (isRefused) return;
        if (isTooMany) return refuse(`${MAX_CONNECTIONS} operators are connected already`);
        try {
          lines.push(chunk, (line) => void (isRefused || take(line)));
        } catch (error) {
          refuse(describeError(error));
        }
      },
      closed: () => {
        this.#connections.delete(connection);
        gone.resolve();
      },
    };
  }

  async #take(line: string, say: (reply: Reply) => void, gone: Promise<void>): Promise<void> {
    try {
      const order = decodeOrder(line);
      say(await this.#obey(order, (text) => say({ type: "progress", text }), gone));
    } catch (error) {
      say({ type: "failed", reason: describeError(error) });
    }
  }
}
