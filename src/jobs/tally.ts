/**
 * How many jobs were given and are over, and how many there are to be.
 *
 * @module
 */

import type { ProcessHost } from "../types.ts";
import { type Progress, ProgressBar } from "./progress.ts";

/** A map that is not over. */
export interface Ahead {
  /** How many items are still to be taken; undefined if nobody knows. */
  left: number | undefined;
}

/** Counts the jobs of a pool, and tells whoever wants to know. */
export class Tally {
  readonly #host: ProcessHost;
  readonly #tell: ((progress: Progress) => unknown) | undefined;
  readonly #bar: ProgressBar | undefined;
  readonly #ahead = new Set<Ahead>();
  /** How many jobs there were when the last map was over. */
  #lastTotal: number | undefined;
  #done = 0;
  #failed = 0;

  /** @param progress Who is told: true for a bar on the terminal. */
  constructor(host: ProcessHost, progress: boolean | ((progress: Progress) => unknown) | undefined) {
    this.#host = host;
    this.#bar = progress === true ? new ProgressBar(host) : undefined;
    this.#tell = progress === true ? this.#bar?.show : progress || undefined;
  }

  /** How it stands, when so many jobs are not over: a worker may still be at others that nobody wants any more. */
  progress(waiting: number, running: number, pending: number): Progress {
    const total = this.#totalOf(this.#done + this.#failed + pending);
    return { waiting, running, done: this.#done, failed: this.#failed, total };
  }

  /** A map begins. */
  begin(left: number | undefined): Ahead {
    const ahead = { left };
    this.#ahead.add(ahead);
    return ahead;
  }

  /** A map is over, when so many jobs are not. */
  end(ahead: Ahead, pending: number): void {
    this.#ahead.delete(ahead);
    this.#lastTotal = ahead.left === undefined ? undefined : this.#done + this.#failed + pending;
  }

  /** A job is over. */
  count(isDone: boolean): void {
    if (isDone) this.#done++;
    else this.#failed++;
  }

  /** Tells how it stands. What that throws, now or later, is said, and costs no job. */
  async tell(current: () => Progress): Promise<void> {
    if (this.#tell === undefined) return;
    try {
      await this.#tell(current());
    } catch (error) {
      const what = error instanceof Error ? error.stack ?? error.message : String(error);
      this.#host.write(`prefork: what is told of the progress of jobs threw: ${what}\n`);
    }
  }

  /** There are no more. */
  close(): void {
    this.#bar?.end();
  }

  /** How many there are to be, as long as that is known: of jobs without a map it is not. */
  #totalOf(given: number): number | undefined {
    if (this.#ahead.size === 0) return given === this.#lastTotal ? given : undefined;
    let total = given;
    for (const { left } of this.#ahead) {
      if (left === undefined) return undefined;
      total += left;
    }
    return total;
  }
}
