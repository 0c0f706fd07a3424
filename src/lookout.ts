/**
 * Looks at something again and again, without keeping the process alive for it.
 *
 * @module
 */

import type { ProcessHost, Timer } from "./types.ts";

/** Calls a function at intervals, from the time it is told to on. */
export class Lookout implements Disposable {
  readonly #host: ProcessHost;
  readonly #intervalMs: number;
  readonly #look: () => void;
  #timer: Timer | undefined;

  constructor(host: ProcessHost, intervalMs: number, look: () => void) {
    this.#host = host;
    this.#intervalMs = intervalMs;
    this.#look = look;
  }

  /** Whether there is anything to look at. */
  keep(isWanted: boolean): void {
    if (!isWanted) return this[Symbol.dispose]();
    if (this.#timer === undefined) this.#arm();
  }

  #arm(): void {
    this.#timer = this.#host.setTimer(this.#intervalMs, () => {
      this.#arm();
      this.#look();
    });
    this.#timer.unref();
  }

  /** Looks no more, until it is told to again. */
  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
  }
}
