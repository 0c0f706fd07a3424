/**
 * What the calls of a pool may be given.
 *
 * @module
 */

import type { PoolChanges } from "./terms.ts";

/** How {@linkcode Prefork.waitAllChildren} waits. */
export interface WaitOptions {
  /** Give up after this time, in milliseconds. @default never */
  readonly timeoutMs?: number;
  /** Give up, by throwing its reason, when this aborts. */
  readonly signal?: AbortSignal;
}

/** What {@linkcode Prefork.reload} may be given. */
export interface ReloadOptions {
  /** What the new workers get as `data`. @default what the workers before them got */
  readonly data?: unknown;
  /** The variables added to their environment, of a module or a command. @default those of the workers before them */
  readonly env?: Readonly<Record<string, string>>;
  /**
   * Options of the pool that change with the reload: its size, its times, what it listens on. All of them hold once the
   * first new worker is ready, or none does: what cannot be is refused before anything is touched.
   */
  readonly options?: PoolChanges;
}

/** What {@linkcode Prefork.upgrade} may be given. */
export interface UpgradeOptions {
  /**
   * How long the new manager may take until its workers are ready, in milliseconds.
   *
   * @default {PreforkOptions.bootTimeoutMs} and ten seconds
   */
  readonly timeoutMs?: number;
}
