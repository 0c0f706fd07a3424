/**
 * What the command line asks of a runtime on top of `ProcessHost`. `runtimes/deno_cli.ts` and `runtimes/bun_cli.ts`
 * implement it; only the command line loads them.
 *
 * @module
 */

import type { Libc } from "../libc.ts";

/** A standard stream that can be written to. */
export type OutputStream = "stdout" | "stderr";

/** A file that this process has locked, and no other. */
export interface LockedFile {
  /** Tells it from another file of the same name. */
  readonly inode: number;
  /** Puts a line in the place of what it holds; whoever reads meanwhile finds the one or the other as the first. */
  replace(text: string): void;
  /** Closes it, which unlocks it. */
  release(): void;
}

/** A file that is appended to. */
export interface AppendedFile {
  /**
   * Appends some of `bytes` and gives how many. However long the disk takes, everything else in this process goes on
   * meanwhile. Rejects with an error that has a `code`. One call at a time.
   */
  write(bytes: Uint8Array): Promise<number>;
  /** Closes it. */
  close(): Promise<void>;
}

/** The process as the one who typed the command sees it. */
export interface CommandLineHost {
  /** The arguments of the program, its `--` included. */
  readonly args: readonly string[];
  /** The runtime and its version: `deno 2.9.6`. */
  readonly version: string;
  /** The working directory. */
  cwd(): string;
  /** Whether a standard stream is a terminal. */
  isTerminal(stream: "stdin" | OutputStream): boolean;
  /**
   * Writes some of `bytes` and gives how many. However full the stream is, everything else in this process goes on
   * meanwhile. Rejects with an error that has a `code` (`EPIPE`, `EAGAIN`). One call at a time for each stream.
   */
  write(stream: OutputStream, bytes: Uint8Array): Promise<number>;
  /** Opens a file to append to. One that is made has that mode, whatever the umask is; one that is there keeps its own. */
  append(path: string, mode: number): Promise<AppendedFile>;
  /**
   * Opens a file, makes it if need be, and locks it (flock(2)) until it is released or this process ends. Undefined if
   * another process has locked it; throws if it cannot be opened.
   *
   * @param openLibc Called where the runtime cannot lock a file by itself.
   */
  lock(path: string, openLibc: () => Libc): LockedFile | undefined;
}
