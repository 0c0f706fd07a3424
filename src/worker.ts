/**
 * The worker side: who this process is, and its line to the manager. Everything here is loaded by every worker at each
 * start, so it is small and asks for nothing it does not need at once.
 *
 * @module
 */

import { currentHost } from "../runtimes/current.ts";
import { decideRole, type Form, MODULE_KEY, parsePath, type Role } from "./identity.ts";
import {
  encode,
  factsOf,
  LineReader,
  type PoolSnapshot,
  PROTOCOL_VERSION,
  type Welcome,
  type WorkerFacts,
  type WorkerMessage,
} from "./protocol.ts";
import type { AttachableServer, ServeHandler, ServeOptions, WorkerListener, WorkerServer } from "./serving.ts";
import type { ServingWorker } from "./serve.ts";
import type { ControlConnection, Json, ProcessHost, Signal } from "./types.ts";

/** The longest status, in characters. */
const MAX_STATUS = 1024;

/** At most one status report in this time goes to the manager. */
const STATUS_INTERVAL_MS = 100;

/** The status of a worker that was told to stop a second time: 128+15, as a shell tells of SIGTERM. */
const EXIT_AT_ONCE = 143;

/** What a worker can know and say. Given to callbacks and worker modules; {@linkcode currentWorker} has it elsewhere. */
export interface Worker<Data = Json | null> {
  /** Process id of this worker. */
  readonly pid: number;
  /** Process id of the manager. */
  readonly managerPid: number;
  /** The place in the pool, 0 to n-1: stable, and reused by the worker that replaces this one. */
  readonly slot: number;
  /** Which call of `start` or `reload` this worker was made under. */
  readonly generation: number;
  /** What the manager gave to `start` as `data`; null if nothing. It came by the control channel, as JSON. */
  readonly data: Data;
  /** What the `beforeFork` hook returned for this worker; null if nothing. */
  readonly forkValue: Json | null;
  /**
   * Aborts when this worker is told to stop, or its manager is gone. The first look at it installs handlers for the
   * signals that mean stop; a worker that never looks keeps their default disposition, or its own handlers.
   */
  readonly signal: AbortSignal;
  /** Tells the manager that this worker can handle signals. Without it, that is assumed after one second. */
  ready(): void;
  /** The pool's listening sockets, in the order of the option `listen`. */
  readonly listeners: readonly WorkerListener[];
  /**
   * Serves requests by the runtime's own server (`Deno.serve`, `Bun.serve`), which accepts from the pool's sockets.
   * Resolves once it does; this worker is ready then. When the worker is told to stop, what is open is answered before
   * {@linkcode WorkerServer.finished} resolves, and a worker's callback ends with that. A second stop ends it at once.
   *
   * @typeParam Info What the handler takes besides the request: `Deno.ServeHandlerInfo`, or Bun's server.
   * @throws {Error} If the pool listens on nothing, or the runtime's server does not start.
   * @throws {TypeError} If an option would say where to listen, or names no socket of the pool.
   */
  serve<Info = unknown>(handler: ServeHandler<Info>, options?: ServeOptions): Promise<WorkerServer>;
  /**
   * The same for a server of `node:http`, `node:https` or `node:net` that does not listen yet, and what is built on them
   * (Express, Fastify, Hono's node server); or for what `Deno.listen` or `Bun.listen` gave on 127.0.0.1, port 0. Of raw
   * connections the program is told by {@linkcode signal}: they are waited for until the deadline.
   *
   * @param listener The name of the socket, if the pool has several.
   * @throws {Error} As `serve`, or if the server listens already.
   * @throws {TypeError} If it is no such server, or the name of no socket.
   */
  attach(server: AttachableServer, listener?: string): Promise<WorkerServer>;
  /**
   * Tells the manager what this worker does: `_` is idle, anything else busy, as in
   * Parallel::Prefork::SpareWorkers. At most ten reports a second are sent; the last one always is.
   *
   * @throws {RangeError} If it has more than 1024 characters.
   */
  setStatus(status: string): void;
  /**
   * Asks for time: the deadline that runs, to become ready, to show life ({@linkcode PreforkOptions.hangTimeoutMs}) or to
   * stop, is put off to `delayMs` from now. For work that keeps the event loop from turning.
   *
   * @returns Resolves when the manager will hear of it, whatever this worker does next.
   * @throws {RangeError} If `delayMs` is no time.
   */
  extendDeadline(delayMs: number): Promise<void>;
  /**
   * Asks to be replaced: a new worker is made, and this one is told to stop when that one is ready.
   *
   * @param reason For the log, as the end of a sentence that begins with "it".
   */
  recycle(reason?: string): void;
}

/** What a `start` comes to in a worker process. */
export type Passage =
  | { readonly type: "worker"; readonly worker: Worker }
  | { readonly type: "passed"; readonly signalReceived: Signal | "" }
  | { readonly type: "manager" };

/** The worker's end of the control channel, and its way through the program to its own code. */
export class WorkerSession {
  readonly host: ProcessHost;
  /** The path of this worker, for workers of its own. */
  readonly pathText: string;
  readonly #path: readonly string[];
  readonly #welcomed: Promise<Welcome>;
  readonly #stop = new AbortController();
  #connection: ControlConnection | undefined;
  #welcome: Welcome | undefined;
  #reached: readonly string[] = [];
  #form: Form = "fallThrough";
  #worker: Worker | undefined;
  #arrived = false;
  #listening = false;
  #staysAlive = false;
  #status = "_";
  #sentStatus = "_";
  #statusTimer: Disposable | undefined;
  #served = 0;
  /** When each server of this worker has answered what was open. */
  readonly #servers: Promise<void>[] = [];

  /** Connects to the manager at once, while the program is still loading. */
  constructor(host: ProcessHost, control: string, token: string, pathText: string) {
    this.host = host;
    this.pathText = pathText;
    this.#path = parsePath(pathText).path;
    this.#welcomed = this.#connect(control, token);
  }

  /** Whether this worker's program is a module that the manager named, and not the manager's own. */
  get isModule(): boolean {
    return this.#path[0] === MODULE_KEY;
  }

  /** Whether this process has reached the code it was made for. */
  get arrived(): boolean {
    return this.#arrived;
  }

  /** The worker this process is, or the one whose code it goes through on its way. */
  get worker(): Worker | undefined {
    return this.#worker;
  }

  /** What a worker of this worker is told of those above it. */
  get via(): readonly WorkerFacts[] {
    return this.#welcome === undefined ? [] : [...this.#welcome.via, factsOf(this.#welcome)];
  }

  /** Goes through a `start`: resolves as it does in this process, which may be never. */
  async pass(key: string, madeBefore: boolean, form: Form): Promise<Passage> {
    this.#stayAlive(true);
    const early = this.#enter(key, madeBefore, form, undefined);
    const welcome = await this.#welcomed;
    const decided = early.type === "worker" || early.type === "refused";
    const role = decided ? early : this.#enter(key, madeBefore, form, welcome.pools[key]);
    switch (role.type) {
      case "worker":
        return { type: "worker", worker: this.#reach(welcome, role.step) };
      case "manager":
        this.#stayAlive(false);
        return { type: "manager" };
      case "passed":
        this.#stayAlive(false);
        return { type: "passed", signalReceived: welcome.pools[key]?.signalReceived ?? "" };
      case "pending":
        return await this.#stayPending(key, role.warn);
      case "refused":
        throw new Error(
          "Cannot start another worker from within a worker: end it with finish(), or make a pool of its own in it",
        );
    }
  }

  /** Runs a worker's code, and ends this process with it. */
  async run(work: () => unknown): Promise<never> {
    this.#stayAlive(true);
    try {
      await work();
      await Promise.all(this.#servers);
    } catch (error) {
      this.host.write(`${error instanceof Error ? error.stack ?? error.message : String(error)}\n`);
      return await this.finish(1);
    }
    return await this.finish(0);
  }

  /** Ends this process, once all it said is on its way. */
  async finish(code: number): Promise<never> {
    if (this.#status !== this.#sentStatus) this.#reportStatus();
    await undefined; // what ready() has put off
    await this.#connection?.flush();
    return this.host.exit(code);
  }

  /** Decides what a pool is here. A step along the path is taken by it. */
  #enter(key: string, madeBefore: boolean, form: Form, snapshot: PoolSnapshot | undefined): Role {
    const role = decideRole({ path: this.#path, reached: this.#reached, form: this.#form, key, madeBefore, snapshot });
    if (role.type !== "worker") return role;
    this.#reached = [...this.#reached, key];
    this.#form = form;
    return role;
  }

  /** The code behind the `start` of this step begins now. */
  #reach(welcome: Welcome, step: number): Worker {
    const isLast = step === this.#path.length - 1;
    this.#arrived = isLast;
    this.#worker = this.#makeWorker(isLast ? welcome : welcome.via.at(step - this.#path.length + 1) ?? welcome, isLast);
    if (!isLast) return this.#worker;
    this.#send({ type: "begin" });
    if (welcome.beatMs !== null) this.#beat(welcome.beatMs);
    this.#stayAlive(false);
    return this.#worker;
  }

  /**
   * Whether the line to the manager keeps this process alive: while its own code is still to come, or waits to be told
   * to stop. Else a program that has nothing left to do ends, as it would by hand.
   */
  #stayAlive(stays: boolean): void {
    this.#staysAlive = stays;
    if (stays) this.#connection?.ref();
    else this.#connection?.unref();
  }

  #stayPending(key: string, warn: boolean): Promise<never> {
    if (warn) {
      this.host.write(
        `prefork: start() of pool '${key}' does not return in this worker, since the pool was made before the ` +
          "worker's callback began; make it inside the callback if the worker is to be its manager\n",
      );
    }
    return new Promise(() => {});
  }

  async #connect(control: string, token: string): Promise<Welcome> {
    const { promise, resolve, reject } = Promise.withResolvers<Welcome>();
    const lines = new LineReader();
    const take = (line: string): void => {
      const welcome: Welcome = JSON.parse(line);
      if (welcome.version !== PROTOCOL_VERSION) {
        const seen =
          `the manager speaks version ${welcome.version} of the control protocol, this worker ${PROTOCOL_VERSION}`;
        return reject(new Error(`Cannot work in this pool: ${seen}; use the same version of prefork for both`));
      }
      this.#welcome = welcome;
      resolve(welcome);
    };
    try {
      this.#connection = await this.host.connectControl(control, {
        data: (chunk) => lines.push(chunk).forEach(take),
        closed: () => this.#orphaned(),
      });
    } catch (error) {
      this.host.write(`prefork: cannot reach the manager at ${control}: ${String(error)}\n`);
      return this.host.exit(1);
    }
    this.#stayAlive(this.#staysAlive);
    this.#send({ type: "hello", version: PROTOCOL_VERSION, token });
    return promise;
  }

  /**
   * The manager is gone. The worker is told to stop in every way it may know of; what has not ended by the deadline
   * is ended here.
   */
  #orphaned(): void {
    const { host } = this;
    if (!this.#arrived || this.#welcome === undefined) return host.exit(1);
    host.setTimer(this.#welcome.drainTimeoutMs, () => host.exit(1)).unref();
    this.#stop.abort(new Error("the manager is gone"));
    if (this.#listening) return;
    try {
      host.kill(host.pid, this.#welcome.stopSignals[0] ?? "SIGTERM");
    } catch {
      host.exit(1); // not allowed to signal itself, and nobody watches worker.signal
    }
  }

  #makeWorker(facts: WorkerFacts, isLast: boolean): Worker {
    const { slot, generation, managerPid, data, forkValue } = facts;
    const listen = (): AbortSignal => this.#listen();
    return {
      pid: this.host.pid,
      managerPid,
      slot,
      generation,
      data,
      forkValue,
      get signal() {
        return listen();
      },
      listeners: isLast ? this.#listeners() : [],
      serve: (handler, options = {}) => this.#serve(({ serveRequests }, self) => serveRequests(self, handler, options)),
      attach: (server, listener) => this.#serve(({ attachServer }, self) => attachServer(self, server, listener)),
      // Not before the code after it has had its turn, which may be the one to look at `signal` first.
      ready: () => isLast && queueMicrotask(() => this.#send({ type: "ready" })),
      setStatus: (status) => isLast && this.#setStatus(status),
      extendDeadline: (delayMs) => isLast ? this.#extendDeadline(delayMs) : Promise.resolve(),
      recycle: (reason = "asked for it") => isLast && this.#recycle(reason),
    };
  }

  #listen(): AbortSignal {
    if (!this.#listening) {
      this.#listening = true;
      this.#stayAlive(true);
      for (const signal of this.#welcome?.stopSignals ?? []) {
        this.host.onSignal(signal, () => this.#told(signal));
      }
    }
    return this.#stop.signal;
  }

  /** Whoever tells a worker to stop a second time does not want to wait for what is open. */
  #told(signal: Signal): void {
    if (this.#stop.signal.aborted && this.#servers.length > 0) this.host.exit(EXIT_AT_ONCE);
    this.#stop.abort(new Error(`received ${signal}`));
  }

  /** Says again and again that the event loop turns. */
  #beat(intervalMs: number): void {
    const due = this.host.now() + intervalMs;
    this.host.setTimer(intervalMs, () => {
      this.#send({ type: "beat", lagMs: Math.round(this.host.now() - due) });
      this.#beat(intervalMs);
    }).unref();
  }

  async #extendDeadline(delayMs: number): Promise<void> {
    if (typeof delayMs !== "number") {
      throw new TypeError(`Cannot put a deadline off by ${delayMs}: it must be a number of milliseconds`);
    }
    if (!(delayMs >= 0 && delayMs < Infinity)) {
      throw new RangeError(`Cannot put a deadline off by ${delayMs}: it must be 0 or more milliseconds`);
    }
    this.#send({ type: "extend", delayMs });
    await this.#connection?.flush();
  }

  /** As late as `ready`, so that what is said in that order is heard in that order. */
  #recycle(reason: string): void {
    queueMicrotask(() => this.#send({ type: "recycle", reason: String(reason).slice(0, MAX_STATUS) }));
  }

  #listeners(): readonly WorkerListener[] {
    return (this.#welcome?.listeners ?? []).map((listener) => ({ ...listener, name: listener.name ?? undefined }));
  }

  async #serve(
    serve: (module: typeof import("./serve.ts"), self: ServingWorker) => Promise<WorkerServer>,
  ): Promise<WorkerServer> {
    const { host, worker, welcome } = { host: this.host, worker: this.#worker, welcome: this.#welcome };
    if (!this.#arrived || worker === undefined || welcome === undefined) {
      throw new Error("Cannot serve: this process has not reached the code that the worker was made for");
    }
    const module = await import("./serve.ts");
    const { adoption, drainTimeoutMs } = welcome;
    const { signal, listeners } = worker;
    const server = await serve(module, {
      host,
      listeners,
      adoption,
      drainTimeoutMs,
      signal,
      ready: () => worker.ready(),
      served: this.#countServed(welcome.maxRequests, worker),
    });
    this.#servers.push(server.finished);
    return server;
  }

  /** To be called for each request; undefined where nobody counts. */
  #countServed(maxRequests: number | null, worker: Worker): (() => void) | undefined {
    if (maxRequests === null) return undefined;
    return () => {
      if (++this.#served === maxRequests) worker.recycle(`has served ${maxRequests} requests`);
    };
  }

  #setStatus(status: string): void {
    if (typeof status !== "string") {
      throw new TypeError(`Cannot set a worker's status to ${status}: it must be a string`);
    }
    if (status.length > MAX_STATUS) {
      throw new RangeError(`Cannot set a worker's status of ${status.length} characters: it has at most ${MAX_STATUS}`);
    }
    this.#status = status;
    if (this.#statusTimer !== undefined || status === this.#sentStatus) return;
    this.#reportStatus();
    const timer = this.host.setTimer(STATUS_INTERVAL_MS, () => {
      this.#statusTimer = undefined;
      this.#setStatus(this.#status);
    });
    timer.unref();
    this.#statusTimer = timer;
  }

  #reportStatus(): void {
    this.#sentStatus = this.#status;
    this.#send({ type: "status", status: this.#status });
  }

  #send(message: WorkerMessage): void {
    this.#connection?.send(encode(message));
  }
}

/** Several copies of this module in one process (a preload's and the program's own) must see one session. */
const SHARED = Symbol.for("prefork.session.1");

function openSession(): WorkerSession | undefined {
  const shared: WorkerSession | undefined = Reflect.get(globalThis, SHARED);
  if (shared !== undefined) return shared;
  const [control, token, path] = ["PREFORK_CONTROL", "PREFORK_TOKEN", "PREFORK_PATH"].map(takeEnv);
  if (control === undefined || token === undefined || path === undefined) return undefined;
  const opened = new WorkerSession(currentHost, control, token, path);
  Reflect.set(globalThis, SHARED, opened);
  return opened;
}

/** Reads a variable that is meant for this process alone, and hides it from the processes it will start. */
function takeEnv(name: string): string | undefined {
  const value = currentHost.getEnv(name);
  if (value !== undefined) currentHost.unsetEnv(name);
  return value;
}

/** The session of this process if it is a worker. */
export const session: WorkerSession | undefined = openSession();

/**
 * Whether this process is a worker. True from its first line on, so that what only the manager needs can be left out.
 *
 * @example
 * ```ts
 * import { isWorker } from "@prefork/prefork";
 *
 * if (!isWorker()) console.log("this is the manager");
 * ```
 */
export function isWorker(): boolean {
  return session !== undefined;
}

/**
 * The worker this process is.
 *
 * @typeParam Data The type of what the manager gave to `start`; it is not checked.
 * @throws {Error} In a manager, and in a worker that has not reached its `start` yet.
 *
 * @example
 * ```ts
 * import { currentWorker, isWorker } from "@prefork/prefork";
 *
 * if (isWorker()) console.log("in slot", currentWorker().slot);
 * ```
 */
export function currentWorker<Data = Json | null>(): Worker<Data> {
  if (session === undefined) {
    throw new Error("Cannot give the current worker: this process is no worker; ask isWorker() first");
  }
  if (session.worker === undefined) {
    throw new Error("Cannot give the current worker: this process has not reached its start() yet");
  }
  // What data is, only the caller can know: it came from the caller's own start().
  return session.worker as Worker<Data>;
}
