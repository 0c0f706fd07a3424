/**
 * What prefork asks of Bun. Every Bun worker loads this file at its start, so it imports next to nothing and does nothing
 * until it is called; `node:fs` is fetched when it is needed. Its twin is `deno.ts`: same members, same order.
 *
 * @module
 */
import {
  attempt,
  checkPid,
  failure,
  ignores,
  makePrivateDir,
  makeTimer,
  readAll,
  readUsage,
  writeText,
} from "../src/host_common.ts";
import type { SocketAddress } from "../src/address.ts";
import type {
  Child,
  ExitStatus,
  ManagerCommand,
  ModuleCommand,
  Output,
  ProcessHost,
  SelfCommand,
  Signal,
  SpawnCommand,
} from "../src/types.ts";
import type { BunChild, BunFileSystem, BunProcess, BunRuntime, BunSink, BunSpawnOptions, BunStdio } from "./bun_api.ts";
import { codeOf, connectControl, listenControl } from "./bun_socket.ts";

export type * from "../src/types.ts";

declare const Bun: BunRuntime & { serve: (options: object) => object };
declare const process: BunProcess;

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
  inheritsDescriptors: false,
  spawn,
  kill,
  isChild: (pid) => pid in children,
  usage: (pid) => readUsage(pid, (path) => fileSystem().readFileSync(path, "utf8")),
  onSignal,
  isIgnored,
  onExit,
  now: () => performance.now(),
  setTimer: (delayMs, callback) =>
    makeTimer(delayMs, callback, (timer) => {
      if (typeof timer === "object") timer.unref();
    }),
  getEnv: (name) => process.env[name],
  setEnv(name, value) {
    process.env[name] = value;
  },
  unsetEnv(name) {
    delete process.env[name];
  },
  selfCommand,
  managerCommand,
  moduleCommand,
  mayRun: () => true,
  isMain: ({ pathname }) => decodeURIComponent(pathname) === Bun.main,
  mainExports,
  privateDir,
  removeDir,
  listenControl,
  connectControl,
  chown,
  write: (text) => writeText(text, (bytes) => fileSystem().writeSync(2, bytes)),
  exit: (code) => process.exit(code),
};

/** The children whose end was not told yet. No `Set`, as in `deno.ts`. */
const children: Record<number, true> = {};

function spawn(command: SpawnCommand): Child {
  const options: BunSpawnOptions = {
    env: command.clearEnv ? { ...command.env } : { ...process.env, ...command.env },
    detached: true,
    stdio: [
      command.stdin === "pipe" ? "pipe" : "ignore",
      stdioOf(command.stdout),
      stdioOf(command.stderr),
      ...(command.sockets ?? []),
    ],
  };
  if (command.cwd !== undefined) options.cwd = command.cwd;
  if (command.uid !== undefined) options.uid = command.uid;
  if (command.gid !== undefined) options.gid = command.gid;
  const child = attempt(`start ${command.command}`, () => Bun.spawn([command.command, ...command.args], options));
  children[child.pid] = true;
  readOutput(child.stdout, command.stdout);
  readOutput(child.stderr, command.stderr);
  const stdin = typeof child.stdin === "object" ? child.stdin : undefined;
  return {
    pid: child.pid,
    exited: exitOf(child).finally(() => delete children[child.pid]),
    writeStdin: (text) => writeSink(stdin, text),
    unref: () => child.unref(),
  };
}

function stdioOf(output: Output | undefined): BunStdio {
  if (typeof output === "function") return "pipe";
  return output === "null" ? "ignore" : "inherit";
}

function writeSink(sink: BunSink | undefined, text: string): void {
  if (sink === undefined) return;
  const ignore = () => {};
  try {
    Promise.resolve(sink.write(text)).catch(ignore);
    Promise.resolve(sink.flush()).catch(ignore);
  } catch {
    // The process is dead, and its end was not told yet: then Bun throws at once.
  }
}

/**
 * A pipe of Bun fills memory without limit until its reader exists (480 MB in 2 s), so the reader is made in the tick of
 * the spawn. From then on the process was never more than 0.6 MB ahead of a reader that takes a chunk every 20 ms, on an
 * idle and on a busy machine. What stays is that Bun reads on for as long as there is more: of a process that does
 * nothing but print, on a busy machine, one chunk in thirty held some megabytes, the largest 125.
 */
function readOutput(stream: BunChild["stdout"], output: Output | undefined): void {
  if (typeof output === "function" && typeof stream === "object") void readAll(stream.getReader(), output);
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

function onExit(listener: () => void): Disposable {
  const heard = (): void => listener();
  process.on("exit", heard);
  return { [Symbol.dispose]: () => process.off("exit", heard) };
}

function isIgnored(signal: Signal): boolean {
  return ignores(signal, () => fileSystem().readFileSync("/proc/self/status", "utf8"));
}

async function selfCommand(): Promise<SelfCommand> {
  const { bunSelfCommand } = await import("./bun_reexec.ts");
  return bunSelfCommand({ executable, directory: startDirectory });
}

async function managerCommand(): Promise<ManagerCommand> {
  const { bunManagerCommand } = await import("./bun_reexec.ts");
  return bunManagerCommand({ executable, directory: startDirectory });
}

async function moduleCommand(command: ModuleCommand): Promise<SelfCommand> {
  const reexec = await import("./bun_reexec.ts");
  const origin = { executable, directory: startDirectory };
  return command.runtime === "deno"
    ? reexec.denoModuleCommand(origin, command)
    : reexec.bunModuleCommand(origin, command);
}

/** Bun has no event for it; the main module is known to the loader by the first turn of the event loop. */
async function mainExports(address: SocketAddress | undefined): Promise<object> {
  withholdServe(address);
  await new Promise<void>((resolve) => setTimeout(resolve, 0));
  return await import(Bun.main);
}

/**
 * Bun serves what the main module exports by default, on a port of its own choice, if it has `fetch`. The call comes from
 * a module that is Bun's own; it gets what it says of the server then.
 */
function withholdServe(address: SocketAddress | undefined): void {
  const { serve } = Bun;
  Bun.serve = (options) => {
    if (!/^[^\n]*\n[^\n]*\n\s*at bun:main:/.test(new Error().stack ?? "")) return serve(options);
    const { host: hostname, port } = address?.type === "tcp" ? address : { host: address?.path ?? "nowhere", port: 0 };
    return { development: false, protocol: "http", hostname, port };
  };
}

function privateDir(): Promise<string> {
  const make = (parent: string): string => fileSystem().mkdtempSync(`${parent}/prefork-`);
  return makePrivateDir(bunHost, make);
}

function removeDir(path: string): void {
  attempt(`remove ${path}`, () => fileSystem().rmSync(path, { recursive: true, force: true }));
}

function chown(path: string, uid: number, gid: number): void {
  attempt(`chown ${path} to ${uid}:${gid}`, () => fileSystem().chownSync(path, uid, gid));
}

function fileSystem(): BunFileSystem {
  return process.getBuiltinModule("node:fs");
}
