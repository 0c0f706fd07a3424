/**
 * A persistent map from slot numbers to values: every change gives a new map and shares all but one path with the old
 * one. The pool keeps its workers in it, so a state can be kept, compared and replayed, and the path is short: one
 * node for ten workers, four for a hundred thousand. Slots are below 2^30.
 *
 * @module
 */

const BITS = 5;
const WIDTH = 1 << BITS;

/** A node counts what is below it; one that would be empty is left out, so that first and last are found at once. */
type Node<T> =
  | { readonly kind: "leaf"; readonly size: number; readonly values: readonly (T | undefined)[] }
  | { readonly kind: "branch"; readonly size: number; readonly kids: readonly (Node<T> | undefined)[] };

/** An ordered, persistent map keyed by small integers from 0. */
export interface SlotMap<T> {
  /** How many slots hold a value. */
  readonly size: number;
  /** The value of a slot. */
  get(slot: number): T | undefined;
  /** A map with the slot's value replaced. */
  set(slot: number, value: T): SlotMap<T>;
  /** A map without the slot. */
  delete(slot: number): SlotMap<T>;
  /** The lowest slot that holds a value, or -1. */
  first(): number;
  /** The highest slot that holds a value, or -1. */
  last(): number;
  /** All slots and values, lowest slot first. */
  entries(): IterableIterator<readonly [slot: number, value: T]>;
}

/** The empty map. */
export function emptySlots<T>(): SlotMap<T> {
  return new Trie<T>(undefined, 0);
}

/** `height` is the number of branch levels above the leaves; the map holds slots below `capacity(height)`. */
class Trie<T> implements SlotMap<T> {
  readonly #root: Node<T> | undefined;
  readonly #height: number;

  constructor(root: Node<T> | undefined, height: number) {
    this.#root = root;
    this.#height = height;
  }

  get size(): number {
    return this.#root?.size ?? 0;
  }

  get(slot: number): T | undefined {
    return slot < capacity(this.#height) ? lookUp(this.#root, this.#height, slot) : undefined;
  }

  set(slot: number, value: T): SlotMap<T> {
    let root = this.#root;
    let height = this.#height;
    while (slot >= capacity(height)) {
      root = root && { kind: "branch", size: root.size, kids: [root] };
      height++;
    }
    return new Trie(write(root, height, slot, value), height);
  }

  delete(slot: number): SlotMap<T> {
    return this.get(slot) === undefined
      ? this
      : new Trie(write(this.#root, this.#height, slot, undefined), this.#height);
  }

  first(): number {
    return first(this.#root, this.#height);
  }

  last(): number {
    return last(this.#root, this.#height);
  }

  entries(): IterableIterator<readonly [number, T]> {
    return entries(this.#root, this.#height, 0);
  }
}

function capacity(height: number): number {
  return 1 << (BITS * (height + 1));
}

/** Where `slot` stands among the children of a node that has `height` levels below it. */
function indexAt(slot: number, height: number): number {
  return (slot >>> (BITS * height)) & (WIDTH - 1);
}

function lookUp<T>(node: Node<T> | undefined, height: number, slot: number): T | undefined {
  let at = node;
  for (let level = height; at?.kind === "branch"; level--) at = at.kids[indexAt(slot, level)];
  return at?.values[indexAt(slot, 0)];
}

/** Gives the node with one value replaced, or undefined when nothing is left below it. */
function write<T>(node: Node<T> | undefined, height: number, slot: number, value: T | undefined): Node<T> | undefined {
  const index = indexAt(slot, height);
  if (height === 0) {
    const values = node?.kind === "leaf" ? node.values.slice() : [];
    const size = (node?.size ?? 0) + (value === undefined ? 0 : 1) - (values[index] === undefined ? 0 : 1);
    values[index] = value;
    return size === 0 ? undefined : { kind: "leaf", size, values };
  }
  const kids = node?.kind === "branch" ? node.kids.slice() : [];
  const before = kids[index]?.size ?? 0;
  const kid = write(kids[index], height - 1, slot, value);
  kids[index] = kid;
  const size = (node?.size ?? 0) + (kid?.size ?? 0) - before;
  return size === 0 ? undefined : { kind: "branch", size, kids };
}

function first<T>(node: Node<T> | undefined, height: number): number {
  if (node === undefined) return -1;
  const children = node.kind === "leaf" ? node.values : node.kids;
  let index = 0;
  while (children[index] === undefined) index++;
  return node.kind === "leaf" ? index : index * capacity(height - 1) + first(node.kids[index], height - 1);
}

function last<T>(node: Node<T> | undefined, height: number): number {
  if (node === undefined) return -1;
  const children = node.kind === "leaf" ? node.values : node.kids;
  let index = children.length - 1;
  while (children[index] === undefined) index--;
  return node.kind === "leaf" ? index : index * capacity(height - 1) + last(node.kids[index], height - 1);
}

function* entries<T>(node: Node<T> | undefined, height: number, base: number): IterableIterator<readonly [number, T]> {
  if (node === undefined) return;
  for (let index = 0; index < WIDTH; index++) {
    if (node.kind === "branch") {
      yield* entries(node.kids[index], height - 1, base + index * capacity(height - 1));
      continue;
    }
    const value = node.values[index];
    if (value !== undefined) yield [base + index, value];
  }
}
