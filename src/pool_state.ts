/**
 * What the pool knows, what it hears, and what it wants done.
 *
 * @module
 */

import type { PreforkEvent } from "./events.ts";
import type { Policy } from "./policy.ts";
import { SlotSet, TakenSlots } from "./slot_set.ts";
import { emptySlots, type SlotMap } from "./slots.ts";
import type { ExitStatus, ProcessUsage, Relays, Signal, WorkerInfo } from "./types.ts";

/** The rules of a pool, fixed when it is made. Times are in milliseconds. */
export interface PoolConfig {
  readonly trapSignals: Relays;
  readonly policy: Policy;
  readonly spawnIntervalMs: number;
  readonly errRespawnIntervalMs: number;
  readonly maxRespawnIntervalMs: number;
  readonly bootTimeoutMs: number;
  /** Whether a worker with a control channel that says nothing is ready once it has run for a while. */
  readonly settles: boolean;
  /**
   * How long after one question the manager asks a worker the next time whether it is ready; undefined if workers tell
   * that themselves.
   */
  readonly probeIntervalMs: number | undefined;
  readonly stopTimeoutMs: number;
  /** How long workers serve on after a stop before they are told. */
  readonly drainDelayMs: number;
  /** Deadline of a worker that was told to end by a relay that is no stop, or by its replacement; none if undefined. */
  readonly reloadTimeoutMs: number | undefined;
  /** How many replacements may boot beside the workers they are to replace. */
  readonly maxSurge: number;
  /** How many workers may be missing because of replacements. */
  readonly maxUnavailable: number;
  /** How long a worker's event loop may stand still; no limit if undefined. */
  readonly hangTimeoutMs: number | undefined;
  readonly recycle: Recycling;
  /** How many workers wait just before their own code. */
  readonly standby: number;
  /** How many workers may fail before the first one ever became ready; no limit if undefined. */
  readonly maxBootFailures: number | undefined;
}

/** When a worker is due to be replaced; no limit where undefined. */
export interface Recycling {
  readonly maxRequests: number | undefined;
  readonly maxLifetimeMs: number | undefined;
  readonly maxMemoryBytes: number | undefined;
  readonly maxLagMs: number | undefined;
  /** By which part of them limits may be smaller, drawn anew for each worker. */
  readonly jitter: number;
}

/** Names one worker for good: slots are reused, ids are not. */
export interface WorkerRef {
  readonly slot: number;
  readonly id: number;
}

/**
 * One worker. `booting`: no code of its own runs yet. `standby`: it waits just before that. `starting`: its code runs, but
 * may not handle signals yet, so they are held. `ready`: it handles signals. Being told to stop is apart from that, since
 * a worker may be told at any time.
 */
export interface PoolWorker extends WorkerRef {
  readonly pid: number;
  readonly generation: number;
  readonly phase: "booting" | "standby" | "starting" | "ready";
  /** The rules under which it was made. */
  readonly config: PoolConfig;
  /** A worker with a control channel tells when it begins; one without begins when it is spawned. */
  readonly channel: boolean;
  /** Whether it reached the code it was made for. */
  readonly begun: boolean;
  /** Whether it was told to stop. */
  readonly stopping: boolean;
  /** Whether it was told so because the pool stops or shrinks, so that it has `stopTimeoutMs` for it. */
  readonly hasToEnd: boolean;
  /** Whether it can take signals, though it is not ready yet. */
  readonly settled: boolean;
  /** Why it is not ready, as it was seen last; null if that is not known. */
  readonly saw: string | null;
  /** Until when it has time to stop, for whatever reason it was told so; null if that is not limited. */
  readonly stopDue: number | null;
  readonly held: readonly Signal[];
  /** Signals that it was sent: dying of one of them is no failure. */
  readonly sent: readonly Signal[];
  /** When its process was made, or is to be. */
  readonly spawnedAt: number;
  readonly status: string;
  /** Whether it counts as idle. */
  readonly isIdle: boolean;
  /** Whether it is to be replaced. */
  readonly isDue: boolean;
  /** Until when it has asked for time, to become ready or to show life. */
  readonly extendedUntil: number;
  /** How many of its last beats came late. */
  readonly lateBeats: number;
  /** Why the pool itself killed it, if it did. */
  readonly killedFor: string | null;
}

/** A generation of workers: what one `start` or reload asked for. */
export interface Generation {
  readonly number: number;
  /** Whether its workers have a control channel. */
  readonly channel: boolean;
  /** What the pool is to be like from this generation on; as it is, if undefined. */
  readonly rules?: Rules | undefined;
}

/** What a reload may change of a pool. */
export interface Rules {
  readonly config: PoolConfig;
  /** As it is if undefined. */
  readonly maxWorkers: number | undefined;
}

/** A change from one generation to another, one worker after the other. */
export interface Roll {
  /** The generation that comes. */
  readonly target: Generation;
  /** The one to return to if it fails; null if this is such a return, which is tried until it is done. */
  readonly fallback: Generation | null;
  /** In `canary` one worker has to become ready before any other is made. */
  readonly phase: "canary" | "rolling";
  /** The slot in which the canary stands, or shall, if it is not made beside its predecessor. */
  readonly canarySlot: number | null;
  /** What a worker gets whose replacement is ready. */
  readonly signal: Signal;
  /** Every worker in a slot below is replaced, or about to be. */
  readonly cursor: number;
}

/** A slot whose workers failed: how often in a row. */
export interface Trouble {
  readonly failures: number;
}

/** A relay that reaches one worker at a time. */
export interface Stagger {
  readonly signal: Signal;
  readonly intervalMs: number;
  readonly stop: boolean;
  readonly rest: readonly WorkerRef[];
}

/** A stop that workers are not told of yet. */
export interface Delayed {
  readonly signal: Signal;
  readonly since: number;
}

/** Everything the pool knows. Replaced, never changed. */
export interface PoolState {
  readonly config: PoolConfig;
  /** `running` inside `start`, `waiting` inside `waitAllChildren`, else `idle`. */
  readonly mode: "idle" | "running" | "waiting";
  /** The generation of which workers are made. */
  readonly current: Generation;
  /** The number of the newest generation. */
  readonly generation: number;
  readonly maxWorkers: number;
  readonly nextId: number;
  /** The workers that hold a slot. */
  readonly workers: SlotMap<PoolWorker>;
  /** All other live workers, by id: those to replace the holder of their slot, and those who were replaced. */
  readonly others: SlotMap<PoolWorker>;
  /** Who is to replace the holder of a slot: its id. */
  readonly successors: SlotMap<number>;
  /** Those of `workers` not told to stop. */
  readonly serving: SlotSet;
  /** Those of `serving` that are ready. */
  readonly ready: SlotSet;
  /** Those of `serving` that are idle. */
  readonly idle: SlotSet;
  /** Slots that hold a worker, or are held back after a failure. */
  readonly taken: TakenSlots;
  readonly troubles: SlotMap<Trouble>;
  /** Signals that no `start` has seen yet; each at most once, stops first. */
  readonly queue: readonly Signal[];
  readonly stagger: Stagger | null;
  readonly delayed: Delayed | null;
  readonly roll: Roll | null;
  /** Whether a generation has begun to replace the workers, and was not done with it: some may be of another one. */
  readonly isMixed: boolean;
  /** Workers to be replaced, the first that asked first. */
  readonly due: readonly WorkerRef[];
  /** None of them is replaced before this time. */
  readonly dueAfter: number;
  readonly dueFailures: number;
  /** Slots whose worker was told to stop before its replacement was made. */
  readonly vacating: SlotSet;
  /** Those of `others` that wait to be activated, or boot to do so, by id, the oldest first. */
  readonly standbys: readonly number[];
  /** The slots of those who were activated, by id: what they say may still come from the time when they had none. */
  readonly seats: SlotMap<number>;
  /** No standby is made before this time. */
  readonly standbyAfter: number;
  readonly standbyFailures: number;
  /** The next `start` replaces the workers, which get this signal then. */
  readonly replaceBy: Signal | null;
  /** No worker is spawned before this time. */
  readonly spawnAfter: number;
  readonly spawnFailures: number;
  /** When the last one of them was counted. */
  readonly spawnFailedAt: number;
  /** The policy changes nothing before this time. */
  readonly policyAfter: number;
  readonly lastGrowth: number;
  /** Since when the policy has wanted fewer workers, without a break; Infinity if it does not. */
  readonly surplusSince: number;
  readonly everReady: boolean;
  /** Whether workers end well before they count as ready, as those of short jobs do: one did since all were ready. */
  readonly endsEarly: boolean;
  /** Whether workers are missing after failures, though some were ready before. */
  readonly degraded: boolean;
  /** Whether there was no `start` yet, or all workers are gone that were made since, and it was told. */
  readonly over: boolean;
  /** Those that had to be killed to stop them, since the last `start`. */
  readonly killed: readonly WorkerInfo[];
  readonly bootFailures: number;
  /** Seed of the jitter. */
  readonly random: number;
}

/** What the pool hears. */
export type Input =
  | { readonly type: "start" | "reload"; readonly generation: Generation }
  | { readonly type: "wait" }
  | { readonly type: "unwait" }
  /** A signal came; an urgent one is acted on at once. */
  | { readonly type: "signal"; readonly signal: Signal; readonly isUrgent?: true }
  | { readonly type: "signalAll"; readonly signal: Signal; readonly slot?: number }
  | { readonly type: "stopAll" }
  | { readonly type: "setMaxWorkers"; readonly maxWorkers: number }
  | { readonly type: "spawned"; readonly pid: number } & WorkerRef
  | { readonly type: "spawnFailed"; readonly error: unknown } & WorkerRef
  | { readonly type: "spawnCancelled" | "connected" | "parked" | "begun" | "ready" } & WorkerRef
  /** What a worker does, and whether it counts as idle: open if undefined. */
  | { readonly type: "status"; readonly status: string; readonly isIdle?: boolean } & WorkerRef
  | { readonly type: "rejected"; readonly reason: string } & WorkerRef
  | { readonly type: "exited"; readonly status: ExitStatus } & WorkerRef
  | { readonly type: "settled" | "probeDue" } & WorkerRef
  /** A worker was asked whether it is ready: what was seen in the place of a good answer. */
  | { readonly type: "checked"; readonly saw: string | undefined } & WorkerRef
  | { readonly type: "stopDeadline"; readonly due: number; readonly delayMs: number } & WorkerRef
  | { readonly type: "bootDeadline"; readonly due: number } & WorkerRef
  | { readonly type: "beat"; readonly lagMs: number } & WorkerRef
  | { readonly type: "extend"; readonly delayMs: number } & WorkerRef
  | { readonly type: "noBeat"; readonly due: number; readonly isSuspect: boolean } & WorkerRef
  | { readonly type: "examined"; readonly sinceHeldMs: number; readonly usage: ProcessUsage | undefined } & WorkerRef
  | { readonly type: "due"; readonly reason: string } & WorkerRef
  | { readonly type: "slotFree"; readonly slot: number }
  | { readonly type: "adjust" }
  | { readonly type: "stagger" }
  | { readonly type: "delayOver" };

/** What the pool wants done. */
export type Effect =
  | { readonly type: "spawn"; readonly generation: Generation } & WorkerRef
  | { readonly type: "welcome" | "hold" | "parked" | "endProbe" } & WorkerRef
  | { readonly type: "examine"; readonly pid: number } & WorkerRef
  | { readonly type: "probe"; readonly pid: number } & WorkerRef
  | {
    readonly type: "reaped";
    readonly status: ExitStatus;
    /** Whether its whole process group was killed. */
    readonly isCleared: boolean;
  } & WorkerRef
  | { readonly type: "kill"; readonly pid: number; readonly signal: Signal; readonly group: boolean }
  | { readonly type: "setTimer"; readonly key: string; readonly at: number; readonly input: Input }
  | { readonly type: "clearTimer"; readonly key: string }
  | { readonly type: "event"; readonly event: PreforkEvent }
  | { readonly type: "returned"; readonly signal: Signal }
  | { readonly type: "gaveUp"; readonly failures: number; readonly reason: string }
  | { readonly type: "waited" };

/** A pool that has no workers yet and is in no `start`. */
export function emptyPool(config: PoolConfig, maxWorkers: number, seed: number): PoolState {
  return {
    config,
    mode: "idle",
    current: { number: 0, channel: true },
    generation: 0,
    maxWorkers,
    nextId: 1,
    workers: emptySlots(),
    others: emptySlots(),
    successors: emptySlots(),
    serving: SlotSet.empty,
    ready: SlotSet.empty,
    idle: SlotSet.empty,
    taken: TakenSlots.none,
    troubles: emptySlots(),
    queue: [],
    stagger: null,
    delayed: null,
    roll: null,
    isMixed: false,
    due: [],
    dueAfter: 0,
    dueFailures: 0,
    vacating: SlotSet.empty,
    standbys: [],
    seats: emptySlots(),
    standbyAfter: 0,
    standbyFailures: 0,
    replaceBy: null,
    spawnAfter: 0,
    spawnFailures: 0,
    spawnFailedAt: 0,
    policyAfter: 0,
    lastGrowth: 0,
    surplusSince: Infinity,
    everReady: false,
    endsEarly: false,
    degraded: false,
    over: true,
    killed: [],
    bootFailures: 0,
    random: seed >>> 0,
  };
}
