/**
 * Checks of what a user gave: each error is a sentence that names it.
 *
 * @module
 */

import { nearest } from "./nearest.ts";

/** More than any machine has room for, and few enough to be planned for in seconds. */
const MOST_WORKERS = 1_000_000;

/**
 * Refuses options that do not exist.
 *
 * @throws {TypeError} Names the option and the nearest one there is.
 */
export function checkKeys(what: string, options: object, known: readonly string[]): void {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`Cannot use ${show(options)} as the options of ${what}: give an object`);
  }
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    const near = nearest(key, known);
    throw new TypeError(`Unknown option '${key}' for ${what}${near ? `; did you mean '${near}'?` : ""}`);
  }
}

/** Checks a whole number. */
export function checkCount(name: string, value: number, least: number, most = Infinity): number {
  if (typeof value !== "number") throw new TypeError(`Cannot use '${name}': it must be a number, not ${show(value)}`);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  const range = most === Infinity ? `from ${least} on` : `from ${least} to ${most}`;
  throw new RangeError(`Cannot use '${name}': it must be a whole number ${range}, not ${value}`);
}

/** Checks how many processes there are to be. One more digit by mistake is not to stop the manager with planning them. */
export function checkWorkers(name: string, value: number): number {
  return checkCount(name, value, 0, MOST_WORKERS);
}

/** Checks a time in milliseconds. */
export function checkTime(name: string, value: number): number {
  if (typeof value !== "number") throw new TypeError(`Cannot use '${name}': it must be a number, not ${show(value)}`);
  if (value >= 0 && value < Infinity) return value;
  throw new RangeError(`Cannot use '${name}': it must be 0 or more milliseconds, not ${value}`);
}

/** Checks a time that may never come. */
export function checkSpan(name: string, value: number): number {
  return value === Infinity ? value : checkTime(name, value);
}

/** Checks a time that cannot be as short as one likes. */
export function checkLeast(name: string, value: number, least: number): number {
  if (checkTime(name, value) >= least) return value;
  throw new RangeError(`Cannot use '${name}': it must be ${least} or more milliseconds, not ${value}`);
}

/** A value in the words of an error. */
export function show(value: unknown): string {
  if (typeof value === "string") return `'${value}'`;
  if (typeof value === "object" && value !== null) return `an object of class ${value.constructor?.name ?? "null"}`;
  if (typeof value === "bigint") return `${value}n`;
  return typeof value === "function" ? "a function" : String(value);
}
