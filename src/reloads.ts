/**
 * The reloads of a pool that somebody waits for.
 *
 * @module
 */

import type { PreforkEvent } from "./events.ts";
import type { Generation } from "./pool_state.ts";
import { Table } from "./table.ts";

/** What `reload` rejects with when the generation before goes on serving; the message says why. */
export class ReloadError extends Error {
  /** Tells this error from others. */
  override readonly name = "ReloadError";
}

/** Tells whoever waits for a reload what came of it. */
export class Reloads {
  /** Reloads by the number of their generation. */
  readonly #reloads = new Table<number, PromiseWithResolvers<void>>();

  /** How many are about to begin. */
  #preparing = 0;

  /** Whether there are such. */
  get areComing(): boolean {
    return this.#preparing > 0;
  }

  /** Waits for what a reload takes. */
  async prepare<T>(ready: Promise<T>): Promise<T> {
    this.#preparing++;
    return await ready.finally(() => this.#preparing--);
  }

  /** Resolves when all workers are of a generation, and rejects if the one before goes on. */
  done({ number }: Generation): Promise<void> {
    const over = Promise.withResolvers<void>();
    this.#reloads.set(number, over);
    return over.promise;
  }

  /** A reload has ended. */
  end(event: Extract<PreforkEvent, { type: "reloaded" | "reloadFailed" }>): void {
    const reload = this.#reloads.get(event.generation);
    this.#reloads.delete(event.generation);
    if (event.type === "reloaded") return reload?.resolve();
    const rest = event.cause === "failed" ? `. Generation ${event.serving} goes on serving` : "";
    reload?.reject(new ReloadError(`Cannot reload: ${event.reason}${rest}`));
  }
}
