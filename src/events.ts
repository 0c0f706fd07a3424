/**
 * What happens in a pool, told as values.
 *
 * @module
 */

import type { ExitStatus, ProcessUsage, Relay, Signal, WorkerInfo } from "./types.ts";

/** One thing that happened in a pool. Told apart by `type`. */
export type PreforkEvent =
  /** A worker process was started. */
  | { readonly type: "spawn"; readonly worker: WorkerInfo }
  /** A worker has booted, and waits just before its own code. `usage` is undefined where it cannot be read. */
  | { readonly type: "standby"; readonly worker: WorkerInfo; readonly usage: ProcessUsage | undefined }
  /** A worker that stood by has a slot now, and begins. */
  | { readonly type: "activate"; readonly worker: WorkerInfo }
  /** A worker can handle signals and does its work. */
  | { readonly type: "ready"; readonly worker: WorkerInfo }
  /** A worker is gone. `expected` unless it failed; `reason` says in words how it ended. */
  | {
    readonly type: "reap";
    readonly worker: WorkerInfo;
    readonly status: ExitStatus;
    readonly expected: boolean;
    readonly reason: string;
  }
  /** The manager acts on a trapped signal. */
  | { readonly type: "signal"; readonly signal: Signal; readonly relay: Relay }
  /** Workers serve on for this long before they get what a stop has for them. */
  | { readonly type: "stopDelayed"; readonly signal: Signal; readonly delayMs: number }
  /** A worker was sent a signal. */
  | { readonly type: "relay"; readonly worker: WorkerInfo; readonly signal: Signal }
  /** A worker was told to stop because the pool is to be smaller. */
  | { readonly type: "retire"; readonly worker: WorkerInfo }
  /** A change to another generation begins: one of its workers has to become ready before any other is made. */
  | { readonly type: "reload"; readonly generation: number; readonly serving: number }
  /** All workers are of this generation now, and ready. */
  | { readonly type: "reloaded"; readonly generation: number }
  /**
   * A generation was given up, and why; `serving` is the one that workers are made of from here on. It `failed` if one
   * of its workers did, was `superseded` by a later one, or `stopped` with the pool.
   */
  | {
    readonly type: "reloadFailed";
    readonly generation: number;
    readonly serving: number;
    readonly cause: "failed" | "superseded" | "stopped";
    readonly reason: string;
  }
  /** The replacement of a worker is ready, and the worker is told to stop. */
  | { readonly type: "replace"; readonly worker: WorkerInfo; readonly by: WorkerInfo }
  /**
   * A worker that is gone left processes behind in its process group, whose id was its own: these are told to stop, and
   * killed if they do not.
   */
  | { readonly type: "leftover"; readonly group: number }
  /** All workers are gone that were waited for. Those in `killed` did not stop by themselves. */
  | { readonly type: "stopped"; readonly killed: readonly WorkerInfo[] }
  /** Slots are held back after failures, or no process can be made: fewer workers are ready than are wanted. */
  | { readonly type: "degraded"; readonly ready: number; readonly wanted: number }
  /** No slot is held back any more, and all workers are ready. */
  | { readonly type: "recovered"; readonly ready: number }
  /** A worker's event loop stands still: it is told to stop, and killed at once if it does not. */
  | {
    readonly type: "hang";
    readonly worker: WorkerInfo;
    readonly silentMs: number;
    readonly ageMs: number;
    /** What it used until then; undefined where that cannot be read. */
    readonly usage: ProcessUsage | undefined;
  }
  /** A worker is due to be replaced, as `recycle` says or it asked for itself. */
  | { readonly type: "recycle"; readonly worker: WorkerInfo; readonly reason: string }
  /** A slot waits before its next worker, because its workers failed `failures` times in a row. */
  | { readonly type: "backoff"; readonly slot: number; readonly failures: number; readonly delayMs: number }
  /** A process could not be started; the pool tries again after `delayMs`. */
  | { readonly type: "spawnError"; readonly slot: number; readonly error: unknown; readonly delayMs: number }
  /** A worker did not become ready, or did not stop, in time, and is killed. */
  | { readonly type: "bootTimeout" | "stopTimeout"; readonly worker: WorkerInfo }
  /** A worker said something on its control channel that makes no sense; it is killed. */
  | { readonly type: "protocolError"; readonly worker: WorkerInfo; readonly reason: string }
  /** A hook or the logger threw; the pool goes on. */
  | { readonly type: "hookError"; readonly hook: string; readonly error: unknown }
  /** A new manager was started, by `upgrade`: it has to prove itself, and this one goes on meanwhile. */
  | { readonly type: "upgrade"; readonly pid: number }
  /** The new manager has taken over: this one stops, as by a signal. */
  | { readonly type: "upgraded"; readonly pid: number }
  /**
   * The new manager has not taken over, and is gone; this one is as it was. The new one `failed`, or this one was
   * `stopped` meanwhile.
   */
  | { readonly type: "upgradeFailed"; readonly cause: "failed" | "stopped"; readonly reason: string }
  /** This manager has taken over from the one that started it, and the sockets are its own. */
  | { readonly type: "takeover"; readonly pid: number }
  /** Nothing ever became ready: `start` rejects. */
  | { readonly type: "giveUp"; readonly failures: number; readonly reason: string }
  /** The reader of the events was too slow: this many were dropped. */
  | { readonly type: "dropped"; readonly count: number };

/** How a process ended, in words. */
export function describeStatus(status: ExitStatus): string {
  return status.type === "exited" ? `exited with status ${status.code}` : `was killed by ${status.signal}`;
}

/** A worker's name in every log line: `worker=0 gen=1 pid=42`, or `standby gen=1 pid=42`. */
export function describeWorker({ slot, generation, pid }: WorkerInfo): string {
  return `${describeSlot(slot)} gen=${generation} pid=${pid}`;
}

function describeSlot(slot: number): string {
  return slot < 0 ? "standby" : `worker=${slot}`;
}

/**
 * An event as one line for people.
 *
 * @example
 * ```ts
 * import { formatEvent } from "@prefork/prefork";
 *
 * console.log(formatEvent({ type: "backoff", slot: 2, failures: 1, delayMs: 1000 }));
 * // worker=2 waits 1000 ms before its next start, after 1 failure in a row
 * ```
 */
export function formatEvent(event: PreforkEvent): string {
  switch (event.type) {
    case "spawn":
      return `${describeWorker(event.worker)} spawned`;
    case "standby":
      return `${describeWorker(event.worker)} stands by${describeUsage(event.usage)}`;
    case "activate":
      return `${describeWorker(event.worker)} stood by, and begins`;
    case "ready":
      return `${describeWorker(event.worker)} is ready`;
    case "reap":
      return `${describeWorker(event.worker)} ${event.reason}`;
    case "signal":
      return `received ${event.signal}: ${describeRelay(event.relay)}`;
    case "stopDelayed":
      return `workers serve on for ${event.delayMs} ms before they are told of ${event.signal}`;
    case "relay":
      return `${describeWorker(event.worker)} was sent ${event.signal}`;
    case "retire":
      return `${describeWorker(event.worker)} retires: the pool is to be smaller`;
    case "reload":
      return `reload: generation ${event.generation} has to prove itself, generation ${event.serving} serves meanwhile`;
    case "reloaded":
      return `generation ${event.generation} serves, and no other`;
    case "reloadFailed":
      return event.cause === "failed"
        ? `the reload failed, generation ${event.serving} goes on serving: ${event.reason}`
        : `the reload to generation ${event.generation} was given up: ${event.reason}`;
    case "replace":
      return `${describeWorker(event.worker)} is replaced by gen=${event.by.generation} pid=${event.by.pid}`;
    case "hang":
      return `${describeWorker(event.worker)} hangs: its event loop did not turn for ${event.silentMs} ms; ` +
        `status ${JSON.stringify(event.worker.status)}, age ${event.ageMs} ms${describeUsage(event.usage)}`;
    case "recycle":
      return `${describeWorker(event.worker)} is due to be replaced: it ${event.reason}`;
    case "leftover":
      return `the worker pid=${event.group} left processes behind: they are told to stop`;
    case "stopped":
      return event.killed.length === 0
        ? "all workers have stopped"
        : `all workers are gone; ${event.killed.length} had to be killed: ${
          event.killed.map(describeWorker).join(", ")
        }`;
    case "degraded":
      return `degraded: ${event.ready} of ${event.wanted} workers are ready`;
    case "recovered":
      return `recovered: all ${event.ready} workers are ready`;
    case "backoff":
      return `worker=${event.slot} waits ${Math.round(event.delayMs)} ms before its next start, after ` +
        `${event.failures} failure${event.failures === 1 ? "" : "s"} in a row`;
    case "spawnError":
      return `${describeSlot(event.slot)} could not be started, next try in ${Math.round(event.delayMs)} ms: ` +
        describeError(event.error);
    case "bootTimeout":
      return `${describeWorker(event.worker)} was not ready in time and is killed`;
    case "stopTimeout":
      return `${describeWorker(event.worker)} did not stop in time and is killed`;
    case "protocolError":
      return `${describeWorker(event.worker)} is killed: ${event.reason}`;
    case "hookError":
      return `${event.hook} threw: ${describeError(event.error)}`;
    case "upgrade":
      return `upgrade: the new manager pid=${event.pid} has to prove itself, this one serves meanwhile`;
    case "upgraded":
      return `the new manager pid=${event.pid} has taken over: this one stops`;
    case "upgradeFailed":
      return event.cause === "failed"
        ? `the upgrade failed, this manager goes on: ${event.reason}`
        : `the upgrade was given up: ${event.reason}`;
    case "takeover":
      return `took over from the manager pid=${event.pid}`;
    case "giveUp":
      return `gave up after ${event.failures} failures, and no worker ever became ready: the last one ${event.reason}`;
    case "dropped":
      return `${event.count} events were dropped: their reader was too slow`;
  }
}

function describeUsage(usage: ProcessUsage | undefined): string {
  if (usage === undefined) return "";
  return `, memory ${(usage.memoryBytes / 2 ** 20).toFixed(1)} MiB, CPU ${usage.cpuMs} ms`;
}

function describeRelay(relay: Relay): string {
  if (relay === null) return "no worker is signalled";
  if (typeof relay === "string") return `workers get ${relay}`;
  if ("replace" in relay) return `workers are replaced, and get ${relay.signal} then`;
  return `workers get ${relay.signal}, one every ${relay.intervalMs} ms`;
}

/** What was thrown, in words. */
export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
