/**
 * The operator's socket of a running manager: takes orders, tells how they go.
 *
 * @module
 */

import type { ControlConnection, ControlHandlers, ControlListener, ProcessHost } from "../types.ts";
import { Conversation, type Obey } from "./conversation.ts";

export type { Obey } from "./conversation.ts";

/** How many operators may be connected at a time: the descriptors are for workers. */
const MAX_CONNECTIONS = 64;

/** How long operators may take in the end to read the last word. */
const PATIENCE_MS = 1000;

/** Listens to operators. Who may connect is for the directory of the socket to say. */
export class OperatorServer implements AsyncDisposable {
  readonly #host: ProcessHost;
  readonly #obey: Obey;
  readonly #listener: ControlListener;
  readonly #conversations = new Set<Conversation>();

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
    await Promise.race([over.promise, Promise.all([...this.#conversations].map((each) => each.flush()))]);
    for (const each of this.#conversations) each.close();
  }

  #accept(connection: ControlConnection): ControlHandlers {
    const conversation = new Conversation(this.#host, connection, this.#obey);
    if (this.#conversations.size >= MAX_CONNECTIONS) {
      conversation.refuse(`${MAX_CONNECTIONS} operators are connected already`);
      return conversation;
    }
    this.#conversations.add(conversation);
    return {
      data: (chunk) => conversation.data(chunk),
      closed: () => {
        this.#conversations.delete(conversation);
        conversation.closed();
      },
    };
  }
}
