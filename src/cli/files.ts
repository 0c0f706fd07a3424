/**
 * Finds the files a command line names.
 *
 * @module
 */

import { accessSync, constants, existsSync, readdirSync, statSync } from "node:fs";
import { basename, delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { nearest } from "../nearest.ts";
import { meantBy } from "./parse_order.ts";
import { UsageError } from "./usage_error.ts";

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

/** The absolute path of a file that must be there. */
export function requireFile(what: string, path: string, cwd: string): string {
  const { absolute, isDirectory } = requirePath(what, path, cwd);
  if (isDirectory) throw new UsageError(`Cannot use '${path}' as ${what}: it is a directory`);
  return absolute;
}

/** The absolute path of a directory that must be there. */
export function requireDirectory(what: string, path: string, cwd: string): string {
  const { absolute, isDirectory } = requirePath(what, path, cwd);
  if (!isDirectory) throw new UsageError(`Cannot use '${path}' as ${what}: it is not a directory`);
  return absolute;
}

function requirePath(what: string, path: string, cwd: string) {
  const absolute = resolve(cwd, path);
  const stats = statSync(absolute, { throwIfNoEntry: false });
  if (stats === undefined) throw new UsageError(`Cannot find ${what} '${path}'${hint(absolute)}`);
  return { absolute, isDirectory: stats.isDirectory() };
}

/** The absolute path of a program, given as a path or as a name to look for along `PATH`; undefined if there is none. */
export function findProgram(program: string, cwd: string, path: string | undefined): string | undefined {
  if (program.includes("/")) return [resolve(cwd, program)].find(isExecutable);
  const directories = (path ?? "/usr/local/bin:/usr/bin:/bin").split(delimiter);
  return directories.map((directory) => resolve(cwd, directory, program)).find(isExecutable);
}

/** Says that there is no such program, and what may be wrong. */
export function noProgram(program: string, cwd: string): UsageError {
  if (!program.includes("/")) {
    return new UsageError(`Cannot find the command '${program}' along PATH: install it, or give its path`);
  }
  const absolute = resolve(cwd, program);
  const stats = statSync(absolute, { throwIfNoEntry: false });
  if (stats === undefined) return new UsageError(`Cannot find the command '${program}'${hint(absolute)}`);
  if (stats.isDirectory()) return new UsageError(`Cannot run '${program}': it is a directory`);
  return new UsageError(`Cannot run '${program}': it is not executable; chmod +x ${program} makes it so`);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The nearest name beside it, if there is one. */
function hint(absolute: string): string {
  try {
    // Short names are near to many others: whoever mistypes one gets its first letter right.
    const names = readdirSync(dirname(absolute)).filter((name) => name[0] === basename(absolute)[0]);
    const near = nearest(basename(absolute), names);
    return near === undefined ? "" : `; is it ${join(dirname(absolute), near)}?`;
  } catch {
    return `: there is no directory ${dirname(absolute)}`;
  }
}
