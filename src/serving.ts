/**
 * The words of a worker that serves: what it listens on, what a server of a runtime is asked for. Types only.
 *
 * @module
 */

import type { SocketAddress } from "./address.ts";
import type { Http, Place } from "./question.ts";
import type { Net } from "./relay.ts";
import type { Stopwatch } from "./stopwatch.ts";

/** A listening socket of a pool. */
export interface Listener {
  /** The name it was given in `listen`. */
  readonly name: string | undefined;
  /** Where it listens; a port is the true one. */
  readonly address: SocketAddress;
  /** The address as text: `127.0.0.1:8080`, `unix:/run/app.sock`. */
  readonly text: string;
}

/** A listening socket as a worker has it. */
export interface WorkerListener extends Listener {
  /** Its descriptor in the worker: what `Bun.listen({ fd })` and `net.Server.listen({ fd })` take. */
  readonly fd: number;
}

/** Answers a request. `info` is what the runtime gives: `Deno.ServeHandlerInfo`, or Bun's server. */
export type ServeHandler<Info = unknown> = (
  request: Request,
  info: Info,
) => Response | undefined | void | Promise<Response | undefined | void>;

/**
 * How to serve. What is not named here goes to `Deno.serve` or `Bun.serve` as it is: `websocket`, `routes`,
 * `idleTimeout`; where the server listens is not for them to say.
 */
export interface ServeOptions {
  /** The sockets to serve on: their names, or their addresses as {@linkcode Listener.text} has them. @default all */
  readonly listener?: string | readonly string[];
  /** Answers for a handler that threw. */
  readonly error?: (error: unknown) => Response | Promise<Response>;
  /** Certificate and key in PEM format: has the server speak TLS. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** For the runtime. */
  readonly [option: string]: unknown;
}

/** What {@linkcode Worker.attach} takes: a server of Node.js that does not listen yet, or a listener of Deno or Bun. */
export type AttachableServer = NodeServer | DenoListener | BunSocketListener;

/** A server of `node:http`, `node:https` or `node:net`, or whatever is built on them. */
export interface NodeServer {
  /** Whether it listens. */
  readonly listening: boolean;
  /** Where it listens. */
  address(): unknown;
}

/** What `Deno.listen` gives. */
export interface DenoListener {
  /** Where it listens. */
  readonly addr: { readonly transport: string; readonly hostname?: string; readonly port?: number };
  /** Ends listening. */
  close(): void;
  /** The same. */
  [Symbol.dispose]?(): void;
}

/** What `Bun.listen` gives. */
export interface BunSocketListener {
  /** Where it listens. */
  readonly hostname: string;
  /** The port there. */
  readonly port: number;
  /** Ends listening. */
  stop(force?: boolean): void;
}

/** A server in a worker. */
export interface WorkerServer {
  /** What it listens on. */
  readonly listeners: readonly WorkerListener[];
  /** The runtime's servers, one for each of {@linkcode listeners}: `Deno.HttpServer`, or Bun's. */
  readonly servers: readonly unknown[];
  /**
   * Resolves when the worker was told to stop, or its program has closed a server, and everything open has been answered,
   * or cut off at the deadline.
   */
  readonly finished: Promise<void>;
}

/** A server on a private address, which is to accept from a shared socket. */
export interface PrivateServer {
  /** Where it listens. */
  readonly address: SocketAddress;
  /** What the runtime made. */
  readonly server: unknown;
  /** Whether nobody here knows what its connections are for: each is busy until it is closed. */
  readonly isRaw: boolean;
  /** Whether its clients speak TLS to it. */
  readonly isTls: boolean;
  /** How many requests are not answered in full yet, as far as the runtime tells. */
  readonly open: number;
  /** Of how many WebSockets the handshake is not answered, and nobody waits for that any more. */
  readonly unanswered: number;
  /** Whether `close` waits for answers that are on their way. */
  readonly finishes: boolean;
  /** How often a request has begun or ended: as long as it changes there is life. */
  readonly pulse: number;
  /** Calls `listener`, among others, as each request begins, before its handler. */
  onRequest(listener: () => void): void;
  /** Has the time of its requests taken from now on. */
  timeBy(watch: Stopwatch): void;
  /** Has it say of itself what is true once it serves on `listener`. */
  correct(listener: Listener): void;
  /**
   * Resolves as soon as its program closes it, as far as the runtime tells. From the call on that closes nothing: it is
   * left to {@linkcode close}.
   */
  untilClosed(): Promise<unknown>;
  /** From here on each response ends its connection, and WebSockets are told to go elsewhere. */
  drain(): void;
  /** Closes what is left. */
  close(): Promise<void>;
}

/** What brings the connections of a shared socket to a private server. */
export interface Acceptor {
  /** Takes no connection more from the shared socket. */
  leave(): void;
  /** How many connections are open. */
  connections(): number;
  /** How many of them have a client that has not taken yet what their server has said and sees as sent. */
  behind(): number;
  /** Has a server that accepts without end look at what else there is, from now to the next turn of the event loop. */
  yield(nextTurn: (callback: () => void) => void): void;
}

/** What serving asks of a runtime. */
export interface ServingHost {
  /** Starts the native server on a private address of the kind of `listener`'s. Rejects with a sentence. */
  open(handler: ServeHandler<never>, options: ServeOptions, kind: PrivateKind): Promise<PrivateServer>;
  /** Makes a server of `node:http`, `node:https` or `node:net`, or one that listens already, ready to be shared. */
  attach(server: AttachableServer, kind: PrivateKind): Promise<PrivateServer>;
  /** `node:net`. */
  net(): Promise<Net>;
  /** `node:http`, or `node:https`. */
  http(isTls: boolean): Promise<Http>;
  /**
   * Refuses to connect where that is not allowed. Asks nobody.
   *
   * @throws {Error} Names the permission.
   */
  needReach(at: Place): void;
  /** Whether servers accept for as long as there is more, and look at nothing else meanwhile. */
  readonly acceptsWithoutEnd: boolean;
  /** Calls `callback` in the next turn of the event loop. */
  nextTurn(callback: () => void): void;
  /** The processor, as `struct epoll_event` depends on it. */
  readonly arch: string;
}

/** The kind of address a private server listens on: `path` names an abstract Unix socket, which leaves no file. */
export type PrivateKind = { readonly type: "tcp" } | { readonly type: "unix"; readonly path: string };
