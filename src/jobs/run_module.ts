/**
 * The program of workers whose jobs are the default export of a module.
 *
 * @module
 */

import { show } from "../checks.ts";
import type { Worker } from "../worker.ts";
import { doJobs } from "./worker.ts";

/** What such a worker is told. */
export interface ModuleData {
  readonly module: string;
}

/** Does jobs until the worker is told to stop. */
export default async function run(worker: Worker<ModuleData>): Promise<void> {
  const { module } = worker.data;
  const { default: job }: { readonly default?: unknown } = await import(module);
  if (typeof job !== "function") {
    throw new TypeError(`Cannot do jobs by ${module}: its default export is ${show(job)}, and must be a function`);
  }
  await doJobs(worker, (item, context) => job(item, context));
}
