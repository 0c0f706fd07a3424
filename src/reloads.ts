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

/** A reload that is under way. */
interface Reload {
  readonly over: PromiseWithResolvers<void>;
  /** How many workers there are to be at most then; as many as before if undefined. */
  readonly maxWorkers: number | undefined;
}

/** Tells whoever waits for a reload what came of it. */
export class Reloads {
  /** Reloads by the number of their generation. */
  readonly #reloads = new Table<number, Reload>();

  /** Resolves when all workers are of a generation, and rejects if the one before goes on. */
  done({ number, rules }: Generation): Promise<void> {
    const over = Promise.withResolvers<void>();
    this.#reloads.set(number, { over, maxWorkers: rules?.maxWorkers });
    return over.promise;
  }

  /** A reload has ended. Gives how many workers there are to be at most from now on, if it has changed that. */
  end(event: Extract<PreforkEvent, { type: "reloaded" | "reloadFailed" }>): number | undefined {
    const reload = this.#reloads.get(event.generation);
    this.#reloads.delete(event.generation);
    if (event.type === "reloaded") {
      reload?.over.resolve();
      return reload?.maxWorkers;
    }
    reload?.over.reject(
      new ReloadError(`Cannot reload: ${event.reason}. Generation ${event.serving} goes on serving`),
    );
    return undefined;
  }
}
