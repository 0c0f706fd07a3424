/**
 * What files hold, and which of them hold something else than before.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";

interface FileState {
  /** As long as this is the same, so is the content. */
  readonly stamp: string;
  readonly modifiedMs: number;
  readonly content: string;
}

const ABSENT: FileState = { stamp: "", modifiedMs: -Infinity, content: "" };

/** How often a file is read anew that changes under it. */
const TRIES = 5;

/** How many files are read at a time. */
const AT_A_TIME = 64;

/** Knows what some files held when it looked last. */
export class FileStates {
  readonly #unreadable: (path: string, error: unknown) => void;
  #known: ReadonlyMap<string, FileState> = new Map();

  /** @param unreadable Told of a file that is there, or may be, and cannot be read. */
  constructor(unreadable: (path: string, error: unknown) => void) {
    this.#unreadable = unreadable;
  }

  /**
   * Looks at files, and gives those that hold something else than when it looked last. One that it sees for the first time
   * is among them if it was modified after `sinceMs`. The others are forgotten.
   */
  async look(paths: readonly string[], sinceMs: number): Promise<readonly string[]> {
    const states = new Map<string, FileState>();
    for (let at = 0; at < paths.length; at += AT_A_TIME) {
      const some = paths.slice(at, at + AT_A_TIME);
      await Promise.all(some.map(async (path) => states.set(path, await this.#read(path))));
    }
    const before = this.#known;
    this.#known = states;
    return paths.filter((path) => {
      const [old, now] = [before.get(path), states.get(path)];
      return old === undefined ? (now?.modifiedMs ?? 0) > sinceMs : old.content !== now?.content;
    });
  }

  async #read(path: string): Promise<FileState> {
    const before = this.#known.get(path);
    try {
      let seen = await stampOf(path);
      if (before?.stamp === seen.stamp) return before;
      // What is saved between the two would pass for what was there before.
      for (let left = TRIES; left > 0; left--) {
        const content = createHash("sha256").update(await readFile(path)).digest("base64");
        const then = await stampOf(path);
        if (then.stamp === seen.stamp) return { ...seen, content };
        seen = then;
      }
      return { ...seen, stamp: "", content: "" }; // it is being written all the time
    } catch (error) {
      if (isAbsence(error)) return ABSENT;
      this.#unreadable(path, error);
      return before ?? ABSENT;
    }
  }
}

async function stampOf(path: string): Promise<Pick<FileState, "stamp" | "modifiedMs">> {
  const { ino, size, mtimeMs: modifiedMs } = await stat(path);
  return { stamp: `${ino} ${size} ${modifiedMs}`, modifiedMs };
}

/** Whether an error says that there is no such file. */
export function isAbsence(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}
