/**
 * What a manager owes the others where it is process 1, as in a container: it misses no signal, and waits for the
 * orphans of all.
 *
 * @module
 */

import { describeError } from "../events.ts";
import type { Bytes, Libc } from "../libc.ts";
import { isSignal, STOP_SIGNALS } from "../signals.ts";
import type { ProcessHost, Relays, Signal, Timer } from "../types.ts";

const INIT = 1;

/** What a manager listens for besides those that stop it and those that it traps. */
const OTHERS: readonly Signal[] = ["SIGHUP", "SIGUSR2", "SIGTTIN", "SIGTTOU"];

/** How often it looks for orphans that have ended: a signal tells of them, but of each worker, too. */
const LOOK_MS = 1000;
/** The same while a child of the runtime stands before them, which is about to wait for it. */
const SOON_MS = 50;

const P_ALL = 0;
const P_PID = 1;
const WNOHANG = 1;
const WEXITED = 4;
/** Leaves it to be waited for. */
const WNOWAIT = 0x0100_0000;
/** The size of a `siginfo_t`, and where it tells whom it is about. */
const INFO_BYTES = 128;
const PID_AT = 16;

/** Does the work of process 1 until it is disposed of. */
export class Init implements Disposable {
  readonly #host: ProcessHost;
  readonly #stack = new DisposableStack();
  #timer: Timer | undefined;
  #isToStop = false;

  /** Undefined in every other process. */
  static open(host: ProcessHost): Init | undefined {
    return host.pid === INIT ? new Init(host) : undefined;
  }

  /**
   * The kernel drops what process 1 does not listen for; and Deno, once it listens for anything, crashes there by TERM,
   * INT and HUP, and by whatever it does not listen for any more. So this does from the beginning to the end, whoever
   * else listens meanwhile. (A TERM that comes while the first of these is being set up still crashes Deno: an instant
   * within the runtime, which stops it, too.)
   */
  private constructor(host: ProcessHost) {
    this.#host = host;
    for (const signal of STOP_SIGNALS) this.#stack.use(host.onSignal(signal, () => this.#isToStop = true));
    for (const signal of OTHERS) this.#listenFor(signal);
  }

  #listenFor(signal: Signal): void {
    this.#stack.use(this.#host.onSignal(signal, () => {}));
  }

  /** Listens for what a pool will trap, too, once that is known. */
  listenForTraps(traps: Relays): void {
    const more = Object.keys(traps).filter(isSignal).filter((signal) => !OTHERS.includes(signal));
    for (const signal of more) this.#listenFor(signal);
  }

  /** Whether a stop came, perhaps before anybody else listened. */
  get isToStop(): boolean {
    return this.#isToStop;
  }

  /** Waits for orphans from here on, or warns that it cannot. */
  reap(openLibc: () => Libc, warn: (text: string) => void): void {
    try {
      this.#lookLater(openLibc(), LOOK_MS);
    } catch (error) {
      warn(
        `runs as process 1, which inherits the orphans of all others, and cannot wait for them: ${
          describeError(error)
        }; else start it by an init, as docker run --init does`,
      );
    }
  }

  /**
   * A new manager would be another process.
   *
   * @throws {Error} Always.
   */
  refuseUpgrade(): never {
    throw new Error("Cannot upgrade process 1: its container ends with it; start a new one, or have this one reload");
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#stack[Symbol.dispose]();
  }

  #lookLater(libc: Libc, delayMs: number): void {
    this.#timer = this.#host.setTimer(delayMs, () => this.#look(libc));
    this.#timer.unref();
  }

  /** The runtime waits for its own children by their ids: whose status is its to have is left alone. */
  #look(libc: Libc): void {
    const info: Bytes = new Uint8Array(INFO_BYTES);
    for (let pid = ended(libc, info); pid !== 0; pid = ended(libc, info)) {
      if (this.#host.isChild(pid)) return this.#lookLater(libc, SOON_MS);
      libc.waitid(P_PID, pid, info, WEXITED | WNOHANG);
    }
    this.#lookLater(libc, LOOK_MS);
  }
}

/** A child that has ended and was not waited for; 0 if there is none. */
function ended(libc: Libc, info: Bytes): number {
  info.fill(0);
  libc.waitid(P_ALL, 0, info, WEXITED | WNOHANG | WNOWAIT);
  return new DataView(info.buffer).getInt32(PID_AT, true);
}
