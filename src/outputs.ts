/**
 * What the workers print, where the pool's user reads it.
 *
 * @module
 */

import type { WorkerOutput } from "./options.ts";
import { Table } from "./table.ts";
import type { Output, OutputReader, WorkerInfo } from "./types.ts";

/** A reader that takes longer over a chunk holds the worker back. */
const HOLD_MS = 50;

/** Gives the output of each worker to its readers, and knows which of them are busy. */
export class Outputs {
  readonly #output: WorkerOutput | undefined;
  readonly #now: () => number;
  /** By the worker's id. */
  readonly #gauges = new Table<number, Gauge>();

  /** @param now The time in milliseconds, on the clock of the host. */
  constructor(output: WorkerOutput | undefined, now: () => number) {
    this.#output = output;
    this.#now = now;
  }

  /**
   * What takes the output of a worker; nothing where it goes to the manager's own.
   *
   * @param worker Gives the worker, once it has printed something.
   */
  of(id: number, worker: () => WorkerInfo): { readonly stdout?: Output; readonly stderr?: Output } {
    const output = this.#output;
    if (output === undefined) return {};
    const gauge = new Gauge();
    this.#gauges.set(id, gauge);
    const reader = (stream: "stdout" | "stderr"): Output => {
      let read: OutputReader | undefined;
      return async (chunk) => {
        read ??= output(worker(), stream);
        gauge.begin(this.#now());
        try {
          await read(chunk);
        } finally {
          gauge.end(this.#now());
        }
      };
    };
    return { stdout: reader("stdout"), stderr: reader("stderr") };
  }

  /**
   * For how long what a worker prints has not waited for this process to read on, so that it is not stuck for that: 0 if
   * it waits now.
   */
  sinceHeldMs(id: number): number {
    return this.#gauges.get(id)?.sinceHeldMs(this.#now()) ?? Infinity;
  }

  /** The worker is gone. */
  forget(id: number): void {
    this.#gauges.delete(id);
  }
}

/** When one worker was held back. */
class Gauge {
  /** How many chunks are with their reader, and since when there are any. */
  #reading = 0;
  #since = 0;
  #heldUntil = -Infinity;

  begin(now: number): void {
    if (this.#reading === 0) this.#since = now;
    this.#reading++;
  }

  end(now: number): void {
    this.#reading--;
    if (this.#reading === 0 && now - this.#since >= HOLD_MS) this.#heldUntil = now;
  }

  sinceHeldMs(now: number): number {
    return this.#reading > 0 ? 0 : now - this.#heldUntil;
  }
}
