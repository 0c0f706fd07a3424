/**
 * The life of a worker in the model of a pool: what it is told, how it boots, fails and ends.
 *
 * @module
 */

import { everybody, type PoolModel, type Signal, type Trapped, TRAPS, type Worker } from "./pool_model.ts";
import { adjust } from "./pool_model_size.ts";
import {
  dismissSuccessors,
  failRoll,
  giveUpRoll,
  heir,
  postponeReplacements,
  prove,
  takeOver,
} from "./pool_model_roll.ts";
import { forget, ringIn, say, waitFor } from "./pool_model_clock.ts";

/** How a worker ends. */
export type End = { readonly code: number } | { readonly signal: Signal };

const LAST_LOOK_MS = 100;
const HANG_KILL_MS = 1000;
const LEAST_PAUSE_MS = 100;

/** Acts on a signal: `start` returns, unless it is a stop that waits. */
export function act(model: PoolModel, signal: Trapped): void {
  say(model, `heeds ${signal}`);
  if (signal === "SIGTERM") giveUpRoll(model, "stopped");
  const { drainDelayMs } = model.rules;
  if (signal !== "SIGTERM" || drainDelayMs === 0 || !model.everReady) return returnBy(model, signal);
  say(model, "serves on");
  dismissSuccessors(model);
  model.stoppedAt = model.now;
  ringIn(model, drainDelayMs, "delay", () => returnBy(model, signal));
}

/** A second stop while one waits; but two at once are one. */
export function actAgain(model: PoolModel): void {
  if (model.now - (model.stoppedAt ?? 0) < 5) return;
  say(model, "heeds SIGTERM");
  returnBy(model, "SIGTERM");
}

function returnBy(model: PoolModel, signal: Trapped): void {
  const relay = TRAPS[signal];
  model.stoppedAt = undefined;
  model.alarms.delete("delay");
  model.mode = "idle";
  say(model, `start returns by ${signal}`);
  if (relay === "replace") model.replaces = true;
  else if (signal === "SIGTERM") stopAll(model);
  else for (const worker of everybody(model)) relayTo(model, worker, relay);
}

function relayTo(model: PoolModel, worker: Worker, signal: Signal | null): void {
  if (signal === null || wasTold(worker, signal)) return;
  tell(model, worker, signal);
  if (signal === "SIGTERM" && !worker.hasToEnd) killIn(model, model.rules.reloadTimeoutMs, "stop", worker);
}

export function stopAll(model: PoolModel): void {
  for (const worker of everybody(model)) stop(model, worker);
}

export function stop(model: PoolModel, worker: Worker): void {
  if (worker.hasToEnd) return;
  worker.isLeaving = worker.hasToEnd = true;
  if (worker.place === "successor") worker.place = "replaced";
  killIn(model, model.rules.stopTimeoutMs, "stop", worker);
  tellToEnd(model, worker);
}

/** A worker that has been replaced, or makes room for its replacement. */
export function dismiss(model: PoolModel, worker: Worker): void {
  worker.isLeaving = true;
  if (!worker.hasToEnd) killIn(model, model.rules.reloadTimeoutMs, "stop", worker);
  tellToEnd(model, worker);
}

/** Where no code of its own runs yet, nothing can be lost. */
function tellToEnd(model: PoolModel, worker: Worker): void {
  if (worker.phase === "booting") send(model, worker, "SIGKILL");
  else if (!wasTold(worker, "SIGTERM")) tell(model, worker, "SIGTERM");
}

function tell(model: PoolModel, worker: Worker, signal: Signal): void {
  if (worker.phase === "ready" || (worker.hasSettled && isStop(signal))) send(model, worker, signal);
  else if (!worker.held.includes(signal)) worker.held.push(signal);
}

export function send(model: PoolModel, worker: Worker, signal: Signal): void {
  worker.got.push(signal);
  model.news.push(() => {
    if (worker.name === "") return; // it never was
    say(model, `${worker.name} gets ${signal}`);
    if (signal === "SIGKILL" && model.workers.includes(worker)) reap(model, worker, { signal });
  });
}

export function spawn(model: PoolModel, slot: number, generation: number, place: Worker["place"]): void {
  const worker: Worker = {
    name: "",
    id: model.asked++,
    slot,
    generation,
    place,
    phase: "booting",
    hasBegun: false,
    hasSettled: false,
    bornAt: model.now,
    isLeaving: false,
    hasToEnd: false,
    makesRoom: false,
    isTimed: false,
    isDue: false,
    extendedUntil: 0,
    isFaulty: false,
    got: [],
    held: [],
  };
  model.workers.push(worker);
  if (model.rules.spawnIntervalMs > 0) model.spawnAfter = model.now + model.rules.spawnIntervalMs;
  model.news.push(() => model.failSpawns ? spawnFailed(model, worker) : spawned(model, worker));
}

function spawned(model: PoolModel, worker: Worker): void {
  const count = model.born.get(worker.slot) ?? 0;
  model.born.set(worker.slot, count + 1);
  worker.name = `${worker.slot}${String.fromCharCode(97 + count)}`;
  say(model, `${worker.name} born of generation ${worker.generation}`);
  model.spawnFailures = 0;
  expectBoot(model, worker, model.rules.bootTimeoutMs);
}

/** Seldom the fault of one slot: the whole pool waits, once for all that failed together. */
function spawnFailed(model: PoolModel, worker: Worker): void {
  remove(model, worker);
  if (worker.place === "holder") heir(model, worker.slot);
  const isFirst = model.now > model.spawnFailedAt || model.spawnFailures === 0;
  if (isFirst) {
    model.spawnFailures++;
    model.spawnFailedAt = model.now;
    const floor = Math.max(LEAST_PAUSE_MS, model.spawnAfter - model.now);
    model.spawnAfter = model.now + waitFor(model, "pool", model.spawnFailures, floor);
  }
  if (isFirst) countBootFailure(model);
  failRoll(model, worker);
}

export function reap(model: PoolModel, worker: Worker, end: End): void {
  const { phase, isFaulty, isLeaving, hasBegun } = worker;
  const isEarly = !isLeaving && (!hasBegun || (!model.rules.settles && phase !== "ready"));
  const asTold = isLeaving || worker.got.includes("SIGTERM") ||
    ("signal" in end ? worker.got.includes(end.signal) : end.code === 0);
  const wentEarly = !isLeaving && !isFaulty && phase !== "ready" && "code" in end && end.code === 0 &&
    !worker.got.includes("SIGTERM");
  const isOdd = wentEarly && model.everReady && !model.endsEarly && model.roll?.fallback !== undefined &&
    model.roll.target === worker.generation;
  const isFailure = isFaulty || isEarly || isOdd || !asTold;
  if (!isFailure && wentEarly) model.endsEarly = model.wasOfUse = true;
  if (!isFailure && !isLeaving) provedByItsWork(model, worker);
  const wasSuccessor = worker.place === "successor";
  remove(model, worker);
  say(model, `${worker.name} ${isFailure ? "failed" : "ended"}`);
  if (isFailure) {
    if (phase !== "ready") countBootFailure(model);
    failRoll(model, worker);
    if (wasSuccessor && worker.generation === model.serving) postponeReplacements(model);
  }
  if (worker.place === "holder" && !heir(model, worker.slot)) leaveSlot(model, worker, isFailure);
}

/** One that did its work and left before it counted as ready. */
function provedByItsWork(model: PoolModel, worker: Worker): void {
  prove(model, worker);
  if (worker.place === "successor") takeOver(model, worker);
}

function remove(model: PoolModel, worker: Worker): void {
  model.workers = model.workers.filter((other) => other !== worker);
  for (const what of ["boot", "settle", "beat", "stop", "hang"]) forget(model, what, worker);
}

/** Failures of the generation that serves hold its slot back. */
function leaveSlot(model: PoolModel, { slot, generation, bornAt }: Worker, isFailure: boolean): void {
  if (!isFailure || generation !== model.serving || model.mode !== "running") {
    model.failures.delete(slot);
    return;
  }
  const isStable = model.now - bornAt >= model.rules.maxRespawnIntervalMs;
  const failures = isStable ? 1 : (model.failures.get(slot) ?? 0) + 1;
  model.failures.set(slot, failures);
  const ms = waitFor(model, `slot ${slot}`, failures);
  say(model, `slot ${slot} waits after ${failures}`);
  if (ms === 0) return;
  model.heldBack.add(slot);
  ringIn(model, ms, `slot ${slot}`, () => model.heldBack.delete(slot));
}

function countBootFailure(model: PoolModel): void {
  if (model.wasOfUse || model.mode !== "running") return;
  model.bootFailures++;
  if (model.bootFailures < (model.rules.maxBootFailures ?? Infinity)) return;
  // Whoever holds a place that has not failed is waited for.
  const isNew = ({ name, phase, isLeaving, slot }: Worker) =>
    name !== "" && phase !== "ready" && !isLeaving && !model.failures.has(slot);
  if (model.workers.some(isNew)) return;
  giveUpRoll(model, "stopped");
  model.mode = "idle";
  say(model, "start gives up");
  stopAll(model);
}

export function expectBoot(model: PoolModel, worker: Worker, ms: number): void {
  ringIn(model, ms, `boot ${worker.id}`, () => {
    if (worker.phase === "ready" || (worker.hasBegun && model.rules.settles)) return;
    // It was told to stop, and has so much time for that.
    if (worker.isTimed && worker.got.some(isStop)) return;
    worker.isFaulty = true;
    send(model, worker, "SIGKILL");
  });
}

export function expectBeat(model: PoolModel, worker: Worker, ms: number | undefined): void {
  if (ms === undefined) return;
  ringIn(
    model,
    Math.max(ms, worker.extendedUntil - model.now),
    `beat ${worker.id}`,
    () => ringIn(model, LAST_LOOK_MS, `beat ${worker.id}`, () => hang(model, worker)),
  );
}

function hang(model: PoolModel, worker: Worker): void {
  say(model, `${worker.name} hangs`);
  failRoll(model, worker);
  worker.isLeaving = worker.isFaulty = true;
  send(model, worker, "SIGTERM");
  killIn(model, HANG_KILL_MS, "hang", worker);
  adjust(model);
}

export function killIn(model: PoolModel, ms: number | undefined, why: "stop" | "hang", worker: Worker): void {
  if (ms === undefined) return;
  if (why === "stop") worker.isTimed = true;
  ringIn(model, ms, `${why} ${worker.id}`, () => send(model, worker, "SIGKILL"));
}

export function isStop(signal: Signal): boolean {
  return signal === "SIGTERM";
}

function wasTold({ got, held }: Worker, signal: Signal): boolean {
  return signal === "SIGTERM" && (got.includes(signal) || held.includes(signal));
}
