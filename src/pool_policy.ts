/**
 * What the policy of a pool says.
 *
 * @module
 */

import { tell, type Turn } from "./turn.ts";

/** How many workers more, or less, the policy wants. One that throws, or gives no number, changes nothing. */
export function askPolicy(turn: Turn, workers: number = turn.pool.workers.size): number {
  const { config, serving, idle, maxWorkers, lastGrowth } = turn.pool;
  const view = { workers, serving: serving.size, idle: idle.size, maxWorkers, lastGrowth };
  try {
    const decided = config.policy.decide(view);
    const change = Math.trunc(decided);
    if (!Number.isNaN(change)) return change;
    throw new TypeError(`decide() must give a number, not ${decided}`);
  } catch (error) {
    tell(turn, { type: "hookError", hook: "policy.decide", error });
    return 0;
  }
}

/** Whether as many serve as there should be, once all are gone who leave. */
export function isStaffed(turn: Turn): boolean {
  const { serving, maxWorkers } = turn.pool;
  return serving.size >= maxWorkers || askPolicy(turn, serving.size) <= 0;
}

/** How many workers there should be. */
export function countWanted(turn: Turn): number {
  const { workers, maxWorkers } = turn.pool;
  return Math.min(maxWorkers, workers.size + Math.max(0, askPolicy(turn)));
}
