/**
 * Jobs in processes of their own, after Perl's Parallel::ForkManager.
 *
 * @module
 */

export { type FinishCallback, ForkManager, type ForkManagerOptions, type StartCallback } from "./fork_manager.ts";
export type { SocketAddress } from "../address.ts";
export type * from "../types.ts";
export { isWorker } from "../worker.ts";
