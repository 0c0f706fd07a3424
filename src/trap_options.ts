/**
 * The `trapSignals` of a pool, and their checks.
 *
 * @module
 */

import { checkKeys, checkTime, show } from "./checks.ts";
import { isReplacing, isSignal, isStopSignal, isUncatchable, parseSignal } from "./signals.ts";
import type { Relay, Relays, Signal, TrapSignals } from "./types.ts";

/**
 * What workers get for each signal that is trapped.
 *
 * @throws {TypeError} Names the signal that cannot be trapped or sent, or the key that is wrong.
 * @throws {RangeError} Names a time that is out of range.
 */
export function trapsOf(traps: TrapSignals = { SIGTERM: "SIGTERM" }): Relays {
  checkTraps(traps);
  return Object.fromEntries(Object.entries(traps).filter(([, relay]) => relay !== false));
}

function checkTraps(traps: TrapSignals): void {
  if (typeof traps !== "object" || traps === null) {
    throw new TypeError(`Cannot use 'trapSignals': it must map signals to what workers get, not ${show(traps)}`);
  }
  for (const [name, relay] of Object.entries(traps)) {
    const signal = parseSignal(name, "a key of 'trapSignals'");
    if (isUncatchable(signal) || signal === "SIGCHLD") {
      throw new TypeError(`Cannot trap ${signal}: ${signal === "SIGCHLD" ? "the runtime needs it" : "nothing can"}`);
    }
    checkRelay(signal, relay);
    if (isStopSignal(signal) && relay && isReplacing(relay)) {
      throw new TypeError(`Cannot replace workers on ${signal}: it stops the pool; give the signal alone`);
    }
  }
}

function checkRelay(trapped: Signal, relay: Relay | false | undefined): void {
  if (relay === null || relay === false) return;
  if (typeof relay !== "object") {
    parseSignal(relay, `what workers get for ${trapped}`);
    return;
  }
  const replacing = isReplacing(relay);
  checkKeys(`trapSignals.${trapped}`, relay, ["signal", replacing ? "replace" : "intervalMs"]);
  parseSignal(relay.signal, `what workers get for ${trapped}`);
  if (replacing) return checkReplace(trapped, relay.replace);
  checkTime(`trapSignals.${trapped}.intervalMs`, relay.intervalMs);
}

function checkReplace(trapped: Signal, replace: unknown): void {
  if (replace === "before") return;
  throw new TypeError(`Cannot use 'trapSignals.${trapped}.replace': it must be 'before', not ${show(replace)}`);
}

/** The signals a manager traps. */
export function trappedSignals(traps: Relays): readonly Signal[] {
  return Object.keys(traps).filter(isSignal);
}

/** The signals that it leaves to the program. */
export function leftSignals(traps: TrapSignals = {}): readonly Signal[] {
  return Object.keys(traps).filter(isSignal).filter((signal) => traps[signal] === false);
}
