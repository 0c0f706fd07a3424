/**
 * What a pool has done in the last hour, in bounded memory.
 *
 * @module
 */

import type { levelOf } from "../event_hub.ts";
import { type Latency, latencyOf, latencySince, NO_DURATIONS } from "../latency.ts";
import type { StatusReport } from "./report.ts";
import { Ring } from "./ring.ts";

/** How far apart samples are. */
export const SAMPLE_MS = 5000;

/** How many are kept: those of an hour. */
const SAMPLES = 3_600_000 / SAMPLE_MS;

/** A pool between two looks. */
export interface Sample {
  /** When the later look was, in milliseconds of the manager's life; below 0 if that was before it. */
  readonly at: number;
  /** How many requests began in a second. */
  readonly requestsPerSecond: number;
  /** How long requests took that ended between the looks; null if none did. */
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  /** Of the manager and all workers; null if that cannot be read. */
  readonly memoryBytes: number | null;
  readonly ready: number;
  /** How many workers have ended. */
  readonly restarts: number;
}

/** An event, for people. */
export interface EventLine {
  /** When it was, on the clock that people go by: milliseconds since 1970. */
  readonly at: number;
  readonly level: ReturnType<typeof levelOf>;
  readonly text: string;
}

/** What a manager knows of the past, for the one that takes over from it. */
export interface Past {
  readonly pid: number;
  /** When it was told, in milliseconds of the life of whoever tells it. */
  readonly uptimeMs: number;
  readonly samples: readonly Sample[];
  readonly events: readonly EventLine[];
}

/** What is counted from the beginning. */
interface Counts {
  readonly at: number;
  readonly requests: number;
  readonly latency: Latency;
  readonly restarts: number;
}

/** The samples of one manager, after those of the ones before it. */
export class History {
  readonly samples: Ring<Sample> = new Ring(SAMPLES);
  #last: Counts = { at: 0, requests: 0, latency: latencyOf(NO_DURATIONS), restarts: 0 };

  /** Goes on from the samples of the manager before this one, whose own life is `uptimeMs` long by now. */
  follow(past: Past, uptimeMs: number): void {
    for (const sample of past.samples) this.samples.push({ ...sample, at: sample.at - past.uptimeMs + uptimeMs });
  }

  /** Takes a sample. The manager's uptime is the clock: no other is sure to go on evenly. */
  look(status: StatusReport): void {
    const { uptimeMs: at, requests, latency, restarts, ready } = status;
    const last = this.#last;
    if (at <= last.at) return;
    const { p50Ms, p99Ms } = latencySince(last.latency, latency);
    this.#last = { at, requests, latency, restarts };
    this.samples.push({
      at,
      requestsPerSecond: Math.round(Math.max(0, requests - last.requests) * 10_000 / (at - last.at)) / 10,
      p50Ms,
      p99Ms,
      memoryBytes: memoryOf(status),
      ready,
      restarts: restarts - last.restarts,
    });
  }
}

/** As far as it can be read. */
function memoryOf(status: StatusReport): number | null {
  const all = [status, ...status.workers, ...status.standbys].map(({ memoryBytes }) => memoryBytes);
  const known = all.filter((bytes) => bytes !== null);
  return known.length === 0 ? null : known.reduce((sum, bytes) => sum + bytes, 0);
}
