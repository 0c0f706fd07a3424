/**
 * The servers of a worker: what each is told of the worker it is in, how many requests they have had together, and when
 * all of them have ended. Loaded by the first that is asked for.
 *
 * @module
 */

import type { ControlClient } from "./control_client.ts";
import { type FiguresMessage, type Hold, listenersOf, type ServingFacts, type Welcome } from "./protocol.ts";
import type { SelfCheck } from "./self_check.ts";
import {
  attachServer,
  type PreparedServer,
  prepareRequests,
  rehearse,
  serveOn,
  serveRequests,
  type ServingSite,
  type ServingWorker,
} from "./serve.ts";
import type { AttachableServer, ServeHandler, ServeOptions, WorkerServer } from "./serving.ts";
import { Stopwatch } from "./stopwatch.ts";
import type { ProcessHost } from "./types.ts";
import type { Worker } from "./worker_context.ts";

/** What servers take of the worker they are in. */
export interface ServerParts {
  readonly host: ProcessHost;
  readonly channel: ControlClient;
  /** Aborts when the worker is told to stop. */
  readonly stop: AbortSignal;
  /** Has the worker stop by itself. */
  leave(reason: string): void;
  /** Told when all servers have ended. */
  ended(): void;
}

/** A worker that has reached its own code. */
export interface Arrived {
  readonly worker: Worker;
  readonly welcome: Welcome;
}

/** Serves in one worker, as often as it is asked to. */
export class WorkerServers {
  readonly #parts: ServerParts;
  /** When each server has answered what was open. */
  readonly #servers: Promise<void>[] = [];
  readonly #stopwatch: Stopwatch;
  #served = 0;
  #selfCheck: SelfCheck | undefined;

  constructor(parts: ServerParts) {
    this.#parts = parts;
    this.#stopwatch = new Stopwatch(() => parts.host.now());
  }

  /** What they have done so far. */
  figures(): Omit<FiguresMessage, "type"> {
    return { requests: this.#served, durations: this.#stopwatch.read() };
  }

  /** How many there were so far. */
  get size(): number {
    return this.#servers.length;
  }

  /** Resolves when all of them have answered what was open. */
  async finished(): Promise<void> {
    await Promise.all(this.#servers);
  }

  /** Has a worker that stands by find out how it will serve. */
  async rehearse(held: Hold): Promise<void> {
    await rehearse(this.#site(held));
  }

  /** Makes servers that lack nothing but their sockets, in a worker that stands by. */
  async prepare(held: Hold, handler: ServeHandler, options: ServeOptions): Promise<readonly PreparedServer[]> {
    return await prepareRequests(this.#site(held), handler, options);
  }

  /** Serves by what was prepared. */
  async begin(self: Arrived, prepared: readonly PreparedServer[]): Promise<WorkerServer> {
    return this.#keep(await serveOn(this.#servingWorker(self), prepared));
  }

  /** Serves requests by the runtime's own server. */
  async serve(self: Arrived, handler: ServeHandler<never>, options: ServeOptions): Promise<WorkerServer> {
    return this.#keep(await serveRequests(this.#servingWorker(self), handler, options));
  }

  /** Has a server of the user's serve. */
  async attach(self: Arrived, server: AttachableServer, listener: string | undefined): Promise<WorkerServer> {
    return this.#keep(await attachServer(this.#servingWorker(self), server, listener));
  }

  #keep(server: WorkerServer): WorkerServer {
    this.#servers.push(server.finished);
    void server.finished.then(() => this.#tellEnd(this.#servers.length));
    return server;
  }

  async #tellEnd(servers: number): Promise<void> {
    await this.finished();
    if (servers === this.#servers.length) this.#parts.ended();
  }

  /** Where a worker that stands by will serve. */
  #site(held: Hold): ServingSite {
    const { host, stop } = this.#parts;
    const { adoption } = held;
    return { host, adoption, listeners: listenersOf(held), selfCheck: this.#checkOf(held), signal: stop };
  }

  #servingWorker({ worker, welcome }: Arrived): ServingWorker {
    const { host, channel, leave } = this.#parts;
    const { adoption, drainTimeoutMs, maxRequests } = welcome;
    const { signal, listeners } = worker;
    return {
      host,
      listeners,
      adoption,
      drainTimeoutMs,
      signal,
      selfCheck: this.#checkOf(welcome),
      ready: () => channel.ready(),
      leave,
      served: this.#countServed(maxRequests, worker),
      stopwatch: this.#stopwatch,
    };
  }

  /** The one check of this worker, whichever of its servers is asked. */
  #checkOf({ selfCheck }: ServingFacts): SelfCheck | undefined {
    if (selfCheck === null) return undefined;
    return this.#selfCheck ??= { ...selfCheck, passed: false, tell: (saw) => this.#parts.channel.checked(saw) };
  }

  /** To be called for each request. */
  #countServed(maxRequests: number | null, worker: Worker): () => void {
    return () => {
      if (++this.#served === maxRequests) worker.recycle(`has served ${maxRequests} requests`);
    };
  }
}
