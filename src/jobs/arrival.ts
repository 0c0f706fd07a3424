/**
 * How a worker of a pool of jobs comes to its work: by the program, run again up to the first job that is given.
 *
 * @module
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { session } from "../worker.ts";

/** How this process becomes a worker of one of the pools of its program, by their keys. */
const pools = new Map<string, () => Promise<never>>();

/** Of what nobody waits for any more. */
export function never(): Promise<never> {
  return new Promise(() => {});
}

/** Has this process become a worker of a pool, if it is one, at the first job that is given to any. */
export function comeBy(key: string, become: () => Promise<never>): void {
  if (isOnItsWay()) pools.set(key, become);
}

/** Ends this process, which cannot be the worker that it was made to be, with a sentence. */
export async function refuse(what: string): Promise<never> {
  return await session?.fail(`prefork: Cannot ${what}`, String) ?? await never();
}

/** Whether this process is a worker that has not come to its own code: the jobs of its program are not for it to give. */
export function isOnItsWay(): boolean {
  return session !== undefined && !session.arrived;
}

/** What a job does, and what goes on of that: not what its program does beside it. */
const inJob = new AsyncLocalStorage<true>();

/** Does a job. */
export function doInJob<T>(work: () => T): T {
  return inJob.run(true, work);
}

/**
 * Whether this process has come to its jobs, and this is none of them: its program did not wait for the first job that it
 * gave, and goes on. It is the manager's to do what it comes to.
 */
export function isBesideJobs(): boolean {
  return arriving !== undefined && inJob.getStore() === undefined;
}

let arriving: Promise<never> | undefined;

/** A worker has run its program as far as it is to. */
export function arrive(): Promise<never> {
  return arriving ??= becomeWorker();
}

async function becomeWorker(): Promise<never> {
  if (session === undefined) return await never();
  const become = pools.get(session.way[0] ?? "");
  if (become !== undefined) return await become();
  const what = session.way[0]?.startsWith("jobs-")
    ? "the program has not made the pool of this worker when it gives its first job; make all pools before"
    : "this process is a worker whose start() comes later; give jobs after that, or where isWorker() is false";
  return await refuse(`give a job: ${what}`);
}
