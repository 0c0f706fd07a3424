/**
 * Watches the directories of files. An editor may put another file in the place of one, and a tool another directory.
 *
 * @module
 */

import { type FSWatcher, statSync, watch } from "node:fs";
import { basename, dirname, join } from "node:path";
import { isAbsence } from "./file_states.ts";

interface Watched {
  /** Tells the directory from another of that name. */
  readonly identity: string;
  readonly watcher: FSWatcher;
}

/** What is told. */
export interface DirectoriesOptions {
  /** Something has happened to one of the files, or to what they are in. */
  changed(): void;
  /** A directory cannot be watched. */
  failed(directory: string, error: unknown): void;
}

/** The directories of some files. */
export class Directories implements Disposable {
  readonly #options: DirectoriesOptions;
  readonly #watched = new Map<string, Watched>();
  /** The files, and all that they are in. */
  #names: ReadonlySet<string> = new Set();

  constructor(options: DirectoriesOptions) {
    this.#options = options;
  }

  /** Watches the directories of these files from here on, or the nearest one above that is there; and no others. */
  watch(files: readonly string[]): void {
    const wanted = new Map([...new Set(files.map((file) => dirname(file)))].map(existing));
    this.#names = new Set(files.flatMap(withAbove));
    for (const [path, { identity, watcher }] of this.#watched) {
      if (wanted.get(path) !== identity) this.#close(path, watcher);
      // On Deno the end of one watcher would be that of the next, if it began at once: it does at the next call.
      if (wanted.has(path) && wanted.get(path) !== identity) this.#options.changed();
      wanted.delete(path);
    }
    for (const [path, identity] of wanted) this.#open(path, identity);
  }

  /** Watches nothing any more. */
  [Symbol.dispose](): void {
    for (const [path, { watcher }] of this.#watched) this.#close(path, watcher);
  }

  #open(path: string, identity: string): void {
    try {
      const watcher = watch(path, (_, name) => {
        if (name === null || name === basename(path) || this.#names.has(join(path, name))) this.#options.changed();
      });
      watcher.on("error", (error) => {
        if (this.#watched.get(path)?.watcher !== watcher) return;
        this.#close(path, watcher);
        this.#fail(path, error);
      });
      this.#watched.set(path, { identity, watcher });
    } catch (error) {
      this.#fail(path, error);
    }
  }

  #close(path: string, watcher: FSWatcher): void {
    this.#watched.delete(path);
    watcher.close();
  }

  #fail(path: string, error: unknown): void {
    if (isAbsence(error)) this.#options.changed();
    else this.#options.failed(path, error);
  }
}

function withAbove(path: string): readonly string[] {
  const above = dirname(path);
  return above === path ? [path] : [path, ...withAbove(above)];
}

/** One that cannot be looked at cannot be watched either, which says why. */
function existing(path: string): readonly [path: string, identity: string] {
  try {
    const { ino, birthtimeMs } = statSync(path); // a new directory may get the number of one that is gone
    return [path, `${ino} ${birthtimeMs}`];
  } catch (error) {
    return isAbsence(error) && dirname(path) !== path ? existing(dirname(path)) : [path, ""];
  }
}
