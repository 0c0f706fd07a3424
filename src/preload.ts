/**
 * Runs before the program of a module worker: the program itself begins once the manager's welcome is there, and runs
 * as it is. A function that it exports by default is called then.
 *
 * @module
 */

import { currentHost } from "../runtimes/current.ts";
import { MODULE_KEY } from "./identity.ts";
import { session } from "./worker.ts";

if (session?.isModule) {
  const passage = await session.pass(MODULE_KEY, true, "module");
  if (passage.type === "worker") void callDefault(passage.worker);
}

async function callDefault(worker: unknown): Promise<void> {
  const exports: { readonly default?: unknown } = await currentHost.mainExports();
  const main = exports.default;
  if (typeof main === "function") await session?.run(() => main(worker));
}
