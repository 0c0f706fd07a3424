/**
 * A host made of memory: its clock moves when a test says so, its processes do what a test says, nothing is real.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import type {
  ControlConnection,
  ControlGrant,
  ControlHandlers,
  ControlListener,
  ExitStatus,
  ManagerCommand,
  ModuleCommand,
  ProcessHost,
  ProcessUsage,
  RuntimeName,
  SelfCommand,
  Signal,
  SpawnCommand,
  Timer,
} from "../src/types.ts";
import { FakeProcess, type FakeProgram } from "./fake_process.ts";
import { FakeConnection } from "./fake_socket.ts";

export { FakeProcess, type FakeProgram } from "./fake_process.ts";

/** Thrown by {@linkcode FakeHost.exit}, which must not return. */
export class FakeExit extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`The fake host was told to exit with ${code}`);
    this.code = code;
  }
}

export interface FakeHostOptions {
  readonly name?: RuntimeName;
  readonly cpuCount?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** A file or directory: all that a test may ask about one. */
export interface FakeFile {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

interface FakeTimer {
  readonly due: number;
  readonly callback: () => void;
  referenced: boolean;
}

type Accept = (connection: ControlConnection) => ControlHandlers;

export class FakeHost implements ProcessHost {
  readonly name: RuntimeName;
  readonly pid = 1000;
  readonly cpuCount: number;
  readonly directory = "/fake";
  readonly inheritsDescriptors = false;
  readonly env: Map<string, string>;
  /** What a process of a given command does. Others live until they are killed. */
  readonly programs = new Map<string, FakeProgram>();
  /** What {@linkcode mainExports} gives. */
  exports: object = {};
  /** Called before each spawn; an error it returns is thrown instead. */
  spawnFailure: (command: SpawnCommand) => Error | undefined = () => undefined;
  /** How long the start of a process keeps this one busy. */
  spawnTakesMs = 0;
  /** What processes use, by their ids. */
  readonly usages = new Map<number, ProcessUsage>();
  /** Every process ever started, in order. */
  readonly processes: FakeProcess[] = [];
  /** Every signal sent, in order, to whomever. */
  readonly sent: { readonly pid: number; readonly signal: Signal }[] = [];
  /** Every text given to {@linkcode write}. */
  readonly written: string[] = [];
  /** Signals that this process ignores since its start. */
  readonly ignored = new Set<Signal>();
  readonly exitListeners = new Set<() => void>();
  /** Files and directories by path. */
  readonly files = new Map<string, FakeFile>();
  /** The signal that would have ended this process: raised with nobody listening. */
  diedOf: Signal | undefined;
  exitCode: number | undefined;

  #now = 0;
  #nextPid = 1001;
  #nextDirectory = 1;
  readonly #timers = new Set<FakeTimer>();
  readonly #listeners = new Map<Signal, Set<() => void>>();
  readonly #sockets = new Map<string, Accept>();

  constructor(options: FakeHostOptions = {}) {
    this.name = options.name ?? "deno";
    this.cpuCount = options.cpuCount ?? 4;
    this.env = new Map(Object.entries(options.env ?? {}));
  }

  // --- what a test does ---

  /** Lets `ms` pass: runs the timers that fall due, each at its time, with all that follows from it. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (let next = this.#nextTimer(end); next !== undefined; next = this.#nextTimer(end)) {
      this.#now = Math.max(this.#now, next.due);
      this.#timers.delete(next);
      next.callback();
      await settle();
    }
    this.#now = end;
  }

  /** Lets `ms` pass in which the host's own process stands still. */
  standStill(ms: number): void {
    this.#now += ms;
  }

  /** Sends a signal to the host's own process. */
  raise(signal: Signal): void {
    const listeners = [...this.#listeners.get(signal) ?? []];
    if (listeners.length === 0) this.diedOf ??= signal;
    for (const listener of listeners) listener();
  }

  /** Whether somebody listens for a signal. */
  listensFor(signal: Signal): boolean {
    return (this.#listeners.get(signal)?.size ?? 0) > 0;
  }

  /** Ends a process. */
  exitChild(pid: number, status: ExitStatus | number): void {
    this.process(pid).end(typeof status === "number" ? { type: "exited", code: status } : status);
  }

  /** A process by its id. */
  process(pid: number): FakeProcess {
    const found = this.processes.find((each) => each.pid === pid);
    if (found === undefined) throw new Error(`The fake host never started a process ${pid}`);
    return found;
  }

  /** The processes that live. */
  get alive(): FakeProcess[] {
    return this.processes.filter((each) => each.alive);
  }

  /** How many timers are set; of which kind `referenced` tells. */
  timerCount(referenced?: boolean): number {
    return [...this.#timers].filter((timer) => referenced === undefined || timer.referenced === referenced).length;
  }

  /** Starts a process in the group of another, as a child of it would be. */
  fork(parent: FakeProcess, program?: FakeProgram): FakeProcess {
    return this.#start(parent.command, parent.env, parent.group, program);
  }

  // --- what a host does ---

  spawn(command: SpawnCommand): FakeProcess {
    this.#now += this.spawnTakesMs;
    const failure = this.spawnFailure(command);
    if (failure !== undefined) throw failure;
    const env = command.clearEnv ? command.env : { ...Object.fromEntries(this.env), ...command.env };
    return this.#start(command, env, this.#nextPid, this.programs.get(command.command));
  }

  kill(pid: number, signal: Signal): boolean {
    if (!Number.isInteger(pid) || pid === 0 || pid === -1) throw new RangeError(`Cannot signal process ${pid}`);
    this.sent.push({ pid, signal });
    if (pid === this.pid) {
      this.raise(signal);
      return true;
    }
    const targets = this.alive.filter((each) => pid > 0 ? each.pid === pid : each.group === -pid);
    for (const target of targets) target.signal(signal);
    return targets.length > 0;
  }

  usage(pid: number): ProcessUsage | undefined {
    return this.usages.get(pid);
  }

  onSignal(signal: Signal, listener: () => void): Disposable {
    const listeners = this.#listeners.get(signal) ?? new Set();
    this.#listeners.set(signal, listeners);
    const own = () => listener();
    listeners.add(own);
    return { [Symbol.dispose]: () => listeners.delete(own) };
  }

  isIgnored(signal: Signal): boolean {
    return this.ignored.has(signal);
  }

  onExit(listener: () => void): Disposable {
    const own = () => listener();
    this.exitListeners.add(own);
    return { [Symbol.dispose]: () => this.exitListeners.delete(own) };
  }

  now(): number {
    return this.#now;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer: FakeTimer = { due: this.#now + Math.max(0, delayMs), callback, referenced: true };
    this.#timers.add(timer);
    return {
      unref() {
        timer.referenced = false;
      },
      [Symbol.dispose]: () => this.#timers.delete(timer),
    };
  }

  getEnv(name: string): string | undefined {
    return this.env.get(name);
  }

  setEnv(name: string, value: string): void {
    this.env.set(name, value);
  }

  unsetEnv(name: string): void {
    this.env.delete(name);
  }

  selfCommand(_grant: ControlGrant): Promise<SelfCommand> {
    return Promise.resolve({ command: `/fake/${this.name}`, args: ["run", "main.ts"], cwd: this.directory });
  }

  managerCommand(): Promise<ManagerCommand> {
    const args = ["run", "main.ts", "argument"];
    return Promise.resolve({ command: "/fake/manager", args, cwd: this.directory, env: Object.fromEntries(this.env) });
  }

  moduleCommand(command: ModuleCommand): Promise<SelfCommand> {
    const executable = command.executable ?? `/fake/${command.runtime ?? this.name}`;
    return Promise.resolve({
      command: executable,
      args: ["run", command.module, ...command.args],
      cwd: this.directory,
    });
  }

  isChild(pid: number): boolean {
    return this.processes.some((process) => process.pid === pid && process.alive);
  }

  mayRun(command: string): boolean {
    return this.spawnFailure({ command, args: [], env: {} }) === undefined;
  }

  isMain(): boolean {
    return false;
  }

  mainExports(): Promise<object> {
    return Promise.resolve(this.exports);
  }

  privateDir(): Promise<string> {
    const path = `/tmp/fake-${this.#nextDirectory++}`;
    this.files.set(path, { mode: 0o700, uid: 0, gid: 0 });
    return Promise.resolve(path);
  }

  removeDir(path: string): void {
    for (const each of [...this.files.keys()]) {
      if (each === path || each.startsWith(`${path}/`)) this.files.delete(each);
    }
  }

  listenControl(path: string, accept: Accept): ControlListener {
    if (this.#sockets.has(path)) throw new Error(`Cannot listen on ${path}: it is in use`);
    this.#sockets.set(path, accept);
    this.files.set(path, { mode: 0o755, uid: 0, gid: 0 });
    return {
      unref() {},
      [Symbol.dispose]: () => {
        this.#sockets.delete(path);
        this.files.delete(path);
      },
    };
  }

  connectControl(path: string, handlers: ControlHandlers): Promise<ControlConnection> {
    const accept = this.#sockets.get(path);
    if (accept === undefined) return Promise.reject(new Error(`Cannot connect to ${path}: nobody listens there`));
    return Promise.resolve(FakeConnection.pair(handlers, accept));
  }

  chown(path: string, uid: number, gid: number): void {
    const file = this.files.get(path);
    if (file === undefined) throw new Error(`Cannot chown ${path}: there is no such file`);
    this.files.set(path, { ...file, uid, gid });
  }

  write(text: string): void {
    this.written.push(text);
  }

  exit(code: number): never {
    this.exitCode ??= code;
    throw new FakeExit(code);
  }

  #start(command: SpawnCommand, env: FakeProcess["env"], group: number, program?: FakeProgram): FakeProcess {
    const process = new FakeProcess(this.#nextPid++, group, command, env);
    this.processes.push(process);
    program?.(process);
    return process;
  }

  /** The timer that falls due first, no later than `end`; of equals the one set first. */
  #nextTimer(end: number): FakeTimer | undefined {
    let first: FakeTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.due <= end && (first === undefined || timer.due < first.due)) first = timer;
    }
    return first;
  }
}

/** Lets everything that is ready to run, run. A turn of the event loop comes after all microtasks. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
