/**
 * The part of Bun that `bun.ts` uses, so that programs for Deno check without the types of Bun. Types only.
 * `tests/types/bun_api.ts` compares it with `bun-types`.
 *
 * @module
 */
import type { Signal } from "../src/types.ts";

/** The global `Bun`. */
export interface BunRuntime {
  /** Path of the main module. */
  readonly main: string;
  /** Whether this is the thread that the program began with. */
  readonly isMainThread: boolean;
  /** Starts a process. */
  spawn(command: string[], options: BunSpawnOptions): BunChild;
  /** Listens on a Unix socket. */
  listen(options: { unix: string; socket: BunSocketHandlers }): BunListener;
  /** Connects to a Unix socket. */
  connect(options: { unix: string; socket: BunSocketHandlers }): Promise<BunSocket>;
}

/** The global `process`. */
export interface BunProcess {
  /** Process id. */
  readonly pid: number;
  /** Path of the executable. */
  readonly execPath: string;
  /** Executable, main module, arguments. */
  readonly argv: string[];
  /** Flags of Bun itself. */
  readonly execArgv: string[];
  /** The environment. */
  readonly env: Record<string, string | undefined>;
  /** The working directory. */
  cwd(): string;
  /** Sends a signal; throws with a `code`. */
  kill(pid: number, signal: Signal): unknown;
  /** Listens for a signal. */
  on(signal: Signal | "exit", listener: () => void): unknown;
  /** Stops listening. */
  off(signal: Signal | "exit", listener: () => void): unknown;
  /** Ends the process. */
  exit(code: number): never;
  /** A module of Node, without an import. */
  getBuiltinModule(name: "node:fs"): BunFileSystem;
}

/** The part of `node:fs`. */
export interface BunFileSystem {
  /** Gives a file to another user. */
  chownSync(path: string, uid: number, gid: number): void;
  /** Reads a whole file as text. */
  readFileSync(path: string, encoding: "utf8"): string;
  /** Makes a directory of mode 0700. */
  mkdtempSync(prefix: string): string;
  /** Removes a file or directory. */
  rmSync(path: string, options: { recursive: boolean; force: boolean }): void;
  /** Writes to a descriptor; gives the number of bytes. */
  writeSync(descriptor: number, bytes: Uint8Array): number;
}

/** Where output goes. */
export type BunStdio = "inherit" | "ignore" | "pipe";

/** Options of `Bun.spawn`. */
export interface BunSpawnOptions {
  /** The whole environment. */
  env: Record<string, string | undefined>;
  /** A session of its own. */
  detached: boolean;
  /** Standard input, output and error, and what the process finds at 3 and up. */
  stdio: ["pipe" | "ignore", BunStdio, BunStdio, ...number[]];
  /** Working directory. */
  cwd?: string;
  /** User. */
  uid?: number;
  /** Group. */
  gid?: number;
}

/** What a signal is called where {@linkcode Signal} has no name for it. */
export type BunOtherSignal =
  | "SIGBREAK"
  | "SIGINFO"
  | "SIGIOT"
  | "SIGLOST"
  | "SIGPOLL"
  | "SIGPWR"
  | "SIGSTKFLT"
  | "SIGUNUSED";

/** A child process. */
export interface BunChild {
  /** Process id. */
  readonly pid: number;
  /** Exit code, 128+n after a signal. */
  readonly exited: Promise<number>;
  /** The signal it died of; a number if that has no name. */
  readonly signalCode: Signal | BunOtherSignal | number | null;
  /** Its standard input, if a pipe. */
  readonly stdin: BunSink | number | undefined;
  /** Its standard output, if a pipe. */
  readonly stdout: ReadableStream<Uint8Array<ArrayBuffer>> | number | undefined;
  /** Its standard error, if a pipe. */
  readonly stderr: ReadableStream<Uint8Array<ArrayBuffer>> | number | undefined;
  /** No longer keeps the process alive. */
  unref(): void;
}

/** A pipe to a child. */
export interface BunSink {
  /** Takes text. */
  write(text: string): number | Promise<number>;
  /** Hands over what was taken. */
  flush(): number | void | Promise<number | void>;
}

/** A listening socket. */
export interface BunListener {
  /** Stops listening, and removes the file. */
  stop(): void;
  /** No longer keeps the process alive. */
  unref(): void;
}

/** A connected socket. */
export interface BunSocket {
  /** Gives the number of bytes taken, negative when closed. */
  write(bytes: Uint8Array): number;
  /** Closes. */
  end(): unknown;
  /** Reads no more. */
  pause(): void;
  /** Reads again. */
  resume(): void;
  /** Keeps the process alive. */
  ref(): void;
  /** No longer keeps the process alive. */
  unref(): void;
}

/** What a socket tells. */
export interface BunSocketHandlers {
  /** Connected. */
  open(socket: BunSocket): void;
  /** Bytes came. */
  data(socket: BunSocket, chunk: Uint8Array): void;
  /** Takes bytes again. */
  drain(socket: BunSocket): void;
  /** Closed, by either side. */
  close(socket: BunSocket): void;
  /** Failed; `close` follows. */
  error(socket: BunSocket, error: Error): void;
}
