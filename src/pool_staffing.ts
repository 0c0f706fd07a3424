/**
 * Workers for a slot: in it, or beside the one they are to replace. Who stands by is taken first.
 *
 * @module
 */

import { isPaced, newWorker } from "./pool_spawn.ts";
import { hasStandby, takeStandby } from "./pool_standby.ts";
import type { Generation, PoolWorker } from "./pool_state.ts";
import { putWorker, seat, type Turn, update } from "./turn.ts";

/** Whether a worker of this generation can be had now. */
export function canStaff(turn: Turn, generation: Generation): boolean {
  return hasStandby(turn.pool, generation) || !isPaced(turn);
}

/** Gives a free slot a worker. */
export function staffSlot(turn: Turn, slot: number, generation: Generation): void {
  update(turn, { taken: turn.pool.taken.add(slot) });
  seat(turn, getWorker(turn, slot, generation));
}

/** Has a worker ready to replace the one in the slot. */
export function staffBeside(turn: Turn, slot: number, generation: Generation): void {
  const worker = getWorker(turn, slot, generation);
  update(turn, { successors: turn.pool.successors.set(slot, worker.id) });
  putWorker(turn, worker);
}

function getWorker(turn: Turn, slot: number, generation: Generation): PoolWorker {
  return takeStandby(turn, slot, generation) ?? newWorker(turn, slot, generation);
}
