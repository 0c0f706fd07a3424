/**
 * Runs a configuration file in a process of its own, and prints what it exports by default as JSON, or why it cannot. The
 * last line is the answer, and begins with one of the marks.
 *
 * @module
 */

import { writeSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { FAILED, READ } from "./config_marks.ts";

const file = process.argv[2] ?? "";
try {
  const { default: config }: { readonly default?: unknown } = await import(file);
  writeSync(1, `\n${READ}${JSON.stringify(await config, plain) ?? "null"}\n`);
  process.exit(0); // whatever it left open is not waited for
} catch (error) {
  writeSync(1, `\n${FAILED}${describe(error)}\n`);
  process.exit(1);
}

/** JSON would drop in silence what is none. */
function plain(key: string, value: unknown): unknown {
  if (value === null || typeof value === "string" || typeof value === "boolean" || value === undefined) return value;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  if (typeof value === "object" && (Array.isArray(value) || isPlain(value))) return value;
  const what = typeof value === "object"
    ? `an object of the class ${value.constructor.name}`
    : `${typeof value} ${String(value)}`;
  const where = key === "" ? "what it exports by default" : `'${key}'`;
  throw new TypeError(`${where} must be plain data, as JSON has it, and is ${what.split("\n")[0]}`);
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** With the line of the file, where the error knows it. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const [message = ""] = error.message.split("\n");
  const line = lineOf(error);
  return line === undefined || message.includes(`:${line}`) ? message : `line ${line}: ${message}`;
}

/** Bun's errors of syntax have a position, all others a stack. */
function lineOf(error: Error): number | undefined {
  if ("position" in error && typeof error.position === "object" && error.position !== null) {
    if ("line" in error.position && typeof error.position.line === "number") return error.position.line;
  }
  const frame = (error.stack ?? "").split("\n").find((each) =>
    each.includes(file) || each.includes(fileURLToPath(file))
  );
  const [, line] = /:(\d+)(:\d+)?\)?$/.exec(frame ?? "") ?? [];
  return line === undefined ? undefined : Number(line);
}
