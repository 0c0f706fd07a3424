/**
 * Replacement without a gap: a new worker boots beside the old one, which leaves when the new one is ready. A whole
 * generation is replaced so, behind a canary; if any of the new workers fails, the old generation comes back, and if one
 * of those fails, it is tried again.
 *
 * @module
 */

import { describeWorker } from "./events.ts";
import { isStaffed } from "./pool_policy.ts";
import { dismiss, stopSignal, stopWorker } from "./pool_signals.ts";
import { awaken, isPaced } from "./pool_spawn.ts";
import { canStaff, staffBeside, staffSlot } from "./pool_staffing.ts";
import { dismissStandbys } from "./pool_standby.ts";
import type { Generation, PoolState, PoolWorker, Roll } from "./pool_state.ts";
import {
  dropWorker,
  effect,
  findWorker,
  isHolder,
  putWorker,
  seat,
  tell,
  type Turn,
  update,
  workerInfo,
} from "./turn.ts";
import type { Signal } from "./types.ts";

/** Begins to replace all workers by those of another generation. A change under way is given up for it. */
export function beginRoll(turn: Turn, target: Generation, signal: Signal): void {
  const before = turn.pool.roll;
  endRoll(turn, "superseded", `generation ${target.number} took its place`);
  dismissSuccessors(turn);
  const canarySlot = dismissCanary(turn, before);
  const { current, config, maxWorkers } = turn.pool;
  tell(turn, { type: "reload", generation: target.number, serving: current.number });
  update(turn, { bootFailures: 0 });
  const size = target.rules?.maxWorkers === undefined ? undefined : maxWorkers;
  const fallback = target.rules === undefined ? current : { ...current, rules: { config, maxWorkers: size } };
  const slot = config.maxSurge > 0 ? null : canarySlot ?? freeSlot(turn.pool);
  const roll: Roll = { target, fallback, phase: "canary", canarySlot: slot, signal, cursor: 0 };
  if (hasNothingToLose(turn.pool)) trust(turn, roll);
  else update(turn, { roll });
}

/** Nobody is there who could be replaced: nor does anybody have to prove that it can be done. */
export function hasNothingToLose({ maxWorkers, everReady, taken }: PoolState): boolean {
  return maxWorkers === 0 || (!everReady && taken.size === 0);
}

/** A canary that holds a slot goes with its generation: the next one may have that slot, which this gives. */
function dismissCanary(turn: Turn, roll: Roll | null): number | null {
  const slot = roll?.canarySlot ?? null;
  const canary = slot === null ? undefined : turn.pool.workers.get(slot);
  if (canary === undefined || canary.generation !== roll?.target.number || canary.stopping) return null;
  dismiss(turn, canary, stopSignal(turn.pool));
  return slot;
}

/** A slot where a canary takes nobody's place. The pool would fill it with an old worker first, which then had to leave. */
function freeSlot({ taken, maxWorkers }: PoolState): number | null {
  const slot = taken.firstFree();
  return slot < maxWorkers ? slot : null;
}

/** From here on the pool is as a generation says. */
function follow(turn: Turn, { rules }: Generation): void {
  if (rules === undefined) return;
  const { config, maxWorkers = turn.pool.maxWorkers } = rules;
  update(turn, { config, maxWorkers });
}

/** The pool was given a size by hand: a generation that is to come does not bring one any more. */
export function keepSize(turn: Turn): void {
  const { roll } = turn.pool;
  if (roll?.phase !== "canary" || roll.target.rules?.maxWorkers === undefined) return;
  const target = { ...roll.target, rules: { ...roll.target.rules, maxWorkers: undefined } };
  update(turn, { roll: { ...roll, target } });
}

/** Gives up a change of generation for another reason than a failure of its own. */
export function endRoll(turn: Turn, cause: "superseded" | "stopped", reason: string): void {
  const { roll, current } = turn.pool;
  if (roll === null) return;
  update(turn, { roll: null });
  if (roll.fallback === null) return;
  tell(turn, { type: "reloadFailed", generation: roll.target.number, serving: current.number, cause, reason });
}

/** Stops those that were to replace others. */
export function dismissSuccessors(turn: Turn): void {
  for (const [slot] of turn.pool.successors.entries()) dismissSuccessor(turn, slot);
}

/** Stops the one that was to replace the worker in a slot, if there is one. */
export function dismissSuccessor(turn: Turn, slot: number): void {
  const worker = successorOf(turn.pool, slot);
  if (worker) stopWorker(turn, worker, stopSignal(turn.pool));
}

function successorOf({ successors, others }: PoolState, slot: number): PoolWorker | undefined {
  const id = successors.get(slot);
  return id === undefined ? undefined : others.get(id);
}

/**
 * A worker of the generation that comes has failed: its generation goes, and the one before it stays. On the way back to
 * that nothing is given up: whoever could not be replaced, has its turn again.
 */
export function failRoll(turn: Turn, worker: PoolWorker, how: string): void {
  const { roll } = turn.pool;
  if (roll === null || worker.generation !== roll.target.number || worker.stopping) return;
  const { target, fallback, phase, cursor } = roll;
  if (fallback === null) return update(turn, { roll: { ...roll, cursor: Math.min(cursor, Math.max(0, worker.slot)) } });
  update(turn, { roll: null });
  dismissSuccessors(turn);
  tell(turn, {
    type: "reloadFailed",
    generation: target.number,
    serving: fallback.number,
    cause: "failed",
    reason: `${describeWorker(workerInfo(worker))} ${how}`,
  });
  if (phase === "rolling") follow(turn, withSizeSince(turn.pool, target, fallback));
  update(turn, { current: fallback });
  if (!turn.pool.isMixed) return;
  update(turn, {
    roll: { ...roll, target: fallback, fallback: null, phase: "rolling", canarySlot: null, cursor: 0 },
  });
}

/** A pool whose size was changed by hand while a generation came keeps that size when it has gone again. */
function withSizeSince({ maxWorkers }: PoolState, target: Generation, fallback: Generation): Generation {
  if (fallback.rules === undefined || maxWorkers === target.rules?.maxWorkers) return fallback;
  return { ...fallback, rules: { ...fallback.rules, maxWorkers } };
}

/** A worker of the generation that comes is ready: if it is the first, the others may follow. */
export function proveGeneration(turn: Turn, worker: PoolWorker): void {
  const { roll } = turn.pool;
  if (roll?.phase === "canary" && worker.generation === roll.target.number) trust(turn, roll);
}

/** From here on the generation that comes is the one of which workers are made. */
function trust(turn: Turn, roll: Roll): void {
  forgetTroubles(turn);
  follow(turn, roll.target);
  update(turn, { current: roll.target, isMixed: true, roll: { ...roll, phase: "rolling", canarySlot: null } });
  dismissStandbys(turn, roll.target);
}

/** Gives a successor the slot it was made for, and tells the one who held it to stop. */
export function takeOver(turn: Turn, worker: PoolWorker): void {
  const { slot } = worker;
  const holder = turn.pool.workers.get(slot);
  moveIn(turn, worker);
  if (holder === undefined) return;
  update(turn, { dueFailures: 0, dueAfter: 0 });
  tell(turn, { type: "replace", worker: workerInfo(holder), by: workerInfo(worker) });
  dismiss(turn, holder, turn.pool.roll?.signal ?? stopSignal(turn.pool));
}

/** The holder of a slot is gone: whoever was to replace it need not wait to be ready. Tells whether there is such. */
export function inherit(turn: Turn, slot: number): boolean {
  const heir = successorOf(turn.pool, slot);
  if (heir === undefined || heir.generation !== turn.pool.current.number) return false;
  moveIn(turn, heir);
  return true;
}

function moveIn(turn: Turn, worker: PoolWorker): void {
  const { slot } = worker;
  const holder = turn.pool.workers.get(slot);
  dropWorker(turn, worker);
  seat(turn, worker);
  if (holder) putWorker(turn, holder);
  forgetTrouble(turn, slot);
  update(turn, { taken: turn.pool.taken.add(slot), vacating: turn.pool.vacating.delete(slot) });
}

/** Goes on with replacing workers, as far as its limits allow: a change of generation first, then those that are due. */
export function advance(turn: Turn): void {
  if (turn.pool.mode !== "running") return;
  if (turn.pool.roll) advanceRoll(turn, turn.pool.roll);
  if (turn.pool.roll === null) replaceDue(turn);
}

function advanceRoll(turn: Turn, roll: Roll): void {
  if (turn.pool.maxWorkers === 0) return completeEmpty(turn, roll);
  if (isPaced(turn)) return;
  if (roll.phase === "canary") return sendCanary(turn, roll);
  while (replaceNext(turn, roll));
  if (isDone(turn.pool) && isWhole(turn, roll)) complete(turn, roll.target);
}

function sendCanary(turn: Turn, roll: Roll): void {
  const { successors, serving, maxWorkers, config } = turn.pool;
  if (successors.size > 0) return;
  if (roll.canarySlot !== null && hasRoomIn(turn.pool, roll.canarySlot)) return fillCanarySlot(turn, roll.canarySlot);
  if (config.maxSurge > 0) return staffBeside(turn, Math.max(0, serving.first()), roll.target);
  dismissCanary(turn, roll); // it stands where nobody is to stand any more
  const missed = leastMissed(turn.pool);
  const slot = missed < maxWorkers ? missed : 0; // whoever is left of a bigger pool stands above all slots of this one
  update(turn, { roll: { ...roll, canarySlot: slot } });
  const holder = turn.pool.workers.get(missed);
  if (holder) vacate(turn, holder);
  else fillCanarySlot(turn, slot);
}

/** Whether a slot has room for the canary, or will have: a pool that was made smaller may be full without it. */
function hasRoomIn({ workers, serving, maxWorkers }: PoolState, slot: number): boolean {
  return slot < maxWorkers && (workers.get(slot) !== undefined || serving.size < maxWorkers);
}

/** The slot whose worker is missed least: one that makes room already, else one that is not ready, if there is such. */
function leastMissed({ workers, vacating, serving, maxWorkers }: PoolState): number {
  const vacated = vacating.first();
  if (vacated >= 0 && vacated < maxWorkers) return vacated;
  for (const [slot, { stopping, phase }] of workers.entries()) {
    if (slot < maxWorkers && (stopping || phase !== "ready")) return slot;
  }
  return Math.max(0, serving.first());
}

/** The canary takes its slot as soon as that is empty, even where a policy would leave it so. */
function fillCanarySlot(turn: Turn, slot: number): void {
  const { workers, maxWorkers, roll } = turn.pool;
  if (roll === null || workers.get(slot) !== undefined || workers.size >= maxWorkers) return;
  forgetTrouble(turn, slot);
  staffSlot(turn, slot, roll.target);
}

/** Replaces those that are due, as far as the limits allow. They stay in line until they leave: a replacement may fail. */
function replaceDue(turn: Turn): void {
  for (const ref of turn.pool.due) {
    const worker = findWorker(turn.pool, ref);
    if (worker === undefined || worker.stopping) {
      update(turn, { due: turn.pool.due.filter(({ id }) => id !== ref.id) });
      continue;
    }
    if (!isHolder(turn.pool, ref) || turn.pool.successors.get(ref.slot) !== undefined) continue;
    if (turn.now < turn.pool.dueAfter) return awaken(turn, "due", turn.pool.dueAfter);
    if (!replace(turn, worker)) return;
  }
}

/** Replaces one more worker; false if there is none left, or the limits do not allow it now. */
function replaceNext(turn: Turn, roll: Roll): boolean {
  const holder = nextOutdated(turn, roll);
  if (holder === undefined) return false;
  const { dueAfter } = turn.pool;
  if (roll.fallback !== null || turn.now >= dueAfter) return replace(turn, holder);
  awaken(turn, "due", dueAfter); // those of the failed generation that serve are better than none
  return false;
}

/**
 * Replaces a worker, if the limits allow it now: by one beside it first, else by one after it. Slots that are held back
 * are missing, too: where replacements fail, nobody else is to leave for one.
 */
function replace(turn: Turn, holder: PoolWorker): boolean {
  const { config, current, successors, workers, serving, ready, vacating, taken } = turn.pool;
  if (!canStaff(turn, current)) return false;
  const heldBack = taken.size - workers.size;
  const missing = vacating.size + heldBack + serving.size - ready.size;
  if (successors.size < config.maxSurge) staffBeside(turn, holder.slot, current);
  else if (missing < config.maxUnavailable) vacate(turn, holder);
  else return false;
  return true;
}

/** The first worker that is of another generation, and not being replaced yet. */
function nextOutdated(turn: Turn, { target }: Roll): PoolWorker | undefined {
  const { workers, successors, roll } = turn.pool;
  if (roll === null) return undefined;
  for (let slot = roll.cursor; slot <= workers.last(); slot++) {
    const worker = workers.get(slot);
    if (worker === undefined || worker.stopping || worker.generation === target.number) continue;
    if (successors.get(slot) !== undefined) continue;
    update(turn, { roll: { ...roll, cursor: slot } });
    return worker;
  }
  update(turn, { roll: { ...roll, cursor: workers.last() + 1 } });
  return undefined;
}

function vacate(turn: Turn, holder: PoolWorker): void {
  update(turn, { vacating: turn.pool.vacating.add(holder.slot) });
  dismiss(turn, holder, turn.pool.roll?.signal ?? stopSignal(turn.pool));
}

/**
 * Whether all workers that shall serve are ready, which those of short jobs never are. Called once none of another
 * generation is left to be replaced.
 */
function isDone({ roll, workers, successors, vacating, serving, ready, endsEarly }: PoolState): boolean {
  return roll !== null && roll.cursor > workers.last() && successors.size === 0 && vacating.size === 0 &&
    (endsEarly || ready.size === serving.size);
}

/**
 * Whether all are there that should be: some may wait for the slots of those who leave, or for the policy's own pace. The
 * way back is over as soon as nobody is left who is to go.
 */
function isWhole(turn: Turn, { fallback }: Roll): boolean {
  return fallback === null || turn.pool.endsEarly || isStaffed(turn);
}

/** Nobody is left to be replaced, nor to prove anything. The pool stays empty, since it was told so last. */
function completeEmpty(turn: Turn, { phase, target }: Roll): void {
  if (phase === "canary") follow(turn, target);
  update(turn, { maxWorkers: 0 });
  complete(turn, target);
}

function complete(turn: Turn, target: Generation): void {
  update(turn, { roll: null, current: target, isMixed: false });
  noteWhoStays(turn);
  dismissStandbys(turn, target);
  tell(turn, { type: "reloaded", generation: target.number });
}

/**
 * Where all are ready, workers stay, whatever others did before them. A change of generation is judged by what was so
 * when it began: how its own workers end is what is to be judged.
 */
export function noteWhoStays(turn: Turn): void {
  const { endsEarly, roll, ready, serving } = turn.pool;
  if (!endsEarly || roll !== null || ready.size === 0 || ready.size < serving.size) return;
  update(turn, { endsEarly: false });
}

/** The generation of a worker to be made for a slot. */
export function generationFor({ roll, current }: PoolState, slot: number): Generation {
  return roll?.canarySlot === slot ? roll.target : current;
}

/** What is new owes nothing to the failures of what was before it, nor do those in slots that are not wanted. */
export function forgetTroubles(turn: Turn, from = 0): void {
  for (const [slot] of turn.pool.troubles.entries()) {
    if (slot < from) continue;
    forgetTrouble(turn, slot);
    if (turn.pool.workers.get(slot) === undefined) update(turn, { taken: turn.pool.taken.delete(slot) });
  }
}

function forgetTrouble(turn: Turn, slot: number): void {
  if (turn.pool.troubles.get(slot) === undefined) return;
  effect(turn, { type: "clearTimer", key: `slot ${slot}` });
  update(turn, { troubles: turn.pool.troubles.delete(slot) });
}
