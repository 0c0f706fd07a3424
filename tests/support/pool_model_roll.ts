/**
 * Who replaces whom in the model of a pool: a change of generation, and those that are due.
 *
 * @module
 */

import {
  holderOf,
  holders,
  type PoolModel,
  type Roll,
  servers,
  successorOf,
  successors,
  type Worker,
} from "./pool_model.ts";
import { dismiss, spawn, stop } from "./pool_model_life.ts";
import { isPaced } from "./pool_model_size.ts";
import { ringIn, say, waitFor } from "./pool_model_clock.ts";

export function beginRoll(model: PoolModel): void {
  const before = model.roll?.isProven ? undefined : model.roll;
  giveUpRoll(model, "superseded");
  dismissSuccessors(model);
  const canary = before && dismissCanary(model, before);
  const canarySlot = model.rules.maxSurge > 0 ? undefined : canary?.slot ?? freeSlot(model);
  model.bootFailures = 0;
  const roll = { target: model.newest, fallback: model.serving, isProven: false, canarySlot };
  model.roll = roll;
  if (isEmpty(model)) trust(model, roll);
}

/** Nobody is to serve, or nobody was ever ready and nobody is there. */
export function isEmpty(model: PoolModel): boolean {
  return model.maxWorkers === 0 ||
    (!model.everReady && holders(model).length === 0 && model.heldBack.size === 0);
}

/** A canary that holds a slot, if there is one, leaves it to the next. */
function dismissCanary(model: PoolModel, { target, canarySlot }: Roll): Worker | undefined {
  const canary = servers(model).find(({ slot, generation }) => slot === canarySlot && generation === target);
  if (canary) dismiss(model, canary);
  return canary;
}

function freeSlot(model: PoolModel): number | undefined {
  const slots = Array.from({ length: model.maxWorkers }, (_, slot) => slot);
  return slots.find((slot) => holderOf(model, slot) === undefined && !model.heldBack.has(slot));
}

export function replaceNobody(model: PoolModel): void {
  giveUpRoll(model, "superseded");
  dismissSuccessors(model);
  model.serving = model.newest;
  model.isMixed = false;
  forgive(model);
}

function complete(model: PoolModel, { target }: Roll): void {
  model.roll = undefined;
  model.serving = target;
  model.isMixed = false;
  noteWhoStays(model);
  say(model, `reload to ${target} is done`);
}

/** What early ends mean is known anew whenever all are ready, but while a change of generation is judged by it. */
export function noteWhoStays(model: PoolModel): void {
  const all = servers(model);
  if (model.roll === undefined && all.length > 0 && all.every(({ phase }) => phase === "ready")) {
    model.endsEarly = false;
  }
}

export function giveUpRoll(model: PoolModel, cause: "superseded" | "stopped"): void {
  if (model.roll?.fallback !== undefined) {
    say(model, `reload to ${model.roll.target} ${cause}, ${model.serving} serves`);
  }
  model.roll = undefined;
}

/** A worker of the generation that comes has failed. Whoever is on the way back is replaced sooner or later. */
export function failRoll(model: PoolModel, worker: Worker): void {
  const roll = model.roll;
  if (roll?.fallback === undefined || worker.generation !== roll.target || worker.isLeaving) return;
  model.roll = undefined;
  dismissSuccessors(model);
  model.serving = roll.fallback;
  say(model, `reload to ${roll.target} failed, ${roll.fallback} serves`);
  if (model.isMixed) {
    model.roll = { target: roll.fallback, fallback: undefined, isProven: true, canarySlot: undefined };
  }
}

/** The first of a generation that comes to be ready: the others may follow. */
export function prove(model: PoolModel, worker: Worker): void {
  const { roll } = model;
  if (roll !== undefined && !roll.isProven && worker.generation === roll.target) trust(model, roll);
}

function trust(model: PoolModel, roll: Roll): void {
  roll.isProven = model.isMixed = true;
  model.serving = roll.target;
  forgive(model);
}

export function goOn(model: PoolModel, roll: Roll): void {
  if (model.maxWorkers === 0) return complete(model, roll);
  if (isPaced(model)) return;
  if (!roll.isProven) return sendCanary(model, roll);
  const old = servers(model).filter(({ generation, slot }) => generation !== roll.target && !successorOf(model, slot));
  const isOnItsWayBack = roll.fallback === undefined;
  if (isOnItsWayBack && old.length > 0 && model.now < model.dueAfter) {
    return ringIn(model, model.dueAfter - model.now, "due", () => {});
  }
  if (!old.every((worker) => replace(model, worker))) return;
  const isWhole = isOnItsWayBack || model.endsEarly || servers(model).length >= model.maxWorkers;
  const isReady = model.endsEarly || servers(model).every(({ phase }) => phase === "ready");
  if (successors(model).length === 0 && isWhole && isReady && !holders(model).some(({ makesRoom }) => makesRoom)) {
    complete(model, roll);
  }
}

function sendCanary(model: PoolModel, roll: Roll): void {
  if (successors(model).length > 0) return;
  if (model.rules.maxSurge > 0) return spawn(model, servers(model)[0]?.slot ?? 0, roll.target, "successor");
  const slot = roll.canarySlot;
  const hasRoom = slot !== undefined && slot < model.maxWorkers &&
    (holderOf(model, slot) !== undefined || servers(model).length < model.maxWorkers);
  if (!hasRoom) {
    dismissCanary(model, roll);
    const missed = leastMissed(model);
    roll.canarySlot = missed < model.maxWorkers ? missed : 0; // all slots are free but for those of a bigger pool
    const holder = holderOf(model, missed);
    if (holder) return makeRoom(model, holder);
  }
  if (roll.canarySlot === undefined || holderOf(model, roll.canarySlot) || holders(model).length >= model.maxWorkers) {
    return;
  }
  forgiveSlot(model, roll.canarySlot);
  spawn(model, roll.canarySlot, roll.target, "holder");
}

function leastMissed(model: PoolModel): number {
  const inside = holders(model).filter(({ slot }) => slot < model.maxWorkers);
  const least = inside.find(({ makesRoom }) => makesRoom) ??
    inside.find(({ isLeaving, phase }) => isLeaving || phase !== "ready") ?? servers(model)[0];
  return least?.slot ?? 0;
}

export function replaceDue(model: PoolModel): void {
  for (const worker of [...model.due]) {
    const isOver = !model.workers.includes(worker) || worker.isLeaving;
    if (isOver) model.due = model.due.filter((other) => other !== worker);
    if (isOver || worker.place === "successor" || successorOf(model, worker.slot)) continue;
    if (model.now < model.dueAfter) return ringIn(model, model.dueAfter - model.now, "due", () => {});
    if (!replace(model, worker)) return;
  }
}

/** By one beside it first, else by one after it; false if the limits do not allow it now. */
function replace(model: PoolModel, holder: Worker): boolean {
  if (isPaced(model)) return false;
  const missing = holders(model).filter(({ makesRoom, isLeaving, phase }) =>
    makesRoom || (!isLeaving && phase !== "ready")
  );
  if (successors(model).length < model.rules.maxSurge) spawn(model, holder.slot, model.serving, "successor");
  else if (missing.length + model.heldBack.size < model.rules.maxUnavailable) makeRoom(model, holder);
  else return false;
  return true;
}

function makeRoom(model: PoolModel, holder: Worker): void {
  holder.makesRoom = true;
  dismiss(model, holder);
}

export function takeOver(model: PoolModel, worker: Worker): void {
  const holder = holderOf(model, worker.slot);
  moveIn(model, worker);
  if (holder === undefined) return;
  holder.place = "replaced";
  model.dueFailures = model.dueAfter = 0;
  dismiss(model, holder);
}

/** Whoever was to replace the worker of a slot that is gone need not wait to be ready. */
export function heir(model: PoolModel, slot: number): boolean {
  const heir = successorOf(model, slot);
  if (heir === undefined || heir.generation !== model.serving) return false;
  moveIn(model, heir);
  return true;
}

function moveIn(model: PoolModel, worker: Worker): void {
  worker.place = "holder";
  forgiveSlot(model, worker.slot);
}

export function dismissSuccessors(model: PoolModel): void {
  for (const { slot } of successors(model)) dismissSuccessor(model, slot);
}

export function dismissSuccessor(model: PoolModel, slot: number): void {
  const worker = successorOf(model, slot);
  if (worker) stop(model, worker);
}

export function postponeReplacements(model: PoolModel): void {
  model.dueFailures++;
  model.dueAfter = model.now + waitFor(model, "due", model.dueFailures);
}

/** What is new owes nothing to the failures of what was before it, nor do those in slots that are not wanted. */
export function forgive(model: PoolModel, from = 0): void {
  for (const slot of [...model.heldBack, ...model.failures.keys()]) if (slot >= from) forgiveSlot(model, slot);
}

function forgiveSlot(model: PoolModel, slot: number): void {
  model.heldBack.delete(slot);
  model.failures.delete(slot);
  model.alarms.delete(`slot ${slot}`);
}
