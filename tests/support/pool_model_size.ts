/**
 * How many workers there are in the model of a pool, and whether that is well.
 *
 * @module
 */

import { holderOf, holders, type PoolModel, servers, successors } from "./pool_model.ts";
import { spawn, stop } from "./pool_model_life.ts";
import { dismissSuccessor, forgive, goOn, replaceDue } from "./pool_model_roll.ts";
import { ringIn, say } from "./pool_model_clock.ts";

/** Does what is to be done now, until there is nothing left to do. */
export function follow(model: PoolModel): void {
  adjust(model);
  hear(model);
}

/** Takes the news of what the processes did. */
export function hear(model: PoolModel): void {
  for (let next = model.news.shift(); next; next = model.news.shift()) {
    const before = model.workers;
    next();
    if (model.workers !== before) adjust(model); // somebody is gone
    else takeStock(model);
  }
}

export function adjust(model: PoolModel): void {
  if (model.mode === "running") {
    shrink(model);
    grow(model);
    if (model.roll) goOn(model, model.roll);
    if (!model.roll && model.stoppedAt === undefined) replaceDue(model);
  }
  takeStock(model);
}

function takeStock(model: PoolModel): void {
  tellHealth(model);
  if (model.mode !== "waiting" || model.workers.length > 0) return;
  model.mode = "idle";
  model.replaces = model.isDegraded = false;
  forgive(model);
  model.alarms.clear();
  say(model, "all are gone");
}

function shrink(model: PoolModel): void {
  for (const worker of servers(model).slice(model.maxWorkers).reverse()) {
    dismissSuccessor(model, worker.slot);
    stop(model, worker);
  }
  for (const { slot } of successors(model)) {
    if (slot >= model.maxWorkers && (holderOf(model, slot)?.isLeaving ?? true)) dismissSuccessor(model, slot);
  }
}

function grow(model: PoolModel): void {
  for (let slot = 0; slot < model.maxWorkers && holders(model).length < model.maxWorkers; slot++) {
    if (holderOf(model, slot) || model.heldBack.has(slot)) continue;
    if (isPaced(model)) return;
    spawn(
      model,
      slot,
      model.roll?.canarySlot === slot && !model.roll.isProven ? model.roll.target : model.serving,
      "holder",
    );
  }
}

export function isPaced(model: PoolModel): boolean {
  if (model.now >= model.spawnAfter) return false;
  ringIn(model, model.spawnAfter - model.now, "pace", () => {});
  return true;
}

function tellHealth(model: PoolModel): void {
  if (model.mode !== "running" || !model.everReady) return;
  const isHeldBack = model.heldBack.size > 0 && holders(model).length < model.maxWorkers;
  const isShort = isHeldBack || (model.spawnFailures > 0 && servers(model).length < model.maxWorkers);
  const isWhole = servers(model).every(({ phase }) => phase === "ready");
  if (model.isDegraded ? isShort || !isWhole : !isShort) return;
  model.isDegraded = !model.isDegraded;
  say(model, model.isDegraded ? "degraded" : "recovered");
}
