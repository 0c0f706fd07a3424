/**
 * The options of a pool: what they mean, their defaults, and their checks.
 *
 * @module
 */

import { checkCount, checkKeys, checkLeast, checkSpan, checkTime, checkWorkers, show } from "./checks.ts";
import { checkName } from "./identity.ts";
import { checkListen, type Listen, type ListenOptions } from "./listen.ts";
import { fixedPool, type Policy } from "./policy.ts";
import type { PoolConfig, Recycling } from "./pool_state.ts";
import type { Prefork } from "./prefork.ts";
import { checkReadyWhen, isShared, type Readiness, type ReadyWhen } from "./ready_when.ts";
import type { Tracer } from "./telemetry.ts";
import { trapsOf } from "./trap_options.ts";
import type { ExitStatus, Json, OutputReader, ProcessHost, TrapSignals, WorkerInfo } from "./types.ts";

/** Anything that logs: `console`, LogTape's `getLogger()`, the `getLogger()` of `@std/log`. */
export interface Logger {
  /** Takes what only a debugging reader wants. */
  debug(message: string): unknown;
  /** Takes what is as it should be. */
  info(message: string): unknown;
  /** Takes what someone should look at. */
  warn(message: string): unknown;
  /** Takes what is broken. */
  error(message: string): unknown;
}

/** The user that workers run as. */
export interface WorkerUser {
  /** User id. */
  readonly uid: number;
  /** Group id. */
  readonly gid: number;
  /**
   * A command that changes to that user and then runs its arguments in its own place, such as
   * `["setpriv", "--reuid=33", "--regid=33", "--init-groups", "--"]`: the runtimes set no supplementary groups.
   * Without it the runtime sets user and group, and drops the supplementary groups.
   */
  readonly prefix?: readonly string[];
  /** Variables added to the environment, `HOME` for one. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Takes what one worker prints on one stream; see {@linkcode OutputReader} for how it slows the worker down. The slot of
 * the worker is -1 for as long as it stands by.
 */
export type WorkerOutput = (worker: WorkerInfo, stream: "stdout" | "stderr") => OutputReader;

/** When a worker is due to be replaced: at the first of these. */
export interface RecycleOptions {
  /** It has served so many requests, by {@linkcode Worker.serve} or {@linkcode Worker.attach}. */
  readonly maxRequests?: number;
  /** It has been ready for so long, in milliseconds. */
  readonly maxLifetimeMs?: number;
  /**
   * It uses so much memory, in bytes of resident memory; looked at every five seconds. Linux only, and on Deno with
   * `--allow-all` (`-A`) only, which is told where it is missing.
   */
  readonly maxMemoryBytes?: number;
  /** Its event loop was late by more than this three times in a row, in milliseconds. Not for commands. */
  readonly maxLagMs?: number;
  /** By which part these may be less, other for each worker: those made together do not go together. @default {0.1} */
  readonly jitter?: number;
}

/** The options of {@linkcode Prefork}. Times are in milliseconds. */
export interface PreforkOptions {
  /** Names the pool, in the identity of its workers; by default it is counted. */
  readonly name?: string;
  /** How many workers there are at most. Live: see {@linkcode Prefork.maxWorkers}. @default CPUs of this process */
  readonly maxWorkers?: number;
  /** What the workers get for each signal the manager receives. @default {{ SIGTERM: "SIGTERM" }} */
  readonly trapSignals?: TrapSignals;
  /** Least time between two spawns. @default {0} */
  readonly spawnIntervalMs?: number;
  /** How long a slot waits after its worker failed; doubled for each further failure in a row. @default {1000} */
  readonly errRespawnIntervalMs?: number;
  /** The longest such wait; a worker that lives longer clears the count. @default {30000} */
  readonly maxRespawnIntervalMs?: number;
  /** `start` rejects after so many failures if no worker ever became ready, or did its work. @default no limit */
  readonly maxBootFailures?: number;
  /** How long a worker may take from its spawn to its own code, and to be ready if that is asked for. @default {30000} */
  readonly bootTimeoutMs?: number;
  /**
   * What a worker is asked, again and again, until it is ready. Then neither {@linkcode Worker.ready} nor time makes it
   * so. @default nothing
   */
  readonly readyWhen?: ReadyWhen;
  /**
   * How long a worker may take to stop before SIGKILL; counted from a stop, not from other relays. Not less than a
   * {@linkcode PreforkOptions.drainTimeoutMs} that is given, and 30 seconds more than that by default where that is longer than 30.
   * @default {30000}
   */
  readonly stopTimeoutMs?: number;
  /**
   * The same for a relay of SIGTERM, SIGINT or SIGQUIT that is no stop, such as HUP's, and for a worker whose replacement
   * is ready. Not less than a {@linkcode PreforkOptions.drainTimeoutMs} that is given. @default none
   */
  readonly reloadTimeoutMs?: number;
  /**
   * How many replacements may boot at a time beside the workers they are to replace. @default {1}, or 0 where both would
   * be asked at one address by {@linkcode PreforkOptions.readyWhen}
   */
  readonly maxSurge?: number;
  /**
   * How many workers may be told to stop before their replacement is ready. Where only that makes room (`maxSurge: 0`), a
   * worker that does not end holds a reload up for as long: set {@linkcode PreforkOptions.reloadTimeoutMs}.
   * @default {0}, or 1 there
   */
  readonly maxUnavailable?: number;
  /**
   * How long workers serve on after a stop before they are told, so that whoever sends them requests can see that this
   * pool is to go: for a stop by a signal that is trapped, or by {@linkcode PreforkOptions.signal}, of a pool in which a
   * worker was ever ready. A second stop signal ends it. @default {0}
   */
  readonly drainDelayMs?: number;
  /** How long a worker may answer what is open once it is told to stop, or its manager is gone. @default {10000} */
  readonly drainTimeoutMs?: number;
  /**
   * How long a worker's event loop may stand still, once it is ready. Beyond that the worker hangs: it gets SIGTERM, and
   * SIGKILL a second later. A worker whose output waits to be read does not hang, nor one that called
   * {@linkcode Worker.extendDeadline}. Commands are not watched. @default none
   */
  readonly hangTimeoutMs?: number;
  /** When a worker is replaced by a new one, which has to be ready first. @default never */
  readonly recycle?: RecycleOptions;
  /**
   * How many workers stand by: they have booted and wait just before their own code, to take the place of one that ended
   * in well under a millisecond. Of a module only the default export waits: what stands before it has run by then, and
   * cannot ask for {@linkcode currentWorker}. Not for commands. @default {0}
   */
  readonly standby?: number;
  /** How many workers there should be. @default {fixedPool()} */
  readonly policy?: Policy;
  /**
   * Called in the manager before each spawn. What it returns reaches the new worker as `forkValue`. A promise is waited for
   * as long as a boot may take; then the worker is made without a value, as it is when the hook throws, or returns what
   * JSON cannot say.
   */
  readonly beforeFork?: (pool: Prefork) => Json | void | Promise<Json | void>;
  /** Called in the manager after each spawn. */
  readonly afterFork?: (pool: Prefork, pid: number) => void;
  /** Called in the manager for each worker that is gone. */
  readonly onChildReap?: (pool: Prefork, pid: number, status: ExitStatus) => void;
  /** Told what happens, one line an event. */
  readonly logger?: Logger;
  /**
   * Makes spans of boots, reloads, upgrades and crashes: what `trace.getTracer()` of `@opentelemetry/api` gives, or anything
   * of that shape. @default none
   */
  readonly tracer?: Tracer;
  /** Stops the pool when it aborts, as SIGTERM does. */
  readonly signal?: AbortSignal;
  /** Reads what the workers print; they share the manager's standard output and error by default. */
  readonly output?: WorkerOutput;
  /**
   * What to listen on: bound once, when the pool is made, and inherited by all workers, which find the sockets as
   * `worker.listeners`; commands find them at descriptor 3 and up, told by `LISTEN_FDS` and `SERVER_STARTER_PORT`.
   * Linux only; on Deno it takes `--allow-ffi` and `--allow-env`.
   */
  readonly listen?: Listen | readonly Listen[];
  /**
   * Whether workers may have their native server accept from the shared socket itself; false has them relay each
   * connection, which is slower and hides the address of the client. @default {true}
   */
  readonly adoption?: boolean;
  /** Runs the workers as another user; needs root. */
  readonly workerUser?: WorkerUser;
  /** The runtime. @default the one that runs */
  readonly host?: ProcessHost;
}

/** Options that were checked, with defaults in place. */
export interface CheckedOptions extends PoolConfig {
  readonly maxWorkers: number;
  readonly drainTimeoutMs: number;
  readonly listen: readonly ListenOptions[];
  readonly readyWhen: Readiness | undefined;
}

const KNOWN: Readonly<Record<keyof PreforkOptions, true>> = {
  name: true,
  maxWorkers: true,
  trapSignals: true,
  spawnIntervalMs: true,
  errRespawnIntervalMs: true,
  maxRespawnIntervalMs: true,
  maxBootFailures: true,
  bootTimeoutMs: true,
  readyWhen: true,
  stopTimeoutMs: true,
  reloadTimeoutMs: true,
  maxSurge: true,
  maxUnavailable: true,
  drainDelayMs: true,
  drainTimeoutMs: true,
  hangTimeoutMs: true,
  recycle: true,
  standby: true,
  policy: true,
  beforeFork: true,
  afterFork: true,
  onChildReap: true,
  logger: true,
  tracer: true,
  signal: true,
  output: true,
  listen: true,
  adoption: true,
  workerUser: true,
  host: true,
};

/** Whether there is an option of this name. */
export function isOption(name: string): boolean {
  return name in KNOWN;
}

/**
 * Checks options and fills in defaults.
 *
 * @throws {TypeError} If an option is unknown or of the wrong shape.
 * @throws {RangeError} If a number is out of range.
 */
export function checkOptions(options: PreforkOptions, host: ProcessHost): CheckedOptions {
  checkKeys("new Prefork", options, Object.keys(KNOWN));
  checkShapes(options);
  const listen = checkListen(options.listen);
  const maxWorkers = checkWorkers("maxWorkers", options.maxWorkers ?? host.cpuCount);
  const readyWhen = options.readyWhen === undefined
    ? undefined
    : checkReadyWhen(options.readyWhen, listen.length > 0, maxWorkers);
  return {
    maxWorkers,
    readyWhen,
    probeIntervalMs: readyWhen?.by === "manager" ? readyWhen.intervalMs : undefined,
    trapSignals: trapsOf(options.trapSignals),
    policy: options.policy ?? fixedPool(),
    spawnIntervalMs: checkTime("spawnIntervalMs", options.spawnIntervalMs ?? 0),
    errRespawnIntervalMs: checkTime("errRespawnIntervalMs", options.errRespawnIntervalMs ?? 1000),
    maxRespawnIntervalMs: checkTime("maxRespawnIntervalMs", options.maxRespawnIntervalMs ?? 30_000),
    maxBootFailures: options.maxBootFailures === undefined
      ? undefined
      : checkCount("maxBootFailures", options.maxBootFailures, 1),
    bootTimeoutMs: checkTime("bootTimeoutMs", options.bootTimeoutMs ?? 30_000),
    ...checkStop(options),
    drainDelayMs: checkTime("drainDelayMs", options.drainDelayMs ?? 0),
    ...checkLimits(options, readyWhen !== undefined && isShared(readyWhen)),
    settles: listen.length === 0,
    hangTimeoutMs: options.hangTimeoutMs === undefined
      ? undefined
      : checkLeast("hangTimeoutMs", options.hangTimeoutMs, LEAST_HANG_MS),
    recycle: checkRecycle(options.recycle ?? {}),
    standby: checkWorkers("standby", options.standby ?? 0),
    listen,
  };
}

const STOP_MS = 30_000;
const DRAIN_MS = 10_000;

/** How long a worker may take to stop where that is not said: longer than it may drain. */
export function stopTimeoutFor(drainTimeoutMs: number | undefined): number {
  return drainTimeoutMs !== undefined && drainTimeoutMs > STOP_MS ? drainTimeoutMs + STOP_MS : STOP_MS;
}

/** How long a worker may take to stop, each time by its option. */
interface StopTimes {
  readonly drainTimeoutMs: number;
  readonly stopTimeoutMs: number;
  readonly reloadTimeoutMs: number | undefined;
}

/** A worker that is killed while it drains loses what it has in hand, and cannot even tell. */
function checkStop({ drainTimeoutMs, stopTimeoutMs, reloadTimeoutMs }: PreforkOptions): StopTimes {
  const times: StopTimes = {
    drainTimeoutMs: checkTime("drainTimeoutMs", drainTimeoutMs ?? DRAIN_MS),
    stopTimeoutMs: checkTime("stopTimeoutMs", stopTimeoutMs ?? stopTimeoutFor(drainTimeoutMs)),
    reloadTimeoutMs: reloadTimeoutMs === undefined ? undefined : checkTime("reloadTimeoutMs", reloadTimeoutMs),
  };
  for (const name of ["stopTimeoutMs", "reloadTimeoutMs"] as const) {
    if (drainTimeoutMs === undefined || drainTimeoutMs <= (times[name] ?? Infinity)) continue;
    throw new RangeError(
      `Cannot use a 'drainTimeoutMs' of ${drainTimeoutMs} ms with a '${name}' of ${
        times[name]
      } ms: a worker would be ` +
        "killed while it answers; give it longer to stop than to drain",
    );
  }
  return times;
}

/** A worker says four times in this that it lives; less would be more of a load than a help. */
const LEAST_HANG_MS = 100;

function checkRecycle(options: RecycleOptions): Recycling {
  checkKeys("recycle", options, ["maxRequests", "maxLifetimeMs", "maxMemoryBytes", "maxLagMs", "jitter"]);
  const { maxRequests, maxLifetimeMs, maxMemoryBytes, maxLagMs, jitter = 0.1 } = options;
  if (typeof jitter !== "number") {
    throw new TypeError(`Cannot use 'recycle.jitter': it must be a number, not ${show(jitter)}`);
  }
  if (!(jitter >= 0 && jitter < 1)) {
    throw new RangeError(`Cannot use 'recycle.jitter': it must be at least 0 and less than 1, not ${jitter}`);
  }
  return {
    maxRequests: maxRequests === undefined ? undefined : checkCount("recycle.maxRequests", maxRequests, 1),
    maxLifetimeMs: maxLifetimeMs === undefined ? undefined : checkLeast("recycle.maxLifetimeMs", maxLifetimeMs, 1),
    maxMemoryBytes: maxMemoryBytes === undefined ? undefined : checkCount("recycle.maxMemoryBytes", maxMemoryBytes, 1),
    maxLagMs: maxLagMs === undefined ? undefined : checkLeast("recycle.maxLagMs", maxLagMs, 1),
    jitter,
  };
}

/** The limits of a replacement: it must be able to go on, and the answer of one worker must not pass for another's. */
function checkLimits(options: PreforkOptions, sharesAddress: boolean): Pick<PoolConfig, "maxSurge" | "maxUnavailable"> {
  const maxSurge = checkCount("maxSurge", options.maxSurge ?? (sharesAddress ? 0 : 1), 0);
  const maxUnavailable = checkCount("maxUnavailable", options.maxUnavailable ?? (sharesAddress ? 1 : 0), 0);
  if (sharesAddress && maxSurge > 0) {
    throw new RangeError(
      `Cannot use 'maxSurge' of ${maxSurge} with this 'readyWhen': a worker and its replacement would be asked at one ` +
        "address; leave it 0, or have {pid} in the address",
    );
  }
  if (maxSurge + maxUnavailable > 0) return { maxSurge, maxUnavailable };
  throw new RangeError(
    "Cannot replace workers with 'maxSurge' and 'maxUnavailable' both 0: one of them must be at least 1",
  );
}

function checkShapes(options: PreforkOptions): void {
  if (options.name !== undefined) checkName(options.name);
  for (const hook of ["beforeFork", "afterFork", "onChildReap", "output"] as const) {
    const value = options[hook];
    if (value !== undefined && typeof value !== "function") {
      throw new TypeError(`Cannot use '${hook}': it must be a function, not ${show(value)}`);
    }
  }
  const { policy, logger, tracer, signal, adoption } = options;
  if (adoption !== undefined && typeof adoption !== "boolean") {
    throw new TypeError(`Cannot use 'adoption': it must be true or false, not ${show(adoption)}`);
  }
  if (policy !== undefined) checkPolicy(policy);
  if (
    logger !== undefined && [logger.debug, logger.info, logger.warn, logger.error].some((f) => typeof f !== "function")
  ) {
    throw new TypeError("Cannot use 'logger': it must have the methods debug, info, warn and error");
  }
  if (tracer !== undefined && typeof tracer.startSpan !== "function") {
    throw new TypeError("Cannot use 'tracer': it must have the method startSpan, as what trace.getTracer() gives");
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new TypeError(
      `Cannot use 'signal': it must be an AbortSignal, not ${show(signal)}; signals go to 'trapSignals'`,
    );
  }
}

function checkPolicy({ decide, intervalMs, retireAfterMs = 0 }: Policy): void {
  if (typeof decide !== "function") {
    throw new TypeError("Cannot use 'policy': it must be made by fixedPool(), spareWorkers(...), or have a decide()");
  }
  checkSpan("policy.intervalMs", intervalMs);
  checkSpan("policy.retireAfterMs", retireAfterMs);
}
