/**
 * Persistent sets of slots. They stay small where a map from slots would not: the pool keeps who serves, who is idle
 * and which slots are taken in such sets, and touches them with many inputs.
 *
 * @module
 */

import { emptySlots, type SlotMap } from "./slots.ts";

/** An ordered, persistent set of small integers from 0, kept as words of 32 bits. */
export class SlotSet {
  /** How many slots are in it. */
  readonly size: number;
  readonly #words: SlotMap<number>;

  private constructor(size: number, words: SlotMap<number>) {
    this.size = size;
    this.#words = words;
  }

  /** The empty set. */
  static readonly empty: SlotSet = new SlotSet(0, emptySlots());

  /** Whether a slot is in it. */
  has(slot: number): boolean {
    return (this.#word(slot >>> 5) & bit(slot)) !== 0;
  }

  /** A set with the slot in it. */
  add(slot: number): SlotSet {
    if (this.has(slot)) return this;
    const at = slot >>> 5;
    return new SlotSet(this.size + 1, this.#words.set(at, this.#word(at) | bit(slot)));
  }

  /** A set without the slot. */
  delete(slot: number): SlotSet {
    if (!this.has(slot)) return this;
    const at = slot >>> 5;
    const word = this.#word(at) & ~bit(slot);
    return new SlotSet(this.size - 1, word === 0 ? this.#words.delete(at) : this.#words.set(at, word));
  }

  /** The lowest slot in it, or -1. */
  first(): number {
    const at = this.#words.first();
    const word = this.#word(at);
    return at < 0 ? -1 : at * 32 + highestBit(word & -word);
  }

  /** The highest slot in it, or -1. */
  last(): number {
    const at = this.#words.last();
    return at < 0 ? -1 : at * 32 + highestBit(this.#word(at));
  }

  #word(at: number): number {
    return this.#words.get(at) ?? 0;
  }
}

function bit(slot: number): number {
  return 1 << (slot & 31);
}

function highestBit(word: number): number {
  return 31 - Math.clz32(word);
}

/** A persistent set of slots of which nearly all are taken: it holds the few that are not. */
export class TakenSlots {
  /** All slots from here on are free. */
  readonly #end: number;
  /** The free ones before that. */
  readonly #free: SlotSet;

  private constructor(end: number, free: SlotSet) {
    this.#end = end;
    this.#free = free;
  }

  /** None is taken. */
  static readonly none: TakenSlots = new TakenSlots(0, SlotSet.empty);

  /** How many are taken. */
  get size(): number {
    return this.#end - this.#free.size;
  }

  /** Whether a slot is taken. */
  has(slot: number): boolean {
    return slot < this.#end && !this.#free.has(slot);
  }

  /** The lowest free slot. */
  firstFree(): number {
    return this.#free.size === 0 ? this.#end : this.#free.first();
  }

  /** Takes a slot. */
  add(slot: number): TakenSlots {
    let free = this.#free.delete(slot);
    for (let between = this.#end; between < slot; between++) free = free.add(between);
    return new TakenSlots(Math.max(this.#end, slot + 1), free);
  }

  /** Frees a slot. */
  delete(slot: number): TakenSlots {
    return this.has(slot) ? new TakenSlots(this.#end, this.#free.add(slot)) : this;
  }
}
