/**
 * What may happen to the model of a pool.
 *
 * @module
 */

import type { PoolModel, Trapped, Worker } from "./pool_model.ts";
import {
  act,
  actAgain,
  type End,
  expectBeat,
  expectBoot,
  isStop,
  killIn,
  reap,
  send,
  stopAll,
} from "./pool_model_life.ts";
import { follow } from "./pool_model_size.ts";
import {
  beginRoll,
  dismissSuccessors,
  forgive,
  giveUpRoll,
  isEmpty,
  noteWhoStays,
  prove,
  replaceNobody,
  takeOver,
} from "./pool_model_roll.ts";
import { forget, ringIn, say } from "./pool_model_clock.ts";

export type { End };

const SETTLE_MS = 1000;

/** A signal that came before makes it return; else a new generation begins. */
export function start(model: PoolModel): void {
  model.newest++;
  model.mode = "running";
  model.bootFailures = 0;
  const signal = model.queue.shift();
  if (signal) act(model, signal);
  else if (!isEmpty(model) && (model.replaces || model.roll !== undefined)) beginRoll(model);
  else replaceNobody(model);
  if (!signal) model.replaces = false;
  follow(model);
}

export function wait(model: PoolModel): void {
  giveUpRoll(model, "stopped");
  dismissSuccessors(model);
  model.mode = "waiting";
  follow(model);
}

export function unwait(model: PoolModel): void {
  model.mode = "idle";
}

export function reload(model: PoolModel): void {
  model.newest++;
  if (model.stoppedAt === undefined) beginRoll(model);
  else say(model, `reload to ${model.newest} stopped, ${model.serving} serves`);
  follow(model);
}

/** Outside `start` a signal waits for the next one, a stop before all others. */
export function signal(model: PoolModel, received: Trapped): void {
  if (model.mode === "running" && model.stoppedAt === undefined) act(model, received);
  else if (model.mode === "running" && received === "SIGTERM") actAgain(model);
  else enqueue(model, received);
  follow(model);
}

function enqueue(model: PoolModel, received: Trapped): void {
  if (!model.queue.includes(received)) model.queue.push(received);
  if (received !== "SIGTERM") return;
  model.queue = [received, ...model.queue.filter((other) => other !== received)];
  if (model.mode === "waiting") stopAll(model);
}

export function resize(model: PoolModel, maxWorkers: number): void {
  model.maxWorkers = maxWorkers;
  forgive(model, maxWorkers);
  follow(model);
}

export function connected(_: PoolModel, worker: Worker): void {
  worker.phase = "starting";
}

export function begun(model: PoolModel, worker: Worker): void {
  worker.hasBegun = true;
  if (model.rules.settles) forget(model, "boot", worker);
  ringIn(model, SETTLE_MS, `settle ${worker.id}`, () => settle(model, worker));
}

/** After a while it counts as ready, where nothing else makes it so; at least it can be told to stop. */
function settle(model: PoolModel, worker: Worker): void {
  if (model.rules.settles) return ready(model, worker);
  worker.hasSettled = true;
  const [stops, others] = [worker.held.filter(isStop), worker.held.filter((signal) => !isStop(signal))];
  worker.held.splice(0, Infinity, ...others);
  for (const signal of stops) send(model, worker, signal);
  follow(model);
}

export function ready(model: PoolModel, worker: Worker): void {
  if (worker.phase === "ready") return;
  worker.phase = "ready";
  worker.hasBegun = true;
  forget(model, "boot", worker);
  forget(model, "settle", worker);
  prove(model, worker);
  model.everReady = model.wasOfUse = true;
  say(model, `${worker.name} ready`);
  expectBeat(model, worker, model.rules.hangTimeoutMs);
  if (worker.place === "successor") takeOver(model, worker);
  noteWhoStays(model);
  for (const signal of worker.held.splice(0)) send(model, worker, signal);
  follow(model);
}

export function beat(model: PoolModel, worker: Worker): void {
  if (worker.phase === "ready" && !worker.isFaulty) expectBeat(model, worker, model.rules.hangTimeoutMs);
}

/** Whatever deadline runs is put off, and none is brought nearer; until then nobody hangs, once it is ready. */
export function extend(model: PoolModel, worker: Worker, ms: number): void {
  if (worker.isFaulty) return;
  const ringsBefore = (key: string) => (model.alarms.get(`${key} ${worker.id}`)?.at ?? Infinity) < model.now + ms;
  worker.extendedUntil = Math.max(worker.extendedUntil, model.now + ms);
  if (ringsBefore("stop")) killIn(model, ms, "stop", worker);
  if (ringsBefore("boot")) expectBoot(model, worker, ms);
  if (worker.phase === "ready") expectBeat(model, worker, model.rules.hangTimeoutMs);
}

export function due(model: PoolModel, worker: Worker): void {
  if (worker.isLeaving || worker.isDue) return;
  worker.isDue = true;
  model.due.push(worker);
  follow(model);
}

export function exit(model: PoolModel, worker: Worker, end: End): void {
  reap(model, worker, end);
  follow(model);
}
