/**
 * Who is who in a program that runs again: a worker is the same program as its manager, started anew with the path of
 * `start` calls that leads to it. This is the whole table of rules, as pure functions; `docs/fork.md` tells it in words.
 *
 * @module
 */

import type { PoolSnapshot } from "./protocol.ts";

/** Stands in a path for a worker module, which begins a program of its own. */
export const MODULE_KEY = "@";

/** How deep managers may nest: a program that becomes a manager in each of its workers ends here. */
export const MAX_DEPTH = 8;

/** How a worker reached its own code. */
export type Form = "fallThrough" | "callback" | "module";

/** What a worker process knows when `start` is called on one of its pools. */
export interface Situation {
  /** Keys of the pools on the way to this worker, outermost first. */
  readonly path: readonly string[];
  /** Those of them that were reached. */
  readonly reached: readonly string[];
  /** How the last one was reached. */
  readonly form: Form;
  /** The pool whose `start` is called. */
  readonly key: string;
  /** Whether that pool was made before the worker reached its own code. */
  readonly madeBefore: boolean;
  /** Where that pool stood in the manager when this worker was spawned; undefined if it was not made by then. */
  readonly snapshot: PoolSnapshot | undefined;
}

/** What a pool is in this process. */
export type Role =
  /** The worker goes through this `start`, the `step`-th on its path. */
  | { readonly type: "worker"; readonly step: number }
  /** It makes workers of its own. */
  | { readonly type: "manager" }
  /** Another worker's pool: `start` returns what it returned in the manager. */
  | { readonly type: "passed" }
  /** Another worker's pool: `start` never returns here. */
  | { readonly type: "pending"; readonly warn: boolean }
  /** `start` may not be called. */
  | { readonly type: "refused" };

/** Decides what a pool is in a worker process. */
export function decideRole(situation: Situation): Role {
  const { path, reached, key, madeBefore, form, snapshot } = situation;
  if (reached.includes(key)) return { type: "refused" };
  const step = reached.length;
  const arrived = step === path.length;
  if (!arrived && path[step] === key) return { type: "worker", step };
  if (snapshot?.starting) return { type: "pending", warn: false };
  if (snapshot?.started) return { type: "passed" };
  if (!arrived) return { type: "pending", warn: false };
  if (form === "callback" && madeBefore) return { type: "pending", warn: true };
  return { type: "manager" };
}

/** Reads the path in the environment: all of it counts as depth, what follows the last module as the way to go. */
export function parsePath(text: string): { readonly depth: number; readonly path: readonly string[] } {
  const keys = text.split("/");
  const last = keys.lastIndexOf(MODULE_KEY);
  return { depth: keys.length, path: last < 0 ? keys : keys.slice(last) };
}

/**
 * The path of a worker that a pool is about to make.
 *
 * @throws {RangeError} If managers nest too deep.
 */
export function childPath(own: string | undefined, key: string): string {
  const path = own === undefined ? key : `${own}/${key}`;
  if (path.split("/").length <= MAX_DEPTH) return path;
  throw new RangeError(
    `Cannot start a worker ${MAX_DEPTH + 1} managers deep (${path}): a program that starts its pool before it asks ` +
      "whether it is a worker becomes a manager in each of them",
  );
}

/**
 * Checks a pool's name, which stands in paths.
 *
 * @throws {TypeError} If it cannot.
 */
export function checkName(name: string): string {
  if (/^[A-Za-z_][\w.-]*$/.test(name)) return name;
  throw new TypeError(
    `Cannot name a pool '${name}': a name is a letter or '_', then letters, digits, '_', '.' and '-'`,
  );
}
