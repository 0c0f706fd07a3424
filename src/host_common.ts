/**
 * What both runtimes' hosts check and say alike.
 *
 * @module
 */

/** Does `action`; an error becomes "Cannot start x: reason". */
export function attempt<T>(what: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw failure(what, error);
  }
}

/** An error that says what could not be done, and why. */
export function failure(what: string, error: unknown): Error {
  return new Error(`Cannot ${what}: ${reason(error)}`, { cause: error });
}

/** The words of an error. */
export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Refuses the numbers by which kill(2) means several processes at once.
 *
 * @throws {RangeError} If `pid` is neither a process nor a group.
 */
export function checkPid(pid: number): void {
  if (Number.isInteger(pid) && pid !== 0 && pid !== -1) return;
  throw new RangeError(`Cannot signal process ${pid}: give a process id, or a process group's as a negative number.`);
}

/** Whether a directory can hold sockets: a path has 107 bytes at most, and the longest name we give one has 20. */
export function holdsSockets(directory: string): boolean {
  return new TextEncoder().encode(directory).length <= 107 - 20;
}

/** The longest delay that a timer of the runtimes can hold. */
export const MAX_DELAY_MS: number = 2 ** 31 - 1;
