/**
 * The worker side: who this process is, and its way to its own code. Everything here is loaded by every worker at each
 * start, so it is small and asks for nothing it does not need at once.
 *
 * @module
 */

import { currentHost } from "../runtimes/current.ts";
import { ControlClient } from "./control_client.ts";
import { decideRole, type Form, MODULE_KEY, parsePath, type Role } from "./identity.ts";
import { factsOf, listenersOf, type PoolSnapshot, type Welcome, type WorkerFacts } from "./protocol.ts";
import type { WorkerServer } from "./serving.ts";
import type { Json, ProcessHost, Signal } from "./types.ts";
import type { Passage, Worker } from "./worker_context.ts";
import type { Arrived, WorkerServers } from "./worker_servers.ts";

export type * from "./worker_context.ts";

/** The status of a worker that was told to stop a second time: 128+15, as a shell tells of SIGTERM. */
const EXIT_AT_ONCE = 143;

/**
 * Stops that come so soon after the first are the same one: whoever stops all processes of a service at once, as systemd
 * does, tells the manager too, which passes it on.
 */
const SAME_STOP_MS = 1000;

/** A worker's way through the program to its own code, and what it is told there. */
export class WorkerSession {
  readonly host: ProcessHost;
  /** Its line to the manager. */
  readonly channel: ControlClient;
  /** The path of this worker, for workers of its own. */
  readonly pathText: string;
  /** The manager's socket. */
  readonly controlPath: string;
  readonly #path: readonly string[];
  readonly #stop = new AbortController();
  #isParked = false;
  #reached: readonly string[] = [];
  #form: Form = "fallThrough";
  #worker: Worker | undefined;
  #arrived = false;
  /** When it was told to stop. */
  #toldAt: number | undefined;
  #listening = false;
  /** Whether this worker's code is a callback, at whose end this process ends. */
  #isRun = false;
  /** What serves in this worker, if anything does. */
  #servers: WorkerServers | undefined;

  /** Connects to the manager at once, while the program is still loading. */
  constructor(host: ProcessHost, control: string, token: string, pathText: string) {
    this.host = host;
    this.pathText = pathText;
    this.controlPath = control;
    this.#path = parsePath(pathText).path;
    this.channel = new ControlClient(
      host,
      control,
      token,
      () => this.#servers?.figures() ?? { requests: null, durations: null },
      () => this.#orphaned(),
    );
  }

  /** Whether this worker's program is a module that the manager named, and not the manager's own. */
  get isModule(): boolean {
    return this.#path[0] === MODULE_KEY;
  }

  /** The keys that are still to come on the way to the code that this process was made for. */
  get way(): readonly string[] {
    return this.#path.slice(this.#reached.length);
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
    const { welcome } = this.channel;
    return welcome === undefined ? [] : [...welcome.via, factsOf(welcome)];
  }

  /** Goes through a `start`: resolves as it does in this process, which may be never. */
  async pass(key: string, madeBefore: boolean, form: Form): Promise<Passage> {
    this.channel.stayAlive(true);
    const early = this.#enter(key, madeBefore, form, undefined);
    const welcome = await this.#admission();
    const decided = early.type === "worker" || early.type === "refused";
    const role = decided ? early : this.#enter(key, madeBefore, form, welcome.pools[key]);
    switch (role.type) {
      case "worker":
        return { type: "worker", worker: this.#reach(welcome, role.step) };
      case "manager":
        this.channel.stayAlive(false);
        return { type: "manager" };
      case "passed":
        this.channel.stayAlive(false);
        return { type: "passed", signalReceived: welcome.pools[key]?.signalReceived ?? "" };
      case "pending":
        return await this.#stayPending(key, role.warn);
      case "refused":
        throw new Error(
          "Cannot start another worker from within a worker: end it with finish(), or make a pool of its own in it",
        );
    }
  }

  /**
   * Runs a worker's code, and ends this process with it.
   *
   * @param describe Says what it has thrown: by default with the place, which is in the program.
   */
  async run(work: () => unknown, describe: (error: unknown) => string = withPlace): Promise<never> {
    this.#isRun = true;
    this.channel.stayAlive(true);
    try {
      await work();
      await this.#servers?.finished();
    } catch (error) {
      return await this.fail(error, describe);
    }
    return await this.finish(0);
  }

  /** Tells why this process cannot do its work, and ends it. */
  async fail(error: unknown, describe: (error: unknown) => string): Promise<never> {
    this.channel.stayAlive(true); // or Deno would end it by itself, with status 0
    this.host.write(`${describe(error)}\n`);
    return await this.finish(1);
  }

  /** Ends this process, once all it said is on its way. */
  async finish(code: number): Promise<never> {
    await this.channel.flush();
    return this.host.exit(code);
  }

  /** Resolves when this worker's own code may run. One that is to stand by makes itself as ready for it as it can. */
  async #admission(): Promise<Welcome> {
    const held = await this.channel.held();
    if (held !== undefined && !this.#isParked) {
      this.#isParked = true;
      if (held.listeners.length > 0) await (await this.servers()).rehearse(held);
      this.channel.say({ type: "parked" });
    }
    return await this.channel.welcomed;
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
    this.channel.say({ type: "begin" });
    if (welcome.beatMs !== null) this.channel.beat(welcome.beatMs);
    this.channel.stayAlive(false);
    return this.#worker;
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

  /**
   * The manager is gone. The worker is told to stop in every way it may know of; what has not ended by the deadline
   * is ended here.
   */
  #orphaned(): void {
    const { host, channel: { welcome } } = this;
    if (!this.#arrived || welcome === undefined) return host.exit(1);
    host.setTimer(welcome.drainTimeoutMs, () => host.exit(1)).unref();
    this.#stop.abort(new Error("the manager is gone"));
    if (this.#listening) return;
    try {
      host.kill(host.pid, welcome.stopSignals[0] ?? "SIGTERM");
    } catch {
      host.exit(1); // not allowed to signal itself, and nobody watches worker.signal
    }
  }

  #makeWorker(facts: WorkerFacts, isLast: boolean): Worker {
    const { slot, generation, managerPid, data, forkValue } = facts;
    const { channel } = this;
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
      listeners: isLast && channel.welcome ? listenersOf(channel.welcome) : [],
      serve: (handler, options = {}) => this.serve((servers, self) => servers.serve(self, handler, options)),
      attach: (server, listener) => this.serve((servers, self) => servers.attach(self, server, listener)),
      ready: () => isLast && channel.welcome?.selfCheck === null && channel.ready(),
      setStatus: (status) => isLast && channel.setStatus(status),
      extendDeadline: (delayMs) => isLast ? channel.extendDeadline(delayMs) : Promise.resolve(),
      recycle: (reason = "asked for it") => isLast && channel.recycle(reason),
    };
  }

  #listen(): AbortSignal {
    if (!this.#listening) {
      this.#listening = true;
      this.channel.stayAlive(true);
      for (const signal of this.channel.welcome?.stopSignals ?? []) {
        this.host.onSignal(signal, () => this.#told(signal));
      }
    }
    return this.#stop.signal;
  }

  /** Whoever tells a worker to stop a second time does not want to wait for what is open. */
  #told(signal: Signal): void {
    const now = this.host.now();
    if (this.#toldAt === undefined) this.channel.say({ type: "stopping" }); // the manager is not to be the second one
    this.#toldAt ??= now;
    const isServing = (this.#servers?.size ?? 0) > 0;
    if (isServing && now - this.#toldAt >= SAME_STOP_MS) this.host.exit(EXIT_AT_ONCE);
    this.#stop.abort(new Error(`received ${signal}`));
  }

  /** Has this worker serve. */
  async serve(
    serve: (servers: WorkerServers, self: Arrived) => Promise<WorkerServer>,
  ): Promise<WorkerServer> {
    const { worker, channel: { welcome } } = this;
    if (!this.#arrived || worker === undefined || welcome === undefined) {
      throw new Error("Cannot serve: this process has not reached the code that the worker was made for");
    }
    return await serve(await this.servers(), { worker, welcome });
  }

  /** What serves in this worker. Loaded by whoever is the first to ask for it. */
  async servers(): Promise<WorkerServers> {
    const { WorkerServers } = await import("./worker_servers.ts");
    return this.#servers ??= new WorkerServers({
      host: this.host,
      channel: this.channel,
      stop: this.#stop.signal,
      leave: (reason) => this.#leave(reason),
      ended: () => this.#doneServing(),
    });
  }

  /** Stops as if it had been told to. The manager will tell it, having made another, and that is not the second time. */
  #leave(reason: string): void {
    this.channel.recycle(reason);
    this.#stop.abort(new Error(`this worker ${reason}`));
  }

  /** A program that serves outside of any callback has nobody who ends it: it ends by itself, having nothing left to do. */
  #doneServing(): void {
    this.channel.tellFigures();
    if (!this.#isRun) this.channel.stayAlive(false);
  }
}

/** Several copies of this module in one process (a preload's and the program's own) must see one session. */
function withPlace(error: unknown): string {
  return error instanceof Error ? error.stack ?? error.message : String(error);
}

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
