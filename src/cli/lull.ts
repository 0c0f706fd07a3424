/**
 * Waits until something has happened and is over.
 *
 * @module
 */

import type { ProcessHost } from "../types.ts";

/** What one save does follows within this. */
export const LULL_MS = 100;

/** Tells when something was noted, and then nothing for a while: a save is several events. */
export class Lull implements Disposable {
  readonly #host: Pick<ProcessHost, "setTimer">;
  #timer: Disposable | undefined;
  #come = Promise.withResolvers<void>();
  #isOver = false;

  constructor(host: Pick<ProcessHost, "setTimer">) {
    this.#host = host;
  }

  /** Something happens. */
  note(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = this.#host.setTimer(LULL_MS, () => this.#come.resolve());
  }

  /** Resolves after what was noted since it resolved last, or at the end. One call at a time. */
  async next(): Promise<void> {
    await this.#come.promise;
    if (!this.#isOver) this.#come = Promise.withResolvers();
  }

  /** Waits no longer. */
  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#timer?.[Symbol.dispose]();
    this.#come.resolve();
  }
}
