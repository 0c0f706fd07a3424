/**
 * Processes that inherit sockets: `Deno.Command` knows standard input, output and error only, Deno's `node:child_process`
 * knows more. Part of `deno.ts`: every worker loads this, so it does nothing until it is called.
 *
 * @module
 */
import { failure, readAll, reason } from "../src/host_common.ts";
import type { Child, ExitStatus, Output, Signal, SpawnCommand } from "../src/types.ts";
import { isGranted } from "./deno_socket.ts";

type Stdio = "ignore" | "inherit" | "pipe";
type NodeStream = AsyncIterable<Uint8Array<ArrayBuffer>>;

interface NodeChild {
  readonly pid?: number;
  readonly stdin: { write(text: string): unknown; on(event: "error", listener: () => void): unknown } | null;
  readonly stdout: NodeStream | null;
  readonly stderr: NodeStream | null;
  once(event: "error", listener: (error: Error) => void): unknown;
  once(event: "exit", listener: (code: number | null, signal: Signal | null) => void): unknown;
  kill(signal: Signal): boolean;
  unref(): void;
}

interface NodeProcess {
  getBuiltinModule(name: "node:child_process"): {
    spawn(command: string, args: readonly string[], options: {
      readonly stdio: readonly (Stdio | number)[];
      readonly env: Readonly<Record<string, string>>;
      readonly detached: boolean;
      readonly cwd?: string;
      readonly uid?: number;
      readonly gid?: number;
    }): NodeChild;
  };
}

declare const process: NodeProcess;

/** A process, and how to signal it where `--allow-run` is a list. */
export interface SocketChild extends Child {
  readonly kill: (signal: Signal) => void;
}

/**
 * Starts a process that finds `sockets` at 3 and up.
 *
 * @throws {Error} A sentence, if it cannot be started.
 */
export function spawnWithSockets(command: SpawnCommand, sockets: readonly number[]): SocketChild {
  if (!isGranted({ name: "env" })) {
    throw new Error(`Deno may not start ${command.command} with sockets: add --allow-env, which that takes in full.`);
  }
  const child = process.getBuiltinModule("node:child_process").spawn(command.command, command.args, {
    stdio: [command.stdin === "pipe" ? "pipe" : "ignore", stdioOf(command.stdout), stdioOf(command.stderr), ...sockets],
    env: command.clearEnv ? command.env : { ...Deno.env.toObject(), ...command.env },
    detached: true,
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    ...(command.uid === undefined ? {} : { uid: command.uid }),
    ...(command.gid === undefined ? {} : { gid: command.gid }),
  });
  child.once("error", () => {}); // told by the missing pid
  if (child.pid === undefined) {
    throw failure(`start ${command.command}`, "there is no such program or directory, or it may not be run");
  }
  child.stdin?.on("error", () => {}); // it reads no more
  readOutput(child.stdout, command.stdout);
  readOutput(child.stderr, command.stderr);
  return {
    pid: child.pid,
    exited: exitOf(child),
    writeStdin: (text) => void child.stdin?.write(text),
    unref: () => child.unref(),
    kill: (signal) => void child.kill(signal),
  };
}

function stdioOf(output: Output | undefined): Stdio {
  if (typeof output === "function") return "pipe";
  return output === "null" ? "ignore" : "inherit";
}

function readOutput(stream: NodeStream | null, output: Output | undefined): void {
  if (stream === null || typeof output !== "function") return;
  const chunks = stream[Symbol.asyncIterator]();
  void readAll({ read: () => chunks.next() }, output);
}

type Live = { readonly child: NodeChild; readonly end: (status: ExitStatus) => void };

const live = new Set<Live>();

function exitOf(child: NodeChild): Promise<ExitStatus> {
  if (live.size === 0) addEventListener("unhandledrejection", endOfUnnamed);
  const { promise, resolve } = Promise.withResolvers<ExitStatus>();
  const one: Live = {
    child,
    end(status) {
      live.delete(one);
      if (live.size === 0) removeEventListener("unhandledrejection", endOfUnnamed);
      resolve(status);
    },
  };
  live.add(one);
  child.once("exit", (code, signal) => {
    one.end(signal === null ? { type: "exited", code: code ?? 1 } : { type: "signaled", signal });
  });
  return promise;
}

/**
 * A real-time signal has no name in Deno, whose `node:child_process` then tells nobody of the end of the process, but
 * fails by itself with "Invalid signal: 34". The process meant is the one that takes no signal any more.
 */
function endOfUnnamed(event: PromiseRejectionEvent): void {
  const number = /^Invalid signal: (\d+)$/.exec(reason(event.reason))?.[1];
  const gone = number === undefined ? [] : [...live].filter(({ child }) => !child.kill("SIGURG"));
  if (gone.length === 0) return;
  event.preventDefault();
  for (const one of gone) one.end({ type: "exited", code: 128 + Number(number) });
}
