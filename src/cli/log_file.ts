/**
 * The log in a file, which can be moved away (logrotate) and is begun anew when it is told.
 *
 * @module
 */

import { type FileHandle, open } from "node:fs/promises";
import { describeError } from "../events.ts";
import { UsageError } from "./usage_error.ts";

/** For its user, and a group that is to read it. */
const MODE = 0o640;

/** A file that is appended to. */
export class LogFile {
  readonly path: string;
  #file: FileHandle;
  /** The one to be written to from the next write on. */
  #next: FileHandle | undefined;

  /**
   * Opens the file.
   *
   * @throws {UsageError} If it cannot be.
   */
  static async open(path: string): Promise<LogFile> {
    try {
      return new LogFile(path, await openForAppending(path));
    } catch (error) {
      throw new UsageError(`Cannot use ${path} for --log-file: ${describeError(error)}`);
    }
  }

  private constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  /** Appends some bytes, and gives how many. One call at a time. */
  async write(bytes: Uint8Array): Promise<number> {
    const next = this.#next;
    if (next !== undefined) {
      this.#next = undefined;
      await this.#file.close().catch(() => {});
      this.#file = next;
    }
    return (await this.#file.write(bytes)).bytesWritten;
  }

  /** Begins a new file at the path, if the old one is not there any more. */
  async reopen(): Promise<void> {
    const file = await openForAppending(this.path);
    await this.#next?.close();
    this.#next = file;
  }
}

/** One that is made has its mode whatever the umask is, and one that was there keeps its own. */
async function openForAppending(path: string): Promise<FileHandle> {
  const made = await open(path, "ax", MODE).catch(() => undefined);
  if (made === undefined) return await open(path, "a", MODE);
  await made.chmod(MODE);
  return made;
}
