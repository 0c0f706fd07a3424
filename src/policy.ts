/**
 * Policies: how many workers a pool should have. A policy is asked whenever something changed, and never on a clock
 * of its own, so a pool that is at rest stays at rest.
 *
 * @module
 */

/** What a policy sees of the pool. */
export interface PoolView {
  /** Live workers, those told to stop included. */
  readonly workers: number;
  /** Live workers that were not told to stop. */
  readonly serving: number;
  /** Serving workers whose status is idle. A worker that has just been spawned counts as idle. */
  readonly idle: number;
  /** The most workers there may be. */
  readonly maxWorkers: number;
  /** By how much the policy grew the pool in its last step; 0 if that was no growth. */
  readonly lastGrowth: number;
}

/** Decides the size of a pool. Make one with {@linkcode fixedPool} or {@linkcode spareWorkers}, or write your own. */
export interface Policy {
  /** Least time between two changes, in milliseconds; 0 for none. */
  readonly intervalMs: number;
  /** How long it must have wanted fewer workers, without a break, before one is retired, in milliseconds. @default {0} */
  readonly retireAfterMs?: number;
  /**
   * By how many workers the pool should change: spawned if positive, idle ones retired if negative. Must be a pure
   * function of `view`. The pool never grows beyond `maxWorkers`, whatever the answer.
   */
  decide(view: PoolView): number;
}

/** How {@linkcode spareWorkers} keeps its spares. */
export interface SpareWorkersOptions {
  /** Spawn when fewer workers than this are idle. */
  readonly minSpare: number;
  /** Retire when more workers than this are idle. @default {maxWorkers} */
  readonly maxSpare?: number;
  /** Least time between two changes, in milliseconds. @default {250} */
  readonly heartbeatMs?: number;
  /**
   * How long more than `maxSpare` workers must have been idle, without a break, before one is retired, so that those
   * spawned for one burst are there for the next, in milliseconds. @default {5000}
   */
  readonly retireAfterMs?: number;
}

const KNOWN = ["minSpare", "maxSpare", "heartbeatMs", "retireAfterMs"];

/**
 * The policy of Parallel::Prefork: always `maxWorkers` workers.
 *
 * @returns The policy, which is the default of {@linkcode PreforkOptions.policy}.
 *
 * @example
 * ```ts
 * import { fixedPool } from "@prefork/prefork";
 *
 * const view = { workers: 3, serving: 3, idle: 3, maxWorkers: 10, lastGrowth: 0 };
 * console.log(fixedPool().decide(view)); // 7
 * ```
 */
export function fixedPool(): Policy {
  return { intervalMs: 0, decide: ({ workers, maxWorkers }) => Math.max(0, maxWorkers - workers) };
}

/**
 * The policy of Parallel::Prefork::SpareWorkers: as many workers as are needed for `minSpare` of them to be idle, as
 * the workers tell by `setStatus`. Growth doubles from step to step while spares are short. Only idle workers are
 * retired, one a step, and none before there were too many of them for a while. The wider the range from `minSpare` to
 * `maxSpare`, the calmer the pool: the number of busy workers varies by itself, about by its square root.
 *
 * @throws {TypeError} If `minSpare` is missing.
 * @throws {RangeError} If a number is out of its range, or `maxSpare` is less than `minSpare`.
 *
 * @example
 * ```ts
 * import { Prefork, spareWorkers } from "@prefork/prefork";
 *
 * const pm = new Prefork({ maxWorkers: 50, policy: spareWorkers({ minSpare: 3, maxSpare: 8 }) });
 * ```
 */
export function spareWorkers(options: SpareWorkersOptions): Policy {
  const { minSpare, maxSpare = Infinity, heartbeatMs = 250, retireAfterMs = 5000 } = options;
  const unknown = Object.keys(options).find((key) => !KNOWN.includes(key));
  if (unknown !== undefined) {
    throw new TypeError(`Cannot make a policy of spare workers: there is no option '${unknown}'`);
  }
  if (minSpare === undefined) throw new TypeError("Cannot make a policy of spare workers: 'minSpare' is not set");
  requireAtLeast("minSpare", minSpare, 1);
  requireAtLeast("maxSpare", maxSpare, minSpare);
  requireAtLeast("heartbeatMs", heartbeatMs, 0);
  requireAtLeast("retireAfterMs", retireAfterMs, 0);
  return {
    intervalMs: heartbeatMs,
    retireAfterMs,
    decide({ serving, idle, workers, maxWorkers, lastGrowth }) {
      if (serving > 0 && idle > maxSpare) return -1;
      if (idle >= minSpare) return 0;
      const wanted = Math.max(minSpare - idle, lastGrowth * 2);
      return Math.max(0, Math.min(wanted, maxSpare - idle, maxWorkers - workers));
    },
  };
}

function requireAtLeast(name: string, value: number, least: number): void {
  if (typeof value !== "number") {
    throw new TypeError(
      `Cannot make a policy of spare workers: '${name}' must be a number, not ${JSON.stringify(value)}`,
    );
  }
  if (value >= least) return;
  throw new RangeError(`Cannot make a policy of spare workers: '${name}' must be at least ${least}, not ${value}`);
}
