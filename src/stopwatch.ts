/**
 * Takes the time of a worker's requests.
 *
 * @module
 */

import { bucketOf, BUCKETS, type Durations } from "./latency.ts";

/** After so many that were timed, every second one of those timed so far is. */
const ENOUGH = 512;

/**
 * Each request is timed at first, then every second one, every fourth and so on, and each of these counts for all those
 * that it stands for: where few come each of them matters, and where many come to time them would cost more than it
 * tells. It begins anew whenever somebody asks.
 */
export class Stopwatch {
  readonly #now: () => number;
  readonly #counts = new Array<number>(BUCKETS).fill(0);
  #sumMs = 0;
  #stride = 1;
  /** How many requests there are up to the next one that is timed. */
  #left = 1;
  #timed = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Whether the request that begins now is to be timed. To be called once for each. */
  isDue(): boolean {
    if (--this.#left > 0) return false;
    if (++this.#timed % ENOUGH === 0) this.#stride *= 2;
    this.#left = this.#stride;
    return true;
  }

  /** A request begins; what this gives is to be called at its end. */
  start(): () => void {
    const weight = this.#stride;
    const since = this.#now();
    return () => {
      const ms = this.#now() - since;
      const bucket = bucketOf(ms);
      this.#counts[bucket] = (this.#counts[bucket] ?? 0) + weight;
      this.#sumMs += ms * weight;
    };
  }

  /** Takes the time of a handler, whatever becomes of it. */
  time<T>(handle: () => T): T {
    const stop = this.start();
    let answer: T;
    try {
      answer = handle();
    } catch (error) {
      stop();
      throw error;
    }
    if (answer instanceof Promise) answer.then(stop, stop);
    else stop();
    return answer;
  }

  /** All that was taken so far. */
  read(): Durations {
    this.#stride = 1;
    this.#left = 1;
    this.#timed = 0;
    return { sumMs: this.#sumMs, counts: [...this.#counts] };
  }
}
