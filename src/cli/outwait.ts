/**
 * What a new manager waits for when it takes over.
 *
 * @module
 */

import type { ProcessHost } from "../types.ts";

/** How often it is tried to have what the old manager is about to let go, and how long. */
const STEP_MS = 20;
const PATIENCE_MS = 10_000;

/** Tries until it is had, and gives true; gives false if it is never had, or `isOver` says that nobody wants it. */
export async function outwait(
  host: ProcessHost,
  isOver: () => boolean,
  attempt: () => boolean | Promise<boolean>,
): Promise<boolean> {
  for (const end = host.now() + PATIENCE_MS; host.now() < end && !isOver();) {
    if (await attempt()) return true;
    await new Promise<void>((resolve) => host.setTimer(STEP_MS, resolve).unref());
  }
  return false;
}
