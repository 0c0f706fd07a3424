/**
 * What a status page tells of the past: samples of the last hour, and the latest events.
 *
 * @module
 */

import { levelOf } from "../event_hub.ts";
import { formatEvent, type PreforkEvent } from "../events.ts";
import { History, SAMPLE_MS } from "../operator/history.ts";
import type { StatusReport } from "../operator/report.ts";
import { Ring } from "../operator/ring.ts";
import type { ProcessHost, Timer } from "../types.ts";
import { printable } from "./status_table.ts";

/** The first sample is there for whoever looks right after the start. */
const FIRST_MS = 1000;

const EVENTS = 200;
const MAX_TEXT = 1000;

/** An event, for people. */
export interface EventLine {
  /** When it was, on the clock that people go by: milliseconds since 1970. */
  readonly at: number;
  readonly level: ReturnType<typeof levelOf>;
  readonly text: string;
}

/** Keeps record of one manager until it is disposed of. */
export class StatusRecord implements Disposable {
  readonly history: History = new History();
  readonly events: Ring<EventLine> = new Ring(EVENTS);
  readonly #host: ProcessHost;
  readonly #status: () => Promise<StatusReport>;
  #timer: Timer | undefined;
  #isOver = false;

  constructor(host: ProcessHost, status: () => Promise<StatusReport>) {
    this.#host = host;
    this.#status = status;
    this.#plan(FIRST_MS);
  }

  /** Something has happened in the pool. */
  heed(event: PreforkEvent): void {
    this.events.push({ at: Date.now(), level: levelOf(event), text: printable(formatEvent(event), MAX_TEXT) });
  }

  /** Looks no more. */
  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#timer?.[Symbol.dispose]();
  }

  #plan(delayMs: number): void {
    if (this.#isOver) return;
    this.#timer = this.#host.setTimer(delayMs, () => void this.#look());
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    try {
      this.history.look(await this.#status());
    } catch {
      // A sample less. Whoever asks for the status himself is told why there is none.
    }
    this.#plan(SAMPLE_MS);
  }
}
