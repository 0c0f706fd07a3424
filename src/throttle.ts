/**
 * Takes from somebody no more than so much in a time.
 *
 * @module
 */

/** Counts what comes, and tells how long to wait before more is taken. */
export class Throttle {
  readonly #bytesPerMs: number;
  readonly #burstMs: number;
  /** When all that came would have come at the rate. */
  #evenAt = -Infinity;

  /** @param burstMs What may come at once: as much as the rate allows in this time. */
  constructor(bytesPerMs: number, burstMs: number) {
    this.#bytesPerMs = bytesPerMs;
    this.#burstMs = burstMs;
  }

  /** Counts bytes that came now, and gives the milliseconds to wait. */
  take(bytes: number, now: number): number {
    this.#evenAt = Math.max(this.#evenAt, now) + bytes / this.#bytesPerMs;
    return Math.max(0, this.#evenAt - now - this.#burstMs);
  }
}
