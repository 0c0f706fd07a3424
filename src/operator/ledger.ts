/**
 * What is known of a pool only by having listened: since when its workers live, and how those before them ended.
 *
 * @module
 */

import type { PreforkEvent } from "../events.ts";
import { Table } from "../table.ts";

/** How often a slot has lost its worker. Replacements that never came to be ready were none. */
export interface Losses {
  readonly restarts: number;
  /** How the last one ended; null if none has. */
  readonly lastReason: string | null;
}

const NONE: Losses = { restarts: 0, lastReason: null };

/** Keeps the books of one pool. */
export class Ledger {
  /** By process id. */
  readonly #since = new Table<number, number>();
  readonly #losses = new Table<number, Losses>();
  /** The slots of those who have been ready, by process id. */
  readonly #proven = new Table<number, number>();
  #restarts = 0;

  /** How many workers have ended. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Something has happened, at a time on the clock of the host. */
  heed(event: PreforkEvent, now: number): void {
    if (event.type === "spawn") this.#since.set(event.worker.pid, now);
    if (event.type === "ready") this.#proven.set(event.worker.pid, event.worker.slot);
    if (event.type !== "reap") return;
    const { worker: { pid, slot }, reason } = event;
    this.#since.delete(pid);
    if (slot < 0) return; // it stood by
    this.#restarts++;
    const wasProven = this.#proven.get(pid) !== undefined;
    this.#proven.delete(pid);
    if (!wasProven && this.#proven.values().includes(slot)) return; // it was refused, and whose place it sought stays
    this.#losses.set(slot, { restarts: this.lossesOf(slot).restarts + 1, lastReason: reason });
  }

  /** When a worker was made. */
  since(pid: number): number | undefined {
    return this.#since.get(pid);
  }

  /** What became of the workers that were in a slot before. */
  lossesOf(slot: number): Losses {
    return this.#losses.get(slot) ?? NONE;
  }
}
