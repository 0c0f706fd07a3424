/**
 * Watching workers at work: beats of the heart, hangs, and those who are due to be replaced.
 *
 * @module
 */

import { failRoll } from "./pool_roll.ts";
import { armStopDeadline, killIn } from "./pool_signals.ts";
import { adjust } from "./pool_size.ts";
import type { PoolWorker, WorkerRef } from "./pool_state.ts";
import {
  drawRandom,
  effect,
  findWorker,
  isStandby,
  killFor,
  putWorker,
  sendSignal,
  setTimer,
  tell,
  timerKey,
  type Turn,
  update,
  workerInfo,
} from "./turn.ts";
import type { ProcessUsage } from "./types.ts";

/** A deadline noticed later than this was noticed by a manager that stood still itself. */
const LATE_MS = 250;

/** How long is waited for a beat that may be there already, and is only to be read. */
const LAST_LOOK_MS = 100;

/** What a worker that hangs gets for SIGTERM to end it, before SIGKILL. */
const HANG_KILL_MS = 1000;

const GOLDEN_RATIO = (Math.sqrt(5) - 1) / 2;

/** So many late beats in a row make a worker due, so that one long request does not. */
const LATE_BEATS = 3;

/** The worker is ready: from here on its heart is listened to, and its days are counted. */
export function watch(turn: Turn, worker: PoolWorker): void {
  const { hangTimeoutMs, recycle } = worker.config;
  if (hangTimeoutMs !== undefined && worker.channel) expectBeat(turn, worker, hangTimeoutMs);
  const { maxLifetimeMs, jitter } = recycle;
  if (maxLifetimeMs === undefined) return;
  const lifetimeMs = Math.round(maxLifetimeMs * (1 - jitter * drawRandom(turn)));
  const { slot, id } = worker;
  const reason = `has lived for ${lifetimeMs} ms`;
  setTimer(turn, timerKey.life(worker), lifetimeMs, { type: "due", slot, id, reason });
}

/** The worker's event loop is alive; its beat came `lagMs` late. */
export function beat(turn: Turn, ref: WorkerRef, lagMs: number): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined || worker.phase !== "ready") return;
  const { hangTimeoutMs, recycle: { maxLagMs, jitter } } = worker.config;
  if (hangTimeoutMs !== undefined && worker.killedFor === null) expectBeat(turn, worker, hangTimeoutMs);
  if (maxLagMs === undefined) return;
  const lateBeats = lagMs > jittered(maxLagMs, jitter, worker) ? worker.lateBeats + 1 : 0;
  if (lateBeats !== worker.lateBeats) putWorker(turn, { ...worker, lateBeats });
  if (lateBeats === LATE_BEATS) makeDue(turn, ref, `is late by ${Math.round(lagMs)} ms, again and again`);
}

/**
 * A limit as it is for one worker: less by up to a part of it, so that workers made together do not go together. The
 * golden ratio spreads whatever ids there are.
 */
export function jittered(limit: number, jitter: number, { id }: WorkerRef): number {
  return limit * (1 - jitter * (id * GOLDEN_RATIO % 1));
}

/**
 * The worker asks for time: for its boot, its stop, or until its next beat. It gets no less than it has: whoever can ask
 * shows life, and a stop that is under way keeps its deadline.
 */
export function extend(turn: Turn, ref: WorkerRef, delayMs: number): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined || worker.killedFor !== null) return;
  const until = turn.now + delayMs;
  const extended = { ...worker, extendedUntil: Math.max(worker.extendedUntil, until) };
  putWorker(turn, extended);
  if (worker.stopDue !== null && worker.stopDue < until) armStopDeadline(turn, ref, delayMs);
  const { phase, config: { hangTimeoutMs } } = worker;
  if (phase === "ready" && hangTimeoutMs !== undefined) expectBeat(turn, extended, hangTimeoutMs);
}

/** By a time; but no beat takes back the time that the worker has asked for. */
function expectBeat(turn: Turn, worker: PoolWorker, delayMs: number): void {
  setBeatTimer(turn, worker, Math.max(delayMs, worker.extendedUntil - turn.now), false);
}

function setBeatTimer(turn: Turn, ref: WorkerRef, delayMs: number, isSuspect: boolean): void {
  const { slot, id } = ref;
  const due = turn.now + delayMs;
  setTimer(turn, timerKey.beat(ref), delayMs, { type: "noBeat", slot, id, due, isSuspect });
}

/**
 * No beat came in time. A manager that was stopped itself, or slept with its machine, has not heard what was said
 * meanwhile: it counts from now on. Else there is one last look at what may be there to be read.
 */
export function noBeat(turn: Turn, ref: WorkerRef, due: number, isSuspect: boolean): void {
  const worker = findWorker(turn.pool, ref);
  const hangTimeoutMs = worker?.config.hangTimeoutMs;
  if (worker === undefined || hangTimeoutMs === undefined) return;
  if (turn.now - due > LATE_MS) return expectBeat(turn, worker, hangTimeoutMs);
  if (!isSuspect) return setBeatTimer(turn, worker, LAST_LOOK_MS, true);
  effect(turn, { type: "examine", pid: worker.pid, ...ref });
}

/**
 * What was found out about a worker that is silent. One whose output waits to be read cannot help it, and has its time
 * from when that is over.
 */
export function examined(turn: Turn, ref: WorkerRef, sinceHeldMs: number, usage: ProcessUsage | undefined): void {
  const worker = findWorker(turn.pool, ref);
  const hangTimeoutMs = worker?.config.hangTimeoutMs;
  if (worker === undefined || worker.killedFor !== null || hangTimeoutMs === undefined) return;
  if (sinceHeldMs < hangTimeoutMs) return expectBeat(turn, worker, hangTimeoutMs - sinceHeldMs);
  const reason = `hung: its event loop did not turn for ${hangTimeoutMs} ms`;
  const ageMs = Math.round(turn.now - worker.spawnedAt);
  tell(turn, { type: "hang", worker: workerInfo(worker), silentMs: hangTimeoutMs, ageMs, usage });
  failRoll(turn, worker, reason);
  killIn(turn, timerKey.hang(ref), ref, HANG_KILL_MS);
  sendSignal(turn, { ...worker, stopping: true, killedFor: reason }, "SIGTERM");
  adjust(turn);
}

/** The worker is to be replaced when its turn comes. */
export function makeDue(turn: Turn, ref: WorkerRef, reason: string): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined || worker.stopping || worker.isDue || isStandby(worker)) return;
  putWorker(turn, { ...worker, isDue: true });
  const { slot, id } = ref;
  update(turn, { due: [...turn.pool.due, { slot, id }] });
  tell(turn, { type: "recycle", worker: workerInfo(worker), reason });
  adjust(turn);
}

/** A worker broke the rules of the control channel. */
export function reject(turn: Turn, ref: WorkerRef, reason: string): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined || worker.killedFor !== null) return;
  tell(turn, { type: "protocolError", worker: workerInfo(worker), reason });
  killFor(turn, worker, reason);
}
