/**
 * Where the log goes, and what workers print: the standard streams of the manager.
 *
 * @module
 */

import { fstatSync } from "node:fs";
import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import { takeoverOn } from "../succession.ts";
import type { OutputStream } from "./host.ts";
import { type Log, openLog } from "./log.ts";
import type { LogFile } from "./log_file.ts";
import { type Dropped, Outlet, type OutletOptions } from "./outlet.ts";
import { byPrefix, byRecord, type Naming, unnamed } from "./naming.ts";
import type { Destination } from "./output.ts";
import type { RunOptions } from "./request.ts";

const STDOUT = 1;
const STDERR = 2;

/** How long the end waits for a reader that takes nothing. */
export const PATIENCE_MS = 2000;

/** The standard streams, and the log on one of them. */
export interface Outlets {
  readonly log: Log;
  readonly streams: Readonly<Record<OutputStream, Destination>>;
  /** The file that both go to, if there is one. */
  readonly file: LogFile | undefined;
  /** Says on standard error what is wrong with what was typed. */
  complain(text: string): void;
  /** Resolves when all is written, or nobody reads it. */
  drain(): Promise<void>;
}

/**
 * Opens the log.
 *
 * @param file Where it goes, and what workers print, in the place of the standard streams.
 */
export function openOutlets({ logFormat, name, output }: RunOptions, file?: LogFile): Outlets {
  const isPretty = file === undefined && currentCommandLine.isTerminal("stderr");
  const format = logFormat ?? (isPretty ? "pretty" : file === undefined && isJournal() ? "journal" : "json");
  const log = openLog({
    format,
    color: isPretty && wantsColor("stderr"),
    name,
    speaker: () => takeoverOn(currentHost)?.elderPid === undefined ? "" : `new manager pid=${currentHost.pid}: `,
    write: (text) => stderr.outlet.log(text),
  });
  const naming = (stream: OutputStream): Naming => {
    const isTerminal = file === undefined && currentCommandLine.isTerminal(stream);
    if ((output ?? (isTerminal ? "named" : "lines")) !== "named") return unnamed;
    return format === "json" ? byRecord(stream, log.line) : byPrefix(isTerminal && wantsColor(stream));
  };
  const isOne = areOne();
  const ownStderr = openOutlet("stderr", isOne ? "the stream of stdout and stderr" : "stderr", log);
  const ownStdout = isOne ? ownStderr : openOutlet("stdout", "stdout", log);
  const filed = file && new Outlet((bytes) => file.write(bytes), describing("the log file", log));
  const stdout = { outlet: filed ?? ownStdout, naming: naming("stdout") };
  const stderr = { outlet: filed ?? ownStderr, naming: naming("stderr") };
  return {
    log,
    streams: { stdout, stderr },
    file,
    complain: (text) => ownStderr.log(`prefork: ${text}\n`),
    async drain() {
      await Promise.all([stdout.outlet, stderr.outlet, ownStderr].map((outlet) => outlet.drain(PATIENCE_MS)));
    },
  };
}

function describing(stream: string, log: Log): OutletOptions {
  return {
    describeDropped(dropped: Dropped): string {
      const { lines, bytes } = dropped;
      const what = `${stream} was full: ${lines} lines of the log and ${bytes} bytes that workers printed were dropped`;
      return log.format("warning", what, { event: "full", stream, ...dropped });
    },
  };
}

function openOutlet(stream: OutputStream, name: string, log: Log): Outlet {
  return new Outlet((bytes) => currentCommandLine.write(stream, bytes), describing(name, log));
}

/** What is one file, as by `2>&1`, has one queue: two would write into the middle of each other's lines. */
function areOne(): boolean {
  const stdout = fileOf(STDOUT);
  return stdout !== undefined && stdout === fileOf(STDERR);
}

/** Which file a stream is, in the words of systemd; undefined where this process may not look. */
function fileOf(fd: number): string | undefined {
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/** Whether systemd's journal reads standard error, which has times and names of its own; systemd.exec(5) tells how to know. */
function isJournal(): boolean {
  const told = currentHost.getEnv("JOURNAL_STREAM");
  return told !== undefined && told === fileOf(STDERR);
}

function wantsColor(stream: OutputStream): boolean {
  return currentCommandLine.isTerminal(stream) && (currentHost.getEnv("NO_COLOR") ?? "") === "";
}
