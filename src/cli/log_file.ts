/**
 * The log in a file, which can be moved away (logrotate) and is begun anew when it is told.
 *
 * @module
 */

import type { AppendedFile, CommandLineHost } from "./host.ts";
import { inWordsOfFile } from "./system_error.ts";
import { UsageError } from "./usage_error.ts";

/** For its user, and a group that is to read it. */
const MODE = 0o640;

/** A file that is appended to. */
export class LogFile {
  readonly path: string;
  readonly #line: Pick<CommandLineHost, "append">;
  #file: AppendedFile;
  /** The one to be written to from the next write on. */
  #next: AppendedFile | undefined;
  /** The write in hand. */
  #writing: Promise<unknown> = Promise.resolve();

  /**
   * Opens the file.
   *
   * @throws {UsageError} If it cannot be.
   */
  static async open(line: Pick<CommandLineHost, "append">, path: string): Promise<LogFile> {
    try {
      return new LogFile(line, path, await line.append(path, MODE));
    } catch (error) {
      throw new UsageError(`Cannot use ${path} for --log-file: ${inWordsOfFile(error)}`);
    }
  }

  private constructor(line: Pick<CommandLineHost, "append">, path: string, file: AppendedFile) {
    this.#line = line;
    this.path = path;
    this.#file = file;
  }

  /** Appends some bytes, and gives how many. One call at a time. */
  write(bytes: Uint8Array): Promise<number> {
    const writing = this.#append(bytes);
    this.#writing = writing.catch(() => {});
    return writing;
  }

  /** Begins a new file at the path, if the old one is not there any more. To that one nothing is written from then on. */
  async reopen(): Promise<void> {
    const file = await this.#line.append(this.path, MODE);
    const unused = this.#next;
    this.#next = file; // before anything is waited for, since a write may come meanwhile
    await unused?.close();
    await this.#writing;
  }

  async #append(bytes: Uint8Array): Promise<number> {
    const next = this.#next;
    if (next !== undefined) {
      this.#next = undefined;
      await this.#file.close().catch(() => {});
      this.#file = next;
    }
    return await this.#file.write(bytes);
  }
}
