/**
 * A change that several wait for: each looks again when it is told.
 *
 * @module
 */

/** What happens again and again, and is waited for each time anew. */
export class Change {
  #next = Promise.withResolvers<void>();

  /** Resolves when it happens next. */
  get next(): Promise<void> {
    return this.#next.promise;
  }

  /** It happens. */
  tell(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }
}
