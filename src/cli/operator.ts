/**
 * What a signal means that somebody sent to a manager of the command line, beyond what the pool itself does for it.
 *
 * @module
 */

import { closeSync, openSync } from "node:fs";
import { ECHO_MS, STOP_SIGNALS } from "../signals.ts";
import type { ProcessHost, Relays, Signal } from "../types.ts";

/** What an operator can do. */
export interface OperatorActions {
  /** Stop with all workers, now. */
  kill(signal: Signal): void;
  /** SIGHUP, where the terminal is there still. */
  reload(): void;
  /** Stop, because the terminal is gone. */
  hangUp(): void;
  /** One worker more or less. Not while the pool stops. */
  resize(signal: Signal, by: 1 | -1): void;
  /** A new manager in the place of this one. */
  upgrade(signal: Signal): void;
}

/**
 * Listens until disposed of.
 *
 * @param terminalIsGone Made by {@linkcode watchTerminal} before anybody traps SIGHUP.
 */
export function listenToOperator(
  host: ProcessHost,
  traps: Relays,
  terminalIsGone: () => boolean,
  actions: OperatorActions,
): Disposable {
  const stack = new DisposableStack();
  let stopped: { readonly signal: Signal; readonly at: number } | undefined;
  const stop = (signal: Signal): void => {
    const now = host.now();
    const isEcho = stopped?.signal === signal && now - stopped.at < ECHO_MS;
    if (stopped !== undefined && !isEcho) actions.kill(signal);
    stopped ??= { signal, at: now };
  };
  for (const signal of STOP_SIGNALS) stack.use(host.onSignal(signal, () => stop(signal)));
  stack.use(host.onSignal("SIGHUP", () => terminalIsGone() ? actions.hangUp() : actions.reload()));
  for (const [signal, by] of [["SIGTTIN", 1], ["SIGTTOU", -1]] as const) {
    if (traps[signal] !== undefined) continue;
    stack.use(host.onSignal(signal, () => stopped === undefined && actions.resize(signal, by)));
  }
  if (traps.SIGUSR2 === undefined) stack.use(host.onSignal("SIGUSR2", () => actions.upgrade("SIGUSR2")));
  return stack;
}

/**
 * Tells whether the terminal this was started from has been closed since. Under `nohup` that never counts: whoever
 * wrote it wants the pool to outlive the terminal.
 */
export function watchTerminal(host: ProcessHost): () => boolean {
  if (!hasTerminal() || host.isIgnored("SIGHUP")) return () => false;
  return () => !hasTerminal();
}

/** A process has lost its terminal when `/dev/tty` answers ENXIO. */
function hasTerminal(): boolean {
  try {
    closeSync(openSync("/dev/tty", "r"));
    return true;
  } catch {
    return false;
  }
}
