/**
 * What the generations of a pool were asked to do, and on which terms: those that may still get workers.
 *
 * @module
 */

import type { SocketAddress } from "./address.ts";
import type { PreforkEvent } from "./events.ts";
import type { Generation, PoolState, Rules } from "./pool_state.ts";
import type { Elsewhere, SharedSockets } from "./sockets.ts";
import type { Terms } from "./terms.ts";
import type { RuntimeName } from "./types.ts";
import type { ReadyWork, Work } from "./work.ts";

/** The work of one generation. */
export interface Assignment {
  readonly generation: number;
  /** What `start` or a reload was given. */
  readonly asked: Work;
  readonly work: ReadyWork;
  readonly terms: Terms;
  /** Whether it is known to begin with the default export of a module. */
  readonly waits: boolean;
}

/** Keeps the work of each generation for as long as it may be needed. */
export class Generations implements Disposable {
  /** The terms with which the pool began. */
  readonly first: Terms;
  #known: readonly Assignment[] = [];
  #newest = 0;
  /** How many workers a generation has. */
  readonly #living = new Map<number, number>();
  /** Where those of them that are forgotten listened: their workers may do so yet. */
  readonly #left = new Map<number, readonly SocketAddress[]>();

  constructor(first: Terms) {
    this.first = first;
  }

  /** Makes the next generation. */
  add(asked: Work, work: ReadyWork, terms: Terms, rules?: Rules): Generation {
    terms.sockets?.setBlocking(asked.type === "command");
    const generation = ++this.#newest;
    this.#known = [...this.#known, { generation, asked, work, terms, waits: false }];
    return { number: generation, channel: asked.type !== "command", rules };
  }

  /** The work of a generation that may still get workers. */
  get(generation: number): Assignment | undefined {
    return this.#known.find((known) => known.generation === generation);
  }

  /** The terms of a generation that may still get workers; those with which the pool began if there is no such. */
  termsOf(generation: number): Terms {
    return this.get(generation)?.terms ?? this.first;
  }

  /** The runtimes of the workers, as far as they are known. */
  get runtimes(): readonly (RuntimeName | undefined)[] {
    return this.#known.map(({ work }) => work.runtime);
  }

  /** A module has its work in its default export, so that workers may run as far as that and wait there. */
  waits(generation: number): void {
    this.#known = this.#known.map((known) => known.generation === generation ? { ...known, waits: true } : known);
  }

  /** A generation has one worker more, or less. */
  count({ type, worker: { generation } }: Extract<PreforkEvent, { type: "spawn" | "reap" }>): void {
    const living = (this.#living.get(generation) ?? 0) + (type === "spawn" ? 1 : -1);
    if (living > 0) return void this.#living.set(generation, living);
    this.#living.delete(generation);
    this.#left.delete(generation);
  }

  /** Where generations listen that have not come to serve, or do no more, beside the sockets that are known already. */
  elsewhere(known: SharedSockets | undefined): Elsewhere {
    const all = this.#known.flatMap(({ terms: { sockets } }) => sockets === undefined ? [] : [sockets]);
    return { others: [...new Set(all)].filter((sockets) => sockets !== known), left: [...this.#left.values()].flat() };
  }

  /**
   * Keeps what workers may still be made of: what serves, what comes, what may come back, and what is only asked for. And
   * what did not come to serve, as long as it has workers: they may hold what the next one is to listen on.
   */
  forget({ current, roll, generation }: PoolState): void {
    const needed = [current.number, roll?.target.number, roll?.fallback?.number];
    const isHeld = (number: number): boolean => number > current.number && this.#living.has(number);
    this.#keepOnly((number) => number > generation || needed.includes(number) || isHeld(number));
  }

  /** Forgets generations that will have no new workers any more, and listens no longer where only they do. */
  #keepOnly(isKept: (generation: number) => boolean): void {
    const gone = this.#known.filter(({ generation }) => !isKept(generation));
    if (gone.length === 0) return;
    this.#known = this.#known.filter(({ generation }) => isKept(generation));
    const open = this.#known.map(({ terms }) => terms.sockets);
    for (const { generation, terms: { sockets } } of gone) {
      const left = sockets?.listeners.map(({ address }) => address) ?? [];
      if (this.#living.has(generation)) this.#left.set(generation, left);
      if (open.includes(sockets)) continue;
      if (open.length > 0) sockets?.leaveTo(open);
      sockets?.[Symbol.dispose]();
    }
  }

  /** Forgets all, and listens no longer. */
  [Symbol.dispose](): void {
    this.#keepOnly(() => false);
    this.first.sockets?.[Symbol.dispose](); // of a pool that was never started
  }
}
