/**
 * How many workers there are: spawning, retiring, pacing.
 *
 * @module
 */

import { retire } from "./pool_signals.ts";
import { askPolicy } from "./pool_policy.ts";
import { advance, dismissSuccessor, generationFor } from "./pool_roll.ts";
import { awaken } from "./pool_spawn.ts";
import { canStaff, staffSlot } from "./pool_staffing.ts";
import { keepStandbys } from "./pool_standby.ts";
import { type Turn, update } from "./turn.ts";

/**
 * Brings the pool nearer to the size it should have, and its workers nearer to the generation they should be of, as far
 * as pace allows. Only a running `start` spawns.
 */
export function adjust(turn: Turn): void {
  if (turn.pool.mode !== "running") return;
  retireSurplus(turn);
  follow(turn);
  if (turn.pool.delayed !== null) return; // who is to stop soon need not be replaced, nor be stood by for
  advance(turn);
  keepStandbys(turn);
}

/** Does what the policy says. */
function follow(turn: Turn): void {
  const { policy } = turn.pool.config;
  const change = askPolicy(turn);
  const { policyAfter } = turn.pool;
  const surplusSince = change < 0 ? Math.min(turn.pool.surplusSince, turn.now) : Infinity;
  update(turn, { surplusSince });
  if (change === 0) return turn.now < policyAfter ? undefined : update(turn, { lastGrowth: 0 });
  const at = change > 0 ? policyAfter : Math.max(policyAfter, surplusSince + (policy.retireAfterMs ?? 0));
  if (turn.now < at) return awaken(turn, "policy", at);
  const changed = change > 0 ? grow(turn, change) : shrink(turn, -change);
  if (changed === 0 || policy.intervalMs === 0) return;
  update(turn, { policyAfter: turn.now + policy.intervalMs, lastGrowth: change > 0 ? changed : 0 });
  awaken(turn, "policy", turn.pool.policyAfter);
}

/** Retires workers beyond `maxWorkers`, highest slot first, so that the slots left are 0 to n-1. */
function retireSurplus(turn: Turn): void {
  while (turn.pool.serving.size > turn.pool.maxWorkers) retireSlot(turn, turn.pool.serving.last());
  const { successors, serving, maxWorkers } = turn.pool;
  for (const [slot] of successors.entries()) {
    if (slot >= maxWorkers && !serving.has(slot)) dismissSuccessor(turn, slot);
  }
}

/** Retires idle workers; a busy one is never taken. */
function shrink(turn: Turn, wanted: number): number {
  const count = Math.min(wanted, turn.pool.idle.size);
  for (let i = 0; i < count; i++) retireSlot(turn, turn.pool.idle.last());
  return count;
}

function retireSlot(turn: Turn, slot: number): void {
  const worker = turn.pool.workers.get(slot);
  if (worker === undefined) return;
  dismissSuccessor(turn, slot);
  retire(turn, worker);
}

/** Spawns up to `wanted` workers and tells how many it did. */
function grow(turn: Turn, wanted: number): number {
  let count = 0;
  while (count < wanted && turn.pool.workers.size < turn.pool.maxWorkers) {
    const slot = turn.pool.taken.firstFree();
    const generation = generationFor(turn.pool, slot);
    if (slot >= turn.pool.maxWorkers || !canStaff(turn, generation)) return count;
    staffSlot(turn, slot, generation);
    count++;
  }
  return count;
}
