/**
 * Hands the events of a pool to all who iterate over them, and to the logger.
 *
 * @module
 */

import { formatEvent, type PreforkEvent } from "./events.ts";
import type { Logger } from "./options.ts";
import type { ProcessHost } from "./types.ts";

/** The most events that wait for one reader. */
const CAPACITY = 10_000;

/** Where events go. A reader sees what happens after it began to read. */
export class EventHub {
  readonly #readers = new Set<Reader>();
  readonly #logger: Logger | undefined;
  #closed = false;

  /** @param logger Told each event as a line. */
  constructor(logger: Logger | undefined) {
    this.#logger = logger;
  }

  /** Hands on one event. A logger that throws is an event too, but not one for the logger. */
  publish(event: PreforkEvent): void {
    for (const reader of this.#readers) reader.push(event);
    this.#log(levelOf(event), formatEvent(event));
  }

  /** Tells what someone should look at and no event says; on standard error where there is no logger. */
  warn(text: string, host: ProcessHost): void {
    if (this.#logger === undefined) host.write(`prefork: ${text}\n`);
    else this.#log("warn", text);
  }

  #log(level: keyof Logger, text: string): void {
    try {
      const result = this.#logger?.[level](text);
      if (result instanceof Promise) result.catch((error: unknown) => this.#loggerThrew(error));
    } catch (error) {
      this.#loggerThrew(error);
    }
  }

  #loggerThrew(error: unknown): void {
    for (const reader of this.#readers) reader.push({ type: "hookError", hook: "logger", error });
  }

  /** A new reader of the events from now on. */
  subscribe(): AsyncIterator<PreforkEvent, undefined> {
    const reader = new Reader(() => this.#readers.delete(reader));
    if (this.#closed) reader.close();
    else this.#readers.add(reader);
    return reader;
  }

  /** Ends all readers, once they have read what waits for them. */
  close(): void {
    this.#closed = true;
    for (const reader of this.#readers) reader.close();
    this.#readers.clear();
  }
}

type Result = IteratorResult<PreforkEvent, undefined>;

class Reader implements AsyncIterator<PreforkEvent, undefined> {
  readonly #leave: () => void;
  #buffer: PreforkEvent[] = [];
  #waiting: ((result: Result) => void)[] = [];
  #dropped = 0;
  #closed = false;

  constructor(leave: () => void) {
    this.#leave = leave;
  }

  push(event: PreforkEvent): void {
    const waiting = this.#waiting.shift();
    if (waiting) return waiting({ done: false, value: event });
    if (this.#buffer.length >= CAPACITY) this.#dropped++;
    else this.#buffer.push(event);
  }

  close(): void {
    this.#closed = true;
    for (const waiting of this.#waiting) waiting({ done: true, value: undefined });
    this.#waiting = [];
  }

  next(): Promise<Result> {
    const event = this.#buffer.shift() ?? this.#takeDropped();
    if (event) return Promise.resolve({ done: false, value: event });
    if (this.#closed) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  return(): Promise<Result> {
    this.#leave();
    this.#buffer = [];
    this.close();
    return Promise.resolve({ done: true, value: undefined });
  }

  #takeDropped(): PreforkEvent | undefined {
    if (this.#dropped === 0) return undefined;
    const count = this.#dropped;
    this.#dropped = 0;
    return { type: "dropped", count };
  }
}

/** How much an event matters. */
export function levelOf(event: PreforkEvent): keyof Logger {
  switch (event.type) {
    case "spawn":
    case "standby":
    case "activate":
    case "ready":
    case "signal":
    case "stopDelayed":
    case "relay":
    case "retire":
    case "reload":
    case "reloaded":
    case "replace":
    case "recycle":
    case "recovered":
    case "upgrade":
    case "upgraded":
    case "takeover":
      return "info";
    case "stopped":
      return event.killed.length === 0 ? "info" : "warn";
    case "reap":
      return event.expected ? "info" : "warn";
    case "backoff":
    case "hang":
    case "leftover":
    case "degraded":
    case "bootTimeout":
    case "stopTimeout":
    case "dropped":
      return "warn";
    case "spawnError":
    case "protocolError":
    case "hookError":
    case "giveUp":
      return "error";
    case "reloadFailed":
    case "upgradeFailed":
      return event.cause === "failed" ? "error" : "info";
  }
}
