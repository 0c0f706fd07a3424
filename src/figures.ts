/**
 * What the workers of a manager have done, asked of them when somebody wants to know: nobody pays for it else.
 *
 * @module
 */

import { addDurations, BUCKETS, type Durations, type Latency, latencyOf, NO_DURATIONS } from "./latency.ts";
import type { WorkerRef } from "./pool_state.ts";
import { ASK, type FiguresMessage } from "./protocol.ts";
import { Table } from "./table.ts";
import type { ProcessHost } from "./types.ts";

/** What one worker has done. */
export interface WorkerFigures {
  /** Its process. */
  readonly pid: number;
  /**
   * How many requests it has begun to serve, by {@linkcode Worker.serve} or {@linkcode Worker.attach}; null if it serves
   * none by them.
   */
  readonly requests: number | null;
  /** How long these took; null if it serves none. */
  readonly latency: Latency | null;
  /**
   * How long it took to answer this question, in milliseconds: for as long its event loop was busy with other things. The
   * time it was waited in vain, if no answer came; null for a command, which cannot be asked.
   */
  readonly lagMs: number | null;
}

/** What a pool has done. */
export interface PoolFigures {
  /** How many requests all its workers have begun to serve, those that are gone among them as far as they told. */
  readonly requests: number;
  /** How long these took. */
  readonly latency: Latency;
  /** The live workers that can be asked. */
  readonly workers: readonly WorkerFigures[];
}

/** What is known of a live worker. */
interface Entry {
  readonly id: number;
  readonly pid: number;
  readonly requests: number | null;
  readonly durations: Durations | null;
}

interface Question {
  readonly askedAt: number;
  /** How long the answer took, by the worker's id. */
  readonly lags: Map<number, number>;
  readonly answered: () => void;
}

/** The figures of one manager's workers. */
export class Figures {
  readonly #host: Pick<ProcessHost, "now" | "setTimer">;
  readonly #entries = new Table<number, Entry>();
  #questions: readonly Question[] = [];
  /** Of workers that are gone. */
  #requestsBefore = 0;
  #durationsBefore = NO_DURATIONS;

  constructor(host: Pick<ProcessHost, "now" | "setTimer">) {
    this.#host = host;
  }

  /** A worker that can be asked has come. */
  add({ id }: WorkerRef, pid: number): void {
    this.#entries.set(id, { id, pid, requests: null, durations: null });
  }

  /** A worker has told. */
  heard({ id }: WorkerRef, { requests, durations }: FiguresMessage): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    const isWhole = durations?.counts.length === BUCKETS; // a worker may say anything
    this.#entries.set(id, { ...entry, requests, durations: isWhole ? durations : null });
    for (const { askedAt, lags, answered } of this.#questions) {
      if (!lags.has(id)) lags.set(id, this.#host.now() - askedAt);
      answered();
    }
  }

  /** A worker is gone. */
  remove(id: number): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#requestsBefore += entry.requests ?? 0;
    this.#durationsBefore = addDurations(this.#durationsBefore, entry.durations ?? NO_DURATIONS);
    this.#entries.delete(id);
    for (const { answered } of this.#questions) answered();
  }

  /** Asks all workers, and gives what they have told by then. */
  async ask(send: (id: number, line: string) => void, timeoutMs: number): Promise<PoolFigures> {
    const over = Promise.withResolvers<void>();
    using _timer = this.#host.setTimer(timeoutMs, over.resolve);
    const lags = new Map<number, number>();
    const askedAt = this.#host.now();
    const answered = (): void => {
      if (this.#entries.values().every(({ id }) => lags.has(id))) over.resolve();
    };
    const question: Question = { askedAt, lags, answered };
    this.#questions = [...this.#questions, question];
    for (const { id } of this.#entries.values()) send(id, ASK);
    answered();
    await over.promise;
    this.#questions = this.#questions.filter((other) => other !== question);
    const waitedMs = this.#host.now() - askedAt;
    const entries = this.#entries.values();
    return {
      requests: entries.reduce((sum, { requests }) => sum + (requests ?? 0), this.#requestsBefore),
      latency: latencyOf(
        entries.reduce(
          (sum, { durations }) => durations === null ? sum : addDurations(sum, durations),
          this.#durationsBefore,
        ),
      ),
      workers: entries.map(({ id, pid, requests, durations }) => {
        const latency = durations === null ? null : latencyOf(durations);
        return { pid, requests, latency, lagMs: lags.get(id) ?? waitedMs };
      }),
    };
  }
}
