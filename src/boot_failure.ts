/**
 * The failure of a pool in which nothing ever became ready.
 *
 * @module
 */

import type { Effect } from "./pool_state.ts";

/** Thrown by `start` when no worker ever became ready, after `maxBootFailures` failures. */
export class BootFailureError extends Error {
  /** Tells this error from others. */
  override readonly name = "BootFailureError";
}

/** The error of a pool that was given up. */
export function bootFailure({ failures, reason }: Extract<Effect, { type: "gaveUp" }>): BootFailureError {
  return new BootFailureError(
    `Cannot keep this pool: ${failures} workers failed and none ever became ready; the last one ${reason}`,
  );
}
