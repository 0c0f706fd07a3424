/**
 * Names and numbers of signals.
 *
 * @module
 */

import type { Relay, ReplacingRelay, Signal } from "./types.ts";
import { nearest } from "./nearest.ts";

/** Linux numbers. The names are what counts; the numbers serve exit statuses (128+n) only. */
const NUMBERS: Readonly<Record<Signal, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGCHLD: 17,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGURG: 23,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGVTALRM: 26,
  SIGPROF: 27,
  SIGWINCH: 28,
  SIGIO: 29,
  SIGSYS: 31,
};

/** Signals that ask a manager to end, the most wanted first. They overtake all others that wait. */
export const STOP_SIGNALS: readonly Signal[] = ["SIGTERM", "SIGINT", "SIGQUIT"];

/** `timeout` signals its command and then the whole group; `npm run` hands on a Ctrl-C: two in no time are one. */
export const ECHO_MS = 5;

/** Whether `signal` asks a manager to end. */
export function isStopSignal(signal: Signal): boolean {
  return STOP_SIGNALS.includes(signal);
}

/** Signals no process can catch. */
export function isUncatchable(signal: Signal): boolean {
  return signal === "SIGKILL" || signal === "SIGSTOP";
}

/** The number of a signal on Linux. */
export function signalNumber(signal: Signal): number {
  return NUMBERS[signal];
}

/** Whether a string names a signal. */
export function isSignal(name: string): name is Signal {
  return Object.hasOwn(NUMBERS, name);
}

/** The signal that a relay sends, if it sends any. */
export function relayedSignal(relay: Relay | undefined): Signal | undefined {
  return relay === null || relay === undefined ? undefined : typeof relay === "string" ? relay : relay.signal;
}

/** Whether a relay replaces the workers instead of signalling them all. */
export function isReplacing(relay: Relay): relay is ReplacingRelay {
  return typeof relay === "object" && relay !== null && "replace" in relay;
}

/**
 * Reads a signal's name.
 *
 * @param what Where the name stands, for the error.
 * @throws {TypeError} If it is none; the nearest one is named.
 */
export function parseSignal(name: unknown, what: string): Signal {
  if (typeof name === "string" && isSignal(name)) return name;
  const shown = typeof name === "string" ? `'${name}'` : String(name);
  const near = typeof name === "string" ? nearest(`SIG${name.replace(/^SIG/i, "")}`, Object.keys(NUMBERS)) : undefined;
  throw new TypeError(`Cannot use ${shown} as ${what}: it is no signal${near ? `; did you mean '${near}'?` : ""}`);
}
