/**
 * The error of a command line that cannot be followed.
 *
 * @module
 */

/** A mistake of whoever typed the command: one sentence, and exit status 2. */
export class UsageError extends Error {
  /** Tells this error from others. */
  override readonly name = "UsageError";
}

/** Whether something may not be done on Deno; it says so in a sentence, with the flag that is missing. */
export function isForbidden(error: unknown): error is Error {
  return error instanceof Error && error.name === "NotCapable";
}
