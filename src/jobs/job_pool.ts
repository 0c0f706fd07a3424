/**
 * A pool of workers that do jobs, one after the other, and give what comes of them.
 *
 * @module
 */

import { currentHost } from "../../runtimes/current.ts";
import { BootFailureError } from "../boot_failure.ts";
import { checkCount, checkKeys, checkTime, checkWorkers } from "../checks.ts";
import { Prefork, takeStreams } from "../prefork.ts";
import { Table } from "../table.ts";
import type { ProcessHost, Timer } from "../types.ts";
import type { Worker } from "../worker.ts";
import { arrive, comeBy, isBesideJobs, isOnItsWay, never, refuse } from "./arrival.ts";
import { tellOfBoots } from "./boots.ts";
import { decode, encode } from "./codec.ts";
import { Here } from "./here.ts";
import type { JobFunction } from "./job.ts";
import {
  checkFunction,
  checkItems,
  checkOptions,
  checkSignal,
  isJob,
  type JobPoolOptions,
  locate,
} from "./job_options.ts";
import { Lines } from "./lines.ts";
import { convey, type MapOptions, type Settled, type Submitted } from "./map.ts";
import type { Progress } from "./progress.ts";
import { loadJob } from "./run_module.ts";
import { Tally } from "./tally.ts";
import { doJobs } from "./worker.ts";

/** What {@linkcode JobPool.run} may be given. */
export interface RunOptions {
  /** Gives the job up when this aborts. */
  readonly signal?: AbortSignal;
  /** How long the job may take, in milliseconds. @default {JobPoolOptions.timeoutMs} */
  readonly timeoutMs?: number;
}

/** A job that is not over. */
interface Pending {
  readonly id: number;
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
  readonly timeoutMs: number | undefined;
  timer: Timer | undefined;
}

type JobAndOptions<Item, Result> =
  | [JobFunction<Item, Result>, (MapOptions | undefined)?]
  | [(MapOptions | undefined)?];

let made = 0;

/** A worker that died costs its job, and next to no time; but one that never comes to do a job is not made without end. */
const RESPAWN = { errRespawnIntervalMs: 10, maxRespawnIntervalMs: 250 };

/** So many workers may fail before the first one could do a job. */
const BOOT_FAILURES = 3;

/**
 * Workers that do jobs, one after the other: the form that people want in JavaScript of what {@linkcode ForkManager} does.
 *
 * A worker runs this program again up to the first job that is given to any pool; from there on it does jobs, and what
 * comes after awaiting that one is not run in it. So all pools must be made before that. Or the job is a module of its
 * own, whose default export is a function.
 *
 * @typeParam Item What a job is given: anything that the structured clone algorithm knows.
 * @typeParam Result What it gives, likewise.
 *
 * @example
 * ```ts ignore
 * import { JobPool } from "@prefork/prefork/jobs";
 *
 * await using pool = new JobPool((n: number) => factor(n), { maxProcs: 4 });
 * console.log(await pool.run(91));
 * for await (const factors of pool.map(numbers)) console.log(factors);
 * ```
 */
export class JobPool<Item, Result> implements AsyncDisposable {
  readonly #host: ProcessHost = currentHost;
  #job: JobFunction<Item, Result> | URL | undefined;
  readonly #options: JobPoolOptions;
  readonly #key = `jobs-${made++}`;
  readonly #pool: Prefork;
  readonly #lines: Lines;
  readonly #pending = new Table<number, Pending>();
  readonly #tally: Tally;
  #maxProcs: number;
  #made = 0;
  #begun: Promise<void> | undefined;
  /** Why no job can be done any more. */
  #end: { readonly reason: unknown } | undefined;
  #emptied: PromiseWithResolvers<void> | undefined;
  readonly #room: (() => void)[] = [];
  readonly #here: Here<Item>;

  /**
   * Makes a pool. Its workers come with the first job.
   *
   * @param job A function; or a module, by a URL, or by a path from the directory the program was started in.
   * @throws {TypeError} If an option is unknown or of the wrong shape.
   * @throws {RangeError} If a number is out of range.
   */
  constructor(job: JobFunction<Item, Result> | URL | string, options?: JobPoolOptions);
  /** The same for a job that the first `map` names. */
  constructor(options?: JobPoolOptions);
  constructor(
    ...given: [JobFunction<Item, Result> | URL | string, (JobPoolOptions | undefined)?] | [
      (JobPoolOptions | undefined)?,
    ]
  ) {
    const [job, options = {}] = isJob(given[0]) ? [given[0], given[1]] : [undefined, given[0]];
    checkOptions(options);
    if (typeof job === "function") checkFunction(options);
    this.#job = typeof job === "function" || job === undefined ? job : locate(job, this.#host.directory);
    this.#options = options;
    this.#maxProcs = options.maxProcs ?? this.#host.cpuCount;
    const { killAfterMs = 1000 } = options;
    this.#lines = new Lines(this.#host, killAfterMs, {
      given: () => this.#tellRoom(),
      begins: (id) => this.#begins(id),
      returns: (id) => this.#pending.get(id)?.timer?.[Symbol.dispose](),
      over: (id, isDone, value) => this.#over(id, isDone, value),
      left: () => this.#rest(),
    });
    this.#here = new Here({
      begins: (id) => this.#begins(id),
      work: (item, signal) => this.#work(item, signal),
      patience: () => new Promise((resolve) => void this.#host.setTimer(killAfterMs, resolve)),
      over: (id, isDone, value) => this.#over(id, isDone, value),
    });
    this.#pool = new Prefork({
      name: this.#key,
      maxWorkers: this.#maxProcs,
      trapSignals: {},
      ...RESPAWN,
      maxBootFailures: BOOT_FAILURES,
      ...(options.bootTimeoutMs === undefined ? {} : { bootTimeoutMs: options.bootTimeoutMs }),
    });
    this.#tally = new Tally(this.#host, options.progress);
    comeBy(this.#key, () => this.#become());
  }

  /** How many workers there are. Can be changed at any time. */
  get maxProcs(): number {
    return this.#maxProcs;
  }

  set maxProcs(count: number) {
    this.#maxProcs = checkWorkers("maxProcs", count);
    this.#pool.maxWorkers = count;
    this.#rest();
  }

  /** How many jobs wait for a worker, are being done, were done and have failed. */
  get progress(): Progress {
    return this.#tally.progress(this.#waiting, this.#lines.running + this.#here.running, this.#pending.size);
  }

  /**
   * Has a job done.
   *
   * @returns What it gives.
   * @throws What it throws.
   * @throws {JobDiedError} If its worker died, and it may not be tried again.
   * @throws {DOMException} A `TimeoutError`, if it took longer than it may.
   * @throws {RangeError} If `maxQueue` jobs wait already.
   * @throws {TypeError} If `item` cannot be sent.
   */
  async run(item: Item, options: RunOptions = {}): Promise<Result> {
    checkKeys("run", options, ["signal", "timeoutMs"]);
    checkSignal(options.signal);
    if (isOnItsWay() || isBesideJobs()) return await arrive();
    const { maxQueue } = this.#options;
    if (maxQueue !== undefined && this.#waiting >= maxQueue) {
      throw new RangeError(`Cannot take this job: ${maxQueue} wait already (maxQueue); await room() before run()`);
    }
    options.signal?.throwIfAborted();
    const { id, result } = this.#submit(item, options);
    if (options.signal === undefined) return await result;
    const giveUp = (): void => this.#giveUp(id, options.signal?.reason);
    options.signal.addEventListener("abort", giveUp, { once: true });
    return await result.finally(() => options.signal?.removeEventListener("abort", giveUp));
  }

  /** Resolves when a job would not be refused because of `maxQueue`; for one caller at a time. */
  async room(): Promise<void> {
    const { maxQueue = Infinity } = this.#options;
    while (this.#waiting >= maxQueue && this.#end === undefined) {
      await new Promise<void>((resolve) => void this.#room.push(resolve));
    }
  }

  /** How many jobs have not begun. */
  get #waiting(): number {
    return this.#lines.waiting + this.#here.waiting;
  }

  /**
   * Has a job done for each item. Items are taken as there are workers for them, and results are kept only until they are
   * read: what is being worked on at a time is bounded, however many there are.
   *
   * @param items Where they come from.
   * @param job The job, where the pool was given none. All calls name the same one: its workers know no other.
   * @returns What the jobs give, in the order of the items. The first failure ends it, and gives up the jobs in hand.
   * @throws As {@linkcode run}.
   */
  map(
    items: Iterable<Item> | AsyncIterable<Item>,
    job: JobFunction<Item, Result>,
    options?: MapOptions,
  ): AsyncGenerator<Result, void, undefined>;
  /** The same by the job of the pool. */
  map(items: Iterable<Item> | AsyncIterable<Item>, options?: MapOptions): AsyncGenerator<Result, void, undefined>;
  async *map(
    items: Iterable<Item> | AsyncIterable<Item>,
    ...more: JobAndOptions<Item, Result>
  ): AsyncGenerator<Result, void, undefined> {
    for await (const settled of this.#map(items, ...more)) {
      if (settled.status === "rejected") throw settled.reason;
      yield settled.value;
    }
  }

  /** As `map`, but tells of each item what came of it: a job that fails costs that one only. */
  mapSettled(
    items: Iterable<Item> | AsyncIterable<Item>,
    job: JobFunction<Item, Result>,
    options?: MapOptions,
  ): AsyncGenerator<Settled<Result>, void, undefined>;
  /** The same by the job of the pool. */
  mapSettled(
    items: Iterable<Item> | AsyncIterable<Item>,
    options?: MapOptions,
  ): AsyncGenerator<Settled<Result>, void, undefined>;
  mapSettled(
    items: Iterable<Item> | AsyncIterable<Item>,
    ...more: JobAndOptions<Item, Result>
  ): AsyncGenerator<Settled<Result>, void, undefined> {
    return this.#map(items, ...more);
  }

  async *#map(
    items: Iterable<Item> | AsyncIterable<Item>,
    ...more: JobAndOptions<Item, Result>
  ): AsyncGenerator<Settled<Result>, void, undefined> {
    const [job, options = {}] = typeof more[0] === "function" ? [more[0], more[1]] : [undefined, more[0]];
    checkKeys("map", options, ["ordered", "signal", "timeoutMs", "total"]);
    checkItems(items);
    checkSignal(options.signal);
    if (options.total !== undefined) checkCount("total", options.total, 0);
    if (job !== undefined) this.#learn(job);
    if (isOnItsWay() || isBesideJobs()) return await arrive();
    const ahead = this.#tally.begin(options.total ?? (Array.isArray(items) ? items.length : undefined));
    try {
      yield* convey(items, options, {
        submit: (item) => {
          if (ahead.left !== undefined) ahead.left = Math.max(0, ahead.left - 1);
          return this.#submit(item, options);
        },
        giveUp: (id, reason) => {
          if (ahead.left !== undefined) ahead.left = 0; // there are none after it
          this.#giveUp(id, reason);
        },
        mostAtOnce: () => 2 * Math.max(1, this.#maxProcs) * this.#lines.depth,
      });
    } finally {
      this.#tally.end(ahead, this.#pending.size);
    }
  }

  /** Waits until all jobs are over, and ends the workers. */
  async close(): Promise<void> {
    if (isBesideJobs()) return await never();
    if (isOnItsWay()) return;
    while (this.#pending.size > 0) {
      this.#emptied ??= Promise.withResolvers();
      await this.#emptied.promise;
    }
    this.#end ??= { reason: new Error("Cannot take this job: the pool was closed") };
    await this.#here.ended();
    this.#tally.close();
    await this.#pool[Symbol.asyncDispose]();
    await this.#begun;
  }

  /** Waits until all jobs are over, and ends the workers. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** This process is a worker of this pool. */
  async #become(): Promise<never> {
    const job = this.#job;
    if (job === undefined) {
      return await refuse(
        "do the jobs of this pool: the program gives a job to another one before this one has its own; " +
          "make it as new JobPool(job)",
      );
    }
    if (typeof job === "function") await this.#pool.start((worker: Worker) => this.#serve(worker, job));
    return await never();
  }

  async #serve(worker: Worker, job: JobFunction<Item, Result>): Promise<void> {
    if (isOnItsWay()) {
      // It is made by this program run again, and would have to come by a job of which it knows nothing.
      return await refuse(
        "come to where this worker is made, for that is in a job; what makes workers in a job is to make " +
          "them of a module",
      );
    }
    if (worker.data !== String(job)) {
      return await refuse(
        "do the jobs of this pool: the program has made another one in its place; it must make the same " +
          "pools in the same order each time it runs",
      );
    }
    await doJobs(worker, job);
  }

  /** Workers come to the first call alone, so that they know no other job; nor what another function closes over. */
  #learn(job: JobFunction<Item, Result>): void {
    checkFunction(this.#options);
    this.#job ??= job;
    if (this.#job === job) return;
    throw new TypeError(
      "Cannot do another job: the workers of a pool do the one that it was given first; make a pool for each, or write " +
        "the function once, before the loop",
    );
  }

  #submit(item: Item, { timeoutMs = this.#options.timeoutMs }: Pick<RunOptions, "timeoutMs">): Submitted<Result> {
    if (this.#end !== undefined) throw this.#end.reason;
    if (this.#job === undefined) {
      throw new TypeError(
        "Cannot do this job: the pool was given none; make it as new JobPool(job), or map(items, job)",
      );
    }
    if (timeoutMs !== undefined) checkTime("timeoutMs", timeoutMs);
    const encoded = this.#maxProcs === 0 ? undefined : encode(item);
    const id = ++this.#made;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const result = promise as Promise<Result>; // what jobs give is for their writer to know
    this.#pending.set(id, { id, resolve, reject, timeoutMs, timer: undefined });
    if (encoded === undefined) this.#here.add(id, item);
    else {
      this.#lines.add({ id, item: encoded, tries: 1 + (this.#options.retries ?? 0) });
      this.#begun ??= this.#begin();
    }
    return { id, result };
  }

  async #work(item: Item, signal: AbortSignal): Promise<unknown> {
    const job = this.#job;
    const context = { signal, worker: undefined };
    if (typeof job === "function") return await job(item, context);
    return await (await loadJob(String(job)))(item, context);
  }

  /** Where there are to be no workers any more, this process does what they leave. */
  #rest(): void {
    if (this.#maxProcs > 0) return;
    for (const { id, item } of this.#lines.takeAll()) this.#here.add(id, decode(item) as Item);
  }

  /** Has workers made, for as long as the pool is not closed. */
  async #begin(): Promise<void> {
    const { denoArgs, runtime, executable } = this.#options;
    const flags = denoArgs === undefined ? {} : { denoArgs };
    try {
      await takeStreams(this.#pool, (connection, dir) => this.#lines.take(connection, dir));
      void tellOfBoots(this.#pool, (text) => this.#host.write(text));
      const job = this.#job;
      if (typeof job === "function") await this.#pool.start(() => {}, { ...flags, data: String(job) });
      else {
        await this.#pool.startModule(new URL("./run_module.ts", import.meta.url), {
          ...flags,
          ...(runtime === undefined ? {} : { runtime }),
          ...(executable === undefined ? {} : { executable }),
          data: { module: String(job) },
        });
      }
    } catch (error) {
      if (this.#end === undefined) this.#failAll(explain(error));
    }
  }

  #failAll(reason: unknown): void {
    this.#end = { reason };
    this.#lines.takeAll();
    for (const { id } of this.#pending.values()) this.#over(id, false, reason);
    for (const tell of this.#room.splice(0)) tell(); // run() tells them why
  }

  /** A job may take so long from now on; if it takes longer, it is given up. */
  #begins(id: number): void {
    const pending = this.#pending.get(id);
    if (pending?.timeoutMs === undefined) return;
    const text = `Cannot wait for this job any longer: it took more than ${pending.timeoutMs} ms`;
    pending.timer?.[Symbol.dispose]();
    pending.timer = this.#host.setTimer(pending.timeoutMs, () => {
      this.#giveUp(id, new DOMException(text, "TimeoutError"));
    });
  }

  #giveUp(id: number, reason: unknown): void {
    if (this.#pending.get(id) === undefined) return;
    if (!this.#here.cancel(id, reason)) this.#lines.cancel(id);
    this.#over(id, false, reason);
  }

  #over(id: number, isDone: boolean, value: unknown): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    pending.timer?.[Symbol.dispose]();
    this.#tally.count(isDone);
    if (isDone) pending.resolve(value);
    else pending.reject(value);
    void this.#tally.tell(() => this.progress);
    this.#tellRoom();
    if (this.#pending.size > 0) return;
    this.#emptied?.resolve();
    this.#emptied = undefined;
  }

  /** Whoever waits for room gets as many places as there are. */
  #tellRoom(): void {
    const { maxQueue = Infinity } = this.#options;
    for (let places = maxQueue - this.#waiting; places > 0 && this.#room.length > 0; places--) this.#room.shift()?.();
  }
}

/** Who has given a job has called no start() that could be reached. */
function explain(error: unknown): unknown {
  if (!(error instanceof BootFailureError && error.message.endsWith("start() it was made for"))) return error;
  return new BootFailureError(
    `${error.message}, which in a pool of jobs is where the program gives its first job: it must come to that in workers, ` +
      "too, and not ask isWorker() before",
    { cause: error },
  );
}
