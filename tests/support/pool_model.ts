/**
 * What a pool should do, told a second time: plainly, without regard to speed, and knowing nothing of `src/`. This is what
 * the model knows; `pool_model_inputs.ts` is what may happen to it, `pool_model_life.ts` a worker's life,
 * `pool_model_size.ts` how many there are, `pool_model_roll.ts` who replaces whom, `pool_model_clock.ts` how time goes by.
 * What follows from it all is read in `log` and by `describe`.
 *
 * @module
 */

export type Signal = "SIGTERM" | "SIGHUP" | "SIGUSR2" | "SIGCONT" | "SIGWINCH" | "SIGKILL" | "SIGSEGV";

/** What the workers get for a signal; `replace`: whoever is replaced after it gets SIGTERM then; `null`: nothing. */
export const TRAPS = {
  SIGTERM: "SIGTERM",
  SIGHUP: "SIGTERM",
  SIGUSR2: "SIGUSR2",
  SIGCONT: "replace",
  SIGWINCH: null,
} as const;

export type Trapped = keyof typeof TRAPS;

export interface Rules {
  readonly maxWorkers: number;
  readonly maxSurge: number;
  readonly maxUnavailable: number;
  readonly settles: boolean;
  readonly spawnIntervalMs: number;
  readonly errRespawnIntervalMs: number;
  readonly maxRespawnIntervalMs: number;
  readonly bootTimeoutMs: number;
  readonly stopTimeoutMs: number;
  readonly drainDelayMs: number;
  readonly reloadTimeoutMs: number | undefined;
  readonly hangTimeoutMs: number | undefined;
  readonly maxBootFailures: number | undefined;
}

/** A wait whose length is drawn by lot. The model knows its bounds, and takes the length from what was seen. */
export interface Wait {
  readonly of: string;
  readonly ms: number;
}

export interface Worker {
  /** The slot, and which of the slot's workers: `0a`, `0b`. */
  name: string;
  readonly id: number;
  readonly slot: number;
  readonly generation: number;
  /** Holds the slot, is to replace who does, or was replaced or dismissed. */
  place: "holder" | "successor" | "replaced";
  phase: "booting" | "starting" | "ready";
  hasBegun: boolean;
  /** Has run for so long that it can be told to stop. */
  hasSettled: boolean;
  readonly bornAt: number;
  /** Told to stop, for whatever reason. */
  isLeaving: boolean;
  /** Told to stop because the pool stops or shrinks. */
  hasToEnd: boolean;
  /** Told to stop to make room for its replacement. */
  makesRoom: boolean;
  /** Has so much time to stop, or had. */
  isTimed: boolean;
  isDue: boolean;
  /** Until when it has asked for time. */
  extendedUntil: number;
  /** The pool itself found fault with it: its end is a failure, whatever it looks like. */
  isFaulty: boolean;
  readonly got: Signal[];
  /** What it gets once it is ready. */
  readonly held: Signal[];
}

export interface Roll {
  readonly target: number;
  /** The generation to return to if this one fails; undefined if this is such a return. */
  readonly fallback: number | undefined;
  isProven: boolean;
  canarySlot: number | undefined;
}

export interface Alarm {
  readonly at: number;
  readonly ring: () => void;
}

/** All that the model knows. Changed in place. */
export interface PoolModel {
  readonly rules: Rules;
  now: number;
  mode: "idle" | "running" | "waiting";
  maxWorkers: number;
  workers: Worker[];
  /** What happened since it was last read. */
  log: string[];
  failSpawns: boolean;
  /** What was seen of waits. */
  waits: Wait[];
  /** The generation of which workers are made. */
  serving: number;
  newest: number;
  /** The change of generation that is under way. */
  roll: Roll | undefined;
  /** Whether the generation that serves began to replace the workers of another, and has not replaced all. */
  isMixed: boolean;
  /** Signals that no `start` returned by yet. */
  queue: Trapped[];
  /** Since when a stop waits, if one does. */
  stoppedAt: number | undefined;
  /** The next `start` replaces the workers. */
  replaces: boolean;
  /** Who is to be replaced, the first that asked first. */
  due: Worker[];
  dueFailures: number;
  /** Nobody who is due is replaced before this time. */
  dueAfter: number;
  /** Slots that are held back, and how often their workers failed in a row. */
  readonly heldBack: Set<number>;
  readonly failures: Map<number, number>;
  /** Nobody is spawned before this time. */
  spawnAfter: number;
  spawnFailures: number;
  spawnFailedAt: number;
  bootFailures: number;
  /** Whether a worker was ever ready, or did its work before it was: such a pool is not given up. */
  wasOfUse: boolean;
  everReady: boolean;
  endsEarly: boolean;
  isDegraded: boolean;
  /** How many workers a slot had. */
  readonly born: Map<number, number>;
  /** How many workers were asked for. */
  asked: number;
  readonly alarms: Map<string, Alarm>;
  /** What the processes do at once of what was asked of them. */
  readonly news: (() => void)[];
}

export function newModel(rules: Rules): PoolModel {
  return {
    rules,
    now: 0,
    mode: "idle",
    maxWorkers: rules.maxWorkers,
    workers: [],
    log: [],
    failSpawns: false,
    waits: [],
    serving: 0,
    newest: 0,
    roll: undefined,
    isMixed: false,
    queue: [],
    stoppedAt: undefined,
    replaces: false,
    due: [],
    dueFailures: 0,
    dueAfter: 0,
    heldBack: new Set(),
    failures: new Map(),
    spawnAfter: 0,
    spawnFailures: 0,
    spawnFailedAt: -1,
    bootFailures: 0,
    wasOfUse: false,
    everReady: false,
    endsEarly: false,
    isDegraded: false,
    born: new Map(),
    asked: 0,
    alarms: new Map(),
    news: [],
  };
}

export function holderOf(model: PoolModel, slot: number): Worker | undefined {
  return model.workers.find((worker) => worker.slot === slot && worker.place === "holder");
}

export function successorOf(model: PoolModel, slot: number): Worker | undefined {
  return model.workers.find((worker) => worker.slot === slot && worker.place === "successor");
}

export function holders(model: PoolModel): Worker[] {
  return model.workers.filter(({ place }) => place === "holder").sort((a, b) => a.slot - b.slot);
}

/** In the order in which they are told what goes to all: by slot, then those without one, the oldest first. */
export function everybody(model: PoolModel): Worker[] {
  return [...holders(model), ...model.workers.filter(({ place }) => place !== "holder")];
}

/** Those that hold a slot and were not told to stop. */
export function servers(model: PoolModel): Worker[] {
  return holders(model).filter(({ isLeaving }) => !isLeaving);
}

export function successors(model: PoolModel): Worker[] {
  return model.workers.filter(({ place }) => place === "successor").sort((a, b) => a.slot - b.slot);
}

/** Who lives, and how. */
export function describe(model: PoolModel): string[] {
  const inWords = model.workers.map(({ name, generation, phase, isLeaving, place }) =>
    `${name} of generation ${generation} is ${isLeaving ? "leaving" : phase}, ${place}`
  );
  return [...inWords.sort(), `${model.mode}, generation ${model.serving} of ${model.newest}`];
}
