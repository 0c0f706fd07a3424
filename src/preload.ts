/**
 * Runs before the program of a module worker: the program itself begins once the manager's welcome is there, and runs
 * as it is. What it exports by default comes then: a function is called, an object with `fetch` is served. A worker that
 * stands by waits before its program, or before that, if the work is known to begin there.
 *
 * @module
 */

import { currentHost } from "../runtimes/current.ts";
import type { SocketAddress } from "./address.ts";
import { isRefusal, refusal } from "./host_common.ts";
import { MODULE_KEY } from "./identity.ts";
import type { Hold } from "./protocol.ts";
import type { PreparedServer } from "./serve.ts";
import type { ServeHandler, ServeOptions } from "./serving.ts";
import { session, type Worker, type WorkerSession } from "./worker.ts";

if (session?.isModule) {
  const held = await session.channel.held();
  if (held?.runsModule) void standBy(session, held);
  else await begin(session);
}

async function begin(own: WorkerSession): Promise<void> {
  const worker = await pass(own);
  if (worker) void loadDefault(worker.listeners[0]?.address).then((main) => callDefault(own, worker, main));
}

async function pass(own: WorkerSession): Promise<Worker | undefined> {
  const passage = await own.pass(MODULE_KEY, true, "module");
  return passage.type === "worker" ? passage.worker : undefined;
}

async function callDefault(own: WorkerSession, worker: Worker, main: unknown): Promise<void> {
  if (hasFetch(main) && typeof main.fetch !== "function") {
    return await own.run(() => {
      const seen = typeof main.fetch;
      throw refusal(new TypeError(`Cannot serve this module: the 'fetch' that it exports is ${seen}, no function`));
    }, inWords);
  }
  if (typeof main !== "function" && !isServed(main)) return;
  own.channel.say({ type: "waits" });
  if (typeof main === "function") return await own.run(() => main(worker));
  await own.run(() => {
    const { handler, options } = serving(main);
    return worker.serve(handler, options);
  }, inWords);
}

/** The program has run when the welcome comes, and its server lacks nothing but its socket. */
async function standBy(own: WorkerSession, held: Hold): Promise<void> {
  own.channel.stayAlive(false); // Deno begins with the program when nothing of the preload keeps the event loop alive
  const main = await loadDefault(held.listeners[0]?.address);
  const prepared = isServed(main) && held.listeners.length > 0
    ? await prepare(own, held, main).catch((error) => own.fail(error, inWords))
    : undefined;
  const worker = await pass(own);
  if (worker === undefined) return;
  if (prepared === undefined) return await callDefault(own, worker, main);
  await own.run(() => own.serve((servers, self) => servers.begin(self, prepared)), inWords);
}

/** No line of the program led to what this module says itself. */
function inWords(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return isRefusal(error) ? `prefork: ${error.message}` : error.stack ?? error.message;
}

async function prepare(own: WorkerSession, held: Hold, main: Served): Promise<readonly PreparedServer[]> {
  const { handler, options } = serving(main);
  const servers = await own.servers();
  return await servers.prepare(held, handler, options);
}

async function loadDefault(address: SocketAddress | undefined): Promise<unknown> {
  const exports: { readonly default?: unknown } = await currentHost.mainExports(address);
  return exports.default;
}

type Served = ServeOptions & { readonly fetch: ServeHandler };

function isServed(main: unknown): main is Served {
  return hasFetch(main) && typeof main.fetch === "function";
}

function hasFetch(main: unknown): main is { readonly fetch: unknown } {
  return typeof main === "object" && main !== null && "fetch" in main;
}

/** Where it would listen by itself is for the manager to say. */
function serving(main: Served): { readonly handler: ServeHandler; readonly options: ServeOptions } {
  const { fetch: _fetch, port: _port, hostname: _hostname, unix: _unix, reusePort: _reusePort, ...more } = main;
  // Not an option of `deno serve`, and an app of Hono is told by a method of that name what answers its errors.
  const { onError: _onError, ...options } = more;
  return { handler: (request, info) => main.fetch(request, info), options };
}
