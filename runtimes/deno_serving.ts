/**
 * Serving on Deno. Its twin is `bun_serving.ts`: same members, same order.
 *
 * @module
 */
import { checkPrivate } from "../src/attachable.ts";
import { closing } from "../src/closing.ts";
import { both, failure, refusal } from "../src/host_common.ts";
import { isNodeServer, openNodeServer } from "../src/node_server.ts";
import type { Http, Place } from "../src/question.ts";
import type { Net } from "../src/relay.ts";
import type {
  AttachableServer,
  Listener,
  PrivateKind,
  PrivateServer,
  ServeHandler,
  ServeOptions,
  ServingHost,
} from "../src/serving.ts";
import type { Stopwatch } from "../src/stopwatch.ts";
import { isWhole } from "./deno_responses.ts";
import { isGranted, needSocket } from "./deno_socket.ts";

interface GetBuiltin {
  (name: "node:net"): Net;
  (name: "node:http"): Http;
  (name: "node:https"): Http & { readonly Server: new () => object };
}

declare const process: { readonly getBuiltinModule: GetBuiltin };

/** The {@linkcode ServingHost} of Deno. */
export const denoServing: ServingHost = {
  open,
  attach,
  net,
  http,
  needReach,
  acceptsWithoutEnd: false,
  nextTurn: (callback) => void setTimeout(callback, 0),
  arch: Deno.build.arch,
};

// deno-lint-ignore require-await
async function open(handler: ServeHandler<never>, options: ServeOptions, kind: PrivateKind): Promise<PrivateServer> {
  needNet(kind);
  let open = 0;
  let pulse = 0;
  let draining = false;
  let begins = (): void => {};
  let watch: Stopwatch | undefined;
  const end = (): void => {
    open--;
    pulse++;
  };
  const finish = (response: Response): Response => draining ? closing(response) : response;
  // When a response has streamed to its end, its client may ask for more on the same connection. What is on its way to a
  // slow client then, the server waits for as it closes.
  const endLater = (info: Deno.ServeHandlerInfo): void => void info.completed.then(end, end);
  const fail = (info: Deno.ServeHandlerInfo, error: unknown): never => {
    endLater(info); // by what is answered for it
    throw error;
  };
  const attemptFinish = (info: Deno.ServeHandlerInfo, response: Response): Response => {
    try {
      return finish(response);
    } catch (error) {
      return fail(info, error); // such as that of Response.error(), of which no other can be made
    }
  };
  const settle = (info: Deno.ServeHandlerInfo, response: Response | undefined | void): Response => {
    if (!(response instanceof Response)) return fail(info, new TypeError("The handler gave no Response"));
    const finished = attemptFinish(info, response);
    // By the answer to an upgrade the request was over before.
    if (isWhole(finished) || finished.status === 101) end();
    else endLater(info);
    return finished;
  };
  const handle = (request: Request, info: Deno.ServeHandlerInfo): ReturnType<typeof handler> => {
    return handler(request, info as never); // what it takes of this, only its writer knows
  };
  const attempt = (request: Request, info: Deno.ServeHandlerInfo): ReturnType<typeof handler> => {
    try {
      return watch?.isDue() ? watch.time(() => handle(request, info)) : handle(request, info);
    } catch (error) {
      return fail(info, error);
    }
  };
  const answer = (request: Request, info: Deno.ServeHandlerInfo): Response | Promise<Response> => {
    open++;
    pulse++;
    begins();
    const response = attempt(request, info);
    if (response instanceof Response) return settle(info, response);
    return Promise.resolve(response).then((given) => settle(info, given), (error) => fail(info, error));
  };
  const { tls, error, onListen, onError, ...rest } = options;
  const rescue = rescueOf(error ?? onError);
  const server = attemptServe(
    {
      ...rest,
      ...tls,
      // Always, for the answer that Deno gives by itself would keep its connection.
      onError: async (thrown: unknown) => finish(await rescue(thrown)),
      onListen() {},
    },
    kind,
    answer,
  );
  const shutdown = server.shutdown.bind(server);
  return {
    address: kind.type === "unix"
      ? { type: "unix", path: kind.path }
      : { type: "tcp", host: "127.0.0.1", family: 4, port: "port" in server.addr ? server.addr.port : 0 },
    server,
    isRaw: false,
    unanswered: 0,
    finishes: true,
    isTls: tls !== undefined || options["cert"] !== undefined,
    get open() {
      return open;
    },
    get pulse() {
      return pulse;
    },
    onRequest(listener) {
      begins = both(begins, listener);
    },
    timeBy: (stopwatch) => void (watch = stopwatch),
    correct(listener) {
      const addr = addressOf(listener);
      Object.defineProperty(server, "addr", { value: addr, configurable: true });
      if (typeof onListen === "function") onListen(addr);
    },
    untilClosed() {
      const shut = Promise.withResolvers<void>();
      server.shutdown = () => {
        shut.resolve();
        return server.finished;
      };
      return Promise.race([shut.promise, server.finished]);
    },
    drain() {
      draining = true;
    },
    close: shutdown,
  };
}

/** What answers for a handler that threw, as Deno does: in its own words where the user's has none, or throws, too. */
function rescueOf(answer: unknown): (thrown: unknown) => Promise<Response> {
  return async (thrown) => {
    if (typeof answer !== "function") return internalServerError(thrown);
    try {
      const response: unknown = await answer(thrown);
      return response instanceof Response
        ? response
        : internalServerError(new TypeError("What answers for a handler that threw gave no Response"));
    } catch (again) {
      return internalServerError(again);
    }
  };
}

function internalServerError(thrown: unknown): Response {
  // deno-lint-ignore no-console
  console.error(thrown);
  return new Response(new TextEncoder().encode("Internal Server Error"), { status: 500 });
}

/** Deno has one signature for each kind of address. */
function attemptServe(
  options: object,
  kind: PrivateKind,
  handler: (request: Request, info: Deno.ServeHandlerInfo) => Response | Promise<Response>,
): Deno.HttpServer<Deno.Addr> {
  try {
    if (kind.type === "tcp") return Deno.serve({ ...options, hostname: "127.0.0.1", port: 0 }, handler);
    return Deno.serve({ ...options, path: `\0${kind.path.slice(1)}` }, handler);
  } catch (error) {
    throw failure("serve", error);
  }
}

/** Deno has no way to allow an abstract address alone. */
function needNet(kind: PrivateKind): void {
  const allowed = kind.type === "tcp"
    ? isGranted({ name: "net", host: "127.0.0.1:0" })
    : isGranted({ name: "net" }) && isGranted({ name: "read" }) && isGranted({ name: "write" });
  if (allowed) return;
  const flags = kind.type === "tcp" ? "--allow-net=127.0.0.1:0" : "--allow-net --allow-read --allow-write";
  throw refusal(new Error(`Deno may not serve, for its server listens on an address of its own first: add ${flags}.`));
}

function addressOf({ address }: Listener): Deno.Addr {
  if (address.type === "unix") return { transport: "unix", path: address.path };
  return { transport: "tcp", hostname: address.host, port: address.port };
}

async function attach(server: AttachableServer, kind: PrivateKind): Promise<PrivateServer> {
  if (isNodeServer(server)) return await openNodeServer(server, kind, isTlsServer);
  if (!("addr" in server) || server.addr.port === undefined) {
    throw new TypeError("Cannot attach this: give a server of node:http, node:https or node:net, or a Deno.listen()");
  }
  checkPrivate(server.addr.hostname, server.addr.port);
  if (kind.type === "unix") {
    throw new Error("a listener that Deno has opened for TCP takes no connection of another kind");
  }
  const { port } = server.addr;
  const close = server.close.bind(server);
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
    correct: (listener) => void Object.defineProperty(server, "addr", { value: addressOf(listener) }),
    untilClosed() {
      const { promise, resolve } = Promise.withResolvers<void>();
      server.close = () => resolve();
      server[Symbol.dispose] = () => server.close();
      return promise;
    },
    drain() {},
    // deno-lint-ignore require-await
    close: async () => close(),
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

function needReach(at: Place): void {
  if ("path" in at) return needSocket(at.path);
  const { port } = at;
  const host = at.host.includes(":") ? `[${at.host}]` : at.host;
  if (isGranted({ name: "net", host: `${host}:${port}` })) return;
  throw new Error(`Deno may not connect to ${host}:${port}: add --allow-net=${host}.`);
}
