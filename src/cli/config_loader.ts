/**
 * Runs a configuration file in a process of its own, and prints what it exports by default as JSON, or why it cannot. The
 * last line is the answer, and begins with one of the marks. It ends with the process that asks for it, of which it is
 * told the pid: a Ctrl-C does not reach it.
 *
 * @module
 */

import { writeSync } from "node:fs";
import { dirname, relative } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { offerPackage } from "../../runtimes/current_config_cli.ts";
import { FAILED, READ } from "./config_marks.ts";

/** How often it is looked whether somebody waits still. */
const LOOK_MS = 200;

const [, , file = "", reader] = process.argv;
const own = fileURLToPath(file);
const loader = fileURLToPath(import.meta.url);
const isAlone = (): boolean => reader !== String(process.ppid);
setInterval(() => void (isAlone() && process.exit(1)), LOOK_MS).unref();
try {
  offerPackage(dirname(own));
  const { default: config }: { readonly default?: unknown } = await import(file);
  say(`${READ}${JSON.stringify(await config, plain) ?? "null"}`);
  process.exit(0); // whatever it left open is not waited for
} catch (error) {
  say(`${FAILED}${describe(error)}`);
  process.exit(1);
}

function say(answer: string): void {
  try {
    writeSync(1, `\n${answer}\n`);
  } catch (error) {
    if (!isAlone()) throw error;
  }
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

/** With the place, where the error knows it: a line of the file, or of one that it imports. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const [message = ""] = error.message.split("\n");
  const place = placeOf(error);
  if (place === undefined || message.includes(`:${place.line}`)) return message;
  const where = place.path === own ? "" : `${relative(dirname(own), place.path)}, `;
  return `${where}line ${place.line}: ${message}`;
}

interface Place {
  readonly path: string;
  readonly line: number;
}

/** Bun's errors of syntax have a position, all others a stack. */
function placeOf(error: Error): Place | undefined {
  if ("position" in error && typeof error.position === "object" && error.position !== null) {
    const { position } = error;
    if ("line" in position && typeof position.line === "number") {
      return { path: "file" in position ? String(position.file) : own, line: position.line };
    }
  }
  const places = (error.stack ?? "").split("\n").flatMap(placeIn).filter(({ path }) => path !== loader);
  return places.find(({ path }) => path === own) ?? places[0];
}

/** A line of a stack ends with a path or an address, the line and the column. */
function placeIn(frame: string): Place | [] {
  const [, where = "", line] = /((?:file:\/)?\/[^()]*?):(\d+):\d+\)?$/.exec(frame) ?? [];
  if (line === undefined) return [];
  return { path: where.startsWith("file:") ? fileURLToPath(where) : where, line: Number(line) };
}
