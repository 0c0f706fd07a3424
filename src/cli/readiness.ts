/**
 * When a pool counts as ready for whoever has started it: systemd, or the command that was told to `--daemonize`.
 *
 * @module
 */

import type { PreforkEvent } from "../events.ts";
import type { Prefork } from "../prefork.ts";

/** What may complete it: whoever was waited for may also have gone, or have been told to. */
const COMPLETING: readonly PreforkEvent["type"][] = ["ready", "reap", "replace", "retire", "reloaded"];

/**
 * Whether what has happened makes it so, which then holds for good; without an event, whether it is so from the start. A
 * pool serves, too, if it lacks workers that fail, or does short jobs.
 */
export function countsAsReady(pool: Pick<Prefork, "workers" | "maxWorkers">, event?: PreforkEvent): boolean {
  if (event?.type === "degraded" || isJobDone(event)) return true;
  if (event !== undefined && !COMPLETING.includes(event.type)) return false;
  const staff = pool.workers.filter(({ state }) => state !== "stopping");
  return staff.length >= Math.min(1, pool.maxWorkers) && staff.every(({ state }) => state === "ready");
}

/** A worker has ended well, and by itself. */
function isJobDone(event: PreforkEvent | undefined): boolean {
  return event?.type === "reap" && event.expected && event.worker.state !== "stopping";
}
