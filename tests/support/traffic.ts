/**
 * Requests for a simulated pool: each is the work of one worker for a while.
 *
 * @module
 */

import type { StatusMessage } from "../../src/protocol.ts";
import { StatusReporter } from "../../src/status.ts";
import type { PoolSim } from "./pool_sim.ts";

/** How often it is looked what the pool did meanwhile. */
const STEP_MS = 10;

/** What comes. */
export interface Demand {
  /** Requests a second, at a time. */
  readonly rate: (now: number) => number;
  /** How long a request takes. */
  readonly workMs: number;
  /** Whether requests come and last as chance has it, rather than like clockwork. */
  readonly isNoisy?: boolean;
  /** How long a worker takes until it serves. */
  readonly bootMs?: number;
}

/** Requests, and who answers them. */
export class Traffic {
  /** How long each request had to wait for a worker, and when it got one. */
  readonly waits: { readonly at: number; readonly ms: number }[] = [];
  readonly #sim: PoolSim;
  readonly #demand: Demand;
  /** What is to happen, the first first. */
  readonly #agenda: { readonly at: number; readonly act: () => void }[] = [];
  readonly #waiting: number[] = [];
  readonly #busy = new Set<number>();
  readonly #reporters = new Map<number, StatusReporter>();
  #seed = 1;

  /** @param sim Not obedient: workers answer what they have in hand before they end. */
  constructor(sim: PoolSim, demand: Demand) {
    this.#sim = sim;
    this.#demand = demand;
    this.#comeNext(sim.now);
  }

  /** How many workers are at work. */
  get busy(): number {
    return this.#busy.size;
  }

  /** Lets time pass. */
  run(ms: number): void {
    for (const end = this.#sim.now + ms; this.#sim.now < end;) {
      const to = Math.min(end, this.#agenda[0]?.at ?? end, this.#sim.now + STEP_MS);
      this.#sim.advance(to - this.#sim.now);
      for (let due = this.#agenda[0]; due !== undefined && due.at <= this.#sim.now; due = this.#agenda[0]) {
        this.#agenda.shift();
        due.act();
      }
      this.#endStopped();
      this.#serve();
    }
  }

  #comeNext(now: number): void {
    const rate = this.#demand.rate(now);
    if (rate === 0) return this.#plan(now + STEP_MS, () => this.#comeNext(now + STEP_MS));
    const at = now + this.#about(1000 / rate);
    this.#plan(at, () => {
      this.#waiting.push(at);
      this.#comeNext(at);
    });
  }

  #serve(): void {
    const { now, workers } = this.#sim;
    const { bootMs = 0, workMs } = this.#demand;
    for (const { id, spawnedAt, signals } of [...workers.values()]) {
      if (this.#busy.has(id) || signals.length > 0 || now < spawnedAt + bootMs) continue;
      const since = this.#waiting.shift();
      if (since === undefined) return;
      this.waits.push({ at: now, ms: now - since });
      this.#change(id, true);
      this.#plan(now + this.#about(workMs), () => this.#change(id, false));
    }
  }

  /** Workers that were told to stop do so when they have nothing in hand. */
  #endStopped(): void {
    for (const { id, signals } of [...this.#sim.workers.values()]) {
      if (signals.includes("SIGTERM") && !this.#busy.has(id)) this.#sim.exit(id);
    }
  }

  #change(id: number, isBusy: boolean): void {
    if (isBusy) this.#busy.add(id);
    else this.#busy.delete(id);
    this.#reporter(id).set(isBusy ? "A" : "_");
  }

  #reporter(id: number): StatusReporter {
    const known = this.#reporters.get(id);
    if (known !== undefined) return known;
    const host = {
      now: () => this.#sim.now,
      setTimer: (delayMs: number, act: () => void) => {
        this.#plan(this.#sim.now + delayMs, act);
        return { unref() {}, [Symbol.dispose]() {} };
      },
    };
    const tell = ({ status, isIdle }: StatusMessage): void => {
      const worker = this.#sim.workers.get(id);
      if (worker === undefined) return;
      this.#sim.send({ type: "status", slot: worker.slot, id, status, ...(isIdle === undefined ? {} : { isIdle }) });
    };
    const reporter = new StatusReporter(host, tell, () => this.#random());
    this.#reporters.set(id, reporter);
    return reporter;
  }

  #plan(at: number, act: () => void): void {
    let place = this.#agenda.length;
    while (place > 0 && (this.#agenda[place - 1]?.at ?? 0) > at) place--;
    this.#agenda.splice(place, 0, { at, act });
  }

  #about(mean: number): number {
    return this.#demand.isNoisy ? -Math.log(this.#random()) * mean : mean;
  }

  /** Between 0 and 1, the same each time. */
  #random(): number {
    this.#seed = (Math.imul(this.#seed, 1_664_525) + 1_013_904_223) >>> 0;
    return (this.#seed + 0.5) / 2 ** 32;
  }
}
