/**
 * Reads the values of options: counts, times, ranges, signals and what is done for them.
 *
 * @module
 */

import { parseAddress } from "../address.ts";
import { describeError } from "../events.ts";
import { checkListen } from "../listen.ts";
import { nearest } from "../nearest.ts";
import { isReplacing, isSignal, isStopSignal, isUncatchable } from "../signals.ts";
import type { ReadyWhen } from "../ready_when.ts";
import type { Relay, Relays, Signal } from "../types.ts";
import { UsageError } from "./usage_error.ts";

/** How many spare workers to keep. */
export interface SpareRange {
  readonly minSpare: number;
  readonly maxSpare: number;
}

/** The formats of the log. */
export const LOG_FORMATS = ["pretty", "json", "plain", "journal"] as const;

/** How log lines look. */
export type LogFormat = (typeof LOG_FORMATS)[number];

/** What becomes of what workers print. */
export const OUTPUT_MODES = ["named", "lines", "inherit"] as const;

/** Whether each line is named by its worker, goes out as it is, or is not looked at. */
export type OutputMode = (typeof OUTPUT_MODES)[number];

/** Reads a whole number, 0 or more. */
export function parseCount(what: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  const wanted = /^\d+$/.test(text)
    ? "less than a thousand million"
    : /^-\d+$/.test(text)
    ? "0 or more"
    : "a whole number, such as 4";
  throw new UsageError(`Cannot use '${text}' for ${what}: it must be ${wanted}`);
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Reads a time with its unit as milliseconds. */
export function parseDuration(what: string, text: string): number {
  const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?|\.\d+)([a-z]+)$/.exec(text) ?? [];
  const factor = UNITS[unit];
  if (factor !== undefined) return Number(number) * factor;
  if (text === "0") return 0;
  const hint = /^\d+(\.\d+)?$/.test(text)
    ? `say whether ${text}s or ${text}ms is meant`
    : "it must be a time, such as 30s, 500ms or 2m";
  throw new UsageError(`Cannot use '${text}' for ${what}: ${hint}`);
}

const SIZES: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** Reads a size with its unit, in bytes. */
export function parseSize(what: string, text: string): number {
  const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?)([KMG])i?B?$/i.exec(text) ?? [];
  const factor = SIZES[unit.toUpperCase()];
  if (factor !== undefined) return Math.round(Number(number) * factor);
  throw new UsageError(`Cannot use '${text}' for ${what}: it must be a size, such as 512M or 1G`);
}

/** Reads `MIN:MAX`, or `MIN` alone for a maximum that is as large as the pool. */
export function parseSpare(text: string): SpareRange {
  const [, min = "", max] = /^(\d{1,9})(?::(\d{1,9}))?$/.exec(text) ?? [];
  if (min === "") {
    throw new UsageError(`Cannot use '${text}' for --spare: it must be MIN:MAX, such as --spare 3:8`);
  }
  const minSpare = Number(min);
  const maxSpare = max === undefined ? Infinity : Number(max);
  if (minSpare < 1) throw new UsageError(`Cannot use '${text}' for --spare: at least 1 worker must be spare`);
  if (maxSpare < minSpare) {
    throw new UsageError(
      `Cannot use '${text}' for --spare: MAX must not be less than MIN, as in --spare ${max}:${min}`,
    );
  }
  return { minSpare, maxSpare };
}

/** Reads what a worker is asked until it is ready. What follows the kind is for the pool to check. */
export function parseReadyWhen(text: string): ReadyWhen {
  if (/^(\/|https?:)/.test(text)) return { http: text };
  if (text.startsWith("unix:")) return { tcp: text };
  if (text.startsWith("tcp:")) return { tcp: text.slice("tcp:".length) };
  throw new UsageError(
    `Cannot use '${text}' for --ready-when: it must be a path, such as /healthz, an address, such as ` +
      "http://127.0.0.1:900{slot}/healthz, or one that takes a connection, such as tcp:127.0.0.1:900{slot}",
  );
}

/** Reads an address to listen on: gives it back if it is one. */
export function parseListen(what: string, text: string): string {
  try {
    checkListen(text);
    return text;
  } catch (error) {
    throw new UsageError(`${describeError(error)} (${what})`);
  }
}

/** Reads where the status is told: a port alone is one of this machine only. */
export function parseStatusListen(text: string): { readonly host: string; readonly port: number } {
  if (/^\d+$/.test(text)) return parseStatusListen(`127.0.0.1:${text}`);
  parseListen("--status-listen", text);
  const { name, address } = parseAddress(text);
  if (name === undefined && address.type === "tcp") return { host: address.host, port: address.port };
  throw new UsageError(`Cannot use '${text}' for --status-listen: it must be PORT, HOST:PORT or [v6]:PORT`);
}

/** Reads how many connections may wait. */
export function parseBacklog(text: string): number {
  const backlog = parseCount("--backlog", text);
  if (backlog >= 1) return backlog;
  throw new UsageError("Cannot use '0' for --backlog: at least 1 connection must be able to wait");
}

/** Reads the permissions of a file, in octal digits. */
export function parseMode(text: string): number {
  if (/^0?[0-7]{3}$/.test(text)) return Number.parseInt(text, 8);
  throw new UsageError(`Cannot use '${text}' for --socket-mode: it must be three octal digits, such as 660`);
}

/** Reads the name of a log format. */
export function parseLogFormat(text: string): LogFormat {
  const format = LOG_FORMATS.find((name) => name === text);
  if (format !== undefined) return format;
  throw new UsageError(`Cannot use '${text}' for --log-format: the formats are ${LOG_FORMATS.join(", ")}`);
}

/** Reads what is to become of what workers print. */
export function parseOutput(text: string): OutputMode {
  const mode = OUTPUT_MODES.find((name) => name === text);
  if (mode !== undefined) return mode;
  throw new UsageError(`Cannot use '${text}' for --output: it must be one of ${OUTPUT_MODES.join(", ")}`);
}

/** The signals one can sensibly write on a command line, for the nearest name. */
const COMMON = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "TTIN", "TTOU", "WINCH", "ALRM", "CONT", "KILL", "STOP"];

/** Those numbers that mean the same everywhere, as POSIX has them for kill(1). */
const NUMBERED: Readonly<Record<string, Signal>> = {
  1: "SIGHUP",
  2: "SIGINT",
  3: "SIGQUIT",
  6: "SIGABRT",
  9: "SIGKILL",
  14: "SIGALRM",
  15: "SIGTERM",
};

/** Reads the name of a signal, with or without `SIG`, in any case; undefined if it is none. */
function signalOf(text: string): Signal | undefined {
  if (NUMBERED[text] !== undefined) return NUMBERED[text];
  const upper = text.toUpperCase();
  const name = upper.startsWith("SIG") ? upper : `SIG${upper}`;
  return isSignal(name) ? name : undefined;
}

/** Reads the name of a signal to be sent. */
export function parseSignal(text: string, where: string): Signal {
  const signal = signalOf(text);
  if (signal === undefined) throw unknownSignal(text, where);
  return signal;
}

function unknownSignal(text: string, where: string, more = ""): UsageError {
  const near = nearest(text.replace(/^SIG/i, ""), COMMON);
  const hint = near === undefined ? "" : `; did you mean ${near}?`;
  return new UsageError(`Cannot use '${text}' in ${where}: there is no such signal${more}${hint}`);
}

/** Reads `SIG=ACTION`. */
export function parseTrap(text: string): readonly [Signal, Relay] {
  const where = `-t ${text}`;
  const [, left = "", right = ""] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (left === "") {
    throw new UsageError(`Cannot use '${text}' for -t: it must be SIG=ACTION, such as HUP=reload or USR2=none`);
  }
  const signal = signalOf(left);
  if (signal === undefined) throw unknownSignal(left, where);
  if (isUncatchable(signal)) throw new UsageError(`Cannot trap ${signal}, as ${where} asks: no process can`);
  if (signal === "SIGCHLD") throw new UsageError(`Cannot trap ${signal}, as ${where} asks: the runtime needs it`);
  const relay = parseAction(right, where);
  if (isStopSignal(signal) && (relay === null || isReplacing(relay))) {
    throw new UsageError(
      `Cannot use ${where}: ${signal} stops the pool, so the workers must be told; name their signal`,
    );
  }
  return [signal, relay];
}

/** Replaces the workers one after the other, behind a canary. */
const RELOAD: Relay = { signal: "SIGTERM", replace: "before" };

function parseAction(text: string, where: string): Relay {
  if (text.toLowerCase() === "none") return null;
  if (text.toLowerCase() === "reload") return RELOAD;
  const [, name = "", time] = /^([^:]*)(?::(.*))?$/.exec(text) ?? [];
  const signal = signalOf(name);
  if (signal === undefined) {
    throw unknownSignal(
      name,
      where,
      ", and an action is reload, a signal (TERM), one with a time between workers (TERM:500) or none",
    );
  }
  if (time === undefined) return signal;
  return { signal, intervalMs: /^\d+$/.test(time) ? Number(time) : parseDuration(`the time in ${where}`, time) };
}

/** What a pool does for signals unless `-t` says otherwise, as it would be typed. */
export const DEFAULT_TRAP_TEXTS: readonly string[] = ["TERM=TERM", "INT=TERM", "QUIT=TERM", "HUP=reload"];

/** The same, read. TTIN and TTOU, which change the size of the pool, are not among them. */
export const DEFAULT_TRAPS: Relays = Object.fromEntries(DEFAULT_TRAP_TEXTS.map(parseTrap));
