/**
 * What a job is, and what it is told.
 *
 * @module
 */

import type { Worker } from "../worker_context.ts";

/** What a job is told beside its item. */
export interface JobContext {
  /** Aborts when nobody wants the job any more: it has taken too long, or whoever gave it has given it up. */
  readonly signal: AbortSignal;
  /** The worker that does it; undefined where jobs are done in the process that gives them (`maxProcs: 0`). */
  readonly worker: Worker<unknown> | undefined;
}

/**
 * Does a job.
 *
 * @typeParam Item What it is given.
 * @typeParam Result What it gives.
 */
export type JobFunction<Item, Result> = (item: Item, context: JobContext) => Result | Promise<Result>;

/** The worker of a job died, so that nobody knows how far it had come. */
export class JobDiedError extends Error {
  /** `JobDiedError`. */
  override readonly name = "JobDiedError";
  /** How often it was tried. */
  readonly times: number;

  /** Makes one of a job that was tried so often. */
  constructor(times: number) {
    super(
      `Cannot tell what became of this job: its worker died${
        times === 1 ? "" : `, ${times} times`
      }; a job that may be ` +
        "tried again takes the option 'retries'",
    );
    this.times = times;
  }
}
