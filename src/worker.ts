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
  type Hold,
  LineReader,
  type ListenerMessage,
  type ManagerMessage,
  type PoolSnapshot,
  PROTOCOL_VERSION,
  type ServingFacts,
  type Welcome,
  type WorkerFacts,
  type WorkerMessage,
} from "./protocol.ts";
import type { WorkerListener, WorkerServer } from "./serving.ts";
import type { SelfCheck } from "./self_check.ts";
import type { ServingSite, ServingWorker } from "./serve.ts";
import { StatusReporter } from "./status.ts";
import type { ControlConnection, Json, ProcessHost, Signal } from "./types.ts";
import type { Passage, Worker } from "./worker_context.ts";

export type * from "./worker_context.ts";

/** The longest status, in characters. */
const MAX_STATUS = 1024;

/** The status of a worker that was told to stop a second time: 128+15, as a shell tells of SIGTERM. */
const EXIT_AT_ONCE = 143;

/**
 * Stops that come so soon after the first are the same one: whoever stops all processes of a service at once, as systemd
 * does, tells the manager too, which passes it on.
 */
const SAME_STOP_MS = 1000;

/** The worker's end of the control channel, and its way through the program to its own code. */
export class WorkerSession {
  readonly host: ProcessHost;
  /** The path of this worker, for workers of its own. */
  readonly pathText: string;
  readonly #path: readonly string[];
  readonly #welcomed: Promise<Welcome>;
  /** Resolves by the first word of the manager: to begin, or to stand by. */
  readonly #admitted = Promise.withResolvers<void>();
  readonly #stop = new AbortController();
  #connection: ControlConnection | undefined;
  #welcome: Welcome | undefined;
  #hold: Hold | undefined;
  #isParked = false;
  #reached: readonly string[] = [];
  #form: Form = "fallThrough";
  #worker: Worker | undefined;
  #arrived = false;
  /** When it was told to stop. */
  #toldAt: number | undefined;
  #listening = false;
  #staysAlive = false;
  /** Whether this worker's code is a callback, at whose end this process ends. */
  #isRun = false;
  readonly #status: StatusReporter;
  #served = 0;
  #selfCheck: SelfCheck | undefined;
  /** When each server of this worker has answered what was open. */
  readonly #servers: Promise<void>[] = [];

  /** Connects to the manager at once, while the program is still loading. */
  constructor(host: ProcessHost, control: string, token: string, pathText: string) {
    this.host = host;
    this.pathText = pathText;
    this.#path = parsePath(pathText).path;
    this.#status = new StatusReporter(host, (message) => this.#send(message));
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
    this.stayAlive(true);
    const early = this.#enter(key, madeBefore, form, undefined);
    const welcome = await this.#admission();
    const decided = early.type === "worker" || early.type === "refused";
    const role = decided ? early : this.#enter(key, madeBefore, form, welcome.pools[key]);
    switch (role.type) {
      case "worker":
        return { type: "worker", worker: this.#reach(welcome, role.step) };
      case "manager":
        this.stayAlive(false);
        return { type: "manager" };
      case "passed":
        this.stayAlive(false);
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
    this.#isRun = true;
    this.stayAlive(true);
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
    this.#status.flush();
    await undefined; // what ready() has put off
    await this.#connection?.flush();
    return this.host.exit(code);
  }

  /** What the manager said if this worker is to stand by; undefined if it may begin. */
  async held(): Promise<Hold | undefined> {
    this.stayAlive(true);
    await this.#admitted.promise;
    return this.#welcome === undefined ? this.#hold : undefined;
  }

  /** Tells that the work of this worker's module begins with its default export. */
  tellWaits(): void {
    this.#send({ type: "waits" });
  }

  /** Resolves when this worker's own code may run. One that is to stand by makes itself as ready for it as it can. */
  async #admission(): Promise<Welcome> {
    const held = await this.held();
    if (held !== undefined && !this.#isParked) {
      this.#isParked = true;
      if (held.listeners.length > 0) await (await import("./serve.ts")).rehearse(this.site(held));
      this.#send({ type: "parked" });
    }
    return await this.#welcomed;
  }

  /** Where a worker that stands by will serve. */
  site(held: Hold): ServingSite {
    const { adoption, listeners } = held;
    const { signal } = this.#stop;
    return { host: this.host, adoption, listeners: listeners.map(toListener), selfCheck: this.#checkOf(held), signal };
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
    this.stayAlive(false);
    return this.#worker;
  }

  /**
   * Whether the line to the manager keeps this process alive: while its own code is still to come, or waits to be told
   * to stop. Else a program that has nothing left to do ends, as it would by hand.
   */
  stayAlive(stays: boolean): void {
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
      const message: ManagerMessage = JSON.parse(line);
      this.#admitted.resolve();
      if (message.version !== PROTOCOL_VERSION) {
        const seen =
          `the manager speaks version ${message.version} of the control protocol, this worker ${PROTOCOL_VERSION}`;
        return reject(new Error(`Cannot work in this pool: ${seen}; use the same version of prefork for both`));
      }
      if (message.type === "hold") return void (this.#hold = message);
      this.#welcome = message;
      if (this.#hold !== undefined) this.host.setEnv("PREFORK_SLOT", String(message.slot));
      resolve(message);
    };
    try {
      this.#connection = await this.host.connectControl(control, {
        data: (chunk) => lines.push(chunk, take),
        closed: () => this.#orphaned(),
      });
    } catch (error) {
      this.host.write(`prefork: cannot reach the manager at ${control}: ${String(error)}\n`);
      return this.host.exit(1);
    }
    this.stayAlive(this.#staysAlive);
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
      serve: (handler, options = {}) => this.serve(({ serveRequests }, self) => serveRequests(self, handler, options)),
      attach: (server, listener) => this.serve(({ attachServer }, self) => attachServer(self, server, listener)),
      ready: () => isLast && this.#welcome?.selfCheck === null && this.#ready(),
      setStatus: (status) => isLast && this.#setStatus(status),
      extendDeadline: (delayMs) => isLast ? this.#extendDeadline(delayMs) : Promise.resolve(),
      recycle: (reason = "asked for it") => isLast && this.#recycle(reason),
    };
  }

  /** Not before the code after it has had its turn, which may be the one to look at `signal` first. */
  #ready(): void {
    queueMicrotask(() => this.#send({ type: "ready" }));
  }

  #listen(): AbortSignal {
    if (!this.#listening) {
      this.#listening = true;
      this.stayAlive(true);
      for (const signal of this.#welcome?.stopSignals ?? []) {
        this.host.onSignal(signal, () => this.#told(signal));
      }
    }
    return this.#stop.signal;
  }

  /** Whoever tells a worker to stop a second time does not want to wait for what is open. */
  #told(signal: Signal): void {
    const now = this.host.now();
    this.#toldAt ??= now;
    if (now - this.#toldAt >= SAME_STOP_MS && this.#servers.length > 0) this.host.exit(EXIT_AT_ONCE);
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
    return (this.#welcome?.listeners ?? []).map(toListener);
  }

  /** Has this worker serve, in a way that the module for it knows. */
  async serve(
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
      selfCheck: this.#checkOf(welcome),
      ready: () => this.#ready(),
      served: this.#countServed(welcome.maxRequests, worker),
    });
    this.#servers.push(server.finished);
    void server.finished.then(() => this.#drained(this.#servers.length));
    return server;
  }

  /** A program that serves outside of any callback has nobody who ends it: it ends by itself, having nothing left to do. */
  async #drained(servers: number): Promise<void> {
    await Promise.all(this.#servers);
    if (servers === this.#servers.length && !this.#isRun) this.stayAlive(false);
  }

  /** The one check of this worker, whichever of its servers is asked. */
  #checkOf({ selfCheck }: ServingFacts): SelfCheck | undefined {
    if (selfCheck === null) return undefined;
    const tell = (saw: string) => this.#send({ type: "checked", saw: saw.slice(0, MAX_STATUS) });
    return this.#selfCheck ??= { ...selfCheck, passed: false, tell };
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
    this.#status.set(status);
  }

  #send(message: WorkerMessage): void {
    this.#connection?.send(encode(message));
  }
}

function toListener({ name, ...listener }: ListenerMessage): WorkerListener {
  return { ...listener, name: name ?? undefined };
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
