/**
 * What the command line asks of a runtime on top of `ProcessHost`. `runtimes/deno_cli.ts` and `runtimes/bun_cli.ts`
 * implement it; only the command line loads them.
 *
 * @module
 */

/** A standard stream that can be written to. */
export type OutputStream = "stdout" | "stderr";

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
  /** Sets a variable in the environment of this process, which workers inherit. */
  setEnv(name: string, value: string): void;
}
