/**
 * What a manager hands its workers as JSON.
 *
 * @module
 */

import { show } from "./checks.ts";

/**
 * Checks that `data` reaches a worker as it is, and gives it as JSON.
 *
 * @throws {TypeError} Names the first part that JSON would lose or change.
 */
export function encodeData(data: unknown): string {
  checkData(data, "data");
  return JSON.stringify(data ?? null);
}

/**
 * Checks that a value reaches a worker as it is; nothing reaches it as null.
 *
 * @throws {TypeError} Names the first part that JSON would lose or change.
 */
export function checkData(value: unknown, name: string): void {
  if (value !== undefined) checkJson(value, name, []);
}

function checkJson(value: unknown, path: string, above: readonly object[]): void {
  if (value === null || typeof value === "string" || typeof value === "boolean") return;
  if (typeof value === "number" && Number.isFinite(value)) return;
  if (typeof value !== "object") {
    throw new TypeError(`Cannot send ${path} to workers: ${show(value)} does not survive JSON`);
  }
  if (above.includes(value)) throw new TypeError(`Cannot send ${path} to workers: it contains itself`);
  const within = [...above, value];
  if (Array.isArray(value)) return value.forEach((item, index) => checkJson(item, `${path}[${index}]`, within));
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    throw new TypeError(`Cannot send ${path} to workers: ${show(value)} does not survive JSON`);
  }
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined) checkJson(item, `${path}.${key}`, within);
  }
}
