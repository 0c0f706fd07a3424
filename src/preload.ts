/**
 * Runs before the program of a module worker: the program itself begins once the manager's welcome is there, and runs
 * as it is. What it exports by default comes then: a function is called, an object with `fetch` is served.
 *
 * @module
 */

import { currentHost } from "../runtimes/current.ts";
import { MODULE_KEY } from "./identity.ts";
import type { ServeHandler, ServeOptions, WorkerServer } from "./serving.ts";
import { session, type Worker } from "./worker.ts";

if (session?.isModule) {
  const passage = await session.pass(MODULE_KEY, true, "module");
  if (passage.type === "worker") void callDefault(passage.worker);
}

async function callDefault(worker: Worker): Promise<void> {
  const exports: { readonly default?: unknown } = await currentHost.mainExports(worker.listeners[0]?.address);
  const main = exports.default;
  if (typeof main === "function") await session?.run(() => main(worker));
  if (isServed(main)) await session?.run(() => serveDefault(worker, main));
}

type Served = ServeOptions & { readonly fetch: ServeHandler };

function isServed(main: unknown): main is Served {
  return typeof main === "object" && main !== null && "fetch" in main && typeof main.fetch === "function";
}

/** Where it would listen by itself is for the manager to say. */
function serveDefault(worker: Worker, main: Served): Promise<WorkerServer> {
  const { fetch: _fetch, port: _port, hostname: _hostname, unix: _unix, ...options } = main;
  return worker.serve((request, info) => main.fetch(request, info), options);
}
