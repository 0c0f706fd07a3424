/**
 * New processes, no faster than the pace allows.
 *
 * @module
 */

import type { Generation, PoolWorker } from "./pool_state.ts";
import { effect, setTimer, type Turn, update } from "./turn.ts";

/** Asks the pool to look at its size again at a time to come. */
export function awaken(turn: Turn, key: string, at: number): void {
  setTimer(turn, key, at - turn.now, { type: "adjust" });
}

/** Whether it is too early for another worker; the pool looks again when it is not. */
export function isPaced(turn: Turn): boolean {
  if (turn.now >= turn.pool.spawnAfter) return false;
  awaken(turn, "pace", turn.pool.spawnAfter);
  return true;
}

/** Asks for a process. */
export function newWorker(turn: Turn, slot: number, generation: Generation): PoolWorker {
  const { nextId: id, config } = turn.pool;
  update(turn, { nextId: id + 1 });
  if (config.spawnIntervalMs > 0) update(turn, { spawnAfter: turn.now + config.spawnIntervalMs });
  effect(turn, { type: "spawn", slot, id, generation });
  return {
    slot,
    id,
    generation: generation.number,
    config: generation.rules?.config ?? config,
    channel: generation.channel,
    pid: 0,
    phase: "booting",
    begun: false,
    stopping: false,
    hasToEnd: false,
    settled: false,
    saw: null,
    stopDue: null,
    held: [],
    sent: [],
    spawnedAt: turn.now,
    status: "_",
    isIdle: true,
    isDue: false,
    extendedUntil: 0,
    lateBeats: 0,
    killedFor: null,
  };
}
