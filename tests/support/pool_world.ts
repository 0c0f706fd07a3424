/**
 * A pool and the world around it as one value, for searches: every move gives another world and leaves this one as it
 * is. Time stands still, and any timer may fire at any moment, so that a search meets all orders that any timing allows;
 * only for the timer of those that are to be replaced it is the time by then.
 *
 * @module
 */

import { step } from "../../src/pool.ts";
import { type Effect, emptyPool, type Input, type PoolConfig, type PoolState } from "../../src/pool_state.ts";
import { fixedPool } from "../../src/policy.ts";
import { isHolder } from "../../src/turn.ts";
import type { PreforkEvent } from "../../src/events.ts";
import { isStopSignal } from "../../src/signals.ts";
import type { ExitStatus, Signal } from "../../src/types.ts";

/** A live process. */
export interface Process {
  readonly slot: number;
  readonly id: number;
  readonly stage: "booting" | "begun" | "ready";
  readonly signals: readonly Signal[];
}

/** What may happen in a world. */
export interface Manners {
  /** Whether processes begin and are ready in one move, and die of SIGKILL or leave when they are replaced in none. */
  readonly isQuick: boolean;
  /** What may be asked of the pool as its size. */
  readonly sizes: readonly number[];
  /** Whether workers are due to be replaced, now and then. */
  readonly isRecycling: boolean;
}

export interface World {
  readonly pool: PoolState;
  readonly manners: Manners;
  /** The oldest first. */
  readonly processes: readonly Process[];
  readonly timers: ReadonlyMap<string, Input>;
  /** Whether the program that runs the pool has left its loop. */
  readonly isStopped: boolean;
  readonly isWaited: boolean;
  /** Changes of generation that were not answered yet. */
  readonly asked: readonly number[];
  /** The generation that the last `start` began which let the workers of before stay. */
  readonly begun: number;
}

/** One thing that may happen next. */
export interface Move {
  readonly name: string;
  readonly inputs: readonly Input[];
  /** The process that does it, and what becomes of it. */
  readonly by?: { readonly id: number; readonly becomes: Process["stage"] | "gone" };
  /** The timer that fires by it. */
  readonly fires?: string;
  /** Whether a reload is asked for. */
  readonly asks?: boolean;
  /** Whether it is what happens where all goes well. */
  readonly isGood?: boolean;
}

const FIRST_PID = 100;

/** A pool of two has no more to hear of one move, unless it goes round in circles. */
const MUCH = 100;

type MutableWorld = { -readonly [Key in keyof World]: World[Key] };

/** A pool inside its first `start`, with all workers booting. */
export function newWorld(rules: Partial<PoolConfig>, maxWorkers: number, manners: Manners): World {
  const empty = emptyPool(
    {
      trapSignals: { SIGTERM: "SIGTERM", SIGHUP: { signal: "SIGTERM", replace: "before" } },
      policy: fixedPool(),
      spawnIntervalMs: 0,
      errRespawnIntervalMs: 1000,
      maxRespawnIntervalMs: 30_000,
      bootTimeoutMs: 30_000,
      settles: true,
      stopTimeoutMs: 30_000,
      drainDelayMs: 0,
      reloadTimeoutMs: undefined,
      maxSurge: 1,
      maxUnavailable: 0,
      hangTimeoutMs: 5000,
      recycle: {
        maxRequests: undefined,
        maxLifetimeMs: undefined,
        maxMemoryBytes: undefined,
        maxLagMs: undefined,
        jitter: 0,
      },
      standby: 0,
      probeIntervalMs: undefined,
      maxBootFailures: undefined,
      ...rules,
    },
    maxWorkers,
    1,
  );
  const nothing: World = {
    pool: empty,
    manners,
    processes: [],
    timers: new Map(),
    isStopped: false,
    isWaited: false,
    asked: [],
    begun: 0,
  };
  return after(nothing, startOf(empty));
}

/** The world after a move. */
export function after(world: World, move: Move): World {
  const next: MutableWorld = { ...world, timers: new Map(world.timers) };
  if (move.by) next.processes = moveOn(world.processes, move.by);
  if (move.fires) without(next, move.fires);
  if (move.asks) next.asked = [...world.asked, world.pool.generation + 1];
  const inbox = [...move.inputs];
  let heard = 0;
  for (let input = inbox.shift(); input; input = inbox.shift()) {
    if (++heard > MUCH) throw new Error(`More than ${MUCH} inputs follow from one move, the last one ${input.type}`);
    const { roll, dueAfter } = next.pool;
    const [pool, effects] = step(next.pool, input, move.fires === "due" ? dueAfter : 0);
    next.pool = pool;
    if (input.type === "start" && pool.current === input.generation) next.begun = pool.current.number;
    for (const effect of effects) inbox.push(...perform(next, effect));
    const events = effects.flatMap((effect) => effect.type === "event" ? [effect.event] : []);
    next.asked = stillAsked(next.asked, events, roll?.fallback === null ? roll.target.number : undefined);
  }
  return next;
}

function moveOn(processes: readonly Process[], { id, becomes }: Required<Move>["by"]): readonly Process[] {
  if (becomes === "gone") return processes.filter((process) => process.id !== id);
  return processes.map((process) => process.id === id ? { ...process, stage: becomes } : process);
}

/** Carries out what is wanted, and gives what the pool hears of it. */
function perform(world: MutableWorld, effect: Effect): readonly Input[] {
  switch (effect.type) {
    case "spawn": {
      const { slot, id } = effect;
      world.processes = [...world.processes, { slot, id, stage: "booting", signals: [] }];
      return [{ type: "spawned", slot, id, pid: FIRST_PID + id }];
    }
    case "kill":
      return signal(world, effect.pid - FIRST_PID, effect.signal);
    case "setTimer":
      world.timers = new Map(world.timers).set(effect.key, effect.input);
      return [];
    case "clearTimer":
      without(world, effect.key);
      return [];
    case "returned":
      world.isStopped ||= isStopSignal(effect.signal);
      return [];
    case "waited":
      world.isWaited = true;
      return [];
    case "event":
    case "welcome":
    case "hold":
    case "parked":
    case "probe":
    case "endProbe":
    case "examine":
    case "reaped":
    case "gaveUp":
      return [];
  }
}

function signal(world: MutableWorld, id: number, sent: Signal): readonly Input[] {
  const process = world.processes.find((one) => one.id === id);
  if (process === undefined) return [];
  const others = world.processes.filter((one) => one !== process);
  const isGone = world.manners.isQuick && (sent === "SIGKILL" || !isHolder(world.pool, process));
  world.processes = isGone ? others : [...others, { ...process, signals: [...process.signals, sent] }].sort(byAge);
  if (!isGone) return [];
  const status: ExitStatus = sent === "SIGKILL" ? { type: "signaled", signal: sent } : { type: "exited", code: 0 };
  return [{ type: "exited", slot: process.slot, id, status }];
}

function byAge(a: Process, b: Process): number {
  return a.id - b.id;
}

function without(world: MutableWorld, key: string): void {
  const left = new Map(world.timers);
  left.delete(key);
  world.timers = left;
}

/**
 * Takes out what is answered. A generation that is returned to was asked for once, and answered then.
 *
 * @throws {Error} If an answer is to what nobody asked, or is given twice.
 */
function stillAsked(
  before: readonly number[],
  events: readonly PreforkEvent[],
  returningTo?: number,
): readonly number[] {
  const asked = new Set(before);
  let fallback = returningTo;
  for (const event of events) {
    if (event.type === "reload") asked.add(event.generation);
    if (event.type === "reloaded" && event.generation === fallback) continue;
    if (event.type === "reloadFailed") fallback = event.serving;
    if (event.type !== "reloaded" && event.type !== "reloadFailed") continue;
    if (!asked.delete(event.generation)) throw new Error(`${event.type} ${event.generation}, for which nobody waits`);
  }
  return [...asked];
}

/** All that may happen next. */
export function movesOf(world: World): readonly Move[] {
  return [
    ...ofProgram(world),
    ...ofOperator(world),
    ...world.processes.flatMap((process) => ofProcess(process, world.manners)),
    ...ofTimers(world),
  ];
}

function ofProgram({ pool, isStopped, isWaited }: World): readonly Move[] {
  if (pool.mode !== "idle" || isWaited) return [];
  return [isStopped ? { name: "wait", isGood: true, inputs: [{ type: "wait" }] } : startOf(pool)];
}

function startOf(pool: PoolState): Move {
  const generation = { number: pool.generation + 1, channel: true };
  return { name: "start", isGood: true, inputs: [{ type: "start", generation }] };
}

function ofOperator({ pool, isStopped, manners: { sizes } }: World): readonly Move[] {
  const stop: Move = { name: "TERM", inputs: [{ type: "signal", signal: "SIGTERM" }] };
  if (isStopped) return [stop];
  return [
    stop,
    // The world has no time in which the same signal could come a second time.
    ...pool.delayed === null ? [] : [{ name: "INT", inputs: [{ type: "signal", signal: "SIGINT" }] } as const],
    { name: "HUP", inputs: [{ type: "signal", signal: "SIGHUP" }] },
    {
      name: "reload",
      asks: true,
      inputs: [{ type: "reload", generation: { number: pool.generation + 1, channel: true } }],
    },
    ...sizes.filter((size) => size !== pool.maxWorkers).map(resize),
  ];
}

function resize(maxWorkers: number): Move {
  return { name: `resize to ${maxWorkers}`, inputs: [{ type: "setMaxWorkers", maxWorkers }] };
}

/** A process that was told to stop does so, or hangs on; one that was killed is gone sooner or later. */
function ofProcess({ slot, id, stage, signals }: Process, { isQuick, isRecycling }: Manners): readonly Move[] {
  const ref = { slot, id };
  const end = (name: string, status: ExitStatus, isGood = false): Move => ({
    name: `${id} ${name}`,
    isGood,
    by: { id, becomes: "gone" },
    inputs: [{ type: "exited", ...ref, status }],
  });
  if (signals.includes("SIGKILL")) return [end("is killed", { type: "signaled", signal: "SIGKILL" }, true)];
  const returns = end("returns", { type: "exited", code: 0 }, true);
  const crashes = end("crashes", { type: "exited", code: 1 });
  if (signals.includes("SIGTERM")) return [returns];
  const ends = [{ ...returns, isGood: false }, crashes];
  const due: Move = { name: `${id} is due`, inputs: [{ type: "due", ...ref, reason: "asked for it" }] };
  if (stage === "ready") return isRecycling ? [...ends, due] : ends;
  const begins = [{ type: "connected", ...ref }, { type: "begun", ...ref }] as const;
  const ready = { type: "ready", ...ref } as const;
  const grow = (name: string, becomes: Process["stage"], inputs: readonly Input[]): Move => ({
    name: `${id} ${name}`,
    isGood: true,
    by: { id, becomes },
    inputs,
  });
  if (stage === "begun") return [grow("is ready", "ready", [ready]), ...ends];
  return [isQuick ? grow("is ready", "ready", [...begins, ready]) : grow("begins", "begun", begins), crashes];
}

/** Nobody hangs; a worker that settles is one that says it is ready; and none outlives its SIGKILL. */
function ofTimers({ timers, processes }: World): readonly Move[] {
  const killed = processes.filter(({ signals }) => signals.includes("SIGKILL")).map(({ id }) => id);
  return [...timers]
    .filter(([key, input]) => !/^(beat|settle) /.test(key) && !("id" in input && killed.includes(input.id)))
    .map(([key, input]) => ({
      name: `timer ${key}`,
      fires: key,
      inputs: [input],
      isGood: key.startsWith("slot ") || key === "delay" || key === "due",
    }));
}
