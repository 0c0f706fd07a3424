/**
 * The workers of a pool as others may see them.
 *
 * @module
 */

import type { PoolState, PoolWorker } from "./pool_state.ts";
import { isStandby, liveWorkers, workerInfo } from "./turn.ts";
import type { ProcessHost, StandbyInfo, WorkerInfo } from "./types.ts";

/** Those whose process there is, lowest slot first. */
export function made(state: PoolState): readonly PoolWorker[] {
  const live = [...liveWorkers(state)].filter(({ pid }) => pid !== 0);
  return live.sort((a, b) => a.slot - b.slot || a.id - b.id);
}

/** All but those who stand by. */
export function viewWorkers(state: PoolState): readonly WorkerInfo[] {
  return made(state).filter((worker) => !isStandby(worker)).map(workerInfo);
}

/** Those who stand by, or boot to do so, and what that costs. */
export function viewStandbys(state: PoolState, host: ProcessHost): readonly StandbyInfo[] {
  return made(state).filter(isStandby).map((worker) => ({ ...workerInfo(worker), usage: host.usage(worker.pid) }));
}

/** How many there are, those not made yet among them. */
export function countWorkers({ workers, others }: PoolState): number {
  return workers.size + others.size;
}
