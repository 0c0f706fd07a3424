/**
 * The manager: one inbox in, effects out. Everything that happens is an input; handlers only enqueue it. Each input
 * goes through the pool's `step`, and what that asks for is done here, through the host.
 *
 * @module
 */

import { currentHost } from "../runtimes/current.ts";
import { Alarms } from "./alarms.ts";
import { checkCount, checkKeys, checkTime } from "./checks.ts";
import { EventHub } from "./event_hub.ts";
import type { PreforkEvent } from "./events.ts";
import { Generations } from "./generations.ts";
import { type CheckedOptions, checkOptions, encodeData, type PreforkOptions, trappedSignals } from "./options.ts";
import { Outputs } from "./outputs.ts";
import { step } from "./pool.ts";
import {
  type Effect,
  emptyPool,
  type Generation,
  type Input,
  type PoolState,
  type PoolWorker,
  type Rules,
  type WorkerRef,
} from "./pool_state.ts";
import type { ReloadOptions, UpgradeOptions, WaitOptions } from "./prefork.ts";
import { Lookout } from "./lookout.ts";
import { openProber, type Prober } from "./prober.ts";
import { isStopSignal, parseSignal, relayedSignal, signalNumber } from "./signals.ts";
import type { Listener } from "./serving.ts";
import { type Owner, Staff } from "./staff.ts";
import { Succession, takeoverOn } from "./succession.ts";
import { changeTerms, firstTerms, rulesOf, type Terms } from "./terms.ts";
import { Traps } from "./traps.ts";
import { Table } from "./table.ts";
import { findWorker, isStandby, liveWorkers, workerInfo } from "./turn.ts";
import type { ProcessHost, Signal, StandbyInfo, WorkerInfo } from "./types.ts";
import { checkRelayed, checkWork, type ReadyWork, type Work } from "./work.ts";

/** A timer that keeps the process alive inside `start` and `waitAllChildren`; it is never due. */
const NEVER_MS = 2 ** 40;

/** How often it is looked what memory the workers use. */
const MEMORY_LOOK_MS = 5000;

/** How often it is looked whether the sockets still listen. */
const SOCKET_LOOK_MS = 1000;

/** How long processes are made before the event loop gets its turn. */
const SPAWN_SLICE_MS = 20;

type SpawnEffect = Extract<Effect, { type: "spawn" }>;

/** Thrown by `start` when no worker ever became ready, after `maxBootFailures` failures. */
export class BootFailureError extends Error {
  /** Tells this error from others. */
  override readonly name = "BootFailureError";
}

/** What `reload` rejects with when the generation before goes on serving; the message says why. */
export class ReloadError extends Error {
  /** Tells this error from others. */
  override readonly name = "ReloadError";
}

/** A reload that somebody waits for. */
interface Reload {
  readonly reloaded: Pending<void>;
  /** How many workers there are to be at most then; as many as before if undefined. */
  readonly maxWorkers: number | undefined;
}

type Pending<T> = ReturnType<typeof Promise.withResolvers<T>>;

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
  readonly #inbox: Input[] = [];
  /** Processes still to be made. */
  readonly #spawns: SpawnEffect[] = [];
  readonly #stop = (): void => this.post({ type: "signal", signal: "SIGTERM" });
  #state: PoolState;
  /** What was asked for last; the state has it once the inbox is empty. */
  #maxWorkers: number;
  #scheduled = false;
  /** Reloads that are under way, by the number of their generation. */
  readonly #reloads = new Table<number, Reload>();
  readonly #memoryLookout: Lookout;
  readonly #socketLookout: Lookout;
  #started: Pending<Signal> | undefined;
  #waited: Pending<void> | undefined;

  constructor(owner: Owner, host: ProcessHost, options: PreforkOptions, checked: CheckedOptions) {
    const terms = firstTerms(options, checked, host, takeoverOn(host)?.inheritance);
    const { maxWorkers, config } = terms;
    this.#host = host;
    this.#maxWorkers = maxWorkers;
    this.#memoryLookout = new Lookout(host, MEMORY_LOOK_MS, () => this.#lookAtMemory());
    this.#socketLookout = new Lookout(host, SOCKET_LOOK_MS, () => this.#haveSockets());
    this.#alarms = new Alarms(host, (input) => this.post(input));
    this.#options = options;
    this.#state = emptyPool(config, maxWorkers, crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);
    this.hub = new EventHub(options.logger);
    const { hub } = this;
    this.#generations = new Generations(terms);
    this.#outputs = new Outputs(options.output);
    this.#staff = new Staff({
      owner,
      host,
      options,
      hub,
      generations: this.#generations,
      outputs: this.#outputs,
      post: (input) => this.post(input),
    });
    this.#succession = new Succession({
      host,
      owner,
      config,
      hub,
      sockets: () => this.#terms.sockets,
      stop: this.#stop,
    });
    const trapped = trappedSignals(config.trapSignals);
    this.#traps = new Traps(
      host,
      trapped,
      (signal) => this.post({ type: "signal", signal }),
      (signal) => this.#die(signal),
    );
    if (host.name === "deno" && trapped.includes("SIGUSR1")) this.#warnOfInspector();
    options.signal?.addEventListener("abort", this.#stop, { once: true });
    if (options.signal?.aborted) this.#stop();
  }

  get generation(): number {
    return this.#state.generation;
  }

  get maxWorkers(): number {
    return this.#maxWorkers;
  }

  /** Live worker processes, but those who stand by. */
  get numWorkers(): number {
    return this.#staff.size - this.#staff.standbys;
  }

  /** What this pool listens on. */
  get listeners(): readonly Listener[] {
    return this.#terms.sockets?.listeners ?? [];
  }

  get #terms(): Terms {
    return this.#generations.termsOf(this.#state.current.number);
  }

  /** Whether workers are missing after failures. */
  get degraded(): boolean {
    return this.#state.degraded;
  }

  get workers(): readonly WorkerInfo[] {
    return this.#live().filter((worker) => !isStandby(worker)).map(workerInfo);
  }

  /** Those who stand by, or boot to do so. */
  get standbys(): readonly StandbyInfo[] {
    return this.#live().filter(isStandby).map((worker) => {
      return { ...workerInfo(worker), usage: this.#host.usage(worker.pid) };
    });
  }

  #live(): readonly PoolWorker[] {
    const live = [...liveWorkers(this.#state)].filter(({ pid }) => pid !== 0);
    return live.sort((a, b) => a.slot - b.slot || a.id - b.id);
  }

  /** Changes how many workers there are at most. */
  setMaxWorkers(count: number): void {
    this.#maxWorkers = checkCount("maxWorkers", count, 0);
    this.post({ type: "setMaxWorkers", maxWorkers: count });
  }

  /** Acts as if the signal had come from outside. */
  receive(signal: Signal): void {
    this.post({ type: "signal", signal: parseSignal(signal, "the signal received") });
  }

  /** Signals all workers. */
  signalAll(signal: Signal): void {
    parseSignal(signal, "a signal for the workers");
    for (const runtime of this.#generations.runtimes) checkRelayed([signal], runtime);
    this.post({ type: "signalAll", signal });
    if (signal === "SIGKILL") this.#staff.killLeftovers();
    if (signal === "SIGKILL") this.#succession.kill();
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
    this.#keepLooking();
    this.#succession.begin();
    this.post({ type: "start", generation: this.#nextGeneration(work, ready, this.#terms) });
    return await started.promise;
  }

  /** Replaces all workers by new ones, a canary first. */
  async reload(options: ReloadOptions): Promise<void> {
    checkKeys("reload", options, ["data", "options"]);
    const { data, options: changes } = options;
    this.#succession.refuseIfUpgrading("reload");
    const started = this.#started;
    const before = this.#generations.get(this.#state.current.number)?.asked;
    if (started === undefined || before === undefined) {
      throw new Error("Cannot reload: this pool is not inside start(), so it has no workers to keep");
    }
    const work = withData(before, data);
    const ready = await this.#prepare(work, changes?.standby);
    if (this.#started !== started) throw new ReloadError("Cannot reload: start() returned before it began");
    const terms = changes && changeTerms(this.#terms, changes, this.#maxWorkers, this.#host);
    const rules = terms && rulesOf(terms, changes);
    const generation = this.#nextGeneration(work, ready, terms ?? this.#terms, rules);
    const reloaded = Promise.withResolvers<void>();
    this.#reloads.set(generation.number, { reloaded, maxWorkers: rules?.maxWorkers });
    this.post({ type: "reload", generation });
    await reloaded.promise;
  }

  /** Has this program started again, and stops once the new manager has taken over. */
  async upgrade(options: UpgradeOptions): Promise<void> {
    await this.#succession.upgrade(options, this.#state);
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
    this.#generations.forget(this.#state);
    return this.#generations.add(work, ready, terms, rules);
  }

  /** Waits until all workers are gone, and tells how many are left if it is given up before. */
  async wait(options: WaitOptions): Promise<number> {
    this.refuseIfBusy("wait for workers");
    checkKeys("waitAllChildren", options, ["timeoutMs", "signal"]);
    const { timeoutMs, signal } = options;
    if (timeoutMs !== undefined) checkTime("timeoutMs", timeoutMs);
    signal?.throwIfAborted();
    this.#succession.abandon("the pool waits for its workers to end");
    const waited = Promise.withResolvers<void>();
    this.#waited = waited;
    const over = Promise.withResolvers<void>();
    using _alive = this.#host.setTimer(timeoutMs ?? NEVER_MS, () => {
      this.#stopWaiting();
      over.resolve();
    });
    const abort = (): void => {
      waited.reject(signal?.reason);
      over.reject(signal?.reason);
      this.#stopWaiting();
    };
    over.promise.catch(() => {}); // it may come after all is over
    signal?.addEventListener("abort", abort, { once: true });
    this.post({ type: "wait" });
    try {
      await waited.promise;
      if (this.#staff.size === 0) await Promise.race([this.#staff.cleared(), over.promise]);
      if (this.#staff.size === 0) await Promise.race([this.#succession.over(), over.promise]);
    } finally {
      signal?.removeEventListener("abort", abort);
    }
    if (this.#staff.size === 0) this.#letGo();
    return this.#staff.size;
  }

  /** Tells all workers to stop, waits for them, and lets go of everything. */
  async dispose(): Promise<void> {
    this.#settleStart((started) => started.reject(new Error("Cannot go on in start(): the pool was disposed of")));
    this.post({ type: "stopAll" });
    while (this.#waited) await this.#waited.promise.catch(() => {}); // somebody may wait with a limit of their own
    await this.wait({}); // which lets go of all else, since nobody is left
    this.#generations[Symbol.dispose]();
    this.#traps[Symbol.dispose]();
    this.#options.signal?.removeEventListener("abort", this.#stop);
    this.hub.close();
  }

  /** Enqueues an input. The inbox is emptied once the running code is done. */
  post(input: Input): void {
    this.#inbox.push(input);
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#drain());
  }

  /**
   * Takes all inputs, and between them makes the processes that are wanted. Making many takes long, so the event loop
   * gets its turn now and then: a stop must not wait for the last of a thousand workers.
   */
  #drain(): void {
    const sliceEnd = this.#host.now() + SPAWN_SLICE_MS;
    while (true) {
      for (let input = this.#inbox.shift(); input; input = this.#inbox.shift()) this.#take(input);
      const next = this.#spawns.shift();
      if (next === undefined) break;
      this.#spawn(next);
      if (this.#host.now() < sliceEnd) continue;
      this.#host.setTimer(0, () => this.#drain());
      return;
    }
    this.#scheduled = false;
  }

  /** Whatever is wrong in here, the manager goes on and can be stopped. */
  #take(input: Input): void {
    try {
      const [state, effects] = step(this.#state, input, this.#host.now());
      this.#state = state;
      for (const effect of effects) this.#perform(effect);
      this.#succession.look(state);
    } catch (error) {
      this.hub.publish({ type: "hookError", hook: `the manager, at '${input.type}',`, error });
    }
  }

  #spawn(wanted: SpawnEffect): void {
    const { slot, id } = wanted;
    const isWanted = (): boolean => findWorker(this.#state, wanted)?.stopping === false;
    if (!isWanted() || !this.#haveSockets()) {
      return this.post({ type: "spawnCancelled", slot, id });
    }
    this.#staff.spawn(wanted, isWanted);
  }

  #perform(effect: Effect): void {
    switch (effect.type) {
      case "spawn":
        this.#spawns.push(effect);
        return;
      case "welcome":
        return this.#staff.welcome(effect);
      case "hold":
        return this.#staff.hold(effect);
      case "parked":
        return this.#tellParked(effect);
      case "examine":
        return this.#examine(effect);
      case "probe":
        return this.#prober?.probe(effect, (input) => this.post(input));
      case "endProbe":
        return this.#prober?.end(effect.id);
      case "kill":
        return this.#kill(effect.pid, effect.signal, effect.group);
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
        if (isStopSignal(effect.signal)) this.#succession.abandon(`the pool was told to stop by ${effect.signal}`);
        return this.#settleStart((started) => started.resolve(effect.signal));
      case "gaveUp":
        return this.#settleStart((started) =>
          started.reject(
            new BootFailureError(
              `Cannot keep this pool: ${effect.failures} workers failed and none ever became ready; ` +
                `the last one ${effect.reason}`,
            ),
          )
        );
      case "waited":
        this.#waited?.resolve();
        this.#waited = undefined;
        return;
    }
  }

  #tellParked(ref: WorkerRef): void {
    const worker = findWorker(this.#state, ref);
    if (worker) this.hub.publish({ type: "standby", worker: workerInfo(worker), usage: this.#host.usage(worker.pid) });
  }

  /** Looks at a worker that is silent. */
  #examine({ slot, id, pid }: Extract<Effect, { type: "examine" }>): void {
    const isHeldBack = this.#outputs.isHeldBack(id);
    this.post({ type: "examined", slot, id, isHeldBack, usage: this.#host.usage(pid) });
  }

  /** Looks now and then at what may go wrong unheard. */
  #keepLooking(): void {
    this.#memoryLookout.keep(this.#state.config.recycle.maxMemoryBytes !== undefined);
    this.#socketLookout.keep(this.#terms.sockets !== undefined);
  }

  /** Finds the workers that use too much memory. */
  #lookAtMemory(): void {
    const maxBytes = this.#state.config.recycle.maxMemoryBytes ?? Infinity;
    for (const { slot, id, pid, phase } of liveWorkers(this.#state)) {
      const used = phase === "ready" ? this.#host.usage(pid)?.memoryBytes ?? 0 : 0;
      if (used <= maxBytes) continue;
      this.post({ type: "due", slot, id, reason: `uses ${(used / 2 ** 20).toFixed(1)} MiB of memory` });
    }
  }

  /** Without its sockets a pool has nothing to do: its workers look alive, and accept nothing. */
  #haveSockets(): boolean {
    try {
      this.#terms.sockets?.check();
      return true;
    } catch (error) {
      this.#settleStart((started) => started.reject(error));
      this.post({ type: "stopAll" });
      return false;
    }
  }

  /** Answers whoever waits for a reload. */
  #heed(event: PreforkEvent): void {
    if (event.type !== "reloaded" && event.type !== "reloadFailed") return;
    const reload = this.#reloads.get(event.generation);
    this.#reloads.delete(event.generation);
    this.#keepLooking();
    this.#generations.forget(this.#state);
    if (event.type === "reloaded") {
      this.#maxWorkers = reload?.maxWorkers ?? this.#maxWorkers;
      return reload?.reloaded.resolve();
    }
    reload?.reloaded.reject(
      new ReloadError(`Cannot reload: ${event.reason}. Generation ${event.serving} goes on serving`),
    );
  }

  #settleStart(settle: (started: Pending<Signal>) => void): void {
    const started = this.#started;
    this.#started = undefined;
    if (started) settle(started);
  }

  /** A process that is gone already needs no signal; one that may not be signalled is told of and left alone. */
  #kill(pid: number, signal: Signal, group: boolean): void {
    try {
      this.#host.kill(group ? -pid : pid, signal);
    } catch (error) {
      this.hub.publish({ type: "hookError", hook: `kill(${pid}, ${signal})`, error });
    }
  }

  #stopWaiting(): void {
    this.post({ type: "unwait" });
    this.#waited?.resolve();
    this.#waited = undefined;
  }

  /** Lets go of what only a pool with workers needs. */
  #letGo(): void {
    this.#alarms[Symbol.dispose]();
    this.#memoryLookout[Symbol.dispose]();
    this.#socketLookout[Symbol.dispose]();
    this.#traps.ignoreFatal();
    this.#staff.close();
  }

  /**
   * Only one call at a time may wait for the pool.
   *
   * @throws {Error} Names the one that does.
   */
  refuseIfBusy(what: string): void {
    const busy = this.#started ? "start()" : this.#waited ? "waitAllChildren()" : undefined;
    if (busy) throw new Error(`Cannot ${what}: ${busy} of this pool has not returned yet; await it first`);
  }

  /**
   * The manager is about to die of a signal that nobody trapped: the workers get it too, as from a terminal. For those
   * that ignore it the guard stays behind.
   */
  #die(signal: Signal): void {
    for (const { pid } of this.#live()) this.#kill(pid, signal, true);
    this.#staff.abandon();
    this.#traps[Symbol.dispose]();
    try {
      this.#host.kill(this.#host.pid, signal);
    } catch {
      this.#host.exit(128 + signalNumber(signal)); // not allowed to signal itself; the nearest thing to dying of it
    }
  }

  #warnOfInspector(): void {
    const logger = this.#options.logger ?? { warn: (text: string) => this.#host.write(`prefork: ${text}\n`) };
    logger.warn("trapping SIGUSR1: on Deno it also opens the inspector on 127.0.0.1:9229; SIGUSR2 does not");
  }
}

function checkStandby(work: Work, standby: number): void {
  if (work.type !== "command" || standby === 0) return;
  throw new TypeError("Cannot keep standbys of a command: it cannot be told to wait; leave out the option 'standby'");
}

/** The same work with other data, if there is any. */
function withData(work: Work, data: unknown): Work {
  if (data === undefined) return work;
  if (work.type === "command") {
    throw new TypeError("Cannot reload with 'data': a command takes none; give it to start(), startModule()");
  }
  return work.type === "self"
    ? { ...work, options: { ...work.options, data } }
    : { ...work, options: { ...work.options, data } };
}
