/**
 * What a manager tells of itself and its pool in the log.
 *
 * @module
 */

import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import { describeWorker, type PreforkEvent } from "../events.ts";
import type { Prefork } from "../prefork.ts";
import type { WorkerInfo } from "../types.ts";
import type { Log } from "./log.ts";
import type { RunRequest } from "./request.ts";
import { describeWork } from "./pool_options.ts";
import type { Prepared } from "./prepare.ts";

/** Who wants to know what happens. */
export interface Heeder {
  heed(event: PreforkEvent): void;
}

/** Who it is, and what it keeps. */
export function tellStart(request: RunRequest, { workers }: Prepared, log: Log): void {
  const who = `pid=${currentHost.pid} ${currentCommandLine.version}`;
  const text = `${who} keeps ${describeCount(workers)} of ${describeWork(request)}`;
  log.tell("info", text, { event: "start", pid: currentHost.pid });
}

/** Where it listens, and who says so. */
export function tellListeners({ listeners }: Prefork, { sockets: { origin } }: Prepared, log: Log): void {
  for (const { name, text } of listeners) {
    const note = [name, origin].filter((each) => each !== undefined).join(", ");
    log.tell("info", `listens on ${text}${note === "" ? "" : ` (${note})`}`, { event: "listen", address: text, name });
  }
}

/** Logs the events, but the last one: it gives who had to be killed, and is told when all the workers said is told. */
export async function tellEvents(
  pool: Prefork,
  log: Log,
  heeders: readonly (Heeder | undefined)[],
): Promise<readonly WorkerInfo[]> {
  let killed: readonly WorkerInfo[] = [];
  for await (const event of pool) {
    for (const heeder of heeders) heeder?.heed(event);
    if (event.type === "stopped") killed = event.killed;
    else log.event(event);
  }
  return killed;
}

/** That it has stopped. */
export function tellStopped(killed: readonly WorkerInfo[], log: Log): void {
  if (killed.length === 0) return log.tell("info", describeStop(killed), { event: "stop" });
  log.tell("warning", describeStop(killed), { event: "stop", killed: killed.map(({ pid }) => pid) });
}

/** How a stop ended. */
export function describeStop(killed: readonly WorkerInfo[]): string {
  if (killed.length === 0) return "stopped";
  return `stopped; ${describeCount(killed.length)} had to be killed: ${killed.map(describeWorker).join(", ")}`;
}

/** So many workers, in words. */
export function describeCount(workers: number): string {
  return `${workers} worker${workers === 1 ? "" : "s"}`;
}
