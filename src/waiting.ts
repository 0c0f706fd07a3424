/**
 * Waits until a pool has no workers any more, and nothing is left of them.
 *
 * @module
 */

import { checkKeys, checkTime } from "./checks.ts";
import type { Input } from "./pool_state.ts";
import type { WaitOptions } from "./call_options.ts";
import type { Staff } from "./staff.ts";
import type { Succession } from "./succession.ts";
import type { ProcessHost } from "./types.ts";

/** A timer that keeps the process alive for as long as something is waited for; it is never due. */
export const NEVER_MS = 2 ** 40;

/** What waiting takes of a manager. */
export interface WaitingParts {
  readonly host: ProcessHost;
  readonly staff: Staff;
  readonly succession: Succession;
  /** How many workers there are, those not made yet among them. */
  left(): number;
  post(input: Input): void;
  /** Told when nobody is left. */
  gone(): void;
}

/** Waits for the workers of one manager, for one caller at a time. */
export class Waiting {
  readonly #parts: WaitingParts;
  #waited: PromiseWithResolvers<void> | undefined;
  /** The call that waits. When there are no workers any more, it goes on until nothing is left of them. */
  #call: Promise<number> | undefined;

  constructor(parts: WaitingParts) {
    this.#parts = parts;
  }

  /** Whether somebody waits. */
  get isUnderWay(): boolean {
    return this.#call !== undefined;
  }

  /** Waits until all workers are gone, and tells how many are left if it is given up before. */
  async wait(options: WaitOptions): Promise<number> {
    const call = this.#wait(options);
    this.#call = call;
    try {
      return await call;
    } finally {
      this.#call = undefined;
    }
  }

  async #wait(options: WaitOptions): Promise<number> {
    const { host, staff, succession, left, post, gone } = this.#parts;
    checkKeys("waitAllChildren", options, ["timeoutMs", "signal"]);
    const { timeoutMs, signal } = options;
    if (timeoutMs !== undefined) checkTime("timeoutMs", timeoutMs);
    signal?.throwIfAborted();
    succession.abandon("the pool waits for its workers to end");
    const waited = Promise.withResolvers<void>();
    this.#waited = waited;
    const over = Promise.withResolvers<void>();
    using _alive = host.setTimer(timeoutMs ?? NEVER_MS, () => {
      this.#giveUp();
      over.resolve();
    });
    const abort = (): void => {
      waited.reject(signal?.reason);
      over.reject(signal?.reason);
      this.#giveUp();
    };
    over.promise.catch(() => {}); // it may come after all is over
    signal?.addEventListener("abort", abort, { once: true });
    post({ type: "wait" });
    try {
      await waited.promise;
      if (left() === 0) await Promise.race([staff.cleared(), over.promise]);
      if (left() === 0) await Promise.race([succession.over(), over.promise]);
    } finally {
      signal?.removeEventListener("abort", abort);
    }
    if (left() === 0) gone();
    return left();
  }

  #giveUp(): void {
    this.#parts.post({ type: "unwait" });
    this.end();
  }

  /** The pool has no workers any more. */
  end(): void {
    this.#waited?.resolve();
    this.#waited = undefined;
  }

  /** Resolves when the one who waits does so no longer. */
  async over(): Promise<void> {
    await this.#call?.catch(() => {});
  }
}
