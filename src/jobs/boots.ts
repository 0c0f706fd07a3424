/**
 * Workers that come no more, in words: where some have come before, a pool of jobs waits for others without end.
 *
 * @module
 */

import type { PreforkEvent } from "../events.ts";

/** So many that fail in a row are no accident. */
const MANY = 3;

/** Says so, once, whenever workers fail one after the other before they can do a job. */
export async function tellOfBoots(events: AsyncIterable<PreforkEvent>, tell: (text: string) => void): Promise<void> {
  const ready = new Set<number>();
  let hasBeen = false; // who waits for the first ones is told by an error
  let failures = 0;
  const fails = (how: string): void => {
    if (++failures !== MANY || !hasBeen) return;
    tell(
      `prefork: ${MANY} workers in a row have failed before they could do a job, the last one ${how}; jobs wait until ` +
        "one can\n",
    );
  };
  for await (const event of events) {
    if (event.type === "ready") {
      ready.add(event.worker.pid);
      hasBeen = true;
      failures = 0;
    } else if (event.type === "reap" && !ready.delete(event.worker.pid) && !event.expected) fails(event.reason);
    else if (event.type === "spawnError") fails(`could not be started: ${String(event.error)}`);
  }
}
