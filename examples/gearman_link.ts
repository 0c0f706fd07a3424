/// <reference path="./gearman_library.d.ts" />
/**
 * One Gearman server, as a worker sees it: a thin layer over the npm library `gearman` that mends from outside what a
 * worker needs (docs/gearman.md says what and why).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Socket } from "node:net";
import process from "node:process";
import gearman, { type AssignedJob, type GearmanClient } from "gearman";
import type { ServerAddress } from "./gearman_config.ts";

const ANSWER_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 5_000;
const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 30_000;

/** A job in hand. It must be answered exactly once. */
export interface Job {
  readonly name: string;
  readonly payload: Uint8Array;
  complete(result: string | Uint8Array): void;
  fail(reason: string): void;
}

interface Connection {
  readonly client: GearmanClient;
  readonly socket: Socket;
  readonly closed: Promise<void>;
}

/** Keeps a connection to one server, and asks it for jobs. */
export class ServerLink {
  readonly #address: ServerAddress;
  readonly #functions: readonly string[];
  readonly #wake: () => void;
  #connection: Connection | undefined;
  #isConnected = false;
  #isClosing = false;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #retryMs = FIRST_RETRY_MS;
  #problem = "the server closed the connection";
  #answer: (job: AssignedJob | undefined) => void = () => {};
  #echoed: () => void = () => {};

  /** Connects, and reconnects for ever; `wake` is called whenever it is worth while to {@linkcode grab} again. */
  constructor(address: ServerAddress, functions: readonly string[], wake: () => void) {
    this.#address = address;
    this.#functions = functions;
    this.#wake = wake;
    this.#connect();
  }

  /** Asks for a job; undefined if there is none, or no connection. */
  async grab(): Promise<Job | undefined> {
    const connection = this.#connection;
    if (connection === undefined || !this.#isConnected) return undefined;
    const answered = new Promise<AssignedJob | undefined>((resolve) => this.#answer = resolve);
    const silent = setTimeout(() => {
      this.#problem = `no answer within ${ANSWER_TIMEOUT_MS} ms`;
      connection.socket.destroy();
    }, ANSWER_TIMEOUT_MS);
    connection.client.grabJob();
    const assigned = await answered;
    clearTimeout(silent);
    return assigned && this.#jobInHand(connection, assigned);
  }

  /** Tells the server to wake this worker for the next job. Every answer to {@linkcode grab} must be in. */
  sleep(): void {
    if (this.#isConnected) this.#connection?.client.preSleep();
  }

  /** Takes leave of the server. No job may be in hand. */
  async close(): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#retry);
    const connection = this.#connection;
    if (connection === undefined) return;
    if (this.#isConnected) await within(CLOSE_TIMEOUT_MS, this.#takeLeave(connection));
    connection.socket.destroy();
  }

  /** The answer to an echo proves that the server has dealt with all that was sent before it. */
  async #takeLeave({ client, closed }: Connection): Promise<void> {
    const echoed = new Promise<void>((resolve) => this.#echoed = resolve);
    client.resetAbilities();
    client.echo("leaving");
    await Promise.race([echoed, closed]);
    client.close();
    await closed;
  }

  #connect(): void {
    const client = gearman(this.#address.host, this.#address.port);
    const { promise: closed, resolve: close } = Promise.withResolvers<void>();
    client.on("close", close);
    client.on("close", () => this.#lose());
    client.on("error", (error) => this.#problem = error.message);
    client.on("ERROR", (code, text) => this.#say(`answered ${code}: ${text}`));
    client.on("NOOP", this.#wake);
    client.on("NO_JOB", () => this.#answer(undefined));
    client.on("JOB_ASSIGN", (job) => this.#answer(job));
    client.on("ECHO_RES", () => this.#echoed());
    const socket = captureSocket(() => client.connect(() => this.#register(client)));
    socket.setNoDelay(true);
    this.#connection = { client, socket, closed };
  }

  #register(client: GearmanClient): void {
    client.setWorkerId(`worker-${process.pid}`);
    for (const name of this.#functions) client.addFunction(name);
    this.#isConnected = true;
    this.#retryMs = FIRST_RETRY_MS;
    this.#wake();
  }

  #lose(): void {
    this.#connection = undefined;
    this.#isConnected = false;
    this.#answer(undefined);
    if (this.#isClosing) return;
    this.#say(`is lost (${this.#problem}); connecting again in ${this.#retryMs} ms`);
    this.#retry = setTimeout(() => this.#connect(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
  }

  #jobInHand(connection: Connection, { handle, func_name: name, payload }: AssignedJob): Job {
    const report = (send: (client: GearmanClient) => void): void => {
      // The handle means nothing to a newer connection, and the server has put the job back in its queue.
      if (this.#connection === connection) return send(connection.client);
      this.#say(`was lost while job ${handle} was in hand: the job will be done again`);
    };
    return {
      name,
      payload,
      complete: (result) => report((client) => client.sendWorkComplete(handle, Buffer.from(result))),
      fail: (reason) =>
        report((client) => {
          // Not WORK_EXCEPTION: gearmand 1.1.20 then leaves a client that did not ask for exceptions waiting for ever.
          client.sendWorkWarning(handle, Buffer.from(reason));
          client.sendWorkFail(handle);
        }),
    };
  }

  #say(text: string): void {
    process.stderr.write(`Gearman server ${this.#address.host}:${this.#address.port} ${text}.\n`);
  }
}

/** The library keeps its socket to itself, but connects it by this method. */
function captureSocket(connect: () => void): Socket {
  const original = Socket.prototype.connect;
  let captured: Socket | undefined;
  Socket.prototype.connect = function (this: Socket, ...args: unknown[]): Socket {
    captured = this;
    return Reflect.apply(original, this, args);
  };
  try {
    connect();
  } finally {
    Socket.prototype.connect = original;
  }
  if (captured === undefined) throw new Error("The gearman library made no node:net socket: use version 2.1.0 of it");
  return captured;
}

async function within(timeoutMs: number, done: Promise<void>): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, timeoutMs);
  await Promise.race([done, late]);
  clearTimeout(timer);
}
