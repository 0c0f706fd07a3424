/**
 * Standbys: workers that have booted and wait just before their own code. They hold no slot until one is activated in
 * the place of a worker that is gone, or to be replaced, or that the pool lacks to grow.
 *
 * @module
 */

import { stopSignal, stopWorker } from "./pool_signals.ts";
import { awaken, isPaced, newWorker } from "./pool_spawn.ts";
import type { Generation, PoolState, PoolWorker, WorkerRef } from "./pool_state.ts";
import {
  dropWorker,
  effect,
  findWorker,
  isStandby,
  NO_SLOT,
  putWorker,
  setTimer,
  tell,
  timerKey,
  type Turn,
  update,
  workerInfo,
} from "./turn.ts";

/** Makes the standbys that are missing. They are not to compete with the boot of those that serve. */
export function keepStandbys(turn: Turn): void {
  const { config, current, standbys, maxWorkers, standbyAfter } = turn.pool;
  if (standbys.length >= config.standby || !current.channel || maxWorkers === 0 || !isAtRest(turn.pool)) return;
  if (turn.now < standbyAfter) return awaken(turn, "standby", standbyAfter);
  while (turn.pool.standbys.length < config.standby && !isPaced(turn)) {
    const worker = newWorker(turn, NO_SLOT, current);
    update(turn, { standbys: [...turn.pool.standbys, worker.id] });
    putWorker(turn, worker);
  }
}

/** Whether all workers serve that were made. */
function isAtRest({ everReady, endsEarly, roll, successors, serving, ready }: PoolState): boolean {
  return (everReady || endsEarly) && roll === null && successors.size === 0 &&
    (endsEarly || ready.size === serving.size);
}

/** The standby has gone as far as it can. */
export function parked(turn: Turn, ref: WorkerRef): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined || !isStandby(worker) || worker.phase !== "booting" || worker.stopping) return;
  putWorker(turn, { ...worker, phase: "standby" });
  update(turn, { standbyFailures: 0 });
  effect(turn, { type: "clearTimer", key: timerKey.boot(ref) });
  effect(turn, { type: "parked", ...ref });
}

/** Whether a worker of this generation can be had at once. */
export function hasStandby(pool: PoolState, generation: Generation): boolean {
  return nextStandby(pool, generation) !== undefined;
}

function nextStandby({ standbys, others }: PoolState, { number }: Generation): PoolWorker | undefined {
  for (const id of standbys) {
    const worker = others.get(id);
    if (worker?.phase === "standby" && worker.generation === number) return worker;
  }
  return undefined;
}

/** Activates a standby, if there is one: it is a worker like any other from here on. */
export function takeStandby(turn: Turn, slot: number, generation: Generation): PoolWorker | undefined {
  const standby = nextStandby(turn.pool, generation);
  if (standby === undefined) return undefined;
  dropWorker(turn, standby);
  update(turn, { seats: turn.pool.seats.set(standby.id, slot) });
  const worker: PoolWorker = { ...standby, slot, phase: "starting", spawnedAt: turn.now };
  const { id } = worker;
  const { bootTimeoutMs } = worker.config;
  const due = turn.now + bootTimeoutMs;
  setTimer(turn, timerKey.boot(worker), bootTimeoutMs, { type: "bootDeadline", slot, id, due });
  effect(turn, { type: "welcome", slot, id });
  tell(turn, { type: "activate", worker: workerInfo(worker) });
  return worker;
}

/** Ends the standbys, but those of a generation that goes on. */
export function dismissStandbys(turn: Turn, going?: Generation): void {
  for (const id of turn.pool.standbys) {
    const worker = turn.pool.others.get(id);
    if (worker && worker.generation !== going?.number) stopWorker(turn, worker, stopSignal(turn.pool));
  }
}
