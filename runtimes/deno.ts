/**
 * What prefork asks of Deno. Every Deno worker loads this file at its start, so it imports next to nothing and does
 * nothing until it is called. Its twin is `bun.ts`: same members, same order.
 *
 * Deno asks on the terminal for a permission that is missing. So whatever may be missing is looked up first, and turned
 * into an error that names the flag.
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
  reason,
  writeText,
} from "../src/host_common.ts";
import type {
  Child,
  ControlGrant,
  ExitStatus,
  ManagerCommand,
  ModuleCommand,
  Output,
  ProcessHost,
  SelfCommand,
  Signal,
  SpawnCommand,
} from "../src/types.ts";
import { type SocketChild, spawnWithSockets } from "./deno_child.ts";
import { connectControl, isGranted, listenControl } from "./deno_socket.ts";

export type * from "../src/types.ts";

// Both as they are now: a new binary may take the place of this one, and the program may change its directory.
const executable = Deno.execPath();
const startDirectory = Deno.cwd();

/** The {@linkcode ProcessHost} of Deno. */
export const denoHost: ProcessHost = {
  name: "deno",
  pid: Deno.pid,
  get cpuCount(): number {
    return navigator.hardwareConcurrency;
  },
  directory: startDirectory,
  inheritsDescriptors: true,
  spawn,
  kill,
  isChild: (pid) => pid in children,
  usage: (pid) => isGranted({ name: "read" }) ? readUsage(pid, (path) => Deno.readTextFileSync(path)) : undefined,
  onSignal,
  isIgnored,
  onExit,
  now: () => performance.now(),
  setTimer: (delayMs, callback) => makeTimer(delayMs, callback, unrefTimer),
  getEnv: (name) => isGranted({ name: "env", variable: name }) ? Deno.env.get(name) : undefined,
  setEnv(name, value) {
    if (isGranted({ name: "env", variable: name })) Deno.env.set(name, value);
  },
  unsetEnv(name) {
    if (isGranted({ name: "env", variable: name })) Deno.env.delete(name);
  },
  selfCommand,
  managerCommand,
  moduleCommand,
  mayRun: (command) => isGranted({ name: "run", command }),
  isMain: ({ href }) => href === Deno.mainModule,
  mainExports,
  privateDir,
  removeDir,
  listenControl,
  connectControl,
  chown,
  write: (text) => writeText(text, (bytes) => Deno.stderr.writeSync(bytes)),
  exit: (code) => Deno.exit(code),
};

/**
 * The children not yet reaped: these can be signalled even where `--allow-run` is a list. No `Map`: one that is always
 * written keeps in memory what was in it (see `src/table.ts`).
 */
const children: Record<number, { kill(signal: Signal): void }> = {};

/** Children reaped where `--allow-run` is a list: nothing but this tells that they are gone. */
const reaped = new Set<number>();

function spawn(command: SpawnCommand): Child {
  needRun(command.command);
  if (command.sockets !== undefined) return keep(spawnWithSockets(command, command.sockets));
  const options: Deno.CommandOptions = {
    args: [...command.args],
    env: { ...command.env },
    clearEnv: command.clearEnv ?? false,
    detached: true,
    stdin: command.stdin === "pipe" ? "piped" : "null",
    stdout: stdioOf(command.stdout),
    stderr: stdioOf(command.stderr),
  };
  if (command.cwd !== undefined) options.cwd = command.cwd;
  if (command.uid !== undefined) options.uid = command.uid;
  if (command.gid !== undefined) options.gid = command.gid;
  const child = attempt(`start ${command.command}`, () => new Deno.Command(command.command, options).spawn());
  if (typeof command.stdout === "function") void readAll(child.stdout.getReader(), command.stdout);
  if (typeof command.stderr === "function") void readAll(child.stderr.getReader(), command.stderr);
  const stdin = command.stdin === "pipe" ? child.stdin.getWriter() : undefined;
  const encoder = new TextEncoder();
  const exited = exitOf(child);
  if (stdin !== undefined) void exited.then(() => stdin.abort().catch(() => {})); // else it stays open until collected
  return keep({
    pid: child.pid,
    exited,
    writeStdin(text) {
      stdin?.write(encoder.encode(text)).catch(() => {});
    },
    unref: () => child.unref(),
    kill: (signal) => child.kill(signal),
  });
}

/** Keeps a child in reach until it is reaped. */
function keep({ kill, ...child }: SocketChild): Child {
  const { pid } = child;
  children[pid] = { kill };
  reaped.delete(pid);
  const exited = child.exited.then((status) => {
    delete children[pid];
    if (!isGranted({ name: "run" })) reaped.add(pid);
    return status;
  });
  return { ...child, exited };
}

function stdioOf(output: Output | undefined): "inherit" | "null" | "piped" {
  return typeof output === "function" ? "piped" : output ?? "inherit";
}

async function exitOf(child: Deno.ChildProcess): Promise<ExitStatus> {
  try {
    const { code, signal } = await child.status;
    switch (signal) {
      case null:
      case "SIGBREAK":
      case "SIGEMT":
      case "SIGINFO":
      case "SIGPOLL":
      case "SIGPWR":
      case "SIGSTKFLT":
      case "SIGUNUSED":
        return { type: "exited", code };
      default:
        return { type: "signaled", signal };
    }
  } catch (error) {
    // "Invalid signal: 34": Deno has no name for the real-time signal that ended the process.
    return { type: "exited", code: 128 + Number(/\d+/.exec(reason(error))?.[0] ?? 0) };
  }
}

function kill(pid: number, signal: Signal): boolean {
  checkPid(pid);
  const child = children[Math.abs(pid)];
  const listOnly = !isGranted({ name: "run" });
  if (listOnly && reaped.has(Math.abs(pid))) return false;
  if (listOnly && child === undefined) {
    throw new Error(`Cannot send ${signal} to ${pid}: Deno allows that with a bare --allow-run only.`);
  }
  try {
    // With `--allow-run=LIST` the group of a child is out of reach, the child itself is not.
    if (child !== undefined && (pid > 0 || listOnly)) child.kill(signal);
    else Deno.kill(pid, signal);
    return true;
  } catch (error) {
    // A TypeError: Deno has reaped the child already.
    if (error instanceof Deno.errors.NotFound || error instanceof TypeError) return false;
    throw failure(`send ${signal} to ${pid}`, error);
  }
}

function onSignal(signal: Signal, listener: () => void): Disposable {
  const handler = () => listener();
  attempt(`listen for ${signal}`, () => Deno.addSignalListener(signal, handler));
  return { [Symbol.dispose]: () => Deno.removeSignalListener(signal, handler) };
}

/** Deno lets nobody read this but who may do everything. */
function onExit(listener: () => void): Disposable {
  const heard = (): void => listener();
  globalThis.addEventListener("unload", heard);
  return { [Symbol.dispose]: () => globalThis.removeEventListener("unload", heard) };
}

function isIgnored(signal: Signal): boolean {
  return isGranted({ name: "read" }) && ignores(signal, () => Deno.readTextFileSync("/proc/self/status"));
}

/** Timers of Deno are numbers up to some version, objects from there on. */
function unrefTimer(timer: number | { unref(): unknown }): void {
  if (typeof timer === "number") Deno.unrefTimer(timer);
  else timer.unref();
}

async function selfCommand(grant: ControlGrant): Promise<SelfCommand> {
  const { denoSelfCommand } = await import("./deno_reexec.ts");
  return await denoSelfCommand({ executable, directory: startDirectory }, grant);
}

async function managerCommand(): Promise<ManagerCommand> {
  const { denoManagerCommand } = await import("./deno_reexec.ts");
  return await denoManagerCommand({ executable, directory: startDirectory });
}

async function moduleCommand(command: ModuleCommand): Promise<SelfCommand> {
  if (command.runtime === "bun") {
    const { bunModuleCommand } = await import("../src/module_command.ts");
    return { ...bunModuleCommand(command, command.executable ?? "bun", []), cwd: startDirectory };
  }
  const { denoModuleCommand } = await import("./deno_reexec.ts");
  return await denoModuleCommand({ executable, directory: startDirectory }, command);
}

/** Imported before its own evaluation has ended, the main module would not know that it is the main one. */
async function mainExports(): Promise<object> {
  await new Promise((resolve) => addEventListener("load", resolve, { once: true }));
  return await import(Deno.mainModule);
}

function privateDir(): Promise<string> {
  return makePrivateDir(denoHost, (dir) => {
    if (isGranted({ name: "write", path: dir })) return Deno.makeTempDirSync({ dir, prefix: "prefork-" });
    throw new Error("Deno needs --allow-read, --allow-write and --allow-net for it");
  });
}

function removeDir(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw failure(`remove ${path}`, error);
  }
}

function chown(path: string, uid: number, gid: number): void {
  if (!isGranted({ name: "write", path })) throw new Error(`Deno may not chown ${path}: add --allow-write=${path}.`);
  attempt(`chown ${path} to ${uid}:${gid}`, () => Deno.chownSync(path, uid, gid));
}

function needRun(command: string): void {
  if (isGranted({ name: "run", command })) return;
  throw new Error(`Deno may not start ${command}: add --allow-run, or --allow-run=${command}.`);
}
