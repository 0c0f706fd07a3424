/**
 * The words every layer shares: signals, exit statuses, workers, commands, and the {@linkcode ProcessHost} that a
 * runtime implements. This file holds types only and costs nothing at run time.
 *
 * @module
 */

import type { SocketAddress } from "./address.ts";

/** A signal as its name, `SIGTERM` and its kin. Both runtimes know all of these on Linux and macOS. */
export type Signal =
  | "SIGABRT"
  | "SIGALRM"
  | "SIGBUS"
  | "SIGCHLD"
  | "SIGCONT"
  | "SIGFPE"
  | "SIGHUP"
  | "SIGILL"
  | "SIGINT"
  | "SIGIO"
  | "SIGKILL"
  | "SIGPIPE"
  | "SIGPROF"
  | "SIGQUIT"
  | "SIGSEGV"
  | "SIGSTOP"
  | "SIGSYS"
  | "SIGTERM"
  | "SIGTRAP"
  | "SIGTSTP"
  | "SIGTTIN"
  | "SIGTTOU"
  | "SIGURG"
  | "SIGUSR1"
  | "SIGUSR2"
  | "SIGVTALRM"
  | "SIGWINCH"
  | "SIGXCPU"
  | "SIGXFSZ";

/**
 * How a process ended: by `exit(code)`, or by a signal nobody caught. A signal without a name in {@linkcode Signal} (a
 * real-time signal, `SIGPWR`) is told as an exit with code 128+n, as a shell does.
 */
export type ExitStatus =
  | { readonly type: "exited"; readonly code: number }
  | { readonly type: "signaled"; readonly signal: Signal };

/** A value that survives JSON: what `data` may hold on its way to a worker. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json };

/** The runtime a worker module runs on: one of the two by name, or the path of an executable of either. */
export type RuntimeName = "deno" | "bun";

/** Where a process's standard output or error goes: shared with the parent, dropped, or read chunk by chunk. */
export type Output = "inherit" | "null" | OutputReader;

/**
 * Takes what a process prints. The next chunk is read only after the returned promise has resolved, so that a slow
 * reader slows the writer and nothing piles up in between. What it throws is ignored: the process prints on. Called with
 * an empty chunk once, at the end of the stream.
 */
export type OutputReader = (chunk: Uint8Array) => void | Promise<void>;

/** What a process uses. */
export interface ProcessUsage {
  /** Its resident memory, in bytes. */
  readonly memoryBytes: number;
  /** The time it had a CPU so far, in milliseconds. */
  readonly cpuMs: number;
}

/** A process to start. */
export interface SpawnCommand {
  /** The program: a path, or a name found along `PATH`. */
  readonly command: string;
  /** Its arguments, without the program's own name. */
  readonly args: readonly string[];
  /** Variables added to the environment of this process, which the new one inherits. */
  readonly env: Readonly<Record<string, string>>;
  /** Whether the new process inherits nothing of the environment, so that `env` is all of it. @default {false} */
  readonly clearEnv?: boolean;
  /** The working directory; that of the parent by default. */
  readonly cwd?: string;
  /** User id to run as; needs root. */
  readonly uid?: number;
  /** Group id to run as; needs root. */
  readonly gid?: number;
  /** Standard output. @default {"inherit"} */
  readonly stdout?: Output;
  /** Standard error. @default {"inherit"} */
  readonly stderr?: Output;
  /** Standard input: nothing, or a pipe the parent writes to. @default {"null"} */
  readonly stdin?: "null" | "pipe";
  /** Descriptors of this process that the new one finds at 3, 4 and so on. @default none */
  readonly sockets?: readonly number[];
}

/** A process that was started. It leads a session and a process group of its own. */
export interface Child {
  /** Its process id. */
  readonly pid: number;
  /** Resolves once the process is gone and reaped; never rejects. */
  readonly exited: Promise<ExitStatus>;
  /** Writes to the process's standard input (`stdin: "pipe"` only); does nothing once that is closed. */
  writeStdin(text: string): void;
  /** From here on the process no longer keeps the parent's event loop alive. */
  unref(): void;
}

/** A timer that can be cancelled, and that can be told not to keep the process alive. */
export interface Timer extends Disposable {
  /** From here on the timer no longer keeps the process alive. */
  unref(): void;
}

/** One end of a control connection: a stream of bytes over a Unix socket. */
export interface ControlConnection {
  /**
   * Sends text or bytes, in order, buffering what the peer has not read yet. Bytes must not change until they are flushed.
   * Does nothing once the connection is closed.
   */
  send(data: string | Uint8Array): void;
  /** Resolves when everything sent so far has been handed to the kernel, or the connection is closed. */
  flush(): Promise<void>;
  /** Closes the connection, with what was not flushed dropped; the peer sees end of file. */
  close(): void;
  /** From here on the connection keeps the process alive (the state it starts in). */
  ref(): void;
  /** From here on the connection does not keep the process alive. */
  unref(): void;
}

/** What the owner of a control connection wants to hear. */
export interface ControlHandlers {
  /**
   * Bytes came in. They stand in `chunk` during the call only: its memory is used again for what comes next. No more are
   * read until the promise has resolved, if one is given.
   */
  data(chunk: Uint8Array): void | Promise<void>;
  /** The peer is gone, or {@linkcode ControlConnection.close} was called. Called once; nothing else is after it. */
  closed(): void;
}

/** A listening control socket. Disposing of it closes it and removes its file; open connections stay. */
export interface ControlListener extends Disposable {
  /** From here on the listener does not keep the process alive. */
  unref(): void;
}

/** How this program was started, so that a worker can be started the same way. */
export interface SelfCommand {
  /** The runtime's executable, as found when the program began. */
  readonly command: string;
  /** The arguments that run this very program again, flags of the runtime included. */
  readonly args: readonly string[];
  /** The directory the program was started in. */
  readonly cwd: string;
}

/** How this program was started, so that it can be started again as the manager it is. */
export interface ManagerCommand extends SelfCommand {
  /** Its environment as it was then; undefined where that cannot be read. */
  readonly env: Readonly<Record<string, string>> | undefined;
}

/** What a Deno worker must be allowed for its control connection, and what the user asked for on top. */
export interface ControlGrant {
  /** Path of the worker's control socket. */
  readonly controlPath: string;
  /** Permission flags from the user (`--allow-net`, `-A`, ...) that replace the manager's own, if any. */
  readonly denoArgs?: readonly string[];
}

/** A worker module to be started on a runtime of choice. */
export interface ModuleCommand extends ControlGrant {
  /** The worker module: an absolute `file:`, `http:` or `https:` URL. */
  readonly module: string;
  /** Arguments for the worker's program. */
  readonly args: readonly string[];
  /** The runtime; the manager's own by default. */
  readonly runtime?: RuntimeName;
  /** The executable of that runtime; the manager's own, or found along `PATH`. */
  readonly executable?: string;
}

/**
 * Everything the manager and the worker side ask of a runtime, and nothing else. `runtimes/deno.ts` and
 * `runtimes/bun.ts` implement it; the tests' fake host implements it with a virtual clock.
 */
export interface ProcessHost {
  /** The runtime. */
  readonly name: RuntimeName;
  /** This process's id. */
  readonly pid: number;
  /** How many CPUs this process may use (affinity counted). */
  readonly cpuCount: number;
  /** The directory the program was started in. */
  readonly directory: string;
  /** Whether a process that is started inherits each descriptor that is not close-on-exec, at the number it has here. */
  readonly inheritsDescriptors: boolean;
  /** Starts a process, in a session of its own. Throws a sentence when it cannot be started. */
  spawn(command: SpawnCommand): Child;
  /**
   * Sends `signal` to a process, or to a whole process group if `pid` is negative.
   * Returns false if there is no such process; throws a sentence if it may not be signalled.
   */
  kill(pid: number, signal: Signal): boolean;
  /** Whether {@linkcode spawn} has started this process, and its end was not told yet. */
  isChild(pid: number): boolean;
  /** What a process uses; undefined where that cannot be read: not on Linux, without permission, or it is gone. */
  usage(pid: number): ProcessUsage | undefined;
  /** Calls `listener` for each delivery of `signal` until disposed of; the default disposition then returns. */
  onSignal(signal: Signal, listener: () => void): Disposable;
  /** Whether this process ignores `signal`, as under `nohup`. False where that cannot be told. */
  isIgnored(signal: Signal): boolean;
  /** Calls `listener` as this process ends by itself, by `exit` or an exception, not by a signal; it cannot wait then. */
  onExit(listener: () => void): Disposable;
  /** Milliseconds on a monotonic clock. */
  now(): number;
  /**
   * Calls `callback` once, `delayMs` from now and never before {@linkcode now} has come that far. Any length goes,
   * beyond what the runtime's own timers can hold too.
   */
  setTimer(delayMs: number, callback: () => void): Timer;
  /** Reads an environment variable; undefined if it is unset or may not be read. Never prompts. */
  getEnv(name: string): string | undefined;
  /** Sets an environment variable, where that is allowed. */
  setEnv(name: string, value: string): void;
  /** Removes an environment variable, where that is allowed. */
  unsetEnv(name: string): void;
  /** How to run this program again as a worker. Rejects with a sentence for programs that cannot be run again. */
  selfCommand(grant: ControlGrant): Promise<SelfCommand>;
  /** How to run this program again as a manager. Rejects with a sentence for programs that cannot be run again. */
  managerCommand(): Promise<ManagerCommand>;
  /** How to run a worker module. Rejects with a sentence if that cannot be. */
  moduleCommand(command: ModuleCommand): Promise<SelfCommand>;
  /** Whether {@linkcode spawn} may start this program. Never prompts. */
  mayRun(command: string): boolean;
  /** Whether this is the main module. */
  isMain(module: URL): boolean;
  /**
   * Resolves with what the main module exports, once it has run to its end. Keeps the runtime from serving what that
   * exports by default; `address` is where it is served instead.
   */
  mainExports(address: SocketAddress | undefined): Promise<object>;
  /**
   * Makes a new directory that only this user may enter, for sockets, under `TMPDIR`, `/tmp` or `XDG_RUNTIME_DIR`: the
   * first where it can be made and its name leaves room for a socket's (Unix allows 107 bytes). Rejects with a sentence
   * if there is none. Remove it by {@linkcode removeDir}.
   */
  privateDir(): Promise<string>;
  /** Removes a directory made by {@linkcode privateDir} with what is in it; does nothing if it is gone. */
  removeDir(path: string): void;
  /** Listens on a Unix socket at `path`. */
  listenControl(path: string, accept: (connection: ControlConnection) => ControlHandlers): ControlListener;
  /** Connects to the Unix socket at `path`. */
  connectControl(path: string, handlers: ControlHandlers): Promise<ControlConnection>;
  /** Gives a file or directory to another user. */
  chown(path: string, uid: number, gid: number): void;
  /** Writes a line to standard error; never throws. */
  write(text: string): void;
  /** Ends this process. */
  exit(code: number): never;
}

/**
 * What the workers get for a signal the manager receives, as the values of Parallel::Prefork's `trap_signals`:
 * a signal for all of them at once; `{ signal, intervalMs }` for one worker every `intervalMs`;
 * `{ signal, replace: "before" }` for each worker once its replacement is ready; `null` for nothing. `start` returns by
 * all of these.
 */
export type Relay = Signal | StaggeredRelay | ReplacingRelay | null;

/** A signal that reaches one worker at a time. */
export interface StaggeredRelay {
  /** The signal the workers get. */
  readonly signal: Signal;
  /** Milliseconds between one worker and the next. */
  readonly intervalMs: number;
}

/**
 * Nobody is signalled when `start` returns: the next `start` replaces the workers one after the other, as
 * {@linkcode Prefork.reload} does, and each gets the signal once the worker that takes its place is ready.
 */
export interface ReplacingRelay {
  /** The signal a worker gets once its replacement is ready. */
  readonly signal: Signal;
  /** The replacement comes first. */
  readonly replace: "before";
}

/**
 * What the manager does for each signal it receives. False leaves one to the program, which listens for it by itself:
 * `start` goes on, and the manager does not die of it, as it does of SIGHUP, SIGINT and SIGQUIT that nobody traps.
 */
export type TrapSignals = Readonly<Partial<Record<Signal, Relay | false>>>;

/** The signals by which `start` returns, and what the workers get for each. */
export type Relays = Readonly<Partial<Record<Signal, Relay>>>;

/**
 * Where a worker stands in its life. `booting`: spawned, none of its own code runs yet. `standby`: it waits just before
 * its own code. `starting`: its code runs, but it is not ready, so signals for it are held. `ready`: it can handle
 * signals. `stopping`: it was told to stop.
 */
export type WorkerState = "booting" | "standby" | "starting" | "ready" | "stopping";

/** One worker, as seen by the manager. */
export interface WorkerInfo {
  /** Process id; 0 while the process is being made. */
  readonly pid: number;
  /** Its place in the pool, 0 to n-1: stable, and reused by the worker that replaces it. -1 while it stands by. */
  readonly slot: number;
  /** Which call of `start` or `reload` it was made under. */
  readonly generation: number;
  /** Where it stands. */
  readonly state: WorkerState;
  /** What it last gave to `setStatus`; `_` (idle) before that. */
  readonly status: string;
}

/** A worker that stands by, and what that costs. */
export interface StandbyInfo extends WorkerInfo {
  /** Undefined where it cannot be read. */
  readonly usage: ProcessUsage | undefined;
}

/** A program in any language, for `startCommand`. */
export interface WorkerCommand {
  /** The program: a path, or a name found along `PATH`. */
  readonly command: string;
  /** Its arguments. */
  readonly args?: readonly string[];
  /** Variables added to the manager's environment for it. */
  readonly env?: Readonly<Record<string, string>>;
  /** Its working directory; the manager's by default. */
  readonly cwd?: string;
}
