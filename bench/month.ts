/**
 * A virtual month of pools of a thousand to a hundred thousand workers that fail at random: what their logic takes for it,
 * and how many of the workers were ready meanwhile. The clock goes in steps of a second.
 *
 *     deno run -A bench/month.ts [DAYS]
 *     bun run bench/month.ts [DAYS]
 *
 * @module
 */
import process from "node:process";
import { currentHost } from "../runtimes/current.ts";
import { checkOptions } from "../src/options.ts";
import { step } from "../src/pool.ts";
import { type Effect, emptyPool, type Input, type PoolState, type WorkerRef } from "../src/pool_state.ts";
import type { ExitStatus } from "../src/types.ts";
import { Random } from "../tests/support/random.ts";
import { report } from "./table.ts";

const SIZES = [1_000, 10_000, 100_000];
const DAYS = Number(process.argv[2] ?? 30);
const DAY_S = 86_400;
/** How long a worker lives in the mean. */
const LIFE_S = 10 * DAY_S;
/** How many of a hundred fail before they are ready. */
const BROKEN = 10;
const MAX_BOOT_S = 5;
/** How long after the month all who were lost must be there again: no slot of a worker that can live waits longer. */
const REST_S = 3600;

const CONFIG = checkOptions({}, currentHost);
const CRASHES: readonly ExitStatus[] = [
  { type: "exited", code: 1 },
  { type: "exited", code: 0 },
  { type: "signaled", signal: "SIGKILL" },
];

/** What the pool will hear; nothing, once it is not wanted any more. */
interface Entry {
  inputs: readonly Input[];
}

/** A pool, and the workers that it believes it has. */
class World {
  readonly size: number;
  inputs = 0;
  spentMs = 0;
  failures = 0;
  least = 1;
  readonly #random = new Random(1);
  /** What is to be heard, by the second. */
  readonly #agenda = new Map<number, Entry[]>();
  readonly #timers = new Map<string, Entry>();
  #state: PoolState;
  #second = 0;
  #missedS = 0;
  #isCalm = false;

  constructor(size: number) {
    this.size = size;
    this.#state = emptyPool(CONFIG, size, 1);
    this.#hear({ type: "start", generation: { number: 1, channel: true } });
    this.#pass(REST_S, () => {});
  }

  /** Lets a month pass, and another hour in which nobody fails. */
  live(): void {
    [this.inputs, this.spentMs, this.failures] = [0, 0, 0];
    this.#pass(DAYS * DAY_S, () => {
      this.least = Math.min(this.least, this.#ready);
      this.#missedS += 1 - this.#ready;
    });
    this.#isCalm = true;
    this.#pass(REST_S, () => {});
    if (this.#ready < 1) throw new Error(`Cannot report: of ${this.size} workers ${this.#ready * 100} % are ready`);
  }

  /** The share of workers that was ready in the mean. */
  get mean(): number {
    return 1 - this.#missedS / (DAYS * DAY_S);
  }

  get #ready(): number {
    return this.#state.ready.size / this.size;
  }

  #pass(seconds: number, look: () => void): void {
    for (const end = this.#second + seconds; this.#second < end; this.#second++) {
      for (const { inputs } of this.#agenda.get(this.#second) ?? []) inputs.forEach((input) => this.#hear(input));
      this.#agenda.delete(this.#second);
      look();
    }
  }

  #hear(input: Input): void {
    if (input.type === "exited") {
      if (this.#isCalm) return;
      this.failures++;
    }
    const begun = performance.now();
    const [state, effects] = step(this.#state, input, this.#second * 1000);
    this.spentMs += performance.now() - begun;
    this.inputs++;
    this.#state = state;
    for (const effect of effects) this.#perform(effect);
  }

  #perform(effect: Effect): void {
    switch (effect.type) {
      case "spawn":
        return this.#boot(effect);
      case "setTimer":
        this.#forget(effect.key);
        this.#timers.set(effect.key, this.#plan(Math.ceil(effect.at / 1000) - this.#second, [effect.input]));
        return;
      case "clearTimer":
        return this.#forget(effect.key);
      case "kill":
        throw new Error("Cannot go on: nobody is to be killed in this world");
    }
  }

  #boot({ slot, id }: WorkerRef): void {
    const made: Input = { type: "spawned", pid: id + 1, slot, id };
    const bootS = this.#random.between(1, MAX_BOOT_S);
    if (!this.#isCalm && this.#random.between(1, 100) <= BROKEN) {
      return void this.#plan(bootS, [made, { type: "exited", status: { type: "exited", code: 1 }, slot, id }]);
    }
    const steps = ["connected", "begun", "ready"] as const;
    this.#plan(bootS, [made, ...steps.map((type) => ({ type, slot, id }))]);
    const status = this.#random.pick(CRASHES) ?? CRASHES[0];
    const lifeS = Math.ceil(-LIFE_S * Math.log(1 - this.#random.next()));
    if (status) this.#plan(bootS + 1 + lifeS, [{ type: "exited", status, slot, id }]);
  }

  #forget(key: string): void {
    const entry = this.#timers.get(key);
    if (entry) entry.inputs = [];
    this.#timers.delete(key);
  }

  #plan(inS: number, inputs: readonly Input[]): Entry {
    const second = this.#second + Math.max(1, inS);
    const entry = { inputs };
    const there = this.#agenda.get(second);
    if (there) there.push(entry);
    else this.#agenda.set(second, [entry]);
    return entry;
  }
}

const percent = (share: number): string => `${(share * 100).toFixed(5)} %`;

report({
  key: "month",
  title: `${DAYS} virtual days, in which a worker lives ${LIFE_S / DAY_S} in the mean and one of ${
    100 / BROKEN
  } fails as it begins`,
  head: ["workers", "that failed", "inputs", "seconds of logic", "ns for an input", "ready in the mean", "at least"],
  rows: SIZES.map((size) => {
    const world = new World(size);
    world.live();
    const { failures, inputs, spentMs, mean, least } = world;
    const ns = (spentMs * 1e6 / inputs).toFixed(0);
    return [size, failures, inputs, (spentMs / 1000).toFixed(1), ns, percent(mean), percent(least)].map(String);
  }),
});
