/**
 * What prefork asks of Bun. Every Bun worker loads this file at its start, so it imports nothing and does nothing until
 * it is called; `node:fs` is fetched when it is needed. Its twin is `deno.ts`: same members, same order.
 *
 * @module
 */
import type {
  Child,
  ControlConnection,
  ControlGrant,
  ControlHandlers,
  ControlListener,
  ExitStatus,
  ModuleCommand,
  Output,
  OutputReader,
  ProcessHost,
  SelfCommand,
  Signal,
  SpawnCommand,
  Timer,
} from "../src/types.ts";
import type {
  BunChild,
  BunFileSystem,
  BunProcess,
  BunRuntime,
  BunSink,
  BunSocket,
  BunSocketHandlers,
  BunSpawnOptions,
  BunTimer,
} from "./bun_api.ts";

declare const Bun: BunRuntime;
declare const process: BunProcess;
declare const setTimeout: (callback: () => void, delayMs: number) => BunTimer;
declare const clearTimeout: (timer: BunTimer) => void;

// Both as they are now: a new binary may take the place of this one, and the program may change its directory.
const executable = process.execPath;
const startDirectory = process.cwd();

/** The {@linkcode ProcessHost} of Bun. */
export const bunHost: ProcessHost = {
  name: "bun",
  pid: process.pid,
  get cpuCount(): number {
    return navigator.hardwareConcurrency;
  },
  directory: startDirectory,
  spawn,
  kill,
  onSignal,
  isIgnored,
  now: () => performance.now(),
  setTimer,
  getEnv: (name) => process.env[name],
  unsetEnv(name) {
    delete process.env[name];
  },
  selfCommand,
  moduleCommand,
  mayRun: () => true,
  mainExports,
  privateDir,
  removeDir,
  listenControl,
  connectControl,
  chown,
  write,
  exit: (code) => process.exit(code),
};

function spawn(command: SpawnCommand): Child {
  const options: BunSpawnOptions = {
    env: { ...process.env, ...command.env },
    detached: true,
    stdin: command.stdin === "pipe" ? "pipe" : "ignore",
    stdout: stdioOf(command.stdout),
    stderr: stdioOf(command.stderr),
  };
  if (command.cwd !== undefined) options.cwd = command.cwd;
  if (command.uid !== undefined) options.uid = command.uid;
  if (command.gid !== undefined) options.gid = command.gid;
  const child = attempt(`start ${command.command}`, () => Bun.spawn([command.command, ...command.args], options));
  readOutput(child.stdout, command.stdout);
  readOutput(child.stderr, command.stderr);
  const stdin = typeof child.stdin === "object" ? child.stdin : undefined;
  return {
    pid: child.pid,
    exited: exitOf(child),
    writeStdin: (text) => writeSink(stdin, text),
    unref: () => child.unref(),
  };
}

function stdioOf(output: Output | undefined): "inherit" | "ignore" | "pipe" {
  if (typeof output === "function") return "pipe";
  return output === "null" ? "ignore" : "inherit";
}

function writeSink(sink: BunSink | undefined, text: string): void {
  if (sink === undefined) return;
  const ignore = () => {};
  Promise.resolve(sink.write(text)).catch(ignore);
  Promise.resolve(sink.flush()).catch(ignore);
}

function readOutput(stream: BunChild["stdout"], output: Output | undefined): void {
  if (typeof output === "function" && typeof stream === "object") void readAll(stream, output);
}

/**
 * A pipe of Bun fills memory without limit until its reader exists (480 MB in 2 s); with a reader that takes a chunk
 * every 200 ms, the process was never more than 0.5 MB ahead. So the reader is made in the tick of the spawn.
 */
async function readAll(stream: ReadableStream<Uint8Array>, reader: OutputReader): Promise<void> {
  const chunks = stream.getReader();
  while (true) {
    const { value } = await chunks.read().catch(() => ({ value: undefined }));
    try {
      await reader(value ?? new Uint8Array(0));
    } catch {
      // The reader's own trouble; stopping here would block the process in its next write.
    }
    if (value === undefined) return;
  }
}

async function exitOf(child: BunChild): Promise<ExitStatus> {
  const code = await child.exited;
  const signal = child.signalCode;
  // A number is a real-time signal, which has no name.
  if (signal === null || typeof signal === "number") return { type: "exited", code };
  switch (signal) {
    case "SIGBREAK":
    case "SIGINFO":
    case "SIGIOT":
    case "SIGLOST":
    case "SIGPOLL":
    case "SIGPWR":
    case "SIGSTKFLT":
    case "SIGUNUSED":
      return { type: "exited", code };
    default:
      return { type: "signaled", signal };
  }
}

function kill(pid: number, signal: Signal): boolean {
  checkPid(pid);
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if (codeOf(error) === "ESRCH") return false;
    throw failure(`send ${signal} to ${pid}`, error);
  }
}

function checkPid(pid: number): void {
  if (Number.isInteger(pid) && pid !== 0 && pid !== -1) return;
  throw new RangeError(`Cannot signal process ${pid}: give a process id, or a process group's as a negative number.`);
}

function onSignal(signal: Signal, listener: () => void): Disposable {
  const handler = () => listener();
  attempt(`listen for ${signal}`, () => process.on(signal, handler));
  return { [Symbol.dispose]: () => process.off(signal, handler) };
}

function isIgnored(signal: Signal): boolean {
  const number = SIGNAL_NUMBERS[signal];
  if (number === undefined) return false;
  try {
    const mask = /^SigIgn:\s*([0-9a-f]+)/m.exec(fileSystem().readFileSync("/proc/self/status", "utf8"))?.[1];
    return mask !== undefined && (BigInt(`0x${mask}`) >> BigInt(number - 1) & 1n) === 1n;
  } catch {
    return false;
  }
}

const SIGNAL_NUMBERS: Partial<Record<Signal, number>> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGTERM: 15 };

const MAX_DELAY_MS = 2 ** 31 - 1;

function setTimer(delayMs: number, callback: () => void): Timer {
  const due = performance.now() + delayMs;
  let referenced = true;
  let id: BunTimer;
  const arm = () => {
    const leftMs = Math.ceil(due - performance.now());
    id = setTimeout(fire, Math.min(Math.max(leftMs, 0), MAX_DELAY_MS));
    if (!referenced) id.unref();
  };
  const fire = () => performance.now() < due ? arm() : callback();
  arm();
  return {
    unref() {
      referenced = false;
      id.unref();
    },
    [Symbol.dispose]: () => clearTimeout(id),
  };
}

async function selfCommand(grant: ControlGrant): Promise<SelfCommand> {
  const { bunSelfCommand } = await import("./bun_reexec.ts");
  return bunSelfCommand({ executable, directory: startDirectory }, grant);
}

async function moduleCommand(command: ModuleCommand): Promise<SelfCommand> {
  const reexec = await import("./bun_reexec.ts");
  const origin = { executable, directory: startDirectory };
  return command.runtime === "deno"
    ? reexec.denoModuleCommand(origin, command)
    : reexec.bunModuleCommand(origin, command);
}

/** Bun has no event for it; the main module is known to the loader by the first turn of the event loop. */
async function mainExports(): Promise<object> {
  await new Promise<void>((resolve) => setTimeout(resolve, 0));
  return await import(Bun.main);
}

// deno-lint-ignore require-await
async function privateDir(): Promise<string> {
  const tried: string[] = [];
  for (const parent of [bunHost.getEnv("TMPDIR"), "/tmp", bunHost.getEnv("XDG_RUNTIME_DIR")]) {
    if (parent === undefined || parent === "") continue;
    try {
      const path = fileSystem().mkdtempSync(`${parent}/prefork-`);
      if (leavesRoom(path)) return path;
      tried.push(`${parent} (its name is too long for a socket)`);
      removeDir(path);
    } catch (error) {
      tried.push(`${parent} (${reason(error)})`);
    }
  }
  throw new Error(`Found no place for the control sockets; tried ${tried.join(", ")}. Set TMPDIR to one.`);
}

/** The path of a Unix socket holds 107 bytes at most; the longest name we give one in its directory has 20. */
function leavesRoom(directory: string): boolean {
  return new TextEncoder().encode(directory).length <= 107 - 20;
}

function removeDir(path: string): void {
  attempt(`remove ${path}`, () => fileSystem().rmSync(path, { recursive: true, force: true }));
}

function listenControl(path: string, accept: (connection: ControlConnection) => ControlHandlers): ControlListener {
  const adopted = new WeakMap<BunSocket, AdoptedSocket>();
  const listener = attempt(`listen on ${path}`, () => {
    return Bun.listen({
      unix: path,
      socket: {
        ...forwardTo((socket) => adopted.get(socket)),
        open: (socket) => adopted.set(socket, adopt(socket, accept)),
      },
    });
  });
  return {
    unref: () => listener.unref(),
    // This removes the file, too.
    [Symbol.dispose]: () => listener.stop(),
  };
}

async function connectControl(path: string, handlers: ControlHandlers): Promise<ControlConnection> {
  let adopted: AdoptedSocket | undefined;
  const open = (socket: BunSocket) => {
    adopted = adopt(socket, () => handlers);
  };
  const socket = { ...forwardTo(() => adopted), open };
  const connection = await Bun.connect({ unix: path, socket }).catch((error) => {
    throw failure(`connect to ${path}`, error);
  });
  adopted ??= adopt(connection, () => handlers);
  return adopted.connection;
}

/** A control connection, and what its socket is to call. */
interface AdoptedSocket {
  readonly connection: ControlConnection;
  readonly data: (chunk: Uint8Array) => void;
  readonly drain: () => void;
  readonly closed: () => void;
}

function forwardTo(find: (socket: BunSocket) => AdoptedSocket | undefined): Omit<BunSocketHandlers, "open"> {
  return {
    data: (socket, chunk) => find(socket)?.data(chunk),
    drain: (socket) => find(socket)?.drain(),
    close: (socket) => find(socket)?.closed(),
    error(_socket, error) {
      // With a code: the peer is gone, and `close` follows. Without one: a handler of ours threw.
      if (codeOf(error) === undefined) queueMicrotask(() => throwIt(error));
    },
  };
}

function throwIt(error: Error): never {
  throw error;
}

/** Makes a control connection of a socket. */
function adopt(socket: BunSocket, accept: (connection: ControlConnection) => ControlHandlers): AdoptedSocket {
  const encoder = new TextEncoder();
  let open = true;
  let unsent = "";
  let writing: Uint8Array = new Uint8Array();
  let flushed: PromiseWithResolvers<void> | undefined;

  const close = () => {
    if (open) socket.end();
  };
  const writeUnsent = () => {
    while (open && (writing.length > 0 || unsent !== "")) {
      if (writing.length === 0) {
        writing = encoder.encode(unsent);
        unsent = "";
      }
      const taken = socket.write(writing);
      writing = writing.subarray(Math.max(taken, 0));
      // Bun calls `drain` when the socket takes more.
      if (writing.length > 0) return;
    }
    flushed?.resolve();
    flushed = undefined;
  };

  const connection: ControlConnection = {
    send(text) {
      if (!open || text === "") return;
      unsent += text;
      if (writing.length === 0) writeUnsent();
    },
    flush() {
      if (!open || writing.length === 0) return Promise.resolve();
      flushed ??= Promise.withResolvers();
      return flushed.promise;
    },
    close,
    ref: () => open && socket.ref(),
    unref: () => open && socket.unref(),
  };
  const handlers = accept(connection);
  return {
    connection,
    data: (chunk) => open && handlers.data(chunk),
    drain: writeUnsent,
    closed() {
      open = false;
      flushed?.resolve();
      // Bun calls this from within `close`; whoever closes is to finish first.
      queueMicrotask(() => handlers.closed());
    },
  };
}

function chown(path: string, uid: number, gid: number): void {
  attempt(`chown ${path} to ${uid}:${gid}`, () => fileSystem().chownSync(path, uid, gid));
}

function write(text: string): void {
  try {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += fileSystem().writeSync(2, bytes.subarray(at));
  } catch {
    // Nobody is left to tell: standard error is closed, full, or its disk is.
  }
}

function fileSystem(): BunFileSystem {
  return process.getBuiltinModule("node:fs");
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

function attempt<T>(what: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw failure(what, error);
  }
}

function failure(what: string, error: unknown): Error {
  return new Error(`Cannot ${what}: ${reason(error)}`, { cause: error });
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
