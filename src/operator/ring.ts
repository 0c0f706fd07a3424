/**
 * The latest of what comes without end.
 *
 * @module
 */

/** Keeps so many values, and drops the oldest for each that comes then. */
export class Ring<Value> {
  readonly #capacity: number;
  readonly #values: Value[] = [];
  #count = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** How many values have come so far: where a reader stands who has seen all. */
  get count(): number {
    return this.#count;
  }

  push(value: Value): void {
    this.#values[this.#count++ % this.#capacity] = value;
  }

  /** What has come since there were `seen` values, as far as it is kept; oldest first. */
  since(seen: number): readonly Value[] {
    const missing = Math.min(this.#count - seen, this.#values.length);
    const start = (this.#count - missing) % this.#capacity;
    return [
      ...this.#values.slice(start, start + missing),
      ...this.#values.slice(0, Math.max(0, start + missing - this.#capacity)),
    ];
  }
}
