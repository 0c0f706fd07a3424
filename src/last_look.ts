/**
 * Deadlines for what others are to say. Whoever waits for that may have stood still for as long: then it may be there
 * already, and is only to be read.
 *
 * @module
 */

import type { ProcessHost } from "./types.ts";

/** How long is waited for what may be there to be read. */
const LAST_LOOK_MS = 100;

/** Calls `late` when the time is up and a last look has found nothing, unless it is disposed of before. */
export function setDeadline(
  host: Pick<ProcessHost, "setTimer">,
  delayMs: number,
  late: () => void,
): Disposable {
  let timer = host.setTimer(delayMs, () => {
    timer = host.setTimer(LAST_LOOK_MS, late);
    timer.unref();
  });
  timer.unref();
  return { [Symbol.dispose]: () => timer[Symbol.dispose]() };
}
