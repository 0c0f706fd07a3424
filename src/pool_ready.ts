/**
 * The way of a worker to its readiness where that is asked for: by the manager, or by the worker of itself.
 *
 * @module
 */

import { flushHeld } from "./pool_signals.ts";
import type { PoolState, WorkerRef } from "./pool_state.ts";
import { effect, findWorker, putWorker, setTimer, timerKey, type Turn } from "./turn.ts";

/** Whether the manager asks workers if they are ready: then nothing else makes them so. */
export function isProbed({ config }: PoolState): boolean {
  return config.probeIntervalMs !== undefined;
}

/** Asks a worker whether it is ready. */
export function probe(turn: Turn, ref: WorkerRef): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined || worker.stopping || worker.phase === "ready") return;
  const { slot, id, pid } = worker;
  effect(turn, { type: "probe", slot, id, pid });
}

/** The answer was not what it should be. A worker that tells so of itself has put up its handlers. */
export function unready(turn: Turn, ref: WorkerRef, saw: string): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined || worker.phase === "ready") return;
  putWorker(turn, { ...worker, saw });
  const { probeIntervalMs } = turn.pool.config;
  if (probeIntervalMs === undefined) return settle(turn, ref);
  const { slot, id } = ref;
  if (!worker.stopping) setTimer(turn, timerKey.probe(ref), probeIntervalMs, { type: "probeDue", slot, id });
}

/** The worker can be told to stop from here on, though it is not ready. */
export function settle(turn: Turn, ref: WorkerRef): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined || worker.phase !== "starting") return;
  const settled = { ...worker, settled: true };
  putWorker(turn, settled);
  flushHeld(turn, settled);
}
