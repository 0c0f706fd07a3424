/**
 * Whether the pool of a new manager has proved itself.
 *
 * @module
 */

import type { Policy } from "./policy.ts";
import type { PoolState } from "./pool_state.ts";

/** Whether as many workers are ready at once as an empty pool makes first; one at least. */
export function hasProved(pool: PoolState): boolean {
  return pool.mode === "running" && pool.ready.size >= wantedFirst(pool);
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
