/**
 * What a worker tells the manager of its status: seldom enough to cost nothing, and such that who is busy and who is idle
 * comes out right, whatever the work is like.
 *
 * @module
 */

import type { StatusMessage } from "./protocol.ts";
import type { ProcessHost } from "./types.ts";

/** At most one report in this time goes to the manager; what is held back goes at most half as long later. */
const INTERVAL_MS = 100;

/** Tells the manager of one worker's status. */
export class StatusReporter {
  readonly #host: Pick<ProcessHost, "now" | "setTimer">;
  readonly #send: (message: StatusMessage) => void;
  readonly #random: () => number;
  #status = "_";
  #sent = "_";
  /** Whether the manager takes this worker for idle; undefined while that is open. */
  #isTakenForIdle: boolean | undefined = true;
  #timer: Disposable | undefined;
  /** When it was last looked how busy this worker is, and for how long it has been so since. */
  #lookedAt = 0;
  #busyMs = 0;
  #changedAt = 0;

  constructor(
    host: Pick<ProcessHost, "now" | "setTimer">,
    send: (message: StatusMessage) => void,
    random: () => number = Math.random,
  ) {
    this.#host = host;
    this.#send = send;
    this.#random = random;
  }

  /**
   * Takes a new status. A change after a while of rest is told at once, since what begins now may hang this worker; how
   * busy it is remains open until the first look.
   */
  set(status: string): void {
    const now = this.#account();
    this.#status = status;
    if (this.#timer !== undefined || status === this.#sent) return;
    this.#report();
    this.#lookedAt = now;
    this.#busyMs = 0;
    this.#lookLater();
  }

  /** Tells what was held back. */
  flush(): void {
    if (this.#status !== this.#sent) this.#report();
  }

  /** At no fixed time, which could keep step with the work. */
  #lookLater(): void {
    const timer = this.#host.setTimer(INTERVAL_MS * (1 + this.#random() / 2), () => this.#look());
    timer.unref();
    this.#timer = timer;
  }

  /**
   * The status of this moment says little: a worker that is busy all the time comes here between two requests only, if
   * its work does not let the event loop turn. So it is the status of some moment since the last look that counts.
   */
  #look(): void {
    this.#timer = undefined;
    const now = this.#account();
    const isIdle = this.#random() * (now - this.#lookedAt) >= this.#busyMs;
    this.#lookedAt = now;
    this.#busyMs = 0;
    const isNews = this.#status !== this.#sent || isIdle !== this.#isTakenForIdle;
    if (isNews) this.#report(isIdle);
    if (isNews || isIdle !== isIdleStatus(this.#status)) this.#lookLater();
  }

  #report(isIdle?: boolean): void {
    const status = this.#status;
    this.#sent = status;
    this.#isTakenForIdle = isIdle;
    this.#send({ type: "status", status, ...(isIdle === undefined ? {} : { isIdle }) });
  }

  /** Counts the time since the last change or look, and gives the time. */
  #account(): number {
    const now = this.#host.now();
    if (!isIdleStatus(this.#status)) this.#busyMs += now - this.#changedAt;
    this.#changedAt = now;
    return now;
  }
}

/** `.` and `_` are idle, all else is busy, as the scoreboard of Parallel::Prefork::SpareWorkers has it. */
function isIdleStatus(status: string): boolean {
  return status === "_" || status === ".";
}
