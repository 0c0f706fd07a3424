/** Items on their way to being results, without a pool. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { convey, type MapOptions } from "../src/jobs/map.ts";

/** Gives so many items, and then keeps whoever asks for another one waiting; or ends. */
class Source implements AsyncIterableIterator<number> {
  readonly #count: number;
  readonly #ends: boolean;
  readonly #asked = Promise.withResolvers<void>();
  readonly #left = Promise.withResolvers<void>();
  #given = 0;
  /** How often it was closed. */
  closed = 0;

  constructor(count: number, ends = false) {
    this.#count = count;
    this.#ends = ends;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Resolves when it is asked for an item that it does not have. */
  get asked(): Promise<void> {
    return this.#asked.promise;
  }

  /** Resolves when it is closed. */
  get left(): Promise<void> {
    return this.#left.promise;
  }

  async next(): Promise<IteratorResult<number>> {
    if (this.#given < this.#count) return { done: false, value: this.#given++ };
    this.#asked.resolve();
    return this.#ends ? { done: true, value: undefined } : await new Promise(() => {});
  }

  return(): Promise<IteratorResult<number>> {
    this.closed++;
    this.#left.resolve();
    return Promise.resolve({ done: true, value: undefined });
  }
}

function double(items: AsyncIterable<number>, options: MapOptions = {}) {
  let id = 0;
  return convey<number, number>(items, options, {
    submit: (item) => ({ id: ++id, result: Promise.resolve(2 * item) }),
    giveUp() {},
    mostAtOnce: () => 2,
  });
}

describe("what items come from", () => {
  it("is closed once, and at once, when whoever reads leaves while the next one is awaited", async () => {
    const source = new Source(2);
    for await (const result of double(source)) {
      if (result.index === 1) await source.asked;
      if (result.index === 1) break;
    }
    assert.equal(source.closed, 1);
  });

  it("is closed once when whoever reads leaves while there is no room for the next one", async () => {
    const source = new Source(100);
    const results = double(source);
    await results.next();
    await results.return();
    await source.left;
    assert.equal(source.closed, 1);
  });

  it("is closed when all is given up", async () => {
    const source = new Source(0);
    const stop = new AbortController();
    const first = double(source, { signal: stop.signal }).next();
    await source.asked;
    stop.abort(new Error("not wanted"));
    await assert.rejects(first, { message: "not wanted" });
    assert.equal(source.closed, 1);
  });

  it("is left alone where it has come to its end", async () => {
    const source = new Source(3, true);
    const values: unknown[] = [];
    for await (const result of double(source)) values.push(result.status === "fulfilled" ? result.value : result);
    assert.deepEqual([values, source.closed], [[0, 2, 4], 0]);
  });
});
