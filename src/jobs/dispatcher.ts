/**
 * Which worker does which job: nothing here knows of processes, clocks or connections.
 *
 * @module
 */

import type { Encoded } from "./codec.ts";

/** One job. */
export interface Job {
  readonly id: number;
  readonly item: Encoded;
  /** How often it may be tried. */
  readonly tries: number;
}

/** What became of a job. */
export type Outcome =
  | { readonly type: "done" | "failed"; readonly value: Encoded }
  /** Its worker died, so often. */
  | { readonly type: "died"; readonly times: number };

/** What a dispatcher wants done. Workers go by the keys they were announced by. */
export interface DispatchEffects<Worker> {
  /** Gives a worker a job. */
  give(worker: Worker, job: Job): void;
  /** A worker has come to a job that it was given. */
  begins(worker: Worker, job: Job): void;
  /** A worker has not come to a job, or has died of it, and it waits again. */
  returns(job: Job): void;
  /** A job is over. */
  settle(job: Job, outcome: Outcome): void;
}

/** What a worker has in hand: the first is what it does, those behind it are there for when it is done. */
interface Hand<Worker> {
  readonly worker: Worker;
  readonly jobs: Job[];
  /** Since when it does the first. */
  since: number;
  /** Whether it is held up by the first, and was asked to give back what it was given in advance. */
  isHeldUp: boolean;
  /** It takes no job more: the last one that it has begun, 0 if it does none. */
  last: number | undefined;
}

/**
 * How long jobs that a worker is given in advance may take together. Whoever is done with one and has to wait for the next
 * waits for about a tenth of a millisecond; but nobody else does those that it has been given.
 */
const AHEAD_MS = 1;

/** How many jobs it is given in advance at most. */
const MOST_AHEAD = 16;

/** After so many that were taken out of a list it is moved. */
const MANY = 1000;

/** The part that the last job has in what jobs take in the mean. */
const WEIGHT = 0.05;

/** Gives jobs to workers: each to one that has nothing to do; of very short ones several at a time. */
export class Dispatcher<Worker> {
  readonly #effects: DispatchEffects<Worker>;
  readonly #now: () => number;
  readonly #hands = new Map<Worker, Hand<Worker>>();
  /** How often workers died of a job. */
  readonly #deaths = new Map<number, number>();
  /** Jobs that were given to a worker that is gone: they come first. */
  #again: Job[] = [];
  #waiting: Job[] = [];
  /** How many of those that wait were taken out: what is left of the list begins behind them. */
  #taken = 0;
  /** Jobs that nobody wants any more: of those that wait, and of those that workers have. */
  readonly #cancelled = new Set<number>();
  readonly #unwanted = new Set<number>();
  #meanMs: number | undefined;

  constructor(effects: DispatchEffects<Worker>, now: () => number) {
    this.#effects = effects;
    this.#now = now;
  }

  /** How many jobs no worker has. */
  get waiting(): number {
    return this.#again.length + this.#waiting.length - this.#taken - this.#cancelled.size;
  }

  /** How many jobs workers have in hand. */
  get running(): number {
    return [...this.#hands.values()].reduce((sum, { jobs }) => sum + jobs.length, 0);
  }

  /** How many jobs a worker has at most. */
  get depth(): number {
    if (this.#meanMs === undefined) return 1;
    return 1 + Math.min(MOST_AHEAD, Math.floor(AHEAD_MS / this.#meanMs));
  }

  /** Whether a job is the one that a worker does. */
  isAt(worker: Worker, id: number): boolean {
    return this.#hands.get(worker)?.jobs[0]?.id === id;
  }

  /** A job is to be done. */
  add(job: Job): void {
    this.#waiting.push(job);
    this.#deal();
  }

  /** A worker is there. */
  join(worker: Worker): void {
    this.#hands.set(worker, { worker, jobs: [], since: 0, isHeldUp: false, last: undefined });
    this.#deal();
  }

  /** A worker takes no job more, and does none that it was given but this one; 0 for none. */
  close(worker: Worker, last: number): void {
    const hand = this.#hands.get(worker);
    if (hand !== undefined) hand.last = last;
  }

  /**
   * A worker is gone. What it did is lost, and is tried again only if it may be; what it was given and had not come to is
   * given to another.
   */
  leave(worker: Worker): void {
    const hand = this.#hands.get(worker);
    if (hand === undefined) return;
    this.#hands.delete(worker);
    const [first] = hand.jobs;
    const hasBegun = first !== undefined && (hand.last === undefined || hand.last === first.id);
    const lost = hasBegun && !this.#isToBeTriedAgain(first) ? first : undefined;
    const again = hand.jobs.filter((job) => job !== lost);
    this.#again = [...again, ...this.#again];
    for (const job of again) this.#effects.returns(job);
    if (lost !== undefined) this.#end(lost, { type: "died", times: this.#deaths.get(lost.id) ?? 1 });
    this.#deal();
  }

  #isToBeTriedAgain(job: Job): boolean {
    if (this.#unwanted.has(job.id)) return false;
    const deaths = (this.#deaths.get(job.id) ?? 0) + 1;
    this.#deaths.set(job.id, deaths);
    return deaths < job.tries;
  }

  /** A worker has done the job that it does. */
  answer(worker: Worker, id: number, outcome: Outcome): void {
    const hand = this.#hands.get(worker);
    const job = hand?.jobs[0];
    if (hand === undefined || job === undefined || job.id !== id) {
      throw new SyntaxError(`sent the answer of a job that it does not do: ${id}`);
    }
    hand.jobs.shift();
    const now = this.#now();
    const ms = now - hand.since;
    this.#meanMs = this.#meanMs === undefined ? ms : this.#meanMs + WEIGHT * (ms - this.#meanMs);
    this.#begin(hand, now);
    this.#end(job, outcome);
    this.#deal();
  }

  /**
   * Workers that are at a job for longer than so many milliseconds, and what they were given in advance. They are told of
   * once, and given nothing more until they are done with it.
   */
  behind(ms: number): readonly { readonly worker: Worker; readonly jobs: readonly Job[] }[] {
    const least = this.#now() - ms;
    const behind = [...this.#hands.values()].filter(({ jobs, since, isHeldUp }) => {
      return !isHeldUp && jobs.length > 1 && since <= least;
    });
    for (const hand of behind) hand.isHeldUp = true;
    return behind.map(({ worker, jobs }) => ({ worker, jobs: jobs.slice(1) }));
  }

  /** A worker has given a job back that it had not begun, though it may have been next by then. */
  giveBack(worker: Worker, id: number): void {
    const hand = this.#hands.get(worker);
    const index = hand?.jobs.findIndex((job) => job.id === id) ?? -1;
    const [job] = index < 0 ? [] : hand?.jobs.splice(index, 1) ?? [];
    if (hand === undefined || job === undefined) throw new SyntaxError(`sent a job back that it does not have: ${id}`);
    this.#again.push(job);
    this.#effects.returns(job);
    if (index === 0) this.#begin(hand, this.#now());
    this.#deal();
  }

  /** Takes out all jobs that no worker has. */
  takeAll(): readonly Job[] {
    const all: Job[] = [];
    for (let job = this.#take(); job !== undefined; job = this.#take()) all.push(job);
    return all;
  }

  /**
   * A job is not wanted any more: it is taken out, or not tried again.
   *
   * @returns The worker that has it, if one does.
   */
  cancel(id: number): Worker | undefined {
    const hand = [...this.#hands.values()].find(({ jobs }) => jobs.some((job) => job.id === id));
    if (hand === undefined) this.#cancelled.add(id);
    else this.#unwanted.add(id);
    return hand?.worker;
  }

  #end(job: Job, outcome: Outcome): void {
    this.#deaths.delete(job.id);
    this.#unwanted.delete(job.id);
    this.#effects.settle(job, outcome);
  }

  /** Whoever has nothing to do comes first. */
  #deal(): void {
    for (let hand = this.#next(); hand !== undefined; hand = this.#next()) {
      const job = this.#take();
      if (job === undefined) return;
      hand.jobs.push(job);
      this.#effects.give(hand.worker, job);
      if (hand.jobs.length === 1) this.#begin(hand, this.#now());
    }
  }

  #next(): Hand<Worker> | undefined {
    const { depth } = this;
    let least: Hand<Worker> | undefined;
    // Who is given something in advance may be held up: that is for when there is more than enough for all.
    const most = this.waiting > this.#hands.size ? depth : 1;
    for (const hand of this.#hands.values()) {
      if (hand.last !== undefined || hand.jobs.length >= (hand.isHeldUp ? 1 : most)) continue;
      if (least === undefined || hand.jobs.length < least.jobs.length) least = hand;
    }
    return least;
  }

  #begin(hand: Hand<Worker>, now: number): void {
    const [job] = hand.jobs;
    if (job === undefined) return;
    hand.since = now;
    hand.isHeldUp = false;
    this.#effects.begins(hand.worker, job);
  }

  #take(): Job | undefined {
    for (let job = this.#shift(); job !== undefined; job = this.#shift()) {
      if (this.#cancelled.delete(job.id)) continue;
      if (!this.#unwanted.has(job.id)) return job;
      this.#end(job, { type: "died", times: 0 }); // it was taken back, and nobody is to do it
    }
    return undefined;
  }

  #shift(): Job | undefined {
    const first = this.#again.shift() ?? this.#waiting[this.#taken];
    if (first === undefined || first !== this.#waiting[this.#taken]) return first;
    this.#taken++;
    if (this.#taken < this.#waiting.length && this.#taken < MANY) return first; // a list is not moved for each one
    this.#waiting = this.#waiting.slice(this.#taken);
    this.#taken = 0;
    return first;
  }
}
