/**
 * What a status page tells of the past: samples of the last hour, and the latest events.
 *
 * @module
 */

import { levelOf } from "../event_hub.ts";
import { formatEvent, type PreforkEvent } from "../events.ts";
import { type EventLine, History, type Past, SAMPLE_MS } from "../operator/history.ts";
import type { StatusReport } from "../operator/report.ts";
import { Ring } from "../operator/ring.ts";
import type { ProcessHost, Timer } from "../types.ts";
import { printable } from "./status_table.ts";

/** The first sample is there for whoever looks right after the start. */
const FIRST_MS = 1000;

const EVENTS = 200;
const MAX_TEXT = 1000;

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

  /** What is to be known of it by the manager that takes over. */
  past(uptimeMs: number): Past {
    const samples = this.history.samples.since(0);
    return { pid: this.#host.pid, uptimeMs, samples, events: this.events.since(0) };
  }

  /** Goes on from the record of the manager before this one. */
  follow(past: Past, uptimeMs: number): void {
    this.history.follow(past, uptimeMs);
    for (const event of past.events) this.events.push(event);
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
