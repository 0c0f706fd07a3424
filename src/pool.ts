/**
 * The pool as a pure function: `step(state, input, now)` gives the next state and what is to be done. It has no clock,
 * does no I/O, and knows no runtime. Read it top down: what is heard here, then `pool_size.ts` (how many),
 * `pool_life.ts` (a worker's life), `pool_ready.ts` (who is asked whether it is ready), `pool_roll.ts` (who replaces
 * whom), `pool_standby.ts` (who waits to be needed), `pool_watch.ts` (who hangs, who is due), `pool_signals.ts` (who is
 * sent what), `pool_delay.ts` (a stop that may wait).
 *
 * @module
 */

import { cancelDelay, endDelay, heed } from "./pool_delay.ts";
import {
  becomeReady,
  begin,
  bootDeadline,
  connected,
  leaveIfEmpty,
  reap,
  settled,
  slotFree,
  spawnCancelled,
  spawned,
  spawnFailed,
  stopDeadline,
  tellHealth,
} from "./pool_life.ts";
import { isProbed, probe, settle, unready } from "./pool_ready.ts";
import { beginRoll, dismissSuccessors, endRoll, forgetTroubles, hasNothingToLose, keepSize } from "./pool_roll.ts";
import { enqueueSignal, noteKilled, relayFor, signalWorker, staggerNext, stopAll, stopSignal } from "./pool_signals.ts";
import { adjust } from "./pool_size.ts";
import { dismissStandbys, parked } from "./pool_standby.ts";
import { beat, examined, extend, makeDue, noBeat, reject } from "./pool_watch.ts";
import type { Effect, Generation, Input, PoolState, PoolWorker, WorkerRef } from "./pool_state.ts";
import { isStopSignal, relayedSignal } from "./signals.ts";
import {
  effect,
  findWorker,
  isStandby,
  liveWorkers,
  putWorker,
  setTimer,
  tell,
  timerKey,
  type Turn,
  update,
} from "./turn.ts";
import type { Signal } from "./types.ts";

/** A worker that tells what it does tells whether it is busy by that within this time, unless it is. */
const BUSY_MS = 250;

/** Takes one input. `now` is in milliseconds on any clock that never goes back. */
export function step(state: PoolState, input: Input, now: number): readonly [PoolState, readonly Effect[]] {
  const turn: Turn = { pool: state, now, effects: [] };
  take(turn, input);
  tellHealth(turn);
  return [turn.pool, turn.effects];
}

function take(turn: Turn, input: Input): void {
  switch (input.type) {
    case "start":
      return start(turn, input.generation);
    case "reload":
      return reload(turn, input.generation);
    case "wait":
      endRoll(turn, "stopped", "start() returned, and no other was called");
      dismissStandbys(turn);
      dismissSuccessors(turn);
      update(turn, { mode: "waiting" });
      return leaveIfEmpty(turn);
    case "unwait":
      return update(turn, { mode: "idle" });
    case "signal":
      return signal(turn, input.signal, input.isUrgent ?? false);
    case "signalAll":
      return input.slot === undefined ? signalAll(turn, input.signal) : signalSlot(turn, input.signal, input.slot);
    case "stopAll":
      if (turn.pool.mode === "running") update(turn, { mode: "idle" }); // nobody comes after those that go
      cancelDelay(turn);
      endRoll(turn, "stopped", "the pool was told to stop");
      return stopAll(turn);
    case "setMaxWorkers":
      update(turn, { maxWorkers: input.maxWorkers });
      keepSize(turn);
      forgetTroubles(turn, input.maxWorkers);
      return adjust(turn);
    case "spawned":
      return spawned(turn, refOf(turn.pool, input), input.pid);
    case "spawnFailed":
      return spawnFailed(turn, refOf(turn.pool, input), input.error);
    case "spawnCancelled":
      return spawnCancelled(turn, refOf(turn.pool, input));
    case "connected":
      return connected(turn, refOf(turn.pool, input));
    case "parked":
      return parked(turn, refOf(turn.pool, input));
    case "begun": {
      const worker = findWorker(turn.pool, refOf(turn.pool, input));
      return worker && !worker.begun ? begin(turn, worker) : undefined;
    }
    case "settled":
      return settled(turn, refOf(turn.pool, input));
    case "ready":
      return isProbed(turn.pool) ? settle(turn, refOf(turn.pool, input)) : becomeReady(turn, refOf(turn.pool, input));
    case "checked": {
      const ref = refOf(turn.pool, input);
      return input.saw === undefined ? becomeReady(turn, ref) : unready(turn, ref, input.saw);
    }
    case "probeDue":
      return probe(turn, refOf(turn.pool, input));
    case "status":
      return status(turn, refOf(turn.pool, input), input);
    case "rejected":
      return reject(turn, refOf(turn.pool, input), input.reason);
    case "exited":
      return reap(turn, refOf(turn.pool, input), input.status);
    case "bootDeadline":
      return bootDeadline(turn, refOf(turn.pool, input), input.due);
    case "stopDeadline":
      return stopDeadline(turn, refOf(turn.pool, input), input.due, input.delayMs);
    case "beat":
      return beat(turn, refOf(turn.pool, input), input.lagMs);
    case "extend":
      return extend(turn, refOf(turn.pool, input), input.delayMs);
    case "noBeat":
      return noBeat(turn, refOf(turn.pool, input), input.due, input.isSuspect);
    case "examined":
      return examined(turn, refOf(turn.pool, input), input.sinceHeldMs, input.usage);
    case "due":
      return makeDue(turn, refOf(turn.pool, input), input.reason);
    case "slotFree":
      return slotFree(turn, input.slot);
    case "adjust":
      return adjust(turn);
    case "stagger":
      return staggerNext(turn);
    case "delayOver":
      return endDelay(turn);
    default:
      return input satisfies never;
  }
}

/** Whom an input is about. Those who were activated had no slot when they were made. */
function refOf(pool: PoolState, { slot, id }: WorkerRef): WorkerRef {
  return { slot: pool.seats.get(id) ?? slot, id };
}

/**
 * `start` was called: a new generation begins, unless a signal waits that it must answer first. After a signal that
 * replaces workers, or one that came in between, the generation before it goes on until this one has proved itself.
 */
function start(turn: Turn, generation: Generation): void {
  const { queue: [first, ...queue], roll } = turn.pool;
  const replaceBy = turn.pool.replaceBy ?? roll?.signal ?? null;
  update(turn, { mode: "running", generation: generation.number, bootFailures: 0, over: false, killed: [], queue });
  if (first !== undefined) return heed(turn, first, false);
  if (replaceBy === null || hasNothingToLose(turn.pool)) replaceNobody(turn, generation);
  else beginRoll(turn, generation, replaceBy);
  update(turn, { replaceBy: null });
  adjust(turn);
}

/** Workers are made of the new generation from here on, and the old ones stay as long as they like. */
function replaceNobody(turn: Turn, generation: Generation): void {
  endRoll(turn, "superseded", `generation ${generation.number} took its place`);
  dismissSuccessors(turn);
  update(turn, { current: generation, isMixed: false });
  dismissStandbys(turn, generation);
  forgetTroubles(turn);
}

function reload(turn: Turn, generation: Generation): void {
  update(turn, { generation: generation.number });
  const { mode, current, delayed } = turn.pool;
  if (mode === "running" && delayed === null) {
    beginRoll(turn, generation, stopSignal(turn.pool));
    return adjust(turn);
  }
  tell(turn, {
    type: "reloadFailed",
    generation: generation.number,
    serving: current.number,
    cause: "stopped",
    reason: delayed === null ? "start() returned before it began" : "the pool was told to stop",
  });
}

/** A signal came. Outside `start` it waits for the next one; a stop also reaches the workers that all are waiting for. */
function signal(turn: Turn, received: Signal, isUrgent: boolean): void {
  if (turn.pool.mode === "running") return heed(turn, received, isUrgent);
  enqueueSignal(turn, received);
  if (turn.pool.mode !== "waiting" || !isStopSignal(received)) return;
  const relayed = relayedSignal(relayFor(turn.pool, received));
  if (relayed !== undefined) stopAll(turn, relayed);
}

/** The program itself signals all workers. SIGKILL takes those too that are still being made. */
function signalAll(turn: Turn, sent: Signal): void {
  if (sent === "SIGKILL") endDelay(turn); // or those that were killed would be replaced
  for (const worker of liveWorkers(turn.pool)) {
    if (sent === "SIGKILL") kill(turn, worker);
    else if (isStandby(worker)) continue; // it is told nothing yet
    const current = findWorker(turn.pool, worker);
    if (current) signalWorker(turn, current, sent);
  }
}

/** Those in one slot: its worker, the one that is to replace it, and those that are about to end there. */
function signalSlot(turn: Turn, sent: Signal, slot: number): void {
  for (const worker of liveWorkers(turn.pool)) if (worker.slot === slot) signalWorker(turn, worker, sent);
}

function kill(turn: Turn, worker: PoolWorker): void {
  putWorker(turn, { ...worker, stopping: true });
  noteKilled(turn, worker);
}

/** A worker that does not come to say whether it is idle is busy. */
function status(turn: Turn, ref: WorkerRef, { status, isIdle }: Extract<Input, { type: "status" }>): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined) return;
  if (isIdle === undefined) {
    setTimer(turn, timerKey.busy(ref), BUSY_MS, { type: "status", ...ref, status, isIdle: false });
    return putWorker(turn, { ...worker, status });
  }
  effect(turn, { type: "clearTimer", key: timerKey.busy(ref) });
  putWorker(turn, { ...worker, status, isIdle });
  if (isIdle !== worker.isIdle) adjust(turn);
}
