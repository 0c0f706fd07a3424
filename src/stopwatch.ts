/**
 * Takes the time of a worker's requests.
 *
 * @module
 */

import { bucketOf, BUCKETS, type Durations } from "./latency.ts";

/** After so many that were timed, half as many are. */
const ENOUGH = 512;

/**
 * Each request is timed at first, then one of every two, of every four and so on, and each of these counts for all those
 * that it stands for: where few come each of them matters, and where many come to time them would cost more than it
 * tells. Which one of them is by chance, since requests may alternate. It begins anew whenever somebody asks.
 */
export class Stopwatch {
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #counts = new Array<number>(BUCKETS).fill(0);
  #sumMs = 0;
  /** Of how many one is timed. */
  #stride = 1;
  /** Which one of them. */
  #chosen = 0;
  /** How many requests there are up to the next one that is timed. */
  #left = 1;
  #timed = 0;
  /** For how many the one that is timed now counts. */
  #weight = 1;

  /** @param random Gives numbers from 0 to below 1. */
  constructor(now: () => number, random: () => number = Math.random) {
    this.#now = now;
    this.#random = random;
  }

  /** Whether the request that begins now is to be timed. To be called once for each. */
  isDue(): boolean {
    if (--this.#left > 0) return false;
    this.#weight = this.#stride;
    const rest = this.#stride - this.#chosen;
    if (++this.#timed % ENOUGH === 0) this.#stride *= 2;
    this.#chosen = Math.floor(this.#random() * this.#stride);
    this.#left = rest + this.#chosen;
    return true;
  }

  /** A request begins; what this gives is to be called at its end. */
  start(): () => void {
    const weight = this.#weight;
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
    this.#chosen = 0;
    this.#left = 1;
    this.#timed = 0;
    return { sumMs: this.#sumMs, counts: [...this.#counts] };
  }
}
