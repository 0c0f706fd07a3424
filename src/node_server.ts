/**
 * Servers of `node:http`, `node:https` and `node:net`, and whatever is built on them, made ready to be shared.
 *
 * @module
 */

import { both } from "./host_common.ts";
import type { AttachableServer, Listener, NodeServer, PrivateKind, PrivateServer } from "./serving.ts";
import type { Stopwatch } from "./stopwatch.ts";

/** A response of `node:http`, as far as draining needs it. */
interface NodeResponse {
  readonly headersSent: boolean;
  setHeader(name: string, value: string): unknown;
  /** Called by the response itself, too, by whatever sends its headers. */
  writeHead: (...given: readonly unknown[]) => unknown;
  once(event: "close" | "finish", listener: () => void): unknown;
}

interface NodeRequest {
  readonly headers: { readonly upgrade?: string };
}

interface NodeSocket {
  readonly writable: boolean;
  readonly bytesWritten: number;
  write(bytes: Uint8Array): unknown;
  destroy(): unknown;
  once(event: "close" | "error" | "end", listener: () => void): unknown;
}

/** What is known of a socket since its client has asked for a WebSocket on it. */
interface Handshake {
  /** How much it had been sent then. */
  readonly sent: number;
  readonly at: number;
}

/** An event of a server of Node.js, and what comes with it, as far as it matters here. */
type Emitted =
  | [event: "request" | "checkContinue" | "checkExpectation", request: NodeRequest, response: NodeResponse]
  | [event: "upgrade", request: NodeRequest, socket: NodeSocket]
  | [event: "connection" | "close", ...unknown[]];

/** A server of Node.js, as far as it is used here. */
interface FullServer extends NodeServer {
  address: () => unknown;
  listen(
    where: { readonly host: string; readonly port: number } | { readonly path: string },
    done: () => void,
  ): unknown;
  close(done?: () => void): unknown;
  closeAllConnections?(): void;
  once(event: "error", listener: (error: Error) => void): unknown;
  once(event: "close", listener: () => void): unknown;
  off(event: "error", listener: (error: Error) => void): unknown;
  emit(...emitted: Emitted): boolean;
  prependListener(event: "connection", listener: (socket: NodeSocket) => void): unknown;
}

/** The frame by which a WebSocket is told that its server goes away (RFC 6455: close, 1001). */
const GOING_AWAY = new Uint8Array([0x88, 0x02, 0x03, 0xe9]);

/** How often it is looked whether a handshake has been answered. */
const LOOK_MS = 10;

/** After this a handshake is taken for one that nobody will answer, as of a path that is nobody's. */
const HANDSHAKE_MS = 5000;

/** Whether this is a server of Node.js: one that is told where to listen. */
export function isNodeServer(server: AttachableServer): server is FullServer {
  return "listen" in server && "prependListener" in server;
}

/**
 * Has a server of Node.js listen on a private address.
 *
 * @param isTls Whether a server is of `node:https`; asked only if somebody wants to know.
 */
export async function openNodeServer(
  server: FullServer,
  kind: PrivateKind,
  isTls: (server: object) => boolean,
): Promise<PrivateServer> {
  if (server.listening) {
    throw new Error("Cannot attach a server that listens already: leave out its listen(), the manager listens for it");
  }
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(kind.type === "tcp" ? { host: "127.0.0.1", port: 0 } : { path: `\0${kind.path.slice(1)}` }, resolve);
  await promise;
  server.off("error", reject);
  const close = server.close.bind(server);
  const isRaw = !("keepAliveTimeout" in server);
  const work = isRaw ? new RawWork(server) : new HttpWork(server);
  return {
    address: ownAddress(server, kind),
    server,
    isRaw,
    finishes: false,
    get isTls() {
      return isTls(server);
    },
    get open() {
      return work.open;
    },
    get unanswered() {
      return work.unanswered;
    },
    get pulse() {
      return work.pulse;
    },
    onRequest: (listener) => void (work.begins = both(work.begins, listener)),
    timeBy: (watch) => work.timeBy(watch),
    correct: (listener) => void (server.address = () => addressOf(listener)),
    untilClosed: () => untilClosed(server, close),
    drain: () => work.drain(),
    async close() {
      const closed = Promise.withResolvers<void>();
      close(() => closed.resolve());
      server.closeAllConnections?.();
      work.cutOff();
      await closed.promise; // and whoever waits for that, too
    },
  };
}

/**
 * Has a close by the program mean that the worker is to stop, which closes the server when all is answered: what a relay
 * has accepted for it is still on its way.
 */
function untilClosed(server: FullServer, close: FullServer["close"]): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (!server.listening) resolve();
  server.close = (done) => {
    if (!server.listening) return close(done);
    if (done !== undefined) server.once("close", done);
    resolve();
    return server;
  };
  return promise;
}

function ownAddress(server: FullServer, kind: PrivateKind): PrivateServer["address"] {
  if (kind.type === "unix") return { type: "unix", path: kind.path };
  const address = server.address();
  const port = typeof address === "object" && address !== null && "port" in address ? Number(address.port) : 0;
  return { type: "tcp", host: "127.0.0.1", family: 4, port };
}

function addressOf({ address }: Listener): unknown {
  if (address.type === "unix") return address.path;
  return { address: address.host, family: `IPv${address.family}`, port: address.port };
}

/** What a server of `node:http` is busy with. */
class HttpWork {
  pulse = 0;
  begins = (): void => {};
  readonly #responses = new Set<NodeResponse>();
  /** The sockets of WebSockets, by their handshakes. */
  readonly #upgraded = new Map<NodeSocket, Handshake>();
  #draining = false;
  #watch: Stopwatch | undefined;

  constructor(server: FullServer) {
    // A listener would be taken away by whoever replaces the user's, as engine.io does, and would keep Node.js from
    // answering upgrades and expectations that nobody else listens to.
    const wrapped = Object.hasOwn(server, "emit") ? server.emit : undefined;
    const prototype: Pick<FullServer, "emit"> = Object.getPrototypeOf(server);
    server.emit = (...emitted) => {
      this.#hear(emitted); // before the user's listeners, which may send the headers
      return (wrapped ?? prototype.emit).apply(server, emitted); // which somebody may wrap yet, for all servers
    };
  }

  get open(): number {
    const least = performance.now() - HANDSHAKE_MS;
    return this.#responses.size + this.#unanswered.filter(([, { at }]) => at > least).length;
  }

  get unanswered(): number {
    const least = performance.now() - HANDSHAKE_MS;
    return this.#unanswered.filter(([, { at }]) => at <= least).length;
  }

  get #unanswered(): readonly (readonly [NodeSocket, Handshake])[] {
    return [...this.#upgraded].filter(([socket]) => this.#isUnanswered(socket));
  }

  /** Closing all connections leaves those alone that are to be WebSockets. */
  cutOff(): void {
    for (const [socket] of this.#unanswered) socket.destroy();
  }

  timeBy(watch: Stopwatch): void {
    this.#watch = watch;
  }

  drain(): void {
    this.#draining = true;
    for (const response of this.#responses) endConnection(response);
    for (const socket of this.#upgraded.keys()) this.#sayGoingAway(socket);
  }

  #hear([event, request, subject]: Emitted): void {
    switch (event) {
      case "request":
      case "checkContinue":
      case "checkExpectation":
        return this.#begin(subject);
      case "upgrade":
        return this.#upgrade(request, subject);
    }
  }

  #upgrade({ headers }: NodeRequest, socket: NodeSocket): void {
    if (headers.upgrade?.toLowerCase() !== "websocket") return;
    this.#upgraded.set(socket, { sent: socket.bytesWritten, at: performance.now() });
    if (this.#draining) this.#sayGoingAway(socket);
    const forget = (): void => void this.#upgraded.delete(socket);
    socket.once("end", forget); // what is half open does not close by itself
    socket.once("close", forget);
  }

  /** Whether the user's listener has still to accept a WebSocket or to refuse it: it may ask somebody first. */
  #isUnanswered(socket: NodeSocket): boolean {
    return socket.writable && socket.bytesWritten === this.#upgraded.get(socket)?.sent;
  }

  /** Says nothing where the user's listener refused the upgrade, or the WebSocket has ended. */
  #sayGoingAway(socket: NodeSocket): void {
    if (!socket.writable || !this.#upgraded.has(socket)) return;
    // Nothing tells of the answer, and what came before it would be taken for a part of it.
    if (this.#isUnanswered(socket)) return void setTimeout(() => this.#sayGoingAway(socket), LOOK_MS);
    socket.once("error", () => {}); // a client that is gone may not end the worker
    socket.write(GOING_AWAY);
  }

  #begin(response: NodeResponse): void {
    if (this.#responses.has(response)) return; // a listener to "checkContinue" may pass it on as a "request"
    this.pulse++;
    this.begins();
    this.#responses.add(response);
    if (this.#draining) endConnection(response);
    const stop = this.#watch?.isDue() ? this.#watch.start() : undefined;
    const end = (): void => {
      if (this.#responses.has(response)) stop?.();
      this.pulse++;
      this.#responses.delete(response);
    };
    response.once("finish", end);
    response.once("close", end);
  }
}

/**
 * Has a response tell its client to send no other request on this connection, whatever its program says of that: a proxy
 * passes on that the connection behind it is kept.
 */
function endConnection(response: NodeResponse): void {
  if (response.headersSent) return;
  response.setHeader("connection", "close"); // for whoever looks
  const writeHead = response.writeHead.bind(response);
  response.writeHead = (...given) => {
    if (!response.headersSent) response.setHeader("connection", "close");
    return writeHead(...given.map(withoutConnection));
  };
}

/** Headers that were given, in any of the shapes there are; anything else as it is. */
function withoutConnection(given: unknown): unknown {
  if (Array.isArray(given)) return withoutPairs(given);
  if (typeof given !== "object" || given === null || !Object.keys(given).some(isConnection)) return given;
  return Object.fromEntries(Object.entries(given).filter(([name]) => !isConnection(name)));
}

/** A list holds names and values in turn, or pairs of them. */
function withoutPairs(list: readonly unknown[]): readonly unknown[] {
  return list.filter((item, index) => !isConnection(Array.isArray(item) ? item[0] : list[index - index % 2]));
}

function isConnection(name: unknown): boolean {
  return String(name).toLowerCase() === "connection";
}

/** Of a server of `node:net` only its connections are known. Its user is told of the stop by `worker.signal`. */
class RawWork {
  readonly open = 0;
  readonly unanswered = 0;
  readonly pulse = 0;
  begins = (): void => {};

  constructor(server: FullServer) {
    server.prependListener("connection", () => this.begins());
  }

  timeBy(): void {}

  cutOff(): void {}

  drain(): void {}
}
