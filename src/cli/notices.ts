/**
 * What systemd is told, though it may be too busy to listen: its queue is short, and a large pool that starts fills it.
 *
 * @module
 */

import type { ProcessHost, Timer } from "../types.ts";

/** How long there may be no room for more before it is tried again. */
const RETRY_MS = 200;

/** How often it is told how things are, at most: only the last of many matters. */
const STATUS_MS = 200;

/** How long the end of the process waits for somebody to hear the last word. */
const PATIENCE_MS = 200;

/** Says something, if that can be done now. */
export interface NoticeSocket {
  /** Says a text. */
  send(text: string): boolean;
  /** Stands still until more can be said, for so long at most; says whether it can. */
  awaitRoom(ms: number): boolean;
}

/** Who is told. */
export class Notices implements Disposable {
  readonly #host: Pick<ProcessHost, "now" | "setTimer">;
  readonly #socket: NoticeSocket;
  /** What is owed, in its order. */
  readonly #states: string[] = [];
  #owesBeat = false;
  #status: string | undefined;
  #statusDue = -Infinity;
  #timer: Timer | undefined;

  constructor(host: Pick<ProcessHost, "now" | "setTimer">, socket: NoticeSocket) {
    this.#host = host;
    this.#socket = socket;
  }

  /** Tells what has become of the manager. That is heard, in its order, however long it takes. */
  tell(state: string): void {
    this.#states.push(state);
    this.#send();
  }

  /** Tells that it lives. */
  beat(): void {
    this.#owesBeat = true;
    this.#send();
  }

  /** Tells how things are, unless something newer is there before it can be told. */
  describe(status: string): void {
    this.#status = status;
    this.#send();
  }

  /** How things were is not to be told any more, nor that the manager lived. */
  forget(): void {
    this.#owesBeat = false;
    this.#status = undefined;
  }

  /** Tells nothing more, but for what can be told soon of what is owed. */
  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    const end = this.#host.now() + PATIENCE_MS;
    let isHeard = true;
    while (isHeard && !this.#sendStates()) isHeard = this.#socket.awaitRoom(end - this.#host.now());
  }

  #send(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    const delayMs = this.#sendAll();
    if (delayMs === undefined) return;
    this.#timer = this.#host.setTimer(delayMs, () => this.#send());
    this.#timer.unref();
  }

  /** Gives the time until there is more to be said. */
  #sendAll(): number | undefined {
    if (!this.#sendStates() || !this.#sendBeat()) return RETRY_MS;
    if (this.#status === undefined) return undefined;
    const early = this.#statusDue - this.#host.now();
    if (early > 0) return early;
    if (!this.#socket.send(`STATUS=${this.#status}`)) return RETRY_MS;
    this.#status = undefined;
    this.#statusDue = this.#host.now() + STATUS_MS;
    return undefined;
  }

  /** Says whether nothing is owed any more. */
  #sendStates(): boolean {
    for (let [state] = this.#states; state !== undefined; [state] = this.#states) {
      if (!this.#socket.send(state)) return false;
      this.#states.shift();
    }
    return true;
  }

  #sendBeat(): boolean {
    if (this.#owesBeat && !this.#socket.send("WATCHDOG=1")) return false;
    this.#owesBeat = false;
    return true;
  }
}
