/**
 * A map for what comes and goes all the time.
 *
 * @module
 */

/**
 * A map by string or number. V8's own `Map` leaves a link from each table it has outgrown to the next one; once one of
 * them is old, all later ones with all they held live until the next full collection. That cost a manager on Deno 2.4 kB
 * for each respawn, 40 MB after 20 000. A plain object has no such links.
 */
export class Table<Key extends string | number, Value> {
  readonly #entries: Partial<Record<Key, Value>> = Object.create(null);
  #size = 0;

  /** How many entries there are. */
  get size(): number {
    return this.#size;
  }

  /** The value at `key`. */
  get(key: Key): Value | undefined {
    return this.#entries[key];
  }

  /** Replaces the value at `key`. */
  set(key: Key, value: Value): void {
    if (!(key in this.#entries)) this.#size++;
    this.#entries[key] = value;
  }

  /** Removes the value at `key`, if there is one. */
  delete(key: Key): void {
    if (!(key in this.#entries)) return;
    this.#size--;
    delete this.#entries[key];
  }

  /** All values. */
  values(): readonly Value[] {
    return Object.values(this.#entries);
  }
}
