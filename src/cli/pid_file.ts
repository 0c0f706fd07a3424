/**
 * The pid file: locked for as long as its manager lives, so that no two share it, and none that is gone keeps it.
 *
 * @module
 */

import { lstatSync, readFileSync, rmSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { currentLibc } from "../../runtimes/current_libc.ts";
import type { CommandLineHost, LockedFile } from "./host.ts";
import { inWordsOfFile } from "./system_error.ts";
import { UsageError } from "./usage_error.ts";

/** No process id is longer. */
const MAX_BYTES = 32;

/** How often a file is tried that is removed by the manager before, as it ends. */
const TRIES = 10;

/** This manager's pid file. */
export class PidFile {
  readonly #path: string;
  readonly #file: LockedFile;

  /**
   * Takes the file, unless another manager has it: undefined then.
   *
   * @throws {UsageError} If it cannot be written.
   */
  static take(line: CommandLineHost, path: string, pid: number): PidFile | undefined {
    const absolute = resolve(line.cwd(), path);
    for (let left = TRIES; left > 0; left--) {
      const file = attempt(path, () => {
        refuseOther(path, absolute);
        return line.lock(absolute, currentLibc);
      });
      if (file === undefined) return undefined;
      if (statSync(absolute, { throwIfNoEntry: false })?.ino === file.inode) {
        file.replace(`${pid}\n`);
        return new PidFile(absolute, file);
      }
      file.release();
    }
    return undefined;
  }

  private constructor(path: string, file: LockedFile) {
    this.#path = path;
    this.#file = file;
  }

  /** Leaves the file to the manager that takes over. */
  leave(): void {
    this.#file.release();
  }

  /** Removes the file. */
  [Symbol.dispose](): void {
    if (statSync(this.#path, { throwIfNoEntry: false })?.ino === this.#file.inode) rmSync(this.#path, { force: true });
    this.#file.release();
  }
}

/** A file that was named by mistake is not to be lost. */
function refuseOther(path: string, absolute: string): void {
  const found = lstatSync(absolute, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (found.isDirectory()) {
    throw new UsageError(`Cannot use ${path} for --pid-file: it is a directory; name a file in it`);
  }
  const isOther = !found.isFile() || found.size > MAX_BYTES || !/^(\d+\n?)?$/.test(readFileSync(absolute, "utf8"));
  if (isOther) {
    throw new UsageError(`Cannot use ${path} for --pid-file: it is there and holds no process id; name another`);
  }
}

function attempt<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`Cannot use ${path} for --pid-file: ${inWordsOfFile(error)}`);
  }
}

/** Says who has a pid file. */
export function pidFileTaken(line: CommandLineHost, path: string): UsageError {
  const pid = readPid(resolve(line.cwd(), path));
  const who = pid === undefined ? "another manager" : `the manager pid=${pid}`;
  return new UsageError(`Cannot use ${path} for --pid-file: ${who} has it; stop that one, or name another file`);
}

function readPid(path: string): number | undefined {
  try {
    const pid = /^(\d+)\n/.exec(readFileSync(path, "utf8"))?.[1];
    return pid === undefined ? undefined : Number(pid);
  } catch {
    return undefined;
  }
}
