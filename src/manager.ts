/**
 * The manager: one inbox in, effects out. Everything that happens is an input; handlers only enqueue it. Each input
 * goes through the pool's `step`, and what that asks for is done here, through the host.
 *
 * @module
 */

import { currentHost } from "../runtimes/current.ts";
import { Alarms } from "./alarms.ts";
import { bootFailure } from "./boot_failure.ts";
import { checkKeys, checkTime, checkWorkers } from "./checks.ts";
import type { TakeStream } from "./control_server.ts";
import { encodeData } from "./data.ts";
import { EventHub } from "./event_hub.ts";
import type { PreforkEvent } from "./events.ts";
import type { PoolFigures } from "./figures.ts";
import { Generations } from "./generations.ts";
import { Inbox, type SpawnEffect } from "./inbox.ts";
import { Lookouts } from "./lookouts.ts";
import { type CheckedOptions, checkOptions, type PreforkOptions } from "./options.ts";
import { Outputs } from "./outputs.ts";
import { step } from "./pool.ts";
import {
  type Effect,
  emptyPool,
  type Generation,
  type Input,
  type PoolState,
  type Rules,
  type WorkerRef,
} from "./pool_state.ts";
import type { ReloadOptions, UpgradeOptions, WaitOptions } from "./call_options.ts";
import { openProber, type Prober } from "./prober.ts";
import { Reloads } from "./reloads.ts";
import { isStopSignal, parseSignal, relayedSignal } from "./signals.ts";
import type { Listener } from "./serving.ts";
import type { SharedSockets } from "./sockets.ts";
import { type Owner, Staff } from "./staff.ts";
import { Succession } from "./succession.ts";
import type { Tracer } from "./telemetry.ts";
import { changeTerms, firstTerms, type PoolChanges, rulesOf, type Terms } from "./terms.ts";
import { leftSignals, trappedSignals } from "./trap_options.ts";
import { Traps, warnOfInspector } from "./traps.ts";
import { findWorker, workerInfo } from "./turn.ts";
import type { ProcessHost, Signal, StandbyInfo, WorkerInfo } from "./types.ts";
import { countWorkers, made, viewStandbys, viewWorkers } from "./views.ts";
import { NEVER_MS, Waiting } from "./waiting.ts";
import { checkRelayed, checkStandby, checkWork, type ReadyWork, renew, type Work } from "./work.ts";

/**
 * Makes the manager of a pool.
 *
 * @throws {TypeError} If an option is unknown or of the wrong shape.
 * @throws {RangeError} If a number is out of range.
 */
export function makeManager(owner: Owner, options: PreforkOptions): Manager {
  const host = options.host ?? currentHost;
  return new Manager(owner, host, options, checkOptions(options, host));
}

/** Runs one pool. */
export class Manager {
  readonly hub: EventHub;
  readonly #host: ProcessHost;
  readonly #options: PreforkOptions;
  readonly #generations: Generations;
  readonly #outputs: Outputs;
  readonly #staff: Staff;
  readonly #traps: Traps;
  readonly #succession: Succession;
  #prober: Prober | undefined;
  readonly #alarms: Alarms<Input>;
  readonly #lookouts: Lookouts;
  readonly #reloads = new Reloads();
  readonly #waiting: Waiting;
  readonly #inbox: Inbox;
  readonly #stop = (): void => this.#inbox.post({ type: "signal", signal: "SIGTERM" });
  readonly #leave = (): void => this.#inbox.post({ type: "signal", signal: "SIGTERM", isUrgent: true });
  #state: PoolState;
  /** Sizes that were asked for and that the state has yet to take: the last one, and how many. */
  #asked = { maxWorkers: 0, left: 0 };
  #started: PromiseWithResolvers<Signal> | undefined;

  constructor(owner: Owner, host: ProcessHost, options: PreforkOptions, checked: CheckedOptions) {
    const terms = firstTerms(options, checked, host);
    const { maxWorkers, config } = terms;
    const trapped = trappedSignals(config.trapSignals);
    const hub = new EventHub(options.logger);
    const generations = new Generations(terms);
    const outputs = new Outputs(options.output, () => host.now());
    const post = (input: Input): void => this.#inbox.post(input);
    const staff = new Staff({ owner, host, options, generations, outputs, hub, post });
    const sockets = (): SharedSockets | undefined => this.#terms.sockets;
    const succession = new Succession({ host, owner, config, hub, sockets, stop: this.#leave });
    this.hub = hub;
    this.#host = host;
    this.#options = options;
    this.#state = emptyPool(config, maxWorkers, crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);
    this.#inbox = new Inbox(
      host,
      (input) => this.#attempt(input, () => this.#take(input)),
      (wanted) => this.#attempt(wanted, () => this.#spawn(wanted)),
    );
    this.#generations = generations;
    this.#outputs = outputs;
    this.#staff = staff;
    this.#succession = succession;
    this.#alarms = new Alarms(host, post);
    this.#lookouts = new Lookouts({
      host,
      hub,
      state: () => this.#state,
      terms: () => this.#terms,
      post,
      lost: (error) => this.#fail(error),
    });
    this.#waiting = new Waiting({
      host,
      staff,
      succession,
      left: () => countWorkers(this.#state),
      post,
      gone: () => this.#letGo(),
    });
    this.#traps = new Traps(
      host,
      trapped,
      leftSignals(options.trapSignals),
      (signal) => this.#hear(signal),
      (signal) => this.#die(signal),
    );
    warnOfInspector(host, trapped, hub);
    if (options.tracer !== undefined) this.#trace(options.tracer, options.name);
    options.signal?.addEventListener("abort", this.#stop, { once: true });
    if (options.signal?.aborted) this.#stop();
  }

  /** What happens before the module is there waits for it. */
  #trace(tracer: Tracer, name: string | undefined): void {
    const events = this.hub.subscribe();
    const threw = (error: unknown) => this.hub.publish({ type: "hookError", hook: "tracer", error });
    import("./telemetry.ts").then(({ recordSpans }) => recordSpans(events, tracer, name, threw)).catch(threw);
  }

  get generation(): number {
    return this.#state.generation;
  }

  get maxWorkers(): number {
    return this.#asked.left > 0 ? this.#asked.maxWorkers : this.#state.maxWorkers;
  }

  /** Live worker processes, but those who stand by. */
  get numWorkers(): number {
    return this.#staff.size - this.#staff.standbys;
  }

  /** What this pool listens on. */
  get listeners(): readonly Listener[] {
    return this.sockets?.listeners ?? [];
  }

  /** The sockets themselves. */
  get sockets(): SharedSockets | undefined {
    return this.#terms.sockets;
  }

  get #terms(): Terms {
    return this.#generations.termsOf(this.#state.current.number);
  }

  /** Whether workers are missing after failures. */
  get degraded(): boolean {
    return this.#state.degraded;
  }

  get workers(): readonly WorkerInfo[] {
    return viewWorkers(this.#state);
  }

  /** Those who stand by, or boot to do so. */
  get standbys(): readonly StandbyInfo[] {
    return viewStandbys(this.#state, this.#host);
  }

  /** Has workers open streams beside the control channel. To be called before the start. */
  takeStreams(take: TakeStream): void {
    this.#staff.takeStreams(take);
  }

  /** Changes how many workers there are at most. */
  setMaxWorkers(count: number): void {
    this.#asked = { maxWorkers: checkWorkers("maxWorkers", count), left: this.#asked.left + 1 };
    this.#inbox.post({ type: "setMaxWorkers", maxWorkers: count });
  }

  /** Acts as if the signal had come from outside. */
  receive(signal: Signal): void {
    this.#inbox.post({ type: "signal", signal: parseSignal(signal, "the signal received") });
  }

  /** Signals all workers. */
  signalAll(signal: Signal): void {
    this.#checkSent(signal);
    this.#inbox.post({ type: "signalAll", signal });
    if (signal !== "SIGKILL") return;
    this.#staff.killLeftovers();
    this.#succession.kill();
  }

  /** Signals the workers in a slot; false if there are none. */
  signalSlot(slot: number, signal: Signal): boolean {
    this.#checkSent(signal);
    if (!this.workers.some((worker) => worker.slot === slot)) return false;
    this.#inbox.post({ type: "signalAll", signal, slot });
    return true;
  }

  #checkSent(signal: Signal): void {
    parseSignal(signal, "a signal for the workers");
    for (const runtime of this.#generations.runtimes) checkRelayed([signal], runtime);
  }

  /** What the workers have done. */
  async figures(timeoutMs: number): Promise<PoolFigures> {
    return await this.#staff.figures(checkTime("timeoutMs", timeoutMs));
  }

  /** Runs the pool until a signal comes. */
  async start(work: Work): Promise<Signal> {
    checkWork(work);
    const started = Promise.withResolvers<Signal>();
    started.promise.catch(() => {}); // told to whoever awaits start(), which may be about to find out by itself
    this.#started = started;
    let ready: ReadyWork;
    try {
      ready = await this.#prepare(work);
    } catch (error) {
      this.#started = undefined;
      throw error;
    }
    if (this.#started !== started) {
      this.#staff.close(); // the pool was disposed of meanwhile
      return await started.promise;
    }
    using _alive = this.#host.setTimer(NEVER_MS, () => {});
    this.#traps.watchFatal();
    this.#lookouts.keep();
    this.#succession.begin();
    this.#inbox.post({ type: "start", generation: this.#nextGeneration(work, ready, this.#terms) });
    return await started.promise;
  }

  /** Replaces all workers by new ones, a canary first. */
  async reload(options: ReloadOptions): Promise<void> {
    checkKeys("reload", options, ["data", "env", "options"]);
    const { options: changes } = options;
    this.#succession.refuseIfUpgrading("reload");
    const started = this.#started;
    const before = this.#generations.get(this.#state.current.number)?.asked;
    if (started === undefined || before === undefined) {
      throw new Error("Cannot reload: this pool is not inside start(), so it has no workers to keep");
    }
    const work = renew(before, options);
    const ready = await this.#reloads.prepare(this.#prepare(work, changes?.standby));
    if (this.#started !== started) throw new Error("Cannot reload: start() returned before it began");
    const terms = changes && this.#changeTerms(changes);
    const rules = terms && rulesOf(terms, changes);
    const generation = this.#nextGeneration(work, ready, terms ?? this.#terms, rules);
    const done = this.#reloads.done(generation);
    this.#inbox.post({ type: "reload", generation });
    await done;
  }

  #changeTerms(changes: PoolChanges): Terms {
    const elsewhere = this.#generations.elsewhere(this.#terms.sockets);
    return changeTerms(this.#terms, changes, this.maxWorkers, this.#host, elsewhere);
  }

  /** Has this program started again, and stops once the new manager has taken over. */
  async upgrade(options: UpgradeOptions): Promise<void> {
    await this.#succession.upgrade(options, this.#state, this.#reloads.areComing);
  }

  async #prepare(work: Work, standby: number = this.#terms.config.standby): Promise<ReadyWork> {
    checkStandby(work, standby);
    this.#prober ??= await openProber(this.#terms.readiness, work.type, this.#host);
    const data = encodeData(work.type === "command" ? undefined : work.options.data);
    const ready = await this.#staff.prepare(work, data);
    checkRelayed(Object.values(this.#state.config.trapSignals).map(relayedSignal), ready.runtime);
    return ready;
  }

  #nextGeneration(work: Work, ready: ReadyWork, terms: Terms, rules?: Rules): Generation {
    const generation = this.#generations.add(work, ready, terms, rules);
    this.#generations.forget(this.#state); // only now: what is forgotten may have files in common with the new one
    return generation;
  }

  /** Waits until all workers are gone, and tells how many are left if it is given up before. */
  async wait(options: WaitOptions): Promise<number> {
    this.refuseIfBusy("wait for workers");
    return await this.#waiting.wait(options);
  }

  /** Tells all workers to stop, waits for them, and lets go of everything. */
  async dispose(): Promise<void> {
    this.#settleStart((started) => started.reject(new Error("Cannot go on in start(): the pool was disposed of")));
    this.#inbox.post({ type: "stopAll" });
    while (this.#waiting.isUnderWay) await this.#waiting.over(); // somebody may wait with a limit of their own
    await this.wait({}); // which lets go of all else, since nobody is left
    this.#generations[Symbol.dispose]();
    this.#traps[Symbol.dispose]();
    this.#options.signal?.removeEventListener("abort", this.#stop);
    this.hub.close();
  }

  #take(input: Input): void {
    const [state, effects] = step(this.#state, input, this.#host.now());
    this.#state = state;
    if (input.type === "setMaxWorkers") this.#asked = { ...this.#asked, left: this.#asked.left - 1 };
    // A worker that stood by for one that has died has waited long enough: all else comes after it.
    for (const effect of effects) {
      if (effect.type === "welcome") this.#attempt(effect, () => this.#staff.welcome(effect));
    }
    for (const effect of effects) this.#attempt(effect, () => this.#perform(effect));
    this.#succession.look(state);
  }

  /**
   * Whatever is wrong in here, the manager goes on and can be stopped: the state has all effects of its step as done, so
   * one that fails may not take the others with it.
   */
  #attempt({ type }: Input | Effect, action: () => void): void {
    try {
      action();
    } catch (error) {
      this.hub.publish({ type: "hookError", hook: `the manager, at '${type}',`, error });
    }
  }

  #spawn(wanted: SpawnEffect): void {
    const { slot, id } = wanted;
    const isWanted = (): boolean => findWorker(this.#state, wanted)?.stopping === false;
    if (!isWanted() || !this.#lookouts.haveSockets()) {
      return this.#inbox.post({ type: "spawnCancelled", slot, id });
    }
    this.#staff.spawn(wanted, isWanted);
  }

  #perform(effect: Effect): void {
    switch (effect.type) {
      case "spawn":
        return this.#inbox.spawnLater(effect);
      case "welcome":
        return; // done before all others
      case "hold":
        return this.#staff.hold(effect);
      case "parked":
        return this.#tellParked(effect);
      case "examine":
        return this.#examine(effect);
      case "probe":
        return this.#prober?.probe(effect, (input) => this.#inbox.post(input));
      case "endProbe":
        return this.#prober?.end(effect.id);
      case "kill":
        return this.#staff.kill(effect.pid, effect.signal, effect.group);
      case "setTimer":
        return this.#alarms.set(effect.key, effect.at, effect.input);
      case "clearTimer":
        return this.#alarms.clear(effect.key);
      case "event":
        this.#heed(effect.event);
        this.#succession.heed(effect.event);
        return this.hub.publish(effect.event);
      case "reaped":
        this.#prober?.end(effect.id);
        return this.#staff.reaped(effect);
      case "returned":
        return this.#settleStart((started) => started.resolve(effect.signal));
      case "gaveUp":
        return this.#settleStart((started) => started.reject(bootFailure(effect)));
      case "waited":
        return this.#waiting.end();
    }
  }

  #tellParked(ref: WorkerRef): void {
    const worker = findWorker(this.#state, ref);
    if (worker) this.hub.publish({ type: "standby", worker: workerInfo(worker), usage: this.#host.usage(worker.pid) });
  }

  /** Looks at a worker that is silent. */
  #examine({ slot, id, pid }: Extract<Effect, { type: "examine" }>): void {
    const sinceHeldMs = this.#outputs.sinceHeldMs(id);
    this.#inbox.post({ type: "examined", slot, id, sinceHeldMs, usage: this.#host.usage(pid) });
  }

  /** The pool cannot go on. */
  #fail(error: unknown): void {
    this.#settleStart((started) => started.reject(error));
    this.#inbox.post({ type: "stopAll" });
  }

  /**
   * A stop is one for whoever was to take over, too. At the end of a reload, what is to be looked at, and what may be
   * needed yet, are other things than before.
   */
  #heed(event: PreforkEvent): void {
    const isStop = event.type === "signal" && isStopSignal(event.signal);
    if (isStop) this.#succession.abandon(`the pool was told to stop by ${event.signal}`);
    if (event.type === "spawn" || event.type === "reap") this.#generations.count(event);
    if (event.type === "reap") this.#generations.forget(this.#state);
    if (event.type === "ready") this.#generations.termsOf(event.worker.generation).sockets?.keepBacklog();
    if (event.type !== "reloaded" && event.type !== "reloadFailed") return;
    if (event.type === "reloaded") this.sockets?.settle();
    else this.sockets?.keepBacklog(); // for those that did not come to serve may have cut it
    this.#lookouts.keep();
    this.#generations.forget(this.#state);
    this.#reloads.end(event);
  }

  #settleStart(settle: (started: PromiseWithResolvers<Signal>) => void): void {
    const started = this.#started;
    this.#started = undefined;
    if (started) settle(started);
  }

  /** Lets go of what only a pool with workers needs. */
  #letGo(): void {
    this.#alarms[Symbol.dispose]();
    this.#lookouts[Symbol.dispose]();
    this.#traps.ignoreFatal();
    this.#succession.abandon("this pool has no workers any more; call start() first");
    this.#staff.close();
  }

  /**
   * Only one call at a time may wait for the pool.
   *
   * @throws {Error} Names the one that does.
   */
  refuseIfBusy(what: string): void {
    const busy = this.#started ? "start()" : this.#waiting.isUnderWay ? "waitAllChildren()" : undefined;
    if (busy) throw new Error(`Cannot ${what}: ${busy} of this pool has not returned yet; await it first`);
  }

  /** A trapped signal has come. */
  #hear(signal: Signal): void {
    if (isStopSignal(signal)) this.#succession.hearStop();
    this.#inbox.post({ type: "signal", signal });
  }

  /**
   * The manager is about to die of a signal that nobody trapped: the workers get it too, as from a terminal. For those
   * that ignore it the guard stays behind.
   */
  #die(signal: Signal): void {
    for (const { pid } of made(this.#state)) this.#staff.kill(pid, signal, true);
    this.#staff.abandon();
    this.#traps.dieOf(signal);
  }
}
