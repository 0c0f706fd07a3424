/**
 * The signals a manager hears: those it traps, and those it would die of while workers are left.
 *
 * @module
 */

import type { EventHub } from "./event_hub.ts";
import { signalNumber } from "./signals.ts";
import type { ProcessHost, Signal } from "./types.ts";

/** Signals whose default is to end a process, and that come from a terminal or an init system. */
const FATAL: readonly Signal[] = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"];

/** Holds the handlers of one manager. */
export class Traps implements Disposable {
  readonly #host: ProcessHost;
  readonly #trapped: readonly Signal[];
  /** Those that are fatal, but not to this process. */
  readonly #ignored: readonly Signal[];
  readonly #onFatal: (signal: Signal) => void;
  #handlers: readonly Disposable[];
  #fatal: readonly Disposable[] = [];

  /**
   * Traps `trapped` at once: a signal that comes before the first `start` is not lost.
   *
   * @param left What the program listens for by itself.
   */
  constructor(
    host: ProcessHost,
    trapped: readonly Signal[],
    left: readonly Signal[],
    onSignal: (signal: Signal) => void,
    onFatal: (signal: Signal) => void,
  ) {
    this.#host = host;
    this.#trapped = trapped;
    this.#onFatal = onFatal;
    const isIgnored = (signal: Signal): boolean => !trapped.includes(signal) && host.isIgnored(signal);
    this.#ignored = FATAL.filter((signal) => left.includes(signal) || isIgnored(signal));
    const handlers = trapped.map((signal) => host.onSignal(signal, () => onSignal(signal)));
    // Deno no longer ignores what nohup made it ignore once it listens for anything, so we do it ourselves. And what is
    // left to the program may come before that listens.
    const deaf = this.#ignored.map((signal) => host.onSignal(signal, () => {}));
    this.#handlers = [...handlers, ...deaf];
  }

  /** From here on an untrapped fatal signal is heard, so that workers can be told before the manager dies of it. */
  watchFatal(): void {
    if (this.#fatal.length > 0) return;
    this.#fatal = FATAL.filter((signal) => !this.#trapped.includes(signal) && !this.#ignored.includes(signal))
      .map((signal) => this.#host.onSignal(signal, () => this.#onFatal(signal)));
  }

  /** Back to the default: there is nobody left to tell. */
  ignoreFatal(): void {
    for (const handler of this.#fatal) handler[Symbol.dispose]();
    this.#fatal = [];
  }

  /** Takes all handlers away, and has this process die of a signal that nobody trapped. */
  dieOf(signal: Signal): void {
    this[Symbol.dispose]();
    try {
      this.#host.kill(this.#host.pid, signal);
    } catch {
      this.#host.exit(128 + signalNumber(signal)); // not allowed to signal itself; the nearest thing to dying of it
    }
  }

  /** Takes all handlers away. */
  [Symbol.dispose](): void {
    this.ignoreFatal();
    for (const handler of this.#handlers) handler[Symbol.dispose]();
    this.#handlers = [];
  }
}

/** Tells what comes with a trap for SIGUSR1. */
export function warnOfInspector(host: ProcessHost, trapped: readonly Signal[], hub: EventHub): void {
  if (host.name !== "deno" || !trapped.includes("SIGUSR1")) return;
  hub.warn("trapping SIGUSR1: on Deno it also opens the inspector on 127.0.0.1:9229; SIGUSR2 does not", host);
}
