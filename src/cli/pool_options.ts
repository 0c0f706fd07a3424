/**
 * Makes a pool of what was typed.
 *
 * @module
 */

import type { LogLevel } from "@logtape/logtape";
import { describeError } from "../events.ts";
import { type PreforkOptions, type RecycleOptions, stopTimeoutFor, type WorkerOutput } from "../options.ts";
import { spareWorkers } from "../policy.ts";
import { becomeManager, Prefork } from "../prefork.ts";
import type { Log } from "./log.ts";
import type { OutputRelay } from "./output.ts";
import type { RunOptions, RunRequest } from "./request.ts";
import type { Prepared, PreparedWork } from "./prepare.ts";
import { UsageError } from "./usage_error.ts";

/**
 * How many workers may fail before a pool in which none ever became ready is given up. One that waits for a save then has
 * nothing to gain by more than one try for each worker.
 */
const MAX_BOOT_FAILURES = 5;

/** The options of a pool. */
export function poolOptions({ options, trapSignals }: RunRequest, prepared: Prepared): PreforkOptions {
  const {
    bootTimeoutMs,
    readyWhen,
    stopTimeoutMs,
    drainDelayMs,
    drainTimeoutMs,
    standby,
    maxSurge,
    maxUnavailable,
    hangTimeoutMs,
    spare,
    name,
    adoption,
    watch,
  } = options;
  return {
    maxWorkers: prepared.workers,
    listen: prepared.sockets.listen,
    trapSignals,
    maxBootFailures: watch ? Math.max(1, Math.min(prepared.workers, MAX_BOOT_FAILURES)) : MAX_BOOT_FAILURES,
    ...(bootTimeoutMs === undefined ? {} : { bootTimeoutMs }),
    ...(readyWhen === undefined ? {} : { readyWhen }),
    ...(stopTimeoutMs === undefined ? {} : { stopTimeoutMs }),
    reloadTimeoutMs: stopTimeoutMs ?? stopTimeoutFor(drainTimeoutMs), // a worker may take as long, whatever it stops for
    ...(standby === undefined ? {} : { standby }),
    ...(maxSurge === undefined ? {} : { maxSurge }),
    ...(maxUnavailable === undefined ? {} : { maxUnavailable }),
    ...(hangTimeoutMs === undefined ? {} : { hangTimeoutMs }),
    recycle: recycling(options),
    ...(drainDelayMs === undefined ? {} : { drainDelayMs }),
    ...(drainTimeoutMs === undefined ? {} : { drainTimeoutMs }),
    ...(adoption === undefined ? {} : { adoption }),
    ...(spare === undefined ? {} : { policy: spareWorkers(spare) }),
    ...(name === undefined ? {} : { name }),
    ...(prepared.workerUser === undefined ? {} : { workerUser: prepared.workerUser }),
  };
}

/** Has what workers print read, but for what goes straight to the manager's own streams. */
export function readingOutput(
  relay: OutputRelay,
  { options }: RunRequest,
  output: WorkerOutput = relay.output,
): PreforkOptions {
  if (options.output === "inherit") return {};
  return {
    output,
    afterFork: (_, pid) => relay.spawned(pid),
    onChildReap: (_, pid) => relay.reaped(pid),
  };
}

function recycling({ maxRequests, maxLifetimeMs, maxMemoryBytes }: RunOptions): RecycleOptions {
  return {
    ...(maxRequests === undefined ? {} : { maxRequests }),
    ...(maxLifetimeMs === undefined ? {} : { maxLifetimeMs }),
    ...(maxMemoryBytes === undefined ? {} : { maxMemoryBytes }),
  };
}

/**
 * What the library refuses was typed by somebody. What it says of the options goes to the log; of all later lines, the
 * events that they tell of are there already.
 */
export async function makePool(options: PreforkOptions, log: Log): Promise<Prefork> {
  await becomeManager();
  let isMade = false;
  const pass = (level: LogLevel) => (message: string): void => {
    if (!isMade) log.tell(level, message);
  };
  const logger = { debug: pass("debug"), info: pass("info"), warn: pass("warning"), error: pass("error") };
  try {
    return new Prefork({ ...options, logger });
  } catch (error) {
    throw new UsageError(inFlags(describeError(error)));
  } finally {
    isMade = true;
  }
}

/** Options of the library, and what was typed for them. */
const FLAGS: Readonly<Record<string, string>> = {
  maxWorkers: "--workers",
  "recycle.maxRequests": "--max-requests",
  "recycle.maxLifetimeMs": "--max-lifetime",
  "recycle.maxMemoryBytes": "--max-memory",
  listen: "-l",
  maxSurge: "--surge",
  maxUnavailable: "--unavailable",
  readyWhen: "--ready-when",
  stopTimeoutMs: "--stop-timeout",
  drainDelayMs: "--drain-delay",
  drainTimeoutMs: "--drain-timeout",
  hangTimeoutMs: "--hang-timeout",
  bootTimeoutMs: "--boot-timeout",
  standby: "--standby",
};

/** What the library says of its options, in the words of the command line. */
function inFlags(text: string): string {
  return text.replace(/'((\w+)(\.\w+)?)'/g, (word, path: string, name: string) => FLAGS[path] ?? FLAGS[name] ?? word);
}

/** Runs the pool until a trapped signal comes. */
export function startWork(pool: Prefork, work: PreparedWork): Promise<true> {
  return work.type === "module" ? pool.startModule(work.module, work.options) : pool.startCommand(work.command);
}

/** What the workers run. Without arguments, and what else may not be for everybody who reads the log. */
export function describeWork({ target }: RunRequest): string {
  if (target.type === "command") return target.command;
  return target.module.replace(/^(\w+:\/\/)[^/@]*@/, "$1").replace(/(?<=^\w+:.*)[?#].*$/, "");
}
