/**
 * A worker's life: boot, begin, ready, gone; and what a failure costs.
 *
 * @module
 */

import { describeError, describeStatus } from "./events.ts";
import { countWanted } from "./pool_policy.ts";
import { isProbed, probe, settle } from "./pool_ready.ts";
import { endRoll, failRoll, forgetTroubles, inherit, noteWhoStays, proveGeneration, takeOver } from "./pool_roll.ts";
import { armStopDeadline, flushHeld, noteKilled, stopAll } from "./pool_signals.ts";
import { adjust } from "./pool_size.ts";
import { hasStandby } from "./pool_standby.ts";
import type { PoolState, PoolWorker, WorkerRef } from "./pool_state.ts";
import { isStopSignal } from "./signals.ts";
import { watch } from "./pool_watch.ts";
import {
  drawRandom,
  dropWorker,
  effect,
  findWorker,
  isHolder,
  isStandby,
  isSuccessor,
  killFor,
  liveWorkers,
  putWorker,
  sendSignal,
  setTimer,
  tell,
  timerKey,
  type Turn,
  update,
  workerInfo,
} from "./turn.ts";
import type { ExitStatus } from "./types.ts";

/** How long a worker that says nothing must have run before it counts as ready. */
export const SETTLE_MS = 1000;

/**
 * A deadline noticed later than this was noticed by a manager that stood still itself, and perhaps its whole machine with
 * it: what the workers did meanwhile is still to be heard, so their time begins anew.
 */
const STANDSTILL_MS = 1000;

/** The least wait after a process could not be made, whatever the options say: nothing else would slow the next try. */
const SPAWN_RETRY_MS = 100;

/** The process exists. */
export function spawned(turn: Turn, ref: WorkerRef, pid: number): void {
  const found = findWorker(turn.pool, ref);
  if (found === undefined) return;
  const worker = { ...found, pid, spawnedAt: turn.now };
  putWorker(turn, worker);
  update(turn, { spawnFailures: 0 });
  tell(turn, { type: "spawn", worker: workerInfo(worker) });
  if (worker.stopping) return sendSignal(turn, worker, "SIGKILL");
  armBootDeadline(turn, worker);
  if (!worker.channel) begin(turn, { ...worker, phase: "starting" });
}

function armBootDeadline(turn: Turn, worker: PoolWorker, delayMs: number = worker.config.bootTimeoutMs): void {
  const { slot, id } = worker;
  setTimer(turn, timerKey.boot(worker), delayMs, { type: "bootDeadline", slot, id, due: turn.now + delayMs });
}

/** The process could not be made. That is seldom the fault of one slot, so the whole pool waits. */
export function spawnFailed(turn: Turn, ref: WorkerRef, error: unknown): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined) return;
  dropUnspawned(turn, ref);
  const isFirst = turn.pool.spawnFailures === 0 || worker.spawnedAt > turn.pool.spawnFailedAt;
  if (isFirst) pauseSpawns(turn);
  const delayMs = Math.max(0, Math.round(turn.pool.spawnAfter - turn.now)); // the turn of those of one batch may come late
  tell(turn, { type: "spawnError", slot: ref.slot, error, delayMs });
  const reason = `could not be started: ${describeError(error)}`;
  if (isFirst) countBootFailure(turn, reason);
  failRoll(turn, worker, reason);
  leaveIfEmpty(turn);
  adjust(turn);
}

/** Once for all that failed together. */
function pauseSpawns(turn: Turn): void {
  const spawnFailures = turn.pool.spawnFailures + 1;
  const pauseMs = Math.max(SPAWN_RETRY_MS, backoffMs(turn, spawnFailures));
  const spawnAfter = Math.max(turn.pool.spawnAfter, turn.now + pauseMs);
  update(turn, { spawnFailures, spawnFailedAt: turn.now, spawnAfter });
}

/** The process was not made, since the worker was told to stop before its turn came. */
export function spawnCancelled(turn: Turn, ref: WorkerRef): void {
  if (findWorker(turn.pool, ref) === undefined) return;
  dropUnspawned(turn, ref);
  leaveIfEmpty(turn);
  adjust(turn);
}

/** A worker that never was leaves its slot as it found it. */
function dropUnspawned(turn: Turn, ref: WorkerRef): void {
  const held = isHolder(turn.pool, ref);
  effect(turn, { type: "clearTimer", key: timerKey.stop(ref) });
  dropWorker(turn, ref);
  if (held && !inherit(turn, ref.slot)) update(turn, { taken: turn.pool.taken.delete(ref.slot) });
}

/** The worker answers on its control channel: from the welcome on, its own code may run. */
export function connected(turn: Turn, ref: WorkerRef): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined || worker.phase !== "booting" || worker.stopping) return;
  if (isStandby(worker)) return effect(turn, { type: "hold", ...ref });
  putWorker(turn, { ...worker, phase: "starting" });
  effect(turn, { type: "welcome", ...ref });
}

/** The worker has reached the code it was made for. */
export function begin(turn: Turn, worker: PoolWorker): void {
  if (isStandby(worker)) return; // out of its turn
  putWorker(turn, { ...worker, begun: true });
  if (worker.phase === "ready") return;
  const { slot, id } = worker;
  setTimer(turn, timerKey.settle(worker), SETTLE_MS, { type: "settled", slot, id });
  if (isProbed(turn.pool)) probe(turn, worker);
  else if (settles(turn.pool, worker)) effect(turn, { type: "clearTimer", key: timerKey.boot(worker) });
}

/** The worker has run for a while: that makes it ready, or else it can at least be told to stop. */
export function settled(turn: Turn, ref: WorkerRef): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined) return;
  if (settles(turn.pool, worker)) becomeReady(turn, ref);
  else settle(turn, ref);
}

/** Whether a worker that says nothing is ready once it has run for a while. */
function settles(pool: PoolState, worker: PoolWorker): boolean {
  return !isProbed(pool) && (worker.config.settles || !worker.channel);
}

/** The worker can handle signals now. */
export function becomeReady(turn: Turn, ref: WorkerRef): void {
  const found = findWorker(turn.pool, ref);
  if (found === undefined || found.phase === "ready" || isStandby(found)) return;
  const worker: PoolWorker = { ...found, phase: "ready", begun: true };
  putWorker(turn, worker);
  proveGeneration(turn, worker);
  update(turn, { everReady: true });
  effect(turn, { type: "clearTimer", key: timerKey.settle(ref) });
  effect(turn, { type: "clearTimer", key: timerKey.boot(ref) });
  tell(turn, { type: "ready", worker: workerInfo(worker) });
  watch(turn, worker);
  const succeeds = isSuccessor(turn.pool, worker);
  if (succeeds) takeOver(turn, worker);
  noteWhoStays(turn);
  flushHeld(turn, worker);
  const { roll, due, config } = turn.pool;
  if (succeeds || roll !== null || due.length > 0 || config.standby > 0) adjust(turn);
}

/** The worker never reached the code it was made for, or never became ready. */
export function bootDeadline(turn: Turn, ref: WorkerRef, due: number): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined || worker.phase === "ready" || worker.phase === "standby") return;
  if (worker.stopDue !== null && worker.sent.some(isStopSignal)) return; // it has begun to stop, and a deadline for that
  if (worker.begun && settles(turn.pool, worker)) return;
  if (turn.now - due > STANDSTILL_MS) return armBootDeadline(turn, worker);
  if (turn.now < worker.extendedUntil) return armBootDeadline(turn, worker, worker.extendedUntil - turn.now);
  tell(turn, { type: "bootTimeout", worker: workerInfo(worker) });
  const missed = worker.begun ? "was not ready" : "did not begin";
  killFor(turn, worker, `${missed} within ${Math.round(due - worker.spawnedAt)} ms${whyNotReady(turn.pool, worker)}`);
}

/** What was seen last; or, of one that is to say so itself, that it has not. */
function whyNotReady(pool: PoolState, { begun, saw }: PoolWorker): string {
  if (saw !== null) return `: ${saw}`;
  return begun && !isProbed(pool) ? ": it has neither begun to serve nor called ready()" : "";
}

/** The worker was told to stop long ago. */
export function stopDeadline(turn: Turn, ref: WorkerRef, due: number, delayMs: number): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined) return;
  if (worker.pid === 0) return spawnCancelled(turn, ref);
  if (turn.now - due > STANDSTILL_MS) return armStopDeadline(turn, ref, delayMs);
  tell(turn, { type: "stopTimeout", worker: workerInfo(worker) });
  noteKilled(turn, worker);
  sendSignal(turn, worker, "SIGKILL");
}

/** The worker is gone. */
export function reap(turn: Turn, ref: WorkerRef, status: ExitStatus): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined) return;
  for (const key of Object.values(timerKey)) effect(turn, { type: "clearTimer", key: key(ref) });
  const missed = whatItMissed(turn.pool, worker, status);
  const expected = missed === null && isExpected(worker, status);
  if (expected && !worker.stopping) succeed(turn, worker, status);
  const held = isHolder(turn.pool, worker);
  const succeeds = isSuccessor(turn.pool, worker);
  dropWorker(turn, worker);
  const reason = describeEnd(worker, status, missed);
  tell(turn, { type: "reap", worker: workerInfo(worker), status, expected, reason });
  const isCleared = worker.sent.includes("SIGKILL"); // which went to its whole group
  effect(turn, { type: "reaped", ...ref, status, isCleared });
  if (!expected && worker.phase !== "ready") countBootFailure(turn, reason);
  if (!expected) {
    failRoll(turn, worker, reason);
    if (succeeds && worker.generation === turn.pool.current.number) postponeReplacement(turn);
  }
  if (held) freeSlot(turn, worker, expected);
  if (isStandby(worker) && !expected) postponeStandbys(turn);
  update(turn, { seats: turn.pool.seats.delete(worker.id) });
  leaveIfEmpty(turn);
  adjust(turn);
}

/** A standby has failed: each further try waits longer. */
function postponeStandbys(turn: Turn): void {
  const standbyFailures = turn.pool.standbyFailures + 1;
  update(turn, { standbyFailures, standbyAfter: turn.now + backoffMs(turn, standbyFailures) });
}

/** Done well, if before it counted as ready: that proves as much, and it would have taken the slot it was made for. */
function succeed(turn: Turn, worker: PoolWorker, status: ExitStatus): void {
  if (endedEarly(worker, status)) update(turn, { endsEarly: true });
  if (worker.phase !== "ready" && !endedEarly(worker, status)) return; // it was killed by hand
  proveGeneration(turn, worker);
  if (isSuccessor(turn.pool, worker)) takeOver(turn, worker);
}

/** A worker that was to replace another has failed: each further try of its generation waits longer. */
function postponeReplacement(turn: Turn): void {
  const dueFailures = turn.pool.dueFailures + 1;
  update(turn, { dueFailures, dueAfter: turn.now + backoffMs(turn, dueFailures) });
}

/** What a worker should have reached before its end, if it has not. */
function whatItMissed(pool: PoolState, worker: PoolWorker, status: ExitStatus): string | null {
  if (worker.stopping || worker.killedFor !== null) return null;
  if (worker.channel && !worker.begun) return "without reaching the start() it was made for";
  if (worker.phase !== "ready" && !settles(pool, worker)) {
    const why = endedEarly(worker, status) ? whyNotReady(pool, worker) : ""; // any other end tells by itself what was wrong
    return `before it was ready${why}`;
  }
  return isOdd(pool, worker, status) ? "before it was ready, though those of the generation before it stay" : null;
}

/** By itself, and well, before it counted as ready. */
function endedEarly({ phase, sent }: PoolWorker, status: ExitStatus): boolean {
  return phase !== "ready" && status.type === "exited" && status.code === 0 && !sent.some(isStopSignal);
}

/** A build whose workers leave at once, in a pool whose workers stay, is as broken as one that fails. */
function isOdd({ roll, everReady, endsEarly }: PoolState, worker: PoolWorker, status: ExitStatus): boolean {
  if (roll === null || roll.fallback === null || worker.generation !== roll.target.number) return false;
  return everReady && !endsEarly && endedEarly(worker, status);
}

/**
 * An end is expected when the worker returned 0, was told to end, or belongs to an older generation: those never slow
 * the new ones down, as in Parallel::Prefork.
 */
function isExpected(worker: PoolWorker, status: ExitStatus): boolean {
  if (worker.killedFor !== null) return false;
  if (worker.stopping || worker.sent.some(isStopSignal)) return true;
  return status.type === "exited" ? status.code === 0 : worker.sent.includes(status.signal);
}

function describeEnd(worker: PoolWorker, status: ExitStatus, missed: string | null): string {
  if (worker.killedFor !== null) return `was killed: it ${worker.killedFor}`;
  const end = describeStatus(status);
  return missed === null ? end : `${end} ${missed}`;
}

/** Frees the slot, now or after its back-off. Outside `start` nothing would be spawned, and the next one forgets. */
function freeSlot(turn: Turn, worker: PoolWorker, expected: boolean): void {
  const { slot } = worker;
  if (inherit(turn, slot)) return;
  const { troubles, taken, config, current } = turn.pool;
  if (expected || worker.generation !== current.number || turn.pool.mode !== "running") {
    return update(turn, { troubles: troubles.delete(slot), taken: taken.delete(slot) });
  }
  const stable = turn.now - worker.spawnedAt >= config.maxRespawnIntervalMs;
  const failures = stable ? 1 : (troubles.get(slot)?.failures ?? 0) + 1;
  update(turn, { troubles: turn.pool.troubles.set(slot, { failures }) });
  // Its place is taken at once: that is what the other stands by for. If that one fails too, the slot waits.
  const isCovered = failures === 1 && worker.phase === "ready" && hasStandby(turn.pool, current);
  const delayMs = isCovered ? 0 : backoffMs(turn, failures);
  if (!isCovered) tell(turn, { type: "backoff", slot, failures, delayMs });
  if (delayMs === 0) return update(turn, { taken: turn.pool.taken.delete(slot) });
  setTimer(turn, `slot ${slot}`, delayMs, { type: "slotFree", slot });
}

/** The back-off of a slot is over. */
export function slotFree(turn: Turn, slot: number): void {
  if (turn.pool.workers.get(slot) !== undefined) return;
  update(turn, { taken: turn.pool.taken.delete(slot) });
  adjust(turn);
}

/**
 * The first failure waits `errRespawnIntervalMs` to the millisecond, as the ancestor does. Each further one doubles
 * that, and a jitter of half of it keeps slots that failed together from coming back together.
 */
function backoffMs(turn: Turn, failures: number): number {
  const { errRespawnIntervalMs, maxRespawnIntervalMs } = turn.pool.config;
  if (failures === 1 || errRespawnIntervalMs === 0) return errRespawnIntervalMs;
  const full = Math.min(
    errRespawnIntervalMs * 2 ** (failures - 1),
    Math.max(maxRespawnIntervalMs, errRespawnIntervalMs),
  );
  return full / 2 + full / 2 * drawRandom(turn);
}

/** While nothing was ever ready, or did its work before it was, failures count against the whole `start`. */
function countBootFailure(turn: Turn, reason: string): void {
  const { mode, everReady, endsEarly } = turn.pool;
  if (mode !== "running" || everReady || endsEarly) return;
  const bootFailures = turn.pool.bootFailures + 1;
  update(turn, { bootFailures });
  const { maxBootFailures } = turn.pool.config;
  if (maxBootFailures === undefined || bootFailures < maxBootFailures || hasFirstTry(turn.pool)) return;
  endRoll(turn, "stopped", "the pool gave up");
  update(turn, { mode: "idle" });
  tell(turn, { type: "giveUp", failures: bootFailures, reason });
  stopAll(turn);
  effect(turn, { type: "gaveUp", failures: bootFailures, reason });
}

/** Whether a worker is about to be ready whose slot has not failed: it may be as good as the others are bad. */
function hasFirstTry(pool: PoolState): boolean {
  for (const worker of liveWorkers(pool)) {
    const isOnItsWay = worker.pid !== 0 && worker.phase !== "ready" && !worker.stopping && !isStandby(worker);
    if (isOnItsWay && pool.troubles.get(worker.slot) === undefined) return true;
  }
  return false;
}

/** Tells when workers are missing after failures, and when all is well again. */
export function tellHealth(turn: Turn): void {
  const { mode, everReady, degraded, maxWorkers, workers, taken, serving, ready, spawnFailures } = turn.pool;
  if (mode !== "running" || !everReady) return;
  // No slot waits for a worker that could not be made: the whole pool does. Nor will one who leaves be replaced then.
  const cannotMake = spawnFailures > 0;
  const wanted = Math.min(Math.max(taken.size, cannotMake ? countWanted(turn) : 0), maxWorkers);
  const isShort = wanted > (cannotMake ? serving.size : workers.size);
  if (degraded ? isShort || ready.size < serving.size : !isShort) return;
  update(turn, { degraded: !degraded });
  if (degraded) tell(turn, { type: "recovered", ready: ready.size });
  else tell(turn, { type: "degraded", ready: ready.size, wanted });
}

/** Ends `waitAllChildren` when nobody is left. */
export function leaveIfEmpty(turn: Turn): void {
  const { mode, workers, others } = turn.pool;
  if (mode !== "waiting" || workers.size + others.size > 0) return;
  if (!turn.pool.over) tell(turn, { type: "stopped", killed: turn.pool.killed });
  forgetTroubles(turn);
  update(turn, { mode: "idle", over: true, killed: [], degraded: false, replaceBy: null });
  effect(turn, { type: "waited" });
}
