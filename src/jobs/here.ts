/**
 * Jobs that are done in this process, one after the other: where there are no workers to do them.
 *
 * @module
 */

/** What doing them takes of a pool. */
export interface HereEffects<Item> {
  /** A job has begun. */
  begins(id: number): void;
  work(item: Item, signal: AbortSignal): Promise<unknown>;
  /** Resolves when a job that nobody wants any more has had the time that it has to heed its signal. */
  patience(): Promise<void>;
  /** What a job gave, or what it threw. */
  over(id: number, isDone: boolean, value: unknown): void;
}

/** Does jobs as they are given. A job that throws costs itself alone. */
export class Here<Item> {
  readonly #effects: HereEffects<Item>;
  /** By job: what tells it that nobody wants it any more. */
  readonly #stops = new Map<number, AbortController>();
  #current: number | undefined;
  #last: Promise<void> = Promise.resolve();

  constructor(effects: HereEffects<Item>) {
    this.#effects = effects;
  }

  /** How many jobs are being done. */
  get running(): number {
    return this.#current === undefined ? 0 : 1;
  }

  /** How many jobs have not begun. */
  get waiting(): number {
    return this.#stops.size - this.running;
  }

  add(id: number, item: Item): void {
    this.#stops.set(id, new AbortController());
    this.#last = this.#last.then(() => this.#do(id, item));
  }

  /**
   * Nobody wants a job any more: it does not begin, or may heed the signal.
   *
   * @returns Whether it is one of these.
   */
  cancel(id: number, reason: unknown): boolean {
    const stop = this.#stops.get(id);
    if (this.#current !== id) this.#stops.delete(id);
    stop?.abort(reason);
    return stop !== undefined;
  }

  /** Resolves when the last job that was given is done. */
  async ended(): Promise<void> {
    await this.#last;
  }

  async #do(id: number, item: Item): Promise<void> {
    const stop = this.#stops.get(id);
    if (stop === undefined) return; // it was given up
    this.#current = id;
    this.#effects.begins(id);
    const work = this.#effects.work(item, stop.signal).then(
      (value): [boolean, unknown] => [true, value],
      (error): [boolean, unknown] => [false, error],
    );
    const [isDone, value] = await Promise.race([work, this.#untilLeft(stop.signal)]);
    this.#current = undefined;
    this.#stops.delete(id);
    this.#effects.over(id, isDone, value);
  }

  /** A job cannot be killed here; but those behind it do not wait for one that does not heed its signal. */
  async #untilLeft(signal: AbortSignal): Promise<[boolean, unknown]> {
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    await this.#effects.patience();
    return [false, signal.reason];
  }
}
