/**
 * What a pool of jobs may be given.
 *
 * @module
 */

import { checkCount, checkKeys, checkTime, checkWorkers, show } from "../checks.ts";
import type { RuntimeName } from "../types.ts";
import { resolveModule } from "../work.ts";
import type { JobFunction } from "./job.ts";
import type { Progress } from "./progress.ts";

/** What a {@linkcode JobPool} may be given. */
export interface JobPoolOptions {
  /** How many workers there are; 0 has jobs done in this process, one after the other, for debugging. @default CPUs this process may use */
  readonly maxProcs?: number;
  /** How many jobs may wait for a worker; `run` refuses more. @default any number */
  readonly maxQueue?: number;
  /** How long a job may take, in milliseconds. @default any time */
  readonly timeoutMs?: number;
  /** How often a job is tried again whose worker died of it. @default {0} */
  readonly retries?: number;
  /**
   * How long a job that nobody wants any more has to heed its `signal` before its worker is killed, in milliseconds;
   * where jobs are done in this process, before the next one begins beside it.
   *
   * @default {1000}
   */
  readonly killAfterMs?: number;
  /** How long a worker may take until it can do jobs, in milliseconds. @default {30_000} */
  readonly bootTimeoutMs?: number;
  /** Called whenever a job is over. `true` shows a bar on standard error, if that is a terminal. @default nothing */
  readonly progress?: boolean | ((progress: Progress) => unknown);
  /** The runtime of the workers, where the job is a module. @default that of this process */
  readonly runtime?: RuntimeName;
  /** The executable of that runtime. @default this process's own, or what `PATH` has */
  readonly executable?: string;
  /** Flags for workers on Deno (`["--allow-net"]`), in place of the permissions this process was given. */
  readonly denoArgs?: readonly string[];
}

const OPTIONS = [
  ...["maxProcs", "maxQueue", "timeoutMs", "retries", "killAfterMs", "bootTimeoutMs", "progress"],
  ...["runtime", "executable", "denoArgs"],
];

/** Whether this is a job: a function, or where a module is. */
export function isJob<Item, Result>(
  given: JobFunction<Item, Result> | URL | string | JobPoolOptions | undefined,
): given is JobFunction<Item, Result> | URL | string {
  return typeof given === "function" || typeof given === "string" || given instanceof URL;
}

/**
 * Checks options.
 *
 * @throws {TypeError} If one is unknown or of the wrong shape.
 * @throws {RangeError} If a number is out of range.
 */
export function checkOptions(options: JobPoolOptions): void {
  checkKeys("JobPool", options, OPTIONS);
  const { maxProcs, maxQueue, timeoutMs, retries, killAfterMs, bootTimeoutMs, progress, runtime } = options;
  if (maxProcs !== undefined) checkWorkers("maxProcs", maxProcs);
  if (maxQueue !== undefined) checkCount("maxQueue", maxQueue, 1);
  if (retries !== undefined) checkCount("retries", retries, 0);
  for (const [name, value] of Object.entries({ timeoutMs, killAfterMs, bootTimeoutMs })) {
    if (value !== undefined) checkTime(name, value);
  }
  if (!["undefined", "boolean", "function"].includes(typeof progress)) {
    throw new TypeError(`Cannot use 'progress': it must be true or a function, not ${show(progress)}`);
  }
  if (runtime === undefined || runtime === "deno" || runtime === "bun") return;
  throw new TypeError(`Cannot do jobs on ${show(runtime)}: the runtimes are 'deno' and 'bun'`);
}

/**
 * Checks what else is given with a job that is a function.
 *
 * @throws {TypeError} If it is only for one that is a module.
 */
export function checkFunction({ runtime, executable }: JobPoolOptions): void {
  const given = runtime !== undefined ? "runtime" : executable !== undefined ? "executable" : undefined;
  if (given === undefined) return;
  throw new TypeError(
    `Cannot use '${given}' for a job that is a function: its workers run this program again, as it was started; give a ` +
      "module in its place",
  );
}

/**
 * Checks what is to be mapped.
 *
 * @throws {TypeError} If nothing can come from it.
 */
export function checkItems(items: unknown): void {
  const from: object = Object(items ?? {});
  if (Symbol.iterator in from || Symbol.asyncIterator in from) return;
  throw new TypeError(`Cannot map ${show(items)}: give a list, or something else that can be iterated over`);
}

/**
 * Checks what gives jobs up.
 *
 * @throws {TypeError} If it cannot.
 */
export function checkSignal(signal: unknown): void {
  if (signal === undefined || signal instanceof AbortSignal) return;
  throw new TypeError(`Cannot use 'signal': it must be an AbortSignal, not ${show(signal)}`);
}

/** Where a module is: a path is one from a directory. */
export function locate(module: URL | string, directory: string): URL {
  if (module instanceof URL) return module;
  return new URL(resolveModule(module, directory));
}
