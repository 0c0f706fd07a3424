/**
 * Finds out who answers at a socket, for somebody who waits for that.
 *
 * @module
 */

import { currentHost } from "../../runtimes/current.ts";
import type { StatusReport } from "../operator/report.ts";
import { findManager } from "./client.ts";
import { sayAtTerminal } from "./meanwhile.ts";
import { nameOfSocket } from "./place.ts";

/** The manager behind a socket. One that is stopped, or busy, may take its time. */
export async function meet(path: string, patienceMs?: number): Promise<StatusReport> {
  using _said = sayAtTerminal(`waiting for the manager '${nameOfSocket(path)}' to answer`);
  return await findManager(currentHost, path, patienceMs);
}
