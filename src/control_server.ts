/**
 * The manager's end of the control channel: takes the workers' connections, and tells who said what.
 *
 * @module
 */

import { describeError } from "./events.ts";
import { setDeadline } from "./last_look.ts";
import {
  decodeWorkerMessage,
  type FiguresMessage,
  LineReader,
  PROTOCOL_VERSION,
  type WorkerMessage,
} from "./protocol.ts";
import type { WorkerUser } from "./options.ts";
import type { Input, WorkerRef } from "./pool_state.ts";
import { Table } from "./table.ts";
import { Throttle } from "./throttle.ts";
import type { ControlConnection, ControlHandlers, ControlListener, ProcessHost } from "./types.ts";

/** The longest line a worker may send, in characters. */
const MAX_LINE = 64 * 1024;

/**
 * What a worker may say for long, in bytes a millisecond, many times what the library says by itself, and for how long it
 * may say more. Beyond that it is read no faster: one that says all it can would keep the manager from the others.
 */
const BYTES_PER_MS = 64;
const BURST_MS = 1000;

/** Who hears what workers say. */
export interface ControlSink {
  /** Something for the pool. */
  post(input: Input): void;
  /** The worker is a module whose work begins with its default export. */
  waits(ref: WorkerRef): void;
  /** The worker was told to stop, by whomever. */
  stopping(ref: WorkerRef): void;
  /** What the worker has done so far. */
  figures(ref: WorkerRef, figures: FiguresMessage): void;
}

/** Takes a connection that is for something else than the words of a worker, and the private directory of its socket. */
export type TakeStream = (connection: ControlConnection, dir: string) => ControlHandlers;

/** What nobody can guess. */
export function makeToken(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Listens for the workers of one manager. */
export class ControlServer implements Disposable {
  /** The directory of the socket. */
  readonly dir: string;
  /** The socket. */
  readonly path: string;
  readonly #host: ProcessHost;
  readonly #sink: ControlSink;
  readonly #helloTimeoutMs: number;
  readonly #listener: ControlListener;
  readonly #tokens = new Table<string, WorkerRef>();
  readonly #connections = new Table<number, ControlConnection>();
  readonly #streams = new Table<string, TakeStream>();

  /**
   * Makes a private directory and listens in it.
   *
   * @param helloTimeoutMs How long a connection may take to say who it is.
   */
  static async open(
    host: ProcessHost,
    sink: ControlSink,
    helloTimeoutMs: number,
    owner: WorkerUser | undefined,
  ): Promise<ControlServer> {
    return new ControlServer(host, sink, await host.privateDir(), helloTimeoutMs, owner);
  }

  private constructor(
    host: ProcessHost,
    sink: ControlSink,
    dir: string,
    helloTimeoutMs: number,
    owner: WorkerUser | undefined,
  ) {
    this.#host = host;
    this.#sink = sink;
    this.#helloTimeoutMs = helloTimeoutMs;
    this.dir = dir;
    this.path = `${dir}/worker.sock`;
    this.#listener = host.listenControl(this.path, (connection) => this.#accept(connection));
    this.#listener.unref();
    if (owner === undefined) return;
    host.chown(this.path, owner.uid, owner.gid);
    host.chown(dir, owner.uid, owner.gid);
  }

  /** Makes the one-time token by which a worker will be known. */
  expect(ref: WorkerRef): string {
    const token = makeToken();
    this.#tokens.set(token, ref);
    return token;
  }

  /** Makes the token by which connections are opened that `take` is given. These are not slowed down. */
  expectStreams(take: TakeStream): string {
    const token = makeToken();
    this.#streams.set(token, take);
    return token;
  }

  /** Takes no such connection any more. Those that are open stay. */
  forgetStreams(token: string): void {
    this.#streams.delete(token);
  }

  /** Sends a line to a worker, if it is connected. */
  send(id: number, line: string): void {
    this.#connections.get(id)?.send(line);
  }

  /** Forgets a worker that is gone. */
  forget({ id }: WorkerRef, token: string): void {
    this.#tokens.delete(token);
    this.#connections.get(id)?.close();
    this.#connections.delete(id);
  }

  /** Stops listening and removes socket and directory. */
  [Symbol.dispose](): void {
    this.#listener[Symbol.dispose]();
    for (const connection of this.#connections.values()) connection.close();
    this.#host.removeDir(this.dir);
  }

  #accept(connection: ControlConnection): ControlHandlers {
    connection.unref();
    const lines = new LineReader(MAX_LINE);
    const throttle = new Throttle(BYTES_PER_MS, BURST_MS);
    let ref: WorkerRef | undefined;
    let stream: ControlHandlers | undefined;
    let isDropped = false;
    const drop = (): void => {
      isDropped = true;
      connection.close();
    };
    // Who does not say in time who it is goes, so that strangers cannot gather here.
    const patience = setDeadline(this.#host, this.#helloTimeoutMs, drop);
    const take = (line: string): void => {
      if (isDropped) return;
      const message = decodeWorkerMessage(line);
      if (ref !== undefined) return this.#hear(ref, message);
      stream = this.#openStream(message, connection);
      if (stream !== undefined) return patience[Symbol.dispose]();
      ref = this.#admit(message);
      if (ref === undefined) return drop();
      patience[Symbol.dispose]();
      this.#connections.set(ref.id, connection);
      if (message.type === "hello" && message.version !== PROTOCOL_VERSION) {
        const versions = `${message.version} of the control protocol, the manager ${PROTOCOL_VERSION}`;
        throw new SyntaxError(`speaks version ${versions}: use the same version of prefork for both`);
      }
      this.#sink.post({ type: "connected", ...ref });
    };
    return {
      data: (chunk) => {
        if (stream !== undefined) return feed(stream, chunk, drop);
        if (isDropped) return;
        try {
          lines.push(chunk, take);
        } catch (error) {
          drop();
          if (ref !== undefined) this.#sink.post({ type: "rejected", reason: describeError(error), ...ref });
        }
        return this.#rest(throttle.take(chunk.length, this.#host.now()));
      },
      closed() {
        patience[Symbol.dispose]();
        stream?.closed();
      },
    };
  }

  #rest(delayMs: number): Promise<void> | undefined {
    if (delayMs === 0) return undefined;
    return new Promise((resolve) => this.#host.setTimer(delayMs, resolve).unref());
  }

  #hear(ref: WorkerRef, message: WorkerMessage): void {
    switch (message.type) {
      case "hello":
        throw new SyntaxError("said hello twice");
      case "waits":
        return this.#sink.waits(ref);
      case "stopping":
        return this.#sink.stopping(ref);
      case "figures":
        return this.#sink.figures(ref, message);
      case "begin":
        return this.#sink.post({ type: "begun", ...ref });
      case "ready":
      case "parked":
        return this.#sink.post({ type: message.type, ...ref });
      case "status":
      case "beat":
      case "extend":
      case "checked":
        return this.#sink.post({ ...message, ...ref });
      case "recycle":
        return this.#sink.post({ type: "due", reason: message.reason, ...ref });
    }
  }

  /** Its other end says nothing more before it is spoken to. */
  #openStream(message: WorkerMessage, connection: ControlConnection): ControlHandlers | undefined {
    if (message.type !== "hello" || message.version !== PROTOCOL_VERSION) return undefined;
    return this.#streams.get(message.token)?.(connection, this.dir);
  }

  /** A token opens one connection. */
  #admit(message: WorkerMessage): WorkerRef | undefined {
    if (message.type !== "hello") return undefined;
    const ref = this.#tokens.get(message.token);
    this.#tokens.delete(message.token);
    return ref;
  }
}

/** Whoever says what makes no sense there is told off by the end of the stream. */
function feed(stream: ControlHandlers, chunk: Uint8Array, drop: () => void): void | Promise<void> {
  try {
    return stream.data(chunk);
  } catch {
    drop();
  }
}
