/**
 * Whether the pool of a new manager has proved itself.
 *
 * @module
 */

import type { Policy } from "./policy.ts";
import type { PoolState } from "./pool_state.ts";
import type { SlotSet } from "./slot_set.ts";

/**
 * Whether as many workers are ready at once as an empty pool makes first; one at least.
 *
 * @param done Slots in which a worker has ended well: those of a pool of short jobs are never ready.
 */
export function hasProved(pool: PoolState, done: SlotSet): boolean {
  if (pool.mode !== "running") return false;
  const wanted = wantedFirst(pool);
  let proved = pool.ready.size;
  for (let slot = 0; slot <= done.last() && proved < wanted; slot++) {
    if (done.has(slot) && !pool.ready.has(slot)) proved++;
  }
  return proved >= wanted;
}

function wantedFirst({ maxWorkers, config }: PoolState): number {
  const decided = decide(config.policy, maxWorkers);
  return Math.max(1, Math.min(maxWorkers, Math.trunc(decided)));
}

/** What the policy asks of a pool without workers. What is wrong with it is told where it is followed. */
function decide(policy: Policy, maxWorkers: number): number {
  try {
    const decided = policy.decide({ workers: 0, serving: 0, idle: 0, maxWorkers, lastGrowth: 0 });
    return Number.isFinite(decided) ? decided : 1;
  } catch {
    return 1;
  }
}
