/**
 * `Prefork`: the pool as its user sees it, in the manager and in a worker alike.
 *
 * @module
 */

import { currentHost } from "../runtimes/current.ts";
import type { ReloadOptions, UpgradeOptions, WaitOptions } from "./call_options.ts";
import type { TakeStream } from "./control_server.ts";
import type { PreforkEvent } from "./events.ts";
import type { PoolFigures } from "./figures.ts";
import type { Form } from "./identity.ts";
import type { Manager } from "./manager.ts";
import type { PreforkOptions } from "./options.ts";
import type { PoolSnapshot } from "./protocol.ts";
import type { Listener } from "./serving.ts";
import type { SharedSockets } from "./sockets.ts";
import type { Json, Signal, StandbyInfo, WorkerCommand, WorkerInfo } from "./types.ts";
import type { ModuleOptions, StartOptions, Work } from "./work.ts";
import { currentWorker, session, type Worker } from "./worker.ts";

/**
 * What a manager is made of. A worker has no use for it, and starts faster without; so does a command line that has yet to
 * find out what it is asked for.
 */
const loadManager = () => import("./manager.ts");
const isCommandLine = currentHost.isMain(new URL("../mod.ts", import.meta.url));
let loaded = session === undefined && !isCommandLine ? await loadManager() : undefined;

/** Loads that for a command line that is about to make a pool. */
export async function becomeManager(): Promise<void> {
  if (session === undefined) loaded ??= await loadManager();
}

/**
 * Runs in each worker. What it returns is awaited and dropped; the worker then exits with status 0.
 *
 * @typeParam Data The type of the `data` given to `start` beside it.
 */
export type WorkerCallback<Data = Json | null> = (worker: Worker<Data>) => unknown;

/** The pools of this process, in the order they were made, past ones included: where each stands, by its key. */
const pools = new Map<string, () => PoolSnapshot>();
let made = 0;

/** Of a pool that has not begun. */
const NO_FIGURES: PoolFigures = {
  requests: 0,
  latency: { count: 0, sumMs: 0, p50Ms: null, p99Ms: null, buckets: [] },
  workers: [],
};

/** Those of them that this process manages, and that were not disposed of. */
const managed = new Set<Prefork>();

let reveal: (pool: Prefork) => SharedSockets | undefined;
let lend: (pool: Prefork, take: TakeStream) => Promise<void>;

/** The sockets of a pool, for the command line, which leaves them with systemd. */
export function socketsOf(pool: Prefork): SharedSockets | undefined {
  return reveal(pool);
}

/** Has the workers of a pool open streams beside the control channel. To be called before its start. */
export async function takeStreams(pool: Prefork, take: TakeStream): Promise<void> {
  await lend(pool, take);
}

/** A number for what makes processes, in the order in which the program makes it. */
export function takeOrdinal(): number {
  return made++;
}

/** Where all other pools of this process stand, for a worker that runs the same program. */
export function snapshotOthers(own: string): Record<string, PoolSnapshot> {
  const others = [...pools].filter(([key]) => key !== own);
  return Object.fromEntries(others.map(([key, snapshot]) => [key, snapshot()]));
}

/**
 * A pool of worker processes and the manager that keeps it, after Perl's Parallel::Prefork.
 *
 * The manager and its workers run the same program: in a worker it runs again up to its `start`, which there returns
 * false. So what stands before `start` runs in every process.
 *
 * @example The loop of a daemon
 * ```ts ignore
 * import { currentWorker, Prefork } from "@prefork/prefork";
 *
 * const pm = new Prefork({ maxWorkers: 10, trapSignals: { SIGTERM: "SIGTERM", SIGHUP: "SIGTERM" } });
 * let config = await loadConfig();
 * while (pm.signalReceived !== "SIGTERM") {
 *   if (pm.signalReceived === "SIGHUP") config = await loadConfig();
 *   if (await pm.start({ data: config })) continue;
 *   await runWorker(currentWorker<Config>().data);
 *   await pm.finish();
 * }
 * await pm.waitAllChildren();
 * ```
 */
export class Prefork implements AsyncIterable<PreforkEvent, undefined>, AsyncDisposable {
  static {
    reveal = (pool) => pool.#manager?.sockets;
    lend = async (pool, take) => {
      pool.#manager ??= pool.#makeManager(await loadManager());
      pool.#manager.takeStreams(take);
    };
  }

  #options: PreforkOptions;
  readonly #key: string;
  readonly #madeBefore: boolean;
  #manager: Manager | undefined;
  #signalReceived: Signal | "" = "";
  #starting = false;
  #started = false;

  /**
   * Makes a pool. Signals are trapped from here on; workers come with `start`. In a worker a pool of its own comes to
   * life with its first `start`: options are checked and signals trapped from there on.
   *
   * @throws {TypeError} If an option is unknown or of the wrong shape, or another pool has the same name.
   * @throws {RangeError} If a number is out of range.
   */
  constructor(options: PreforkOptions = {}) {
    const ordinal = takeOrdinal(); // counted before anything can throw, so that workers count alike
    this.#options = options;
    this.#key = options.name ?? String(ordinal);
    this.#madeBefore = session?.arrived !== true;
    if (pools.has(this.#key)) {
      throw new TypeError(
        `Cannot make a pool named '${this.#key}': this program has made one before; give each its own name`,
      );
    }
    this.#manager = loaded && this.#makeManager(loaded);
    pools.set(this.#key, () => ({
      signalReceived: this.#signalReceived,
      starting: this.#starting,
      started: this.#started,
    }));
    if (this.#manager) managed.add(this);
  }

  /**
   * The trapped signal by which the last `start` returned; empty before that. Setting it has the effect of receiving
   * that signal: a running `start` relays it and returns.
   */
  get signalReceived(): Signal | "" {
    return this.#signalReceived;
  }

  set signalReceived(signal: Signal | "") {
    if (signal !== "") this.#manager?.receive(signal);
    this.#signalReceived = signal;
  }

  /** Process id of the manager: this process's own, or in a worker its manager's. */
  get managerPid(): number {
    return session?.worker && this.#manager === undefined ? session.worker.managerPid : currentHost.pid;
  }

  /** Counts the calls of `start` and `reload`; in a worker, the call that it was made under. */
  get generation(): number {
    return this.#manager?.generation ?? session?.worker?.generation ?? 0;
  }

  /** How many workers live, those told to stop included, those who stand by not. 0 in a worker. */
  get numWorkers(): number {
    return this.#manager?.numWorkers ?? 0;
  }

  /** Whether workers are missing after failures, though some were ready before. False in a worker. */
  get degraded(): boolean {
    return this.#manager?.degraded ?? false;
  }

  /** What this pool listens on, with the true port where the system picked one. Empty in a worker. */
  get listeners(): readonly Listener[] {
    return this.#manager?.listeners ?? [];
  }

  /** The workers that stand by, and the memory of each. Empty in a worker. */
  get standbys(): readonly StandbyInfo[] {
    return this.#manager?.standbys ?? [];
  }

  /** The live workers, lowest slot first; those who stand by are not among them. Empty in a worker. */
  get workers(): readonly WorkerInfo[] {
    return this.#manager?.workers ?? [];
  }

  /**
   * How many workers there are at most. Raising it takes effect at once inside `start`; lowering it retires the
   * workers in the highest slots.
   *
   * @throws {RangeError} If set to what is no whole number from 0 to 1 000 000.
   */
  get maxWorkers(): number {
    return this.#manager?.maxWorkers ?? this.#options.maxWorkers ?? currentHost.cpuCount;
  }

  set maxWorkers(count: number) {
    if (this.#manager) this.#manager.setMaxWorkers(count);
    else this.#options = { ...this.#options, maxWorkers: count }; // a pool in a worker, before its first start
  }

  /**
   * Keeps the pool at its size until a trapped signal comes, relays that to the workers, and resolves true without
   * waiting for them. In a worker it resolves false: what follows is the worker's own code, up to `finish`.
   *
   * @throws {Error} In a worker that calls it again, and while another `start` or `waitAllChildren` runs.
   * @throws {TypeError} If `data` does not survive JSON.
   * @throws {Error} If a listening socket was closed here, or shut down by a worker: the workers are told to stop.
   * @throws {BootFailureError} If `maxBootFailures` was reached and no worker ever became ready.
   */
  start(options?: StartOptions): Promise<boolean>;
  /**
   * The same with the worker's code as a callback. In a worker it never resolves: the process ends with the callback.
   *
   * @typeParam Data The type of `data`, which is that of the worker's.
   */
  start<Data>(work: WorkerCallback<Data>, options: StartOptions<Data> & { readonly data: Data }): Promise<true>;
  /** The same without `data`, or with data of any kind. */
  start(work: WorkerCallback, options?: StartOptions): Promise<true>;
  async start(first?: WorkerCallback<never> | StartOptions, second?: StartOptions): Promise<boolean> {
    const callback = typeof first === "function" ? first : undefined;
    const options = (typeof first === "function" ? second : first) ?? {};
    return await this.#begin({ type: "self", options }, callback ? "callback" : "fallThrough", callback);
  }

  /**
   * The same with workers that run a module: any program, on either runtime. Its default export, if that is a
   * function, is called with the {@linkcode Worker}.
   *
   * @param module A URL, or a path from the directory the program was started in.
   */
  async startModule(module: string | URL, options: ModuleOptions = {}): Promise<true> {
    return await this.#beginOnly({ type: "module", module: String(module), options });
  }

  /** The same with workers that run a command, a program in any language. */
  async startCommand(command: WorkerCommand): Promise<true> {
    return await this.#beginOnly({ type: "command", command });
  }

  /**
   * Replaces all workers by new ones while `start` runs, without a gap. One new worker begins; when it is ready, the
   * others follow, `maxSurge` at a time, and an old worker is told to stop for each new one that is ready. If a new one
   * dies, or is not ready before `bootTimeoutMs`, all new ones go and the old generation stays. A second reload takes
   * the place of the first. Where nobody serves who could be lost, all new ones begin at once.
   *
   * @returns Resolves when every worker is a new one and ready; at once in a pool that is to have none.
   * @throws {ReloadError} If the old generation goes on serving; the message says why.
   * @throws {Error} Outside `start`, and in a worker.
   * @throws {TypeError} If `data` does not survive JSON, or the workers are commands, which take none; or if an option is
   * fixed, unknown, or of the wrong shape.
   *
   * @example
   * ```ts ignore
   * try {
   *   await pm.reload({ data: await loadConfig() });
   * } catch (error) {
   *   console.error("still on the old configuration:", error);
   * }
   * ```
   */
  async reload(options: ReloadOptions = {}): Promise<void> {
    if (this.#manager === undefined) {
      throw new Error("Cannot reload: this process is a worker, and its manager reloads");
    }
    await this.#manager.reload(options);
  }

  /**
   * Replaces the whole manager, without a gap: this program is started again, from its file as it is now, and inherits
   * the listening sockets. Once all the workers that it wants first are ready, it takes over: `start` returns here as by
   * SIGTERM, and the workers of this manager answer what they have in hand. Whatever goes wrong before that, the new
   * manager and its workers go, and this one is as it was.
   *
   * The new manager has the arguments, the directory and the environment that this one was started with, leads a session
   * of its own, and has another process id. A reload and an upgrade exclude each other.
   *
   * @returns Resolves when the new manager has taken over.
   * @throws {UpgradeError} If this manager goes on; the message says why.
   * @throws {Error} In a worker, before the first `start`, during a reload or another upgrade, and beside another pool.
   *
   * @example
   * ```ts ignore
   * while (pm.signalReceived !== "SIGTERM") { // which is what start() returns by when a new manager has taken over
   *   if (pm.signalReceived === "SIGUSR2") pm.upgrade().catch((error) => console.error(error.message));
   *   if (await pm.start()) continue;
   *   await work();
   *   await pm.finish();
   * }
   * ```
   */
  async upgrade(options: UpgradeOptions = {}): Promise<void> {
    if (this.#manager === undefined || session !== undefined) {
      throw new Error("Cannot upgrade: this process is a worker, and starts anew with the manager above it");
    }
    const other = [...managed].find((pool) => pool !== this && pool.#isInUse);
    if (other !== undefined) {
      throw new Error(
        `Cannot upgrade: pool '${other.#key}' of this program is in use, too, and a new manager takes over one pool only`,
      );
    }
    await this.#manager.upgrade(options);
  }

  /**
   * Ends a worker.
   *
   * @param code Exit status: anything but 0 makes its slot wait before the next worker.
   * @throws {Error} In the manager.
   */
  async finish(code = 0): Promise<never> {
    if (session === undefined || this.#manager !== undefined) {
      throw new Error("Cannot finish: this process is the manager, and finish() ends a worker");
    }
    return await session.finish(code);
  }

  /**
   * Signals all workers. One that is not ready yet gets the signal as soon as it is; SIGKILL does not wait. Those that
   * stand by have put up no handlers, and would die of what tells others something: they get SIGKILL alone.
   *
   * @throws {TypeError} If `signal` is no signal, or SIGUSR1 and the workers run on Deno.
   */
  signalAllChildren(signal: Signal): void {
    this.#manager?.signalAll(signal);
  }

  /**
   * Signals the workers in one slot: the one that holds it, and those beside it that come or go. One that is not ready yet
   * gets the signal as soon as it is; SIGKILL does not wait.
   *
   * @returns False if there is no worker in that slot.
   * @throws {TypeError} If `signal` is no signal, or SIGUSR1 and the workers run on Deno.
   */
  signalChild(slot: number, signal: Signal): boolean {
    return this.#manager?.signalSlot(slot, signal) ?? false;
  }

  /**
   * Asks the workers what they have done so far: how many requests they have served, how long these took, and how
   * long they take to answer.
   * Nothing is counted or sent for it but when it is called.
   *
   * @param options.timeoutMs How long is waited for those that are busy, in milliseconds. @default {200}
   *
   * @example
   * ```ts ignore
   * const { requests, workers } = await pm.figures();
   * console.log(requests, "requests,", workers.filter(({ lagMs }) => lagMs > 100).length, "workers are slow");
   * ```
   */
  async figures({ timeoutMs = 200 }: { readonly timeoutMs?: number } = {}): Promise<PoolFigures> {
    return await this.#manager?.figures(timeoutMs) ?? NO_FIGURES;
  }

  /**
   * Waits until all workers are gone. None is spawned meanwhile. A stop signal that comes meanwhile reaches those at
   * once that were not told to stop yet, and the next `start`, if there is one, returns by it.
   *
   * @returns How many workers are left: 0, unless the time was up before.
   */
  async waitAllChildren(options: WaitOptions = {}): Promise<number> {
    return await this.#manager?.wait(options) ?? 0;
  }

  /**
   * What happens in this pool from the loop's first turn on. At most 10 000 events wait for a loop that is slow; it is
   * told how many more there were.
   */
  [Symbol.asyncIterator](): AsyncIterator<PreforkEvent, undefined> {
    return this.#manager?.hub.subscribe() ?? { next: () => Promise.resolve({ done: true, value: undefined }) };
  }

  /** Tells all workers to stop, waits for them, and gives the trapped signals back. */
  async [Symbol.asyncDispose](): Promise<void> {
    const last = pools.get(this.#key)?.();
    await this.#manager?.dispose();
    managed.delete(this);
    // Workers of later pools still come by this one on their way; the pool itself is not kept for that.
    if (last) pools.set(this.#key, () => ({ ...last, starting: false }));
  }

  get #isInUse(): boolean {
    return this.#starting || this.numWorkers > 0 || this.listeners.length > 0;
  }

  async #beginOnly(work: Work): Promise<true> {
    await this.#begin(work, "fallThrough", undefined);
    return true;
  }

  async #begin(work: Work, form: Form, callback: WorkerCallback<never> | undefined): Promise<boolean> {
    if (session === undefined || this.#manager !== undefined) return await this.#manage(work);
    const passage = await session.pass(this.#key, this.#madeBefore, form);
    switch (passage.type) {
      case "worker":
        return callback ? await session.run(() => callback(currentWorker())) : false;
      case "passed":
        this.#started = true;
        this.#signalReceived = passage.signalReceived;
        return true;
      case "manager":
        return await this.#manage(work);
    }
  }

  #makeManager({ makeManager }: Awaited<ReturnType<typeof loadManager>>): Manager {
    return makeManager({ pool: this, key: this.#key, snapshotOthers: () => snapshotOthers(this.#key) }, this.#options);
  }

  async #manage(work: Work): Promise<true> {
    this.#manager ??= this.#makeManager(await loadManager());
    this.#manager.refuseIfBusy("start workers");
    this.#starting = this.#started = true;
    try {
      this.#signalReceived = await this.#manager.start(work);
      return true;
    } finally {
      this.#starting = false;
    }
  }
}
