/**
 * Those who watch a manager over HTTP: each is told by server-sent events how the pool is, again and again, and all that
 * is new in the record; the first time that is all there is. Who does not read is not told more, and dropped in the end.
 *
 * @module
 */

import type { ServerResponse } from "node:http";
import type { StatusReport } from "../operator/report.ts";
import type { ProcessHost, Timer } from "../types.ts";
import type { StatusRecord } from "./status_record.ts";

/** How many may watch: each costs a connection, and what it has not read yet. */
const MAX_WATCHERS = 16;

/** How often they are told, and how soon after something has happened. */
const BEAT_MS = 1000;
const HURRY_MS = 200;

/** How long somebody may take to read what was told. */
const PATIENCE_MS = 10_000;

interface Watcher {
  readonly response: ServerResponse;
  /** How much of the record it was told. */
  samples: number;
  events: number;
  /** Since when it has something to read. */
  unreadSince: number | undefined;
}

/** What the watchers are told of. */
export interface Watched {
  readonly host: ProcessHost;
  readonly record: StatusRecord;
  readonly status: () => Promise<StatusReport>;
}

/** The watchers of one manager. */
export class StatusStreams implements Disposable {
  readonly #watched: Watched;
  readonly #watchers = new Set<Watcher>();
  #timer: Timer | undefined;
  #due = Infinity;
  #isTelling = false;
  /** How soon after what is told now more is to be told. */
  #next = BEAT_MS;

  constructor(watched: Watched) {
    this.#watched = watched;
  }

  /** Whether there are as many as there may be. */
  get isFull(): boolean {
    return this.#watchers.size >= MAX_WATCHERS;
  }

  /** Tells somebody, from now on. */
  add(response: ServerResponse): void {
    const watcher: Watcher = { response, samples: 0, events: 0, unreadSince: undefined };
    this.#watchers.add(watcher);
    response.on("close", () => this.#watchers.delete(watcher));
    response.on("drain", () => watcher.unreadSince = undefined);
    this.#tellIn(0);
  }

  /** There is something new to be told. */
  hurry(): void {
    this.#tellIn(HURRY_MS);
  }

  /** Tells nobody any more. */
  [Symbol.dispose](): void {
    for (const { response } of this.#watchers) response.destroy();
    this.#watchers.clear();
    this.#timer?.[Symbol.dispose]();
  }

  /** Once for all that happens until then. */
  #tellIn(ms: number): void {
    const { host } = this.#watched;
    if (this.#isTelling) this.#next = Math.min(this.#next, ms);
    const due = host.now() + ms;
    if (this.#isTelling || this.#watchers.size === 0 || due >= this.#due) return;
    this.#timer?.[Symbol.dispose]();
    this.#due = due;
    this.#timer = host.setTimer(ms, () => void this.#tell());
    this.#timer.unref();
  }

  async #tell(): Promise<void> {
    this.#isTelling = true;
    this.#next = BEAT_MS;
    try {
      const status = await this.#watched.status();
      for (const watcher of this.#watchers) this.#tellOne(watcher, status);
    } catch {
      // Nothing to tell this time.
    }
    this.#isTelling = false;
    this.#due = Infinity;
    this.#tellIn(this.#next);
  }

  #tellOne(watcher: Watcher, status: StatusReport): void {
    const { host, record: { history, events } } = this.#watched;
    const now = host.now();
    if (watcher.unreadSince !== undefined) {
      if (now - watcher.unreadSince > PATIENCE_MS) watcher.response.destroy();
      return;
    }
    const news = { status, samples: history.samples.since(watcher.samples), events: events.since(watcher.events) };
    watcher.samples = history.samples.count;
    watcher.events = events.count;
    if (!watcher.response.write(`data: ${JSON.stringify(news)}\n\n`)) watcher.unreadSince = now;
  }
}
