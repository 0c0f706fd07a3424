/**
 * What a worker is given: itself, as far as it can know, and its ways to say something. Types only.
 *
 * @module
 */

import type { AttachableServer, ServeHandler, ServeOptions, WorkerListener, WorkerServer } from "./serving.ts";
import type { Json, Signal } from "./types.ts";

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
   * Aborts when this worker is told to stop, its program closes a server, or its manager is gone. The first look at it
   * installs handlers for the signals that mean stop; a worker that never looks keeps their default disposition, or its
   * own handlers.
   */
  readonly signal: AbortSignal;
  /**
   * Tells the manager that this worker can handle signals. Without it, that is assumed after one second. Where the pool
   * asks whether workers are ready ({@linkcode PreforkOptions.readyWhen}), this makes none so.
   */
  ready(): void;
  /** The pool's listening sockets, in the order of the option `listen`. */
  readonly listeners: readonly WorkerListener[];
  /**
   * Serves requests by the runtime's own server (`Deno.serve`, `Bun.serve`), which accepts from the pool's sockets.
   * Resolves once it does; this worker is ready then. When the worker is told to stop, what is open is answered before
   * {@linkcode WorkerServer.finished} resolves, and a worker's callback ends with that. A second stop, a second later
   * or more, ends it at once.
   *
   * @typeParam Info What the handler takes besides the request: `Deno.ServeHandlerInfo`, or Bun's server.
   * @throws {Error} If the pool listens on nothing, or the runtime's server does not start.
   * @throws {TypeError} If an option would say where to listen, or names no socket of the pool.
   */
  serve<Info = unknown>(handler: ServeHandler<Info>, options?: ServeOptions): Promise<WorkerServer>;
  /**
   * The same for a server of `node:http`, `node:https` or `node:net` that does not listen yet, and what is built on them
   * (Express, Fastify, Hono's node server); or for what `Deno.listen` or `Bun.listen` gave on 127.0.0.1, port 0 (on Bun a
   * server of `node:net` bears a flood of connections better). Of raw connections the program is told by
   * {@linkcode signal}: they are waited for until the deadline.
   *
   * @param listener The name of the socket, or its address as text, if the pool has several.
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
   * stop, is put off to `delayMs` from now, where it was to come before that. Nor does a worker hang before then that
   * becomes ready meanwhile; a stop that comes later has its own deadline. For work that keeps the event loop from turning.
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
