/**
 * Parallel::ForkManager: a process for each job, so many at a time.
 *
 * @module
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { currentHost } from "../../runtimes/current.ts";
import { checkCount, checkKeys, checkTime, checkWorkers, show } from "../checks.ts";
import { describeStatus } from "../events.ts";
import { takeOrdinal } from "../prefork.ts";
import type { ProcessHost, Signal } from "../types.ts";
import { session, type WorkerSession } from "../worker.ts";
import { never } from "./arrival.ts";
import { Change } from "./change.ts";
import { Children, type Ended } from "./children.ts";
import { decode, encode, type Encoded } from "./codec.ts";
import { give } from "./stream.ts";

/** What a {@linkcode ForkManager} may be given. */
export interface ForkManagerOptions {
  /**
   * How long a process may take until its program has come to the call of `start` that it is for, in milliseconds.
   *
   * @default {30_000}
   */
  readonly bootTimeoutMs?: number;
  /** Flags for the processes on Deno (`["--allow-net"]`), in place of the permissions this one was given. */
  readonly denoArgs?: readonly string[];
  /** The runtime, for tests. */
  readonly host?: ProcessHost;
}

/** Told as a process begins. */
export type StartCallback<Ident = string> = (pid: number, ident: Ident | undefined) => unknown;

/**
 * Told how a process ended: by which status and, if by a signal, by which (`""` if by none), and what it gave to `finish`.
 */
export type FinishCallback<Ident = string, Data = unknown> = (
  pid: number,
  code: number,
  ident: Ident | undefined,
  signal: Signal | "",
  data: Data | undefined,
) => unknown;

/** The status of a process that did not do its job, though it ended well: that of a Perl program that dies. */
const NOT_BEGUN = 255;

type Work<Data> = () => Data | Promise<Data>;

/** What a callback does, and what goes on of that. */
const inCallback = new AsyncLocalStorage<true>();

/** What a job that is a function does, and what goes on of that: not what its program does beside it. */
const inJob = new AsyncLocalStorage<true>();

/** A process that runs, or has ended and was not told of yet. */
interface Running<Ident> {
  readonly pid: number;
  readonly call: number;
  readonly slot: number;
  readonly ident: Ident | undefined;
}

/**
 * Runs jobs in processes of their own, as Perl's Parallel::ForkManager: so many at a time, each told of as it begins and
 * as it ends, with what it gives.
 *
 * Each process runs this program again: calls of `start` before its own return there as they did here, its own returns
 * 0, and what follows is its job, up to `finish`. So the program must come to the same calls in the same order each time
 * it runs; what it reads before, it reads in each process.
 *
 * @typeParam Ident What jobs are called by.
 * @typeParam Data What they give.
 *
 * @example
 * ```ts ignore
 * import { ForkManager } from "@prefork/prefork/jobs";
 *
 * const pm = new ForkManager(4);
 * pm.runOnFinish((pid, code, ident, signal, data) => console.log(ident, "gave", data));
 * for (const name of ["a", "b", "c"]) {
 *   if (await pm.start(name)) continue;
 *   await pm.finish(0, { length: (await Deno.readFile(name)).length });
 * }
 * await pm.waitAllChildren();
 * ```
 */
export class ForkManager<Ident = string, Data = unknown> implements AsyncDisposable {
  readonly #host: ProcessHost;
  readonly #key = `${takeOrdinal()}`;
  readonly #children: Children;
  readonly #running = new Map<number, Running<Ident>>();
  /** Those that have ended and were not told of yet, the first first. */
  readonly #ended: { readonly one: Running<Ident>; readonly how: Ended }[] = [];
  readonly #onFinishOf = new Map<number, FinishCallback<Ident, Data>>();
  #maxProcs: number;
  #calls = 0;
  #isChild = false;
  /** Whether this process has come to the call of `start` that it is for. */
  #isComing = false;
  /** Whether its job is a function. */
  #isFunction = false;
  /** Whether a process that is a worker itself makes processes by this. */
  #isManager = session === undefined;
  /** The job that runs in this process, where no other is to be made. */
  #own: { readonly ident: Ident | undefined } | undefined;
  #onStart: StartCallback<Ident> | undefined;
  #onFinish: FinishCallback<Ident, Data> | undefined;
  #onWait: { readonly callback: () => unknown; readonly periodMs: number | undefined } | undefined;
  /** Whoever waits looks again. */
  readonly #changed = new Change();
  /** One call after the other makes a process. */
  #turn: Promise<unknown> = Promise.resolve();

  /**
   * Makes a manager; processes come with `start`.
   *
   * @param maxProcs How many processes run at a time; 0 has jobs run in this one, for debugging.
   * @throws {TypeError} If an option is unknown or of the wrong shape.
   * @throws {RangeError} If a number is out of range.
   */
  constructor(maxProcs: number, options: ForkManagerOptions = {}) {
    checkKeys("ForkManager", options, ["bootTimeoutMs", "denoArgs", "host"]);
    this.#maxProcs = checkWorkers("maxProcs", maxProcs);
    const { host = currentHost, bootTimeoutMs = 30_000, denoArgs } = options;
    this.#host = host;
    this.#children = new Children({ host, bootTimeoutMs: checkTime("bootTimeoutMs", bootTimeoutMs), denoArgs });
  }

  /**
   * Begins a job, as soon as fewer than `maxProcs` run.
   *
   * @param ident What the job is called; the callbacks are told.
   * @returns The id of its process; 0 in that process itself.
   * @throws {TypeError} If `ident` cannot be sent, or has bytes in it.
   * @throws {Error} If the process cannot be made, in a process that has a job already, and after a process that did not
   * come to its call; and in a callback.
   */
  async start(ident?: Ident): Promise<number> {
    if (inCallback.getStore()) {
      throw new Error(
        "Cannot start a process in a callback: it would not come to this call, for callbacks are called in the parent " +
          "alone; note what is to be started, and start it where the others are",
      );
    }
    const call = this.#calls++;
    const key = `${this.#key}#${call}`;
    if (this.#isChild) {
      if (this.#isBesideJob) return await never();
      throw new Error("Cannot start another process while you are in the child process: end it with finish()");
    }
    if (session !== undefined && !this.#isManager) {
      if (session.way[0] === key) return await this.#become(session, key, ident);
      this.#isManager = session.arrived;
      if (!this.#isManager) return Number(this.#host.getEnv("PREFORK_MANAGER_PID") ?? this.#host.pid);
    }
    const begun = this.#turn.then(() => this.#begin(call, key, ident));
    this.#turn = begun.catch(() => {});
    return await begun;
  }

  /** This process was made for that call, if the program comes to the same job at it. */
  async #become(session: WorkerSession, key: string, ident: Ident | undefined): Promise<number> {
    this.#isComing = true;
    session.channel.stayAlive(true);
    const { job } = await session.channel.welcomed;
    const isOwn = session.way.length === 1; // and not one of those that the process which this one belongs to has come by
    const was = job?.ident ?? null;
    if (isOwn && was !== null && was !== textOf(ident)) {
      return await session.fail(otherJob(key, ident, was), String);
    }
    await session.pass(key, true, "fallThrough");
    this.#isChild = true;
    return 0;
  }

  async #begin(call: number, key: string, ident: Ident | undefined): Promise<number> {
    const text = textOf(ident);
    await this.#until(() => this.#maxProcs === 0 || this.#running.size < this.#maxProcs, true);
    if (this.#maxProcs === 0) return await this.#beginHere(ident);
    await this.reapFinishedChildren();
    const slot = this.#freeSlot();
    const { pid, ended } = await this.#children.fork({ key, slot, ident: text });
    const one = { pid, call, slot, ident };
    this.#running.set(pid, one);
    void ended.then((how) => {
      this.#ended.push({ one, how });
      this.#changed.tell();
    });
    await callBack(() => this.#onStart?.(pid, ident));
    return pid;
  }

  async #beginHere(ident: Ident | undefined): Promise<number> {
    this.#own = { ident };
    await callBack(() => this.#onStart?.(this.#host.pid, ident));
    return 0;
  }

  #freeSlot(): number {
    const taken = new Set([...this.#running.values()].map(({ slot }) => slot));
    for (let slot = 0;; slot++) if (!taken.has(slot)) return slot;
  }

  /**
   * Ends a job. In a process that has none it does nothing.
   *
   * @param code Exit status of the process, 0 to 255.
   * @param data What the job gives: anything that can be cloned by the structured clone algorithm.
   * @throws {RangeError} If `code` is no exit status.
   * @throws {TypeError} If `data` cannot be sent.
   */
  async finish(code = 0, data?: Data): Promise<number> {
    checkCount("code", code, 0, 255);
    const own = this.#own;
    if (own !== undefined) {
      this.#own = undefined;
      await callBack(() => this.#finishCallback(this.#host.pid)?.(this.#host.pid, code, own.ident, "", data));
      return 0;
    }
    if (!this.#isChild || session === undefined) return 0;
    const { job } = await session.channel.welcomed;
    if (data !== undefined && job !== undefined) await give(session, job.token, encode(data));
    return await session.finish(code);
  }

  /**
   * Begins a job that is a function, and ends it with what that returns.
   *
   * @returns The id of its process.
   */
  startChild(ident: Ident, job: () => Data | Promise<Data>): Promise<number>;
  /** The same for a job without a name. */
  startChild(job: () => Data | Promise<Data>): Promise<number>;
  async startChild(...given: [Ident, Work<Data>] | [Work<Data>]): Promise<number> {
    const [ident, job] = given.length === 1 ? [undefined, given[0]] : given;
    if (typeof job !== "function") throw new TypeError(`Cannot start a child by ${show(job)}: give a function`);
    const pid = await this.start(ident);
    if (pid !== 0) return pid;
    this.#isFunction = this.#isChild;
    return await inJob.run(true, async () => await this.finish(0, await job()));
  }

  /** Tells `callback` of each process that begins. */
  runOnStart(callback: StartCallback<Ident>): void {
    this.#onStart = callback;
  }

  /**
   * Tells `callback` of each process that has ended; with `pid` of that one, in the place of the other.
   */
  runOnFinish(callback: FinishCallback<Ident, Data>, pid?: number): void {
    if (pid === undefined) this.#onFinish = callback;
    else this.#onFinishOf.set(pid, callback);
  }

  /**
   * Has `callback` called each time that is waited for a process: once, or every `periodMs` milliseconds until one has
   * ended.
   */
  runOnWait(callback: () => unknown, periodMs?: number): void {
    if (periodMs !== undefined) checkTime("periodMs", periodMs);
    this.#onWait = { callback, periodMs };
  }

  /** Waits until all jobs are done, those too whose `start` nobody has waited for, and tells of each. */
  async waitAllChildren(): Promise<void> {
    if (this.#isBesideJob) return await never();
    let turn: Promise<unknown> | undefined;
    while (turn !== this.#turn) {
      turn = this.#turn;
      if (!inCallback.getStore()) await turn; // which may wait for this callback
      await this.#until(() => this.#running.size === 0, true);
      await this.#children.cleared();
    }
    if (this.#running.size === 0) this.#children[Symbol.dispose]();
  }

  /**
   * Whether this process is there for a job, and this is none of it: its program did not wait for the call that began it,
   * and goes on. It is the parent's to do what it comes to.
   */
  get #isBesideJob(): boolean {
    if (!this.#isComing) return false;
    return !this.#isChild || (this.#isFunction && inJob.getStore() === undefined);
  }

  /**
   * Waits until one more job is done, and tells of it.
   *
   * @returns The id of its process; undefined if none runs.
   */
  async waitOneChild(): Promise<number | undefined> {
    if (this.#running.size === 0) return undefined;
    await this.#untilEnded(undefined);
    return await this.#reapOne();
  }

  /**
   * Waits until so many more could run at once.
   *
   * @throws {RangeError} If there may never be so many.
   */
  async waitForAvailableProcs(count = 1): Promise<void> {
    checkCount("count", count, 1);
    this.#checkAvailable(count);
    await this.reapFinishedChildren();
    await this.#until(() => this.#checkAvailable(count) - this.#running.size >= count, false);
  }

  #checkAvailable(count: number): number {
    if (count <= this.#maxProcs) return this.#maxProcs;
    throw new RangeError(
      `Cannot wait for ${count} processes to be available: there are at most ${this.#maxProcs} (maxProcs)`,
    );
  }

  /**
   * Tells of all jobs that are done. Waits for none.
   *
   * @returns The ids of their processes.
   */
  async reapFinishedChildren(): Promise<readonly number[]> {
    await new Promise<void>((resolve) => void this.#host.setTimer(0, resolve)); // what has ended is to be heard of
    const pids: number[] = [];
    for (let pid = await this.#reapOne(); pid !== undefined; pid = await this.#reapOne()) pids.push(pid);
    return pids;
  }

  /** How many processes run at a time. Can be changed at any time; those that run go on. */
  get maxProcs(): number {
    return this.#maxProcs;
  }

  set maxProcs(count: number) {
    this.#maxProcs = checkWorkers("maxProcs", count);
    this.#changed.tell();
  }

  /** The ids of the processes that run, those among them that have ended and were not told of yet. */
  get runningProcs(): readonly number[] {
    return [...this.#running.keys()];
  }

  /** What the jobs are called that these processes do. */
  get runningProcsWithIdentifiers(): ReadonlyMap<number, Ident | undefined> {
    return new Map([...this.#running.values()].map(({ pid, ident }) => [pid, ident]));
  }

  /** Whether this process is there for one of the jobs. */
  get isChild(): boolean {
    return this.#isChild;
  }

  /** Whether it is not. */
  get isParent(): boolean {
    return !this.#isChild;
  }

  /** Waits until all jobs are done. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.waitAllChildren();
  }

  /** Waits, and tells of jobs that are done, until something is so. */
  async #until(isSo: () => boolean, tells: boolean): Promise<void> {
    while (!isSo()) {
      if (tells) await callBack(() => this.#onWait?.callback());
      await this.#untilEnded(tells ? this.#onWait?.periodMs : undefined);
      await this.#reapOne();
    }
  }

  /** Resolves when a process has ended, when there may be more of them, or after a time. */
  async #untilEnded(periodMs: number | undefined): Promise<void> {
    if (this.#ended.length > 0) return;
    const late = Promise.withResolvers<void>();
    using _timer = periodMs === undefined ? undefined : this.#host.setTimer(periodMs, late.resolve);
    await Promise.race([this.#changed.next, late.promise]);
  }

  /** Tells of the first process that has ended. */
  async #reapOne(): Promise<number | undefined> {
    const next = this.#ended.shift();
    if (next === undefined) return undefined;
    const { one: { pid, call, ident }, how: { status, hasBegun, killedFor, given } } = next;
    this.#running.delete(pid);
    const callback = this.#finishCallback(pid);
    this.#onFinishOf.delete(pid);
    const { data, unread } = read<Data>(given);
    const code = status.type === "exited" ? status.code : 0;
    const signal = status.type === "signaled" ? status.signal : "";
    const isMissed = !hasBegun && (signal === "" || killedFor !== undefined);
    await callBack(() => callback?.(pid, isMissed && code === 0 ? NOT_BEGUN : code, ident, signal, data));
    this.#changed.tell(); // there is room for another one
    if (isMissed) throw missed(call, ident, killedFor ?? describeStatus(status));
    if (unread !== undefined) throw unread;
    return pid;
  }

  #finishCallback(pid: number): FinishCallback<Ident, Data> | undefined {
    return this.#onFinishOf.get(pid) ?? this.#onFinish;
  }
}

/** Calls a callback; what it gives is nobody's. */
async function callBack(callback: () => unknown): Promise<void> {
  await inCallback.run(true, callback);
}

/** What a job gave; or why it cannot be read here. */
function read<Data>(given: Encoded | undefined): { readonly data: Data | undefined; readonly unread?: Error } {
  try {
    return { data: given === undefined ? undefined : decode(given) as Data }; // which is for its writer to know
  } catch (error) {
    return { data: undefined, unread: error instanceof Error ? error : new Error(String(error)) };
  }
}

/** What a job is called by, as it is compared: bytes would not be. */
function textOf(ident: unknown): string {
  const { text, blobs } = encode(ident);
  if (blobs.length === 0) return text;
  throw new TypeError("Cannot call a job by what has bytes in it: give a text, a number, or an object of such");
}

function otherJob(key: string, ident: unknown, text: string): string {
  const call = key.slice(key.indexOf("#") + 1);
  const was = show(decode({ text, blobs: [] }));
  return `prefork: Cannot do the job of call ${call} of start(): it is ${
    show(ident)
  } here, and was ${was} where this ` +
    "process was made; the program must come to the same calls in the same order each time it runs";
}

function missed(call: number, ident: unknown, how: string): Error {
  const name = ident === undefined ? "" : ` (${show(ident)})`;
  return new Error(
    `Cannot do the job of call ${call} of start()${name}: its process ${how} before the program had come to that call; ` +
      "the program must come to the same calls in the same order each time it runs",
  );
}
