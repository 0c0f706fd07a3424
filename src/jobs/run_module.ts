/**
 * The program of workers whose jobs are the default export of a module.
 *
 * @module
 */

import { show } from "../checks.ts";
import type { Worker } from "../worker.ts";
import type { JobFunction } from "./job.ts";
import { doJobs } from "./worker.ts";

/** What such a worker is told. */
export interface ModuleData {
  readonly module: string;
}

/**
 * The job that a module is for.
 *
 * @throws {TypeError} If its default export is no function.
 */
export async function loadJob(module: string): Promise<JobFunction<unknown, unknown>> {
  const { default: job }: { readonly default?: unknown } = await import(module);
  if (typeof job === "function") return (item, context) => job(item, context);
  throw new TypeError(`Cannot do jobs by ${module}: its default export is ${show(job)}, and must be a function`);
}

/** Does jobs until the worker is told to stop. */
export default async function run(worker: Worker<ModuleData>): Promise<void> {
  await doJobs(worker, await loadJob(worker.data.module));
}
