/**
 * Serving on Bun. Its twin is `deno_serving.ts`: same members, same order.
 *
 * @module
 */
import { checkPrivate } from "../src/attachable.ts";
import { closing } from "../src/closing.ts";
import { both, failure } from "../src/host_common.ts";
import { isNodeServer, openNodeServer } from "../src/node_server.ts";
import type { Http, Place } from "../src/question.ts";
import type { Net } from "../src/relay.ts";
import type {
  AttachableServer,
  BunSocketListener,
  Listener,
  PrivateKind,
  PrivateServer,
  ServeHandler,
  ServeOptions,
  ServingHost,
} from "../src/serving.ts";
import type { Stopwatch } from "../src/stopwatch.ts";

interface BunServer {
  readonly port: number;
  readonly pendingRequests: number;
  reload: (options: object) => unknown;
  stop(force?: boolean): Promise<void>;
}

/** What the user has given, at first or by `reload`. */
interface Given extends ServeOptions {
  readonly fetch?: ServeHandler<never>;
}

interface BunWebSocket {
  close(code: number, reason: string): void;
}

type WebSocketHandlers = {
  readonly open?: (socket: BunWebSocket) => unknown;
  readonly close?: (socket: BunWebSocket, code: number, reason: string) => unknown;
};

/** The code by which a WebSocket is told that its server goes away (RFC 6455). */
const GOING_AWAY = 1001;

type Answer = Response | undefined | void;
type Ending = (answer: ServeHandler<never>) => ServeHandler<never>;

declare const Bun: { serve(options: object): BunServer };
declare function setImmediate(callback: () => void): unknown;
interface GetBuiltin {
  (name: "node:net"): Net;
  (name: "node:http"): Http;
  (name: "node:https"): Http & { readonly Server: new () => object };
}

declare const process: { readonly arch: string; getBuiltinModule: GetBuiltin };

/** The {@linkcode ServingHost} of Bun. */
export const bunServing: ServingHost = {
  open,
  attach,
  net,
  http,
  needReach,
  acceptsWithoutEnd: true,
  nextTurn: (callback) => void setImmediate(callback),
  arch: process.arch,
};

// deno-lint-ignore require-await
async function open(handler: ServeHandler<never>, options: ServeOptions, kind: PrivateKind): Promise<PrivateServer> {
  let pulse = 0;
  let draining = false;
  let begins = (): void => {};
  let watch: Stopwatch | undefined;
  const sockets = new Set<BunWebSocket>();
  const finish = (response: Answer): Answer => draining && response instanceof Response ? closing(response) : response;
  const ending = (answer: ServeHandler<never>): ServeHandler<never> => (request, info) => {
    pulse++;
    begins();
    const response = watch?.isDue() ? watch.time(() => answer(request, info)) : answer(request, info);
    return response instanceof Promise ? response.then(finish) : finish(response);
  };
  const rescue = (error: ServeOptions["error"]) => async (thrown: unknown): Promise<Answer> => {
    try {
      return finish(await (error ?? wentWrong)(thrown));
    } catch (again) {
      if (!draining) throw again;
      return finish(wentWrong(again));
    }
  };
  const dress = (options: Given): object => {
    const { fetch, routes, static: byOldName, error, websocket } = options;
    return {
      ...options,
      ...(fetch === undefined ? {} : { fetch: ending(fetch) }),
      ...(isRoutes(routes) ? { routes: mapRoutes(routes, ending, draining) } : {}),
      ...(isRoutes(byOldName) ? { static: mapRoutes(byOldName, ending, draining) } : {}),
      // Bun's own answer shows what threw, but keeps its connection.
      ...(error === undefined && !draining ? {} : { error: rescue(error) }),
      ...(isObject(websocket) ? { websocket: tracked(websocket, sockets, () => draining) } : {}),
    };
  };
  let given: Given = { ...options, fetch: handler };
  const server = attemptServe({
    ...dress(given),
    ...(kind.type === "tcp" ? { hostname: "127.0.0.1", port: 0 } : { unix: `\0${kind.path.slice(1)}` }),
  });
  const reload = server.reload.bind(server);
  server.reload = (more) => {
    given = { ...given, ...more };
    return reload(dress(given));
  };
  const { stop, untilStopped } = takeStop(server);
  return {
    address: kind.type === "unix"
      ? { type: "unix", path: kind.path }
      : { type: "tcp", host: "127.0.0.1", family: 4, port: server.port },
    server,
    isRaw: false,
    unanswered: 0,
    finishes: false,
    isTls: options.tls !== undefined,
    get open() {
      return server.pendingRequests;
    },
    get pulse() {
      return pulse;
    },
    onRequest(listener) {
      begins = both(begins, listener);
    },
    timeBy: (stopwatch) => void (watch = stopwatch),
    correct: (listener) => correct(server, listener, options.tls !== undefined),
    untilClosed: untilStopped,
    drain() {
      draining = true;
      reload(dress(given));
      for (const socket of sockets) socket.close(GOING_AWAY, "going away");
    },
    close: () => stop(),
  };
}

/** What Bun answers for a handler that threw, where it is not to show more. */
function wentWrong(thrown: unknown): Response {
  // deno-lint-ignore no-console
  console.error(thrown);
  return new Response("Something went wrong!", { status: 500 });
}

/**
 * Its own stop, and what has a stop by the program mean that the worker is to stop, which stops the server when all is
 * answered; unless nothing is to be.
 */
function takeStop(server: BunServer | BunSocketListener) {
  const own = server.stop.bind(server);
  const stopped = Promise.withResolvers<void>();
  const stop = async (force?: boolean): Promise<void> => {
    stopped.resolve(own(force));
    await stopped.promise;
  };
  const untilStopped = (): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    server.stop = (force) => {
      resolve();
      return force ? stop(true) : stopped.promise;
    };
    // Bun's own does not call stop(), and is not writable.
    Object.defineProperty(server, Symbol.dispose, { value: () => void server.stop(), configurable: true });
    return promise;
  };
  return { stop, untilStopped };
}

function attemptServe(options: object): BunServer {
  try {
    return Bun.serve(options);
  } catch (error) {
    throw failure("serve", error);
  }
}

/** Bun closes no WebSocket when it stops, so those that are open must be known. */
function tracked(
  handlers: WebSocketHandlers,
  sockets: Set<BunWebSocket>,
  isDraining: () => boolean,
): WebSocketHandlers {
  return {
    ...handlers,
    open(socket) {
      sockets.add(socket);
      const opened = handlers.open?.(socket);
      if (isDraining()) socket.close(GOING_AWAY, "going away"); // its connection was accepted before the stop
      return opened;
    },
    close(socket, code, reason) {
      sockets.delete(socket);
      return handlers.close?.(socket, code, reason);
    },
  };
}

/**
 * Routes are answered before `fetch`: by functions, by one function a method, or by what is there already: responses and
 * files. Those Bun sends on its own, and leaves it to the client to end the connection, as they ask it to. A function in
 * their place would end it itself, but for a file that is gone it would fail, where Bun goes on to `fetch`.
 */
function mapRoutes(routes: object, ending: Ending, draining: boolean): object {
  const map = (route: unknown): unknown => {
    if (typeof route === "function") return ending((request, info) => route(request, info));
    if (draining && route instanceof Response) return closing(route.clone());
    if (draining && route instanceof Blob) return closing(new Response(route));
    return isMethods(route) ? mapValues(route, map) : route;
  };
  return mapValues(routes, map);
}

/** Bun takes no notice of a list, which is what Hono keeps under that name. */
function isRoutes(value: unknown): value is object {
  return isObject(value) && !Array.isArray(value);
}

function isMethods(route: unknown): route is object {
  return isObject(route) && Object.keys(route).length > 0 && Object.keys(route).every((key) => /^[A-Z]+$/.test(key));
}

function mapValues(object: object, map: (value: unknown) => unknown): object {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, map(value)]));
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function correct(server: object, { address }: Listener, isTls: boolean): void {
  const define = (name: string, value: unknown) => Object.defineProperty(server, name, { value, configurable: true });
  if (address.type === "unix") {
    define("url", new URL(`unix://${address.path}`));
    define("port", undefined);
    return;
  }
  const host = address.family === 6 ? `[${address.host}]` : address.host;
  define("hostname", address.host);
  define("port", address.port);
  define("url", new URL(`http${isTls ? "s" : ""}://${host}:${address.port}/`));
}

async function attach(server: AttachableServer, kind: PrivateKind): Promise<PrivateServer> {
  if (isNodeServer(server)) return await openNodeServer(server, kind, isTlsServer);
  if (!("port" in server) || server.port === undefined) { // a Unix socket has an undefined one
    throw new TypeError("Cannot attach this: give a server of node:http, node:https or node:net, or a Bun.listen()");
  }
  const { hostname, port } = server;
  checkPrivate(hostname, port);
  const { stop, untilStopped } = takeStop(server);
  return {
    address: { type: "tcp", host: "127.0.0.1", family: 4, port },
    server,
    isRaw: true,
    unanswered: 0,
    finishes: false,
    isTls: false,
    open: 0,
    pulse: 0,
    onRequest() {},
    timeBy() {},
    correct: (listener) => correct(server, listener, false),
    untilClosed: untilStopped,
    drain() {},
    close: () => stop(true),
  };
}

// deno-lint-ignore require-await
async function net(): Promise<Net> {
  return process.getBuiltinModule("node:net");
}

// deno-lint-ignore require-await
async function http(isTls: boolean): Promise<Http> {
  return isTls ? process.getBuiltinModule("node:https") : process.getBuiltinModule("node:http");
}

function isTlsServer(server: object): boolean {
  return server instanceof process.getBuiltinModule("node:https").Server;
}

/** There are no permissions here. */
function needReach(_at: Place): void {}
