/**
 * What one input costs the pool's logic, from ten workers to a hundred thousand. All sizes take turns in one run, so
 * that what else the machine does falls on all of them; what counts is the ratio to the smallest pool.
 *
 *     deno run -A bench/pool.ts
 *     bun run bench/pool.ts
 *
 * @module
 */
import { currentHost } from "../runtimes/current.ts";
import { checkOptions } from "../src/options.ts";
import { step } from "../src/pool.ts";
import { emptyPool, type Input, type PoolState, type WorkerRef } from "../src/pool_state.ts";
import type { ExitStatus } from "../src/types.ts";
import { median, report } from "./table.ts";

const SIZES = [10, 100, 1_000, 10_000, 100_000];
const WARM_UP = 20;
const ROUNDS = 101;
const LIVES_PER_ROUND = 200;

const CONFIG = checkOptions({}, currentHost);

const exit = (status: ExitStatus) => ({ slot, id }: WorkerRef): Input => ({ type: "exited", status, slot, id });

/** What a slot hears in the life of a worker, and in that of its successor, who fails at once. */
const LIFE: readonly (readonly [name: string, input: (ref: WorkerRef) => Input])[] = [
  ["spawned", ({ slot, id }) => ({ type: "spawned", pid: id + 1, slot, id })],
  ["connected", ({ slot, id }) => ({ type: "connected", slot, id })],
  ["begun", ({ slot, id }) => ({ type: "begun", slot, id })],
  ["ready", ({ slot, id }) => ({ type: "ready", slot, id })],
  ["status: busy", ({ slot, id }) => ({ type: "status", status: "A", slot, id })],
  ["status: idle", ({ slot, id }) => ({ type: "status", status: "_", slot, id })],
  ["timer, too late", ({ slot, id }) => ({ type: "bootDeadline", slot, id, due: 0 })],
  ["exited 0: its slot spawns", exit({ type: "exited", code: 0 })],
  ["exited 1: its slot waits", exit({ type: "exited", code: 1 })],
  ["timer: its slot spawns", ({ slot }) => ({ type: "slotFree", slot })],
];
const WHOLE = "all of these";
const MAP = "a plain Map, get and set";

/** A pool of one size, kept full by the inputs it is given. */
class Pool {
  readonly size: number;
  readonly figures = new Map<string, number[]>();
  readonly #map: Map<number, object>;
  #state: PoolState;
  #now = 0;

  constructor(size: number) {
    this.size = size;
    this.#map = new Map(Array.from({ length: size }, (_, slot) => [slot, { slot }]));
    [this.#state] = step(emptyPool(CONFIG, size, 1), { type: "start", generation: { number: 1, channel: true } }, 0);
    this.#takeLives(this.#refs(Array.from({ length: size }, (_, slot) => slot)), () => {});
  }

  /** Measures some random lives; the figures of the first rounds are dropped. */
  measure(keep: boolean): void {
    const batch = Math.min(this.size, LIVES_PER_ROUND);
    const spent = new Map<string, number>();
    const note = (name: string, ms: number) => spent.set(name, (spent.get(name) ?? 0) + ms);
    for (let lives = 0; lives < LIVES_PER_ROUND; lives += batch) {
      const slots = drawSlots(this.size, batch);
      this.#takeLives(this.#refs(slots), note);
      const begun = performance.now();
      for (const slot of slots) this.#map.set(slot, { ...this.#map.get(slot), lives });
      note(MAP, performance.now() - begun);
    }
    if (!keep) return;
    const whole = LIFE.reduce((sum, [name]) => sum + (spent.get(name) ?? 0), 0) / LIFE.length;
    for (const [name, ms] of [...spent, [WHOLE, whole] as const]) {
      this.figures.set(name, [...this.figures.get(name) ?? [], ms / LIVES_PER_ROUND * 1e6]);
    }
  }

  ns(name: string): number {
    return median(this.figures.get(name) ?? []);
  }

  /** Takes some workers through their lives side by side, each input for all of them before the next. */
  #takeLives(refs: readonly WorkerRef[], note: (name: string, ms: number) => void): void {
    for (const [name, input] of LIFE) {
      const named = name.startsWith("exited 1") ? this.#refs(refs.map(({ slot }) => slot)) : refs;
      const inputs = named.map(input);
      this.#now += 1;
      const begun = performance.now();
      for (const one of inputs) [this.#state] = step(this.#state, one, this.#now);
      note(name, performance.now() - begun);
    }
  }

  #refs(slots: readonly number[]): readonly WorkerRef[] {
    return slots.map((slot) => {
      const worker = this.#state.workers.get(slot);
      if (worker === undefined) throw new Error(`Cannot measure: the pool of ${this.size} has nobody in slot ${slot}`);
      return { slot, id: worker.id };
    });
  }
}

/** Some slots of a pool, none twice. */
function drawSlots(size: number, count: number): readonly number[] {
  const drawn = new Set<number>();
  while (drawn.size < count) drawn.add(Math.floor(Math.random() * size));
  return [...drawn];
}

const pools = SIZES.map((size) => new Pool(size));
for (let round = 0; round < WARM_UP + ROUNDS; round++) {
  for (const pool of pools) pool.measure(round >= WARM_UP);
}

const rows = [...LIFE.map(([name]) => name), WHOLE, MAP].map((name) => {
  const least = pools[0]?.ns(name) ?? NaN;
  return [name, ...pools.map((pool) => `${pool.ns(name).toFixed(0)} (${(pool.ns(name) / least).toFixed(1)})`)];
});
report({
  key: "pool",
  title: `ns for one input (and ratio to 10 workers), medians of ${ROUNDS} rounds`,
  head: ["input", ...SIZES.map((size) => `${size} workers`)],
  rows,
});
