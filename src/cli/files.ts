/**
 * Finds the files a command line names.
 *
 * @module
 */

import { accessSync, closeSync, constants, existsSync, openSync, readdirSync, type Stats, statSync } from "node:fs";
import { basename, delimiter, dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { nearest } from "../nearest.ts";
import { meantBy } from "./parse_order.ts";
import { codeOf, inWords } from "./system_error.ts";
import { isForbidden, UsageError } from "./usage_error.ts";

/** What Deno can load a worker from, besides files. */
const SCHEMES = ["http:", "https:", "data:", "npm:", "jsr:"];

/** The address of a worker module, given as a path or as an address; a file must be there. */
export function requireModule(module: string, cwd: string): URL {
  // `C:` would be no URL; a name of two letters or more before the colon is a scheme.
  const scheme = /^[a-z][a-z0-9+.-]+:/i.exec(module)?.[0].toLowerCase();
  if (scheme === undefined) return pathToFileURL(requireWorker(module, cwd));
  if (scheme !== "file:" && !SCHEMES.includes(scheme)) {
    throw new UsageError(
      `Cannot use '${module}' as the worker: ${scheme} is none of file:, ${SCHEMES.join(", ")}; ` +
        `write './${module}' if it is a file`,
    );
  }
  const { url, path } = parseAddress(module);
  if (path !== undefined) requireFile("the worker", path, cwd);
  return url;
}

function parseAddress(module: string): { readonly url: URL; readonly path: string | undefined } {
  try {
    const url = new URL(module);
    return { url, path: url.protocol === "file:" ? fileURLToPath(url) : undefined };
  } catch {
    throw new UsageError(`Cannot use '${module}' as the worker: it is no valid URL`);
  }
}

/** Whoever mistypes a command names a worker by it. */
function requireWorker(path: string, cwd: string): string {
  const meant = existsSync(resolve(cwd, path)) ? undefined : meantBy(path);
  if (meant === undefined) return requireFile("the worker", path, cwd);
  throw new UsageError(`Cannot find the worker '${path}'; did you mean ${meant}?`);
}

/** The absolute path of a file that must be there, and that this user must be able to read. */
export function requireFile(what: string, path: string, cwd: string): string {
  const { absolute, stats } = requirePath(what, path, cwd);
  if (stats.isDirectory()) throw new UsageError(`Cannot use '${path}' as ${what}: it is a directory`);
  // To open a pipe is to take it from whoever reads it.
  if (stats.isFile()) {
    asUsage(`Cannot read ${what} '${path}'`, "let this user read it", () => closeSync(openSync(absolute, "r")));
  }
  return absolute;
}

/** The absolute path of a directory that must be there, and that this user must be able to enter. */
export function requireDirectory(what: string, path: string, cwd: string): string {
  const { absolute, stats } = requirePath(what, path, cwd);
  if (!stats.isDirectory()) throw new UsageError(`Cannot use '${path}' as ${what}: it is not a directory`);
  asUsage(`Cannot enter ${what} '${path}'`, "let this user enter it", () => statSync(`${absolute}/.`));
  return absolute;
}

function requirePath(what: string, path: string, cwd: string) {
  const absolute = resolve(cwd, path);
  const mend = "let this user enter the directories on the way there";
  const look = (): Stats | undefined => statSync(absolute, { throwIfNoEntry: false });
  const stats = asUsage(`Cannot look for ${what} '${path}'`, mend, look);
  if (stats === undefined) throw new UsageError(`Cannot find ${what} '${path}'${hint(absolute)}`);
  return { absolute, stats };
}

/** What the system says no to, as a mistake of whoever named the file; with what to do where this user may not. */
function asUsage<T>(failed: string, mend: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (isForbidden(error)) throw error;
    throw new UsageError(`${failed}: ${inWords(error)}${codeOf(error) === "EACCES" ? `; ${mend}` : ""}`);
  }
}

/** The absolute path of a program, given as a path or as a name to look for along `PATH`; undefined if there is none. */
export function findProgram(program: string, cwd: string, path: string | undefined): string | undefined {
  if (program.includes("/")) return [resolve(cwd, program)].find(isExecutable);
  const directories = (path ?? "/usr/local/bin:/usr/bin:/bin").split(delimiter);
  return directories.map((directory) => resolve(cwd, directory, program)).find(isExecutable);
}

/** Says that there is no such program, and what may be wrong. */
export function noProgram(program: string, cwd: string, what = "the command"): UsageError {
  if (!program.includes("/")) {
    return new UsageError(`Cannot find ${what} '${program}' along PATH: install it, or give its path`);
  }
  const { stats } = requirePath(what, program, cwd);
  if (stats.isDirectory()) return new UsageError(`Cannot run '${program}': it is a directory`);
  if (!isForNobody(stats)) return new UsageError(`Cannot run '${program}': this user may not execute it`);
  return new UsageError(`Cannot run '${program}': it is not executable; chmod +x ${program} makes it so`);
}

function isExecutable(path: string): boolean {
  try {
    const stats = statSync(path);
    return stats.isFile() && (isAccessible(path) || mayExecute(stats));
  } catch {
    return false;
  }
}

function isAccessible(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Deno's `accessSync` knows neither groups nor that root may do more. */
function mayExecute(stats: Stats): boolean {
  const user = process.getuid?.();
  if (user === 0) return !isForNobody(stats);
  const isOfGroup = [process.getgid?.(), ...process.getgroups?.() ?? []].includes(stats.gid);
  return (stats.mode & (user === stats.uid ? 0o100 : isOfGroup ? 0o010 : 0o001)) !== 0;
}

function isForNobody({ mode }: Stats): boolean {
  return (mode & 0o111) === 0;
}

/** The nearest name beside it, if there is one. */
function hint(absolute: string): string {
  try {
    // Short names are near to many others: whoever mistypes one gets its first letter right.
    const names = readdirSync(dirname(absolute)).filter((name) => name[0] === basename(absolute)[0]);
    const near = nearest(basename(absolute), names);
    return near === undefined ? "" : `; is it ${join(dirname(absolute), near)}?`;
  } catch {
    return existsSync(dirname(absolute)) ? "" : `: there is no directory ${dirname(absolute)}`;
  }
}
