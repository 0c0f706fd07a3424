/**
 * What prefork asks of Bun. Every Bun worker loads this file at its start, so it imports next to nothing and does nothing
 * until it is called; `node:fs` is fetched when it is needed. Its twin is `deno.ts`: same members, same order.
 *
 * @module
 */
import { attempt, checkPid, failure, holdsSockets, MAX_DELAY_MS, reason } from "../src/host_common.ts";
import type {
  Child,
  ControlGrant,
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
import type { BunChild, BunFileSystem, BunProcess, BunRuntime, BunSink, BunSpawnOptions, BunTimer } from "./bun_api.ts";
import { codeOf, connectControl, listenControl } from "./bun_socket.ts";

export type * from "../src/types.ts";

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
 * A pipe of Bun fills memory without limit until its reader exists (480 MB in 2 s), so the reader is made in the tick of
 * the spawn. From then on the process was never more than 0.6 MB ahead of a reader that takes a chunk every 20 ms, on an
 * idle and on a busy machine. What stays is that Bun reads on for as long as there is more: of a process that does
 * nothing but print, on a busy machine, one chunk in thirty held some megabytes, the largest 125.
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
      if (holdsSockets(path)) return path;
      tried.push(`${parent} (its name is too long for a socket)`);
      removeDir(path);
    } catch (error) {
      tried.push(`${parent} (${reason(error)})`);
    }
  }
  throw new Error(`Found no place for the control sockets; tried ${tried.join(", ")}. Set TMPDIR to one.`);
}

function removeDir(path: string): void {
  attempt(`remove ${path}`, () => fileSystem().rmSync(path, { recursive: true, force: true }));
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
