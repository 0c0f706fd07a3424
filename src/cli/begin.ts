/**
 * What comes before all else in a manager of the command line: whoever waits for it, its limits, and its log.
 *
 * @module
 */

import { resolve } from "node:path";
import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import { currentLibc } from "../../runtimes/current_libc.ts";
import { takeoverOn } from "../succession.ts";
import { applyLimits } from "./limits.ts";
import type { LogFile } from "./log_file.ts";
import { openOutlets, type Outlets } from "./outlets.ts";
import type { RunOptions } from "./request.ts";
import { Starter } from "./starter.ts";
import { UsageError } from "./usage_error.ts";

/** What a manager begins with. */
export interface Beginning {
  readonly outlets: Outlets;
  /** Whoever waits for it, if it is a daemon. */
  readonly starter: Starter | undefined;
  /** Stops it. */
  readonly hangUp: AbortController;
}

/** Begins; undefined if that cannot be, which is told then. */
export async function begin(options: RunOptions): Promise<Beginning | undefined> {
  const hangUp = new AbortController();
  let starter: Starter | undefined;
  try {
    starter = await findStarter(options, () => hangUp.abort());
    applyLimits(options, currentLibc); // whatever is made comes after them
    return { outlets: openOutlets(options, await openLogFile(options)), starter, hangUp };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    await complain(error.message, starter);
    return undefined;
  }
}

/** A manager that takes over from a daemon has nobody who waits for it but that. */
async function findStarter({ daemonized }: RunOptions, gone: () => void): Promise<Starter | undefined> {
  if (daemonized === undefined || takeoverOn(currentHost) !== undefined) return undefined;
  return await Starter.find(currentHost, daemonized, gone);
}

async function openLogFile({ logFile, output }: RunOptions): Promise<LogFile | undefined> {
  if (logFile === undefined) return undefined;
  if (output === "inherit") {
    throw new UsageError("Cannot use --output inherit beside --log-file: what workers print would not go to that file");
  }
  const { LogFile } = await import("./log_file.ts");
  return await LogFile.open(currentCommandLine, resolve(currentCommandLine.cwd(), logFile));
}

async function complain(text: string, starter: Starter | undefined): Promise<void> {
  starter?.say(`prefork: ${text}\n`);
  await starter?.told();
  const outlets = openOutlets({});
  outlets.complain(text);
  await outlets.drain();
}
