/**
 * One step of the pool in the making: the state as it stands, and the effects so far. The rules (`pool_*.ts`) write to
 * a turn; `step` makes one, and gives it away as values.
 *
 * @module
 */

import type { PreforkEvent } from "./events.ts";
import type { Effect, Input, PoolState, PoolWorker, WorkerRef } from "./pool_state.ts";
import type { SlotSet } from "./slot_set.ts";
import type { Signal, WorkerInfo } from "./types.ts";

/** A step in the making. Lives inside one call of `step` and nowhere else. */
export interface Turn {
  pool: PoolState;
  readonly now: number;
  readonly effects: Effect[];
}

/** Replaces some of the pool's fields. */
export function update(turn: Turn, changes: Partial<PoolState>): void {
  turn.pool = { ...turn.pool, ...changes };
}

/** Asks for something to be done. */
export function effect(turn: Turn, wanted: Effect): void {
  turn.effects.push(wanted);
}

/** Tells that something happened. */
export function tell(turn: Turn, event: PreforkEvent): void {
  turn.effects.push({ type: "event", event });
}

/** Asks for `input` to come back in `delayMs`. A timer of the same key is replaced. */
export function setTimer(turn: Turn, key: string, delayMs: number, input: Input): void {
  turn.effects.push({ type: "setTimer", key, at: turn.now + delayMs, input });
}

/** The worker that `ref` names, if it still lives. */
export function findWorker(pool: PoolState, ref: WorkerRef): PoolWorker | undefined {
  const holder = pool.workers.get(ref.slot);
  return holder?.id === ref.id ? holder : pool.others.get(ref.id);
}

/** The slot of a worker that has none. */
export const NO_SLOT = -1;

/** Whether a worker stands by, or boots to do so. */
export function isStandby({ slot }: WorkerRef): boolean {
  return slot === NO_SLOT;
}

/** Whether a worker holds its slot. */
export function isHolder(pool: PoolState, { slot, id }: WorkerRef): boolean {
  return pool.workers.get(slot)?.id === id;
}

/** Whether a worker is to replace the one that holds its slot. */
export function isSuccessor(pool: PoolState, { slot, id }: WorkerRef): boolean {
  return pool.successors.get(slot) === id;
}

/**
 * All live workers: by slot, then those without one, the oldest first. Deadlines set in this order are met in it when they
 * are over at one instant, so that the lowest slot is free, and filled, first.
 */
export function* liveWorkers({ workers, others }: PoolState): Generator<PoolWorker> {
  for (const [, worker] of workers.entries()) yield worker;
  for (const [, worker] of others.entries()) yield worker;
}

/** Replaces what is known of a worker, wherever it stands. One that was told to stop will replace nobody. */
export function putWorker(turn: Turn, worker: PoolWorker): void {
  if (isHolder(turn.pool, worker)) return seat(turn, worker);
  const { others, successors } = turn.pool;
  update(turn, { others: others.set(worker.id, worker) });
  if (worker.stopping && isStandby(worker)) leaveStandbys(turn, worker);
  if (worker.stopping && isSuccessor(turn.pool, worker)) update(turn, { successors: successors.delete(worker.slot) });
}

/** Gives a worker its slot, and keeps the indexes of those who hold one in step. */
export function seat(turn: Turn, worker: PoolWorker): void {
  const { slot } = worker;
  const { workers, serving, ready, idle } = turn.pool;
  const before = workers.get(slot);
  update(turn, {
    workers: workers.set(slot, worker),
    serving: reindex(serving, slot, serves(before), serves(worker)),
    ready: reindex(ready, slot, isReady(before), isReady(worker)),
    idle: reindex(idle, slot, isIdle(before), isIdle(worker)),
  });
}

/** Most changes of a worker leave it where it is, and cost no look at the index. */
function reindex(index: SlotSet, slot: number, was: boolean, is: boolean): SlotSet {
  if (was === is) return index;
  return is ? index.add(slot) : index.delete(slot);
}

function serves(worker: PoolWorker | undefined): boolean {
  return worker !== undefined && !worker.stopping;
}

function isReady(worker: PoolWorker | undefined): boolean {
  return serves(worker) && worker?.phase === "ready";
}

function isIdle(worker: PoolWorker | undefined): boolean {
  return serves(worker) && worker?.isIdle === true;
}

/** Takes a worker out of all indexes but `taken`. */
export function dropWorker(turn: Turn, ref: WorkerRef): void {
  const { slot, id } = ref;
  const { workers, others, successors, serving, ready, idle, vacating } = turn.pool;
  if (!isHolder(turn.pool, ref)) {
    const left = isSuccessor(turn.pool, ref) ? successors.delete(slot) : successors;
    if (isStandby(ref)) leaveStandbys(turn, ref);
    return update(turn, { others: others.delete(id), successors: left });
  }
  update(turn, {
    workers: workers.delete(slot),
    serving: serving.delete(slot),
    ready: ready.delete(slot),
    idle: idle.delete(slot),
    vacating: vacating.delete(slot),
  });
}

function leaveStandbys(turn: Turn, { id }: WorkerRef): void {
  update(turn, { standbys: turn.pool.standbys.filter((other) => other !== id) });
}

/** A worker as others may see it. */
export function workerInfo(worker: PoolWorker): WorkerInfo {
  const { pid, slot, generation, status, phase, stopping } = worker;
  return { pid, slot, generation, status, state: stopping ? "stopping" : phase };
}

/** Keys of a worker's timers. */
export const timerKey = {
  boot: (ref: WorkerRef): string => `boot ${ref.slot} ${ref.id}`,
  settle: (ref: WorkerRef): string => `settle ${ref.slot} ${ref.id}`,
  busy: (ref: WorkerRef): string => `busy ${ref.slot} ${ref.id}`,
  probe: (ref: WorkerRef): string => `probe ${ref.slot} ${ref.id}`,
  stop: (ref: WorkerRef): string => `stop ${ref.slot} ${ref.id}`,
  hang: (ref: WorkerRef): string => `hang ${ref.slot} ${ref.id}`,
  beat: (ref: WorkerRef): string => `beat ${ref.slot} ${ref.id}`,
  life: (ref: WorkerRef): string => `life ${ref.slot} ${ref.id}`,
} as const;

/** Sends a signal to a worker that can take it. */
export function sendSignal(turn: Turn, worker: PoolWorker, signal: Signal): void {
  putWorker(turn, { ...worker, sent: worker.sent.includes(signal) ? worker.sent : [...worker.sent, signal] });
  effect(turn, { type: "kill", pid: worker.pid, signal, group: signal === "SIGKILL" });
  tell(turn, { type: "relay", worker: workerInfo(worker), signal });
}

/** Kills a worker and all it started, because of something the pool itself found. */
export function killFor(turn: Turn, worker: PoolWorker, reason: string): void {
  sendSignal(turn, { ...worker, killedFor: worker.killedFor ?? reason }, "SIGKILL");
}

/** Mulberry32: a number in [0, 1) from the pool's own seed, so that a step stays a pure function. */
export function drawRandom(turn: Turn): number {
  const seed = (turn.pool.random + 0x6d2b79f5) | 0;
  update(turn, { random: seed });
  let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
}
