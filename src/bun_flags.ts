/**
 * Which flags of a Bun manager its workers get. Loaded only when a manager starts them.
 *
 * @module
 */

/** Flags for whoever sits before the manager: a worker must neither restart by itself nor stop for a debugger. */
const DROPPED = /^--(watch|hot|no-clear-screen|watch-kill-signal|inspect|inspect-wait|inspect-brk|cwd|revision)(=|$)/;
const PROFILING = /^--(cpu|heap)-prof(-\w+)?(=|$)/;
/** Of these, the ones whose value may be the next argument. */
const WITH_VALUE = /^--((cpu|heap)-prof-(name|dir|interval)|cwd|watch-kill-signal)$/;

/**
 * Takes away what is not for workers. `--cwd` goes because the worker starts in that directory already.
 *
 * @example
 * ```ts
 * bunWorkerFlags(["--smol", "--watch", "--cpu-prof-dir", "prof"]); // ["--smol"]
 * ```
 */
export function bunWorkerFlags(flags: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at < flags.length; at++) {
    const flag = flags[at] ?? "";
    if (!DROPPED.test(flag) && !PROFILING.test(flag)) kept.push(flag);
    else if (WITH_VALUE.test(flag)) at++;
  }
  return kept;
}
