/**
 * Jobs in processes of their own, after Perl's Parallel::ForkManager.
 *
 * @module
 */

export { type FinishCallback, ForkManager, type ForkManagerOptions, type StartCallback } from "./fork_manager.ts";
export { type JobContext, JobDiedError, type JobFunction } from "./job.ts";
export type { JobPoolOptions } from "./job_options.ts";
export { JobPool, type RunOptions } from "./job_pool.ts";
export type { MapOptions, Settled } from "./map.ts";
export type { Progress } from "./progress.ts";
export type { SocketAddress } from "../address.ts";
export type * from "../types.ts";
export { isWorker, type Worker } from "../worker.ts";
