/**
 * Jobs for many items: taken as there is room for them, and told of in their order or as they are done.
 *
 * @module
 */

import { Change } from "./change.ts";

/** What {@linkcode JobPool.map} may be given. */
export interface MapOptions {
  /** Whether results come in the order of the items, or as they are there. @default {true} */
  readonly ordered?: boolean;
  /** Gives all jobs up when this aborts. */
  readonly signal?: AbortSignal;
  /** How long each job may take, in milliseconds. @default {JobPoolOptions.timeoutMs} */
  readonly timeoutMs?: number;
  /** How many items there are, for the progress that is told. @default the length of a list */
  readonly total?: number;
}

/** What came of an item: which one it was, counted from 0, and its result or what it failed by. */
export type Settled<Result> =
  | { readonly index: number; readonly status: "fulfilled"; readonly value: Result }
  | { readonly index: number; readonly status: "rejected"; readonly reason: unknown };

/** A job that was given. */
export interface Submitted<Result> {
  readonly id: number;
  readonly result: Promise<Result>;
}

/** What doing them takes of a pool. */
export interface MapEffects<Item, Result> {
  submit(item: Item): Submitted<Result>;
  giveUp(id: number, reason: unknown): void;
  /** How many jobs may be given or told of at a time. */
  mostAtOnce(): number;
}

/** What is at its end is not to be closed. */
const nothing = (): void => {};

function isAsync<Item>(items: Iterable<Item> | AsyncIterable<Item>): items is AsyncIterable<Item> {
  return typeof items === "object" && Symbol.asyncIterator in items;
}

/** Items on their way to being results. */
class Conveyor<Item, Result> {
  readonly #effects: MapEffects<Item, Result>;
  readonly #isOrdered: boolean;
  /** What is to be told of next; in the order of items also what is not done yet. */
  readonly #results: Promise<Settled<Result>>[] = [];
  /** The jobs that are not over. */
  readonly #given = new Set<number>();
  /** How many jobs were given and not told of yet. */
  #held = 0;
  #isLoaded = false;
  #stopped: { readonly reason: unknown } | undefined;
  /** Has where items come from give none more, even if it is asked for one. */
  #leave = nothing;
  /** Whoever waits looks again. */
  readonly #changed = new Change();

  constructor(effects: MapEffects<Item, Result>, isOrdered: boolean) {
    this.#effects = effects;
    this.#isOrdered = isOrdered;
  }

  /** Takes items for as long as there are some, and somebody wants them. */
  async load(items: Iterable<Item> | AsyncIterable<Item>): Promise<void> {
    let index = 0;
    try {
      for await (const item of this.#taken(items)) {
        while (this.#held >= this.#effects.mostAtOnce() && this.#stopped === undefined) await this.#changed.next;
        if (this.#stopped !== undefined) return;
        this.#give(item, index++);
      }
      this.#leave = nothing;
      this.#isLoaded = true;
      this.#changed.tell();
    } catch (error) {
      this.#leave = nothing;
      this.stop(error);
    }
  }

  /** An item that comes late, or never, is not waited for: what it was to come from is closed as soon as all is given up. */
  #taken(items: Iterable<Item> | AsyncIterable<Item>): Iterable<Item> | AsyncIterable<Item> {
    if (!isAsync(items)) return items;
    const source = items[Symbol.asyncIterator]();
    let closed: Promise<IteratorResult<Item>> | undefined;
    const close = async (): Promise<IteratorResult<Item>> =>
      await source.return?.() ?? { done: true, value: undefined };
    const taken = { next: () => source.next(), return: () => closed ??= close() };
    this.#leave = () => void taken.return().catch(() => {}); // nobody is there any more to be told
    return { [Symbol.asyncIterator]: () => taken };
  }

  /** Resolves with the next result; undefined if there is none more. */
  async next(): Promise<Settled<Result> | undefined> {
    while (true) {
      if (this.#stopped !== undefined) throw this.#stopped.reason;
      const next = this.#results.shift();
      if (next !== undefined) return await this.#take(next);
      if (this.#isLoaded && this.#held === 0) return undefined;
      await this.#changed.next;
    }
  }

  /** Gives all up. */
  stop(reason: unknown): void {
    if (this.#stopped !== undefined) return;
    this.#stopped = { reason };
    for (const id of this.#given) this.#effects.giveUp(id, reason);
    this.#leave();
    this.#changed.tell();
  }

  async #take(next: Promise<Settled<Result>>): Promise<Settled<Result>> {
    const settled = await next;
    this.#held--;
    this.#changed.tell();
    if (this.#stopped !== undefined) throw this.#stopped.reason;
    return settled;
  }

  #give(item: Item, index: number): void {
    const { id, result } = this.#submit(item);
    this.#held++;
    this.#given.add(id);
    const settled = result.then(
      (value): Settled<Result> => ({ index, status: "fulfilled", value }),
      (reason): Settled<Result> => ({ index, status: "rejected", reason }),
    ).finally(() => this.#given.delete(id));
    if (this.#isOrdered) this.#add(settled);
    else void settled.then(() => this.#add(settled));
  }

  /** What cannot be given costs itself only. */
  #submit(item: Item): Submitted<Result> {
    try {
      return this.#effects.submit(item);
    } catch (error) {
      return { id: 0, result: Promise.reject(error) };
    }
  }

  #add(settled: Promise<Settled<Result>>): void {
    this.#results.push(settled);
    this.#changed.tell();
  }
}

/** Has a job done for each item, and tells what came of them. */
export async function* convey<Item, Result>(
  items: Iterable<Item> | AsyncIterable<Item>,
  { ordered = true, signal }: MapOptions,
  effects: MapEffects<Item, Result>,
): AsyncGenerator<Settled<Result>, void, undefined> {
  signal?.throwIfAborted();
  const conveyor = new Conveyor(effects, ordered);
  const stop = (): void => conveyor.stop(signal?.reason);
  signal?.addEventListener("abort", stop, { once: true });
  void conveyor.load(items);
  try {
    for (let next = await conveyor.next(); next !== undefined; next = await conveyor.next()) yield next;
  } finally {
    signal?.removeEventListener("abort", stop);
    conveyor.stop(new Error("nobody wants the results of these jobs any more"));
  }
}
