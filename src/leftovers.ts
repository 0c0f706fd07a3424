/**
 * What workers leave behind: processes they started, which are in their process group still when they are gone. These
 * are told to stop, and killed if they do not.
 *
 * @module
 */

import { Table } from "./table.ts";
import type { ProcessHost, Signal, Timer } from "./types.ts";

/** How often it is looked whether they are gone. */
const LOOK_MS = 100;

/** How long they may take to stop, at most. The dead count until they are reaped, which in a container may be never. */
const PATIENCE_MS = 5000;

interface Leftover {
  /** The process group: the id of the worker that led it. */
  readonly group: number;
  /** How long they may take once they are told. */
  readonly patienceMs: number;
  /** When they are killed; they were not told yet if undefined. */
  readonly killAt: number | undefined;
}

/** Clears up after workers. */
export class Leftovers {
  readonly #host: ProcessHost;
  readonly #told: (group: number) => void;
  readonly #left: (group: number) => void;
  readonly #groups = new Table<number, Leftover>();
  #timer: Timer | undefined;
  #emptied: PromiseWithResolvers<void> | undefined;

  /**
   * @param told Told of each group that is told to stop.
   * @param left Told of each group of which nobody is left.
   */
  constructor(host: ProcessHost, told: (group: number) => void, left: (group: number) => void) {
    this.#host = host;
    this.#told = told;
    this.#left = left;
  }

  /**
   * Clears up after a worker; false if it left nobody behind. What it started last may be about to enter a session of its
   * own: only those that stay are told to stop.
   */
  sweep(group: number, patienceMs: number): boolean {
    if (!this.#signal(group, "SIGCONT")) return false; // which does no harm to whom it reaches
    this.#groups.set(group, { group, patienceMs: Math.min(patienceMs, PATIENCE_MS), killAt: undefined });
    this.#timer ??= this.#host.setTimer(LOOK_MS, () => this.#look());
    return true;
  }

  /** Kills all of them now. */
  kill(): void {
    for (const { group } of this.#groups.values()) this.#signal(group, "SIGKILL");
  }

  /** Resolves when all of them are gone. */
  gone(): Promise<void> {
    if (this.#groups.size === 0) return Promise.resolve();
    this.#emptied ??= Promise.withResolvers();
    return this.#emptied.promise;
  }

  #look(): void {
    for (const leftover of this.#groups.values()) this.#lookAt(leftover);
    this.#timer = this.#groups.size === 0 ? undefined : this.#host.setTimer(LOOK_MS, () => this.#look());
    if (this.#timer !== undefined) return;
    this.#emptied?.resolve();
    this.#emptied = undefined;
  }

  #lookAt(leftover: Leftover): void {
    const { group, patienceMs, killAt } = leftover;
    const now = this.#host.now();
    if (killAt === undefined) {
      if (!this.#signal(group, "SIGTERM")) return this.#forget(group);
      this.#groups.set(group, { ...leftover, killAt: now + patienceMs });
      return this.#told(group);
    }
    const isLate = now >= killAt;
    const isThere = this.#signal(group, isLate ? "SIGKILL" : "SIGCONT");
    if (isLate || !isThere) this.#forget(group);
  }

  #forget(group: number): void {
    this.#groups.delete(group);
    this.#left(group);
  }

  /**
   * Signals a group; false if that reaches nobody. Those who are left may have come to run as somebody else, and may do
   * as they like then.
   */
  #signal(group: number, signal: Signal): boolean {
    try {
      return this.#host.kill(-group, signal);
    } catch {
      return false;
    }
  }
}
