/**
 * Who is sent what, and when: relays at once and staggered, signals held back until a worker can take them, stops with
 * their deadline.
 *
 * @module
 */

import type { PoolState, PoolWorker, Stagger, WorkerRef } from "./pool_state.ts";
import { isReplacing, isStopSignal, isUncatchable, relayedSignal } from "./signals.ts";
import {
  effect,
  findWorker,
  isStandby,
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
import type { Relay, Signal, StaggeredRelay } from "./types.ts";

/** What the workers get for `signal`. A stop that nobody trapped is passed on as the ancestor does by default. */
export function relayFor(pool: PoolState, signal: Signal): Relay {
  const relay = pool.config.trapSignals[signal];
  if (relay !== undefined) return relay;
  return isStopSignal(signal) ? "SIGTERM" : null;
}

/** The signal that tells a worker to stop, when no signal was received. */
export function stopSignal(pool: PoolState): Signal {
  return relayedSignal(pool.config.trapSignals.SIGTERM) ?? "SIGTERM";
}

/** Keeps a signal for the next `start`: each at most once, as the kernel does, and stops before all others. */
export function enqueueSignal(turn: Turn, signal: Signal): void {
  const { queue } = turn.pool;
  if (queue.includes(signal)) return;
  const first = isStopSignal(signal) ? queue.findIndex((other) => !isStopSignal(other)) : -1;
  update(turn, { queue: first < 0 ? [...queue, signal] : queue.toSpliced(first, 0, signal) });
}

/** Acts on a signal inside `start`, which returns by it. */
export function actOnSignal(turn: Turn, signal: Signal): void {
  tellSignal(turn, signal);
  returnBy(turn, signal);
}

/** Tells of a signal that is acted on. */
export function tellSignal(turn: Turn, signal: Signal): void {
  tell(turn, { type: "signal", signal, relay: relayFor(turn.pool, signal) });
}

/** Has `start` return by a signal, of which the workers get what they are to get. */
export function returnBy(turn: Turn, signal: Signal): void {
  const relay = relayFor(turn.pool, signal);
  update(turn, { mode: "idle" });
  if (isReplacing(relay)) update(turn, { replaceBy: relay.signal });
  else relayToAll(turn, relay, isStopSignal(signal));
  effect(turn, { type: "returned", signal });
}

/** Passes a relay on to the workers: to all now, or to the oldest now and to the next one each interval. */
function relayToAll(turn: Turn, relay: Signal | StaggeredRelay | null, stop: boolean): void {
  if (relay === null) return;
  effect(turn, { type: "clearTimer", key: "stagger" });
  update(turn, { stagger: null });
  const all = [...liveWorkers(turn.pool)];
  if (stop) { for (const worker of all.filter(isStandby)) stopWorker(turn, worker, stopSignal(turn.pool)); }
  const workers = all.filter((worker) => !isStandby(worker));
  if (typeof relay === "string") return workers.forEach((worker) => deliver(turn, worker, relay, stop));
  const byAge = workers.map(({ slot, id }) => ({ slot, id })).sort((a, b) => a.id - b.id);
  update(turn, { stagger: { signal: relay.signal, intervalMs: relay.intervalMs, stop, rest: byAge } });
  staggerNext(turn);
}

/** Signals the next worker of a staggered relay that still lives. */
export function staggerNext(turn: Turn): void {
  const stagger = turn.pool.stagger;
  if (stagger === null) return;
  const at = stagger.rest.findIndex((ref) => {
    const worker = findWorker(turn.pool, ref);
    return worker !== undefined && (stagger.stop ? !worker.hasToEnd : !wasTold(worker, stagger.signal));
  });
  const ref = stagger.rest[at];
  const worker = ref && findWorker(turn.pool, ref);
  if (worker === undefined) return update(turn, { stagger: null });
  const rest = stagger.rest.slice(at + 1);
  const left: Stagger | null = rest.length === 0 ? null : { ...stagger, rest };
  update(turn, { stagger: left });
  deliver(turn, worker, stagger.signal, stagger.stop);
  if (left) setTimer(turn, "stagger", stagger.intervalMs, { type: "stagger" });
}

/** Gives a worker a signal: as a stop with its deadline, or as a relay that may mean anything. */
function deliver(turn: Turn, worker: PoolWorker, signal: Signal, stop: boolean): void {
  if (stop) return stopWorker(turn, worker, signal);
  if (wasTold(worker, signal)) return;
  signalWorker(turn, worker, signal);
  if (isStopSignal(signal)) armReloadDeadline(turn, worker);
}

/** Tells a worker to stop whose replacement is there, or comes: it may take as long as a reload allows. */
export function dismiss(turn: Turn, worker: PoolWorker, signal: Signal): void {
  const leaving = { ...worker, stopping: true };
  putWorker(turn, leaving);
  endProbe(turn, worker);
  relayTo(turn, leaving, worker.phase === "booting" ? "SIGKILL" : signal);
  armReloadDeadline(turn, worker);
}

/** A worker that has to end keeps the deadline it has for that. */
function armReloadDeadline(turn: Turn, worker: PoolWorker): void {
  const { reloadTimeoutMs } = worker.config;
  if (reloadTimeoutMs === undefined || findWorker(turn.pool, worker)?.hasToEnd) return;
  armStopDeadline(turn, worker, reloadTimeoutMs);
}

/**
 * Passes a signal on. One that tells to stop is passed on once: a worker that answers what is open takes the second one
 * for "at once".
 */
function relayTo(turn: Turn, worker: PoolWorker, signal: Signal): void {
  if (!wasTold(worker, signal)) signalWorker(turn, worker, signal);
}

function wasTold(worker: PoolWorker, signal: Signal): boolean {
  return isStopSignal(signal) && (worker.sent.includes(signal) || worker.held.includes(signal));
}

/** A worker that is not ready may have settled so far that it can be told to stop; one that stands by has nothing to lose. */
function canTake({ phase, settled }: PoolWorker, signal: Signal): boolean {
  return phase === "ready" || phase === "standby" || (settled && isStopSignal(signal));
}

/** Sends a signal once the worker can handle it: a relay must not kill a worker that has not put up its handlers. */
export function signalWorker(turn: Turn, worker: PoolWorker, signal: Signal): void {
  const isTaken = canTake(worker, signal) || (isUncatchable(signal) && worker.pid !== 0);
  if (isTaken) return sendSignal(turn, worker, signal);
  if (!worker.held.includes(signal)) putWorker(turn, { ...worker, held: [...worker.held, signal] });
}

/** Tells a worker to stop. One whose own code has not begun holds nothing that could be lost, and is ended at once. */
export function stopWorker(turn: Turn, worker: PoolWorker, signal: Signal): void {
  const stopping = { ...worker, stopping: true, hasToEnd: true };
  putWorker(turn, stopping);
  endProbe(turn, worker);
  relayTo(turn, stopping, worker.phase === "booting" ? "SIGKILL" : signal);
  if (!worker.hasToEnd) armStopDeadline(turn, worker, worker.config.stopTimeoutMs);
}

/** Whether a worker is ready that is to leave is no question any more. */
function endProbe(turn: Turn, { slot, id, phase }: PoolWorker): void {
  if (phase === "ready" || turn.pool.config.probeIntervalMs === undefined) return;
  effect(turn, { type: "clearTimer", key: timerKey.probe({ slot, id }) });
  effect(turn, { type: "endProbe", slot, id });
}

/** Gives a worker so much time to stop, from now on. */
export function armStopDeadline(turn: Turn, ref: WorkerRef, delayMs: number): void {
  const worker = findWorker(turn.pool, ref);
  if (worker === undefined) return;
  putWorker(turn, { ...worker, stopDue: turn.now + delayMs });
  killIn(turn, timerKey.stop(ref), ref, delayMs);
}

/** Kills a worker that is there still in `delayMs`. */
export function killIn(turn: Turn, key: string, { slot, id }: WorkerRef, delayMs: number): void {
  setTimer(turn, key, delayMs, { type: "stopDeadline", slot, id, due: turn.now + delayMs, delayMs });
}

/** Tells one more worker to stop because the pool is to be smaller. */
export function retire(turn: Turn, worker: PoolWorker): void {
  tell(turn, { type: "retire", worker: workerInfo(worker) });
  stopWorker(turn, worker, stopSignal(turn.pool));
}

/** Tells every worker that was not told yet to stop. */
export function stopAll(turn: Turn, signal: Signal = stopSignal(turn.pool)): void {
  for (const worker of liveWorkers(turn.pool)) {
    if (!worker.hasToEnd) stopWorker(turn, worker, signal);
  }
}

/** Sends what was held back. */
export function flushHeld(turn: Turn, worker: PoolWorker): void {
  const taken = worker.held.filter((signal) => canTake(worker, signal));
  if (taken.length === 0) return;
  putWorker(turn, { ...worker, held: worker.held.filter((signal) => !taken.includes(signal)) });
  for (const signal of taken) {
    const current = findWorker(turn.pool, worker);
    if (current) sendSignal(turn, current, signal);
  }
}

/** Notes, for the end of the pool, a worker that did not stop by itself. */
export function noteKilled(turn: Turn, worker: PoolWorker): void {
  const { mode, killed } = turn.pool;
  if (mode === "running" || worker.pid === 0 || killed.some(({ pid }) => pid === worker.pid)) return;
  update(turn, { killed: [...killed, workerInfo(worker)] });
}
