/**
 * Where the log goes, and what workers print: the standard streams of the manager.
 *
 * @module
 */

import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import { takeoverOn } from "../succession.ts";
import type { OutputStream } from "./host.ts";
import { type Log, openLog } from "./log.ts";
import { type Dropped, Outlet } from "./outlet.ts";
import { type Destination, workerPrefix } from "./output.ts";
import type { RunOptions } from "./parse.ts";

/** How long the end waits for a reader that takes nothing. */
export const PATIENCE_MS = 2000;

/** The standard streams, and the log on one of them. */
export interface Outlets {
  readonly log: Log;
  readonly streams: Readonly<Record<OutputStream, Destination>>;
  /** Resolves when all is written, or nobody reads it. */
  drain(): Promise<void>;
}

/** Opens the log. */
export function openOutlets({ logFormat, name }: RunOptions): Outlets {
  const log = openLog({
    format: logFormat ?? (currentCommandLine.isTerminal("stderr") ? "pretty" : "json"),
    color: wantsColor("stderr"),
    name,
    speaker: () => takeoverOn(currentHost)?.elderPid === undefined ? "" : `new manager pid=${currentHost.pid}: `,
    write: (text) => stderr.outlet.log(text),
  });
  const [stdout, stderr] = [openDestination("stdout", log), openDestination("stderr", log)];
  return {
    log,
    streams: { stdout, stderr },
    async drain() {
      await Promise.all([stdout, stderr].map(({ outlet }) => outlet.drain(PATIENCE_MS)));
    },
  };
}

function openDestination(stream: OutputStream, log: Log): Destination {
  const describeDropped = (dropped: Dropped): string => {
    const { lines, bytes } = dropped;
    const what = `${stream} was full: ${lines} lines of the log and ${bytes} bytes that workers printed were dropped`;
    return log.format("warning", what, { event: "full", stream, ...dropped });
  };
  const color = wantsColor(stream);
  return {
    outlet: new Outlet((bytes) => currentCommandLine.write(stream, bytes), { describeDropped }),
    prefix: currentCommandLine.isTerminal(stream) ? (slot, pid) => workerPrefix(slot, pid, color) : () => "",
  };
}

function wantsColor(stream: OutputStream): boolean {
  return currentCommandLine.isTerminal(stream) && (currentHost.getEnv("NO_COLOR") ?? "") === "";
}
