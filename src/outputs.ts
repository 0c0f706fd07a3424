/**
 * What the workers print, where the pool's user reads it.
 *
 * @module
 */

import type { WorkerOutput } from "./options.ts";
import { Table } from "./table.ts";
import type { Output, OutputReader, WorkerInfo } from "./types.ts";

/** Gives the output of each worker to its readers, and knows which of them are busy. */
export class Outputs {
  readonly #output: WorkerOutput | undefined;
  /** How many chunks of a worker's output are with their reader, by the worker's id. */
  readonly #reading = new Table<number, number>();

  constructor(output: WorkerOutput | undefined) {
    this.#output = output;
  }

  /**
   * What takes the output of a worker; nothing where it goes to the manager's own.
   *
   * @param worker Gives the worker, once it has printed something.
   */
  of(id: number, worker: () => WorkerInfo): { readonly stdout?: Output; readonly stderr?: Output } {
    const output = this.#output;
    if (output === undefined) return {};
    const reader = (stream: "stdout" | "stderr"): Output => {
      let read: OutputReader | undefined;
      return async (chunk) => {
        read ??= output(worker(), stream);
        this.#reading.set(id, this.#count(id) + 1);
        try {
          await read(chunk);
        } finally {
          this.#doneReading(id);
        }
      };
    };
    return { stdout: reader("stdout"), stderr: reader("stderr") };
  }

  /** Whether what a worker prints waits for this process to read on, so that the worker may be stuck for that. */
  isHeldBack(id: number): boolean {
    return this.#count(id) > 0;
  }

  #count(id: number): number {
    return this.#reading.get(id) ?? 0;
  }

  #doneReading(id: number): void {
    const left = this.#count(id) - 1;
    if (left > 0) this.#reading.set(id, left);
    else this.#reading.delete(id);
  }
}
