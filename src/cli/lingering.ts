/**
 * Whom a stop waits for, where that takes long.
 *
 * @module
 */

import type { PreforkEvent } from "../events.ts";
import { isStopSignal } from "../signals.ts";
import type { ProcessHost, Signal, Timer } from "../types.ts";
import type { Log } from "./log.ts";
import { describeCount } from "./telling.ts";

/** How long nobody wonders. */
const SILENT_MS = 1000;

/** Says once how many workers are still there, and how not to wait for them. */
export class Lingering {
  readonly #host: ProcessHost;
  readonly #log: Pick<Log, "tell">;
  readonly #count: () => number;
  #received: Signal | undefined;
  #timer: Timer | undefined;

  /** @param count How many workers there are. */
  constructor(host: ProcessHost, log: Pick<Log, "tell">, count: () => number) {
    this.#host = host;
    this.#log = log;
    this.#count = count;
  }

  /** Hears what happens in the pool. */
  heed(event: PreforkEvent): void {
    if (event.type === "signal" && isStopSignal(event.signal)) {
      this.#timer?.[Symbol.dispose](); // a second one: who sent it waits no longer
      this.#received ??= event.signal;
    } else if (event.type === "relay" && this.#received !== undefined) this.#wait(this.#received);
    else if (event.type === "stopped") this.#timer?.[Symbol.dispose]();
  }

  /** From where the workers are told of it: before that they serve on, which is told by itself. */
  #wait(received: Signal): void {
    this.#timer ??= this.#host.setTimer(SILENT_MS, () => this.#tell(received));
    this.#timer.unref();
  }

  #tell(received: Signal): void {
    const left = this.#count();
    if (left === 0) return;
    const [are, them] = left === 1 ? ["is", "it"] : ["are", "them"];
    this.#log.tell(
      "info",
      `waits for ${describeCount(left)}, which ${are} not done yet; another ${received} kills ${them}`,
    );
  }
}
