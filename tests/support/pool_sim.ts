/**
 * A pool in a world of its own: a virtual clock, workers that boot, obey, ignore and die as they are told, and the loop
 * of a daemon around it. What `step` asks for is carried out here, and everything is written down.
 *
 * @module
 */

import assert from "node:assert/strict";
import { step } from "../../src/pool.ts";
import { type Effect, emptyPool, type Input, type PoolConfig, type PoolState } from "../../src/pool_state.ts";
import { fixedPool } from "../../src/policy.ts";
import { liveWorkers } from "../../src/turn.ts";
import type { PreforkEvent } from "../../src/events.ts";
import type { ExitStatus, Signal } from "../../src/types.ts";

/** A worker process of the simulated world. */
interface SimWorker {
  readonly slot: number;
  readonly id: number;
  readonly pid: number;
  readonly spawnedAt: number;
  readonly welcomed: boolean;
  readonly signals: Signal[];
}

/** How the simulated workers behave. */
export interface Manners {
  /** Ends on SIGTERM at once. */
  readonly obedient: boolean;
  /** Connects, begins and says it is ready at once; otherwise the test says when. */
  readonly eager: boolean;
  /** Lets go of all timers once nobody is left, as the manager does. */
  readonly letsGo: boolean;
}

export class PoolSim {
  now = 0;
  state: PoolState;
  readonly workers = new Map<number, SimWorker>();
  readonly events: (PreforkEvent & { readonly at: number })[] = [];
  readonly returned: { readonly at: number; readonly signal: Signal }[] = [];
  /** All that was wanted, and when. */
  readonly history: { readonly at: number; readonly effect: Effect }[] = [];
  /** What the pool waits for before it makes workers again: for a slot, for processes to be made, for who is due. */
  readonly waits: { readonly of: string; readonly ms: number }[] = [];
  readonly kills: { readonly at: number; readonly pid: number; readonly signal: Signal }[] = [];
  gaveUp: string | undefined;
  waited = false;
  failSpawns = false;
  /** Until when workers are held back by what they print, by their ids. */
  readonly heldBack = new Map<number, number>();
  /** What workers were asked, one after the other. */
  readonly questions: { readonly at: number; readonly id: number; readonly pid: number }[] = [];
  /** Who is asked now, by id. */
  readonly asked = new Set<number>();
  readonly #manners: Manners;
  readonly #timers = new Map<string, { readonly at: number; readonly input: Input }>();
  readonly #inbox: Input[] = [];
  #nextPid = 100;

  constructor(config: Partial<PoolConfig> & { readonly maxWorkers?: number } = {}, manners: Partial<Manners> = {}) {
    const { maxWorkers = 3, ...rules } = config;
    this.#manners = { obedient: true, eager: true, letsGo: false, ...manners };
    this.state = emptyPool(
      {
        trapSignals: { SIGTERM: "SIGTERM" },
        policy: fixedPool(),
        spawnIntervalMs: 0,
        errRespawnIntervalMs: 1000,
        maxRespawnIntervalMs: 30_000,
        bootTimeoutMs: 30_000,
        stopTimeoutMs: 30_000,
        drainDelayMs: 0,
        reloadTimeoutMs: undefined,
        maxSurge: 1,
        maxUnavailable: 0,
        settles: true,
        probeIntervalMs: undefined,
        hangTimeoutMs: undefined,
        recycle: {
          maxRequests: undefined,
          maxLifetimeMs: undefined,
          maxMemoryBytes: undefined,
          maxLagMs: undefined,
          jitter: 0,
        },
        standby: 0,
        maxBootFailures: undefined,
        ...rules,
      },
      maxWorkers,
      1,
    );
  }

  get size(): number {
    return this.workers.size;
  }

  get timers(): readonly string[] {
    return [...this.#timers.keys()];
  }

  start(channel = true): void {
    this.send({ type: "start", generation: { number: this.state.generation + 1, channel } });
  }

  /** Reloads, with changed rules if there are any. */
  reload({ maxWorkers, ...config }: Partial<PoolConfig> & { readonly maxWorkers?: number } = {}): void {
    const rules = { config: { ...this.state.config, ...config }, maxWorkers };
    this.send({ type: "reload", generation: { number: this.state.generation + 1, channel: true, rules } });
  }

  /** Feeds an input and all that follows from it at this instant. */
  send(input: Input): void {
    this.#inbox.push(input);
    for (let next = this.#inbox.shift(); next; next = this.#inbox.shift()) {
      const before = this.state;
      const [state, effects] = step(before, next, this.now);
      this.state = state;
      this.#noteWaits(before);
      for (const effect of effects) this.#perform(effect);
      this.check();
    }
  }

  #noteWaits(before: PoolState): void {
    const { dueAfter, dueFailures, spawnAfter, spawnFailures } = this.state;
    if (dueFailures > before.dueFailures) this.waits.push({ of: "due", ms: dueAfter - this.now });
    if (spawnFailures > before.spawnFailures) this.waits.push({ of: "pool", ms: spawnAfter - this.now });
  }

  /** Lets time pass; timers fire in order, at their time. */
  advance(ms: number): void {
    const end = this.now + ms;
    for (let due = this.#nextDue(end); due; due = this.#nextDue(end)) {
      this.now = Math.max(this.now, due.timer.at);
      this.#timers.delete(due.key);
      this.send(due.timer.input);
    }
    this.now = end;
  }

  /** Lets time pass in which the manager stands still: what fell due is noticed all at once, at the end. */
  sleep(ms: number): void {
    this.now += ms;
    for (let due = this.#nextDue(this.now); due; due = this.#nextDue(this.now)) {
      this.#timers.delete(due.key);
      this.send(due.timer.input);
    }
  }

  /** Ends a worker. */
  exit(id: number, status: ExitStatus = { type: "exited", code: 0 }): void {
    const worker = this.workers.get(id);
    if (worker === undefined) return;
    this.workers.delete(id);
    this.send({ type: "exited", slot: worker.slot, id, status });
  }

  tell(id: number, type: "connected" | "parked" | "begun" | "ready"): void {
    const worker = this.workers.get(id);
    if (worker) this.send({ type, slot: worker.slot, id });
  }

  /** Answers what a worker is asked: well, or by what is `saw`. */
  answer(id: number, saw?: string): void {
    const worker = this.workers.get(id);
    assert.ok(worker && this.asked.delete(id), `worker ${id} is asked nothing`);
    this.send({ type: "checked", slot: worker.slot, id, saw });
  }

  inSlot(slot: number): SimWorker {
    const found = [...this.workers.values()].find((worker) => worker.slot === slot);
    assert.ok(found, `no worker in slot ${slot}`);
    return found;
  }

  of<T extends PreforkEvent["type"]>(type: T): Extract<PreforkEvent & { readonly at: number }, { type: T }>[] {
    return this.events.filter((event): event is Extract<typeof event, { type: T }> => event.type === type);
  }

  /** What must hold after every single input. */
  check(): void {
    const { workers, serving, ready, idle, taken, troubles, others, successors, standbys, config } = this.state;
    const known = [...workers.entries()].map(([, worker]) => worker);
    const made = [...liveWorkers(this.state)].filter(({ pid }) => pid !== 0).map(({ id }) => id);
    assert.deepEqual(made.sort(), this.#told().sort(), "who lives");
    assert.equal(serving.size, known.filter(({ stopping }) => !stopping).length, "who serves");
    assert.ok(idle.size <= serving.size, "who is idle");
    const able = known.filter(({ stopping, phase }) => !stopping && phase === "ready");
    assert.equal(ready.size, able.length, "who is ready");
    assert.ok(successors.size <= config.maxSurge, "how many replacements boot");
    const beside = [...others.entries()].map(([, worker]) => worker);
    for (const { slot, id, stopping } of beside) {
      assert.equal(standbys.includes(id) || successors.get(slot) === id, !stopping, "who is to leave");
    }
    assert.ok(standbys.length <= config.standby, "how many stand by");
    for (const id of this.asked) {
      const worker = [...liveWorkers(this.state)].find((each) => each.id === id);
      const isGone = worker === undefined || worker.stopping || worker.phase === "ready";
      assert.ok(!isGone || !this.workers.has(id), "who is asked whether it is ready");
    }
    for (const { slot } of known) assert.ok(taken.has(slot), `slot ${slot} is taken`);
    assert.ok(taken.size <= workers.size + troubles.size, "which slots are taken");
  }

  /** The workers that live as far as the pool was told: news of births and deaths may still be in the inbox. */
  #told(): number[] {
    const coming = (type: Input["type"]) =>
      this.#inbox.flatMap((input) => input.type === type && "id" in input ? [input.id] : []);
    const unborn = coming("spawned");
    return [...new Set([...this.workers.keys(), ...coming("exited")])].filter((id) => !unborn.includes(id));
  }

  #nextDue(end: number) {
    let first: { readonly key: string; readonly timer: { readonly at: number; readonly input: Input } } | undefined;
    for (const [key, timer] of this.#timers) {
      if (timer.at <= end && (first === undefined || timer.at < first.timer.at)) first = { key, timer };
    }
    return first;
  }

  #perform(effect: Effect): void {
    this.history.push({ at: this.now, effect });
    switch (effect.type) {
      case "spawn":
        return this.#spawn(effect);
      case "welcome":
        return this.#welcome(effect.slot, effect.id);
      case "hold":
        if (this.#manners.eager) this.#inbox.push({ type: "parked", slot: effect.slot, id: effect.id });
        return;
      case "parked":
        return;
      case "kill":
        return this.#kill(effect.pid, effect.signal);
      case "setTimer":
        this.#timers.delete(effect.key); // of two that are due at the same time, the one set first goes first
        this.#timers.set(effect.key, { at: effect.at, input: effect.input });
        return;
      case "clearTimer":
        this.#timers.delete(effect.key);
        return;
      case "event":
        this.events.push({ ...effect.event, at: this.now });
        if (effect.event.type === "backoff") {
          this.waits.push({ of: `slot ${effect.event.slot}`, ms: effect.event.delayMs });
        }
        return;
      case "returned":
        this.returned.push({ at: this.now, signal: effect.signal });
        return;
      case "examine":
        this.#inbox.push({
          type: "examined",
          slot: effect.slot,
          id: effect.id,
          sinceHeldMs: Math.max(0, this.now - (this.heldBack.get(effect.id) ?? -Infinity)),
          usage: undefined,
        });
        return;
      case "probe":
        return this.#ask(effect.slot, effect.id, effect.pid);
      case "reaped":
      case "endProbe":
        this.asked.delete(effect.id);
        return;
      case "gaveUp":
        this.gaveUp = effect.reason;
        return;
      case "waited":
        this.waited = true;
        if (this.#manners.letsGo) this.#timers.clear();
        return;
    }
  }

  #spawn({ slot, id }: Extract<Effect, { type: "spawn" }>): void {
    if (this.state.workers.get(slot)?.id === id) {
      assert.ok(slot < this.state.maxWorkers, "slots are 0 to n-1");
      assert.ok(this.state.workers.size <= this.state.maxWorkers, "never more workers than allowed");
    }
    if (this.failSpawns) {
      this.#inbox.push({ type: "spawnFailed", slot, id, error: new Error("no more processes") });
      return;
    }
    const pid = this.#nextPid++;
    this.workers.set(id, { slot, id, pid, spawnedAt: this.now, welcomed: false, signals: [] });
    this.#inbox.push({ type: "spawned", slot, id, pid });
    if (this.#manners.eager) this.#inbox.push({ type: "connected", slot, id });
  }

  #welcome(slot: number, id: number): void {
    const worker = this.workers.get(id);
    if (worker === undefined) return;
    this.workers.set(id, { ...worker, welcomed: true, slot });
    if (!this.#manners.eager) return;
    // A standby goes on with the connection it had before it was given a slot.
    this.#inbox.push({ type: "begun", slot: worker.slot, id }, { type: "ready", slot: worker.slot, id });
  }

  #ask(slot: number, id: number, pid: number): void {
    assert.ok(!this.asked.has(id), "one question at a time");
    this.questions.push({ at: this.now, id, pid });
    if (this.#manners.eager) this.#inbox.push({ type: "checked", slot, id, saw: undefined });
    else this.asked.add(id);
  }

  #kill(pid: number, signal: Signal): void {
    this.kills.push({ at: this.now, pid, signal });
    const worker = [...this.workers.values()].find((other) => other.pid === pid);
    if (worker === undefined) return;
    worker.signals.push(signal);
    if (signal !== "SIGKILL" && !(signal === "SIGTERM" && this.#manners.obedient)) return;
    const status: ExitStatus = signal === "SIGKILL" ? { type: "signaled", signal } : { type: "exited", code: 0 };
    this.workers.delete(worker.id);
    this.#inbox.push({ type: "exited", slot: worker.slot, id: worker.id, status });
  }
}
