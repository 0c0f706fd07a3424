/**
 * Servers as processes of their own: started, seen to answer as they should, loaded, and ended with all they have begun.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { freePort } from "../tests/support/free_port.ts";
import type { Peer } from "./peers/peers.ts";

/** What a server is asked for, by its path. */
export const WORK = {
  "/": "hello",
  "/cpu": "1 ms of a processor",
  "/json": "10 KB of JSON",
  "/echo": "POST of 16 KB",
} as const;

/** A path that is asked for. */
export type Path = keyof typeof WORK;

/** Whether a client keeps its connection. */
export type Mode = "keep-alive" | "once";

/** A server that answers. */
export interface Server extends AsyncDisposable {
  readonly peer: Peer;
  readonly workers: number;
  readonly port: number;
  /** The processes that were started for it; others are theirs. */
  readonly pids: readonly number[];
  /** Has it take its program anew. */
  reload(): Promise<void>;
}

/** What came of a load. Times are in milliseconds. */
export interface Outcome {
  readonly seconds: number;
  readonly requests: number;
  /** Connections and requests that came to nothing, and answers that told of an error. */
  readonly failed: number;
  readonly statuses: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** How long a server may take to come, and how long to go before it is killed. */
const START_MS = 30_000;
const STOP_MS = 5000;

const LUA = fileURLToPath(new URL("./peers/load.lua", import.meta.url));

/** The groups of all that was started and has not ended: whoever interrupts a measurement ends them, too. */
const groups = new Set<number>();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    for (const group of groups) kill(-group);
    process.exit(1);
  });
}

/** Has a command keep to one core, if there is one. */
function pinned(words: readonly string[], core: number | undefined): readonly string[] {
  return core === undefined ? words : ["taskset", "-c", `${core}`, ...words];
}

/** Starts a server, on one core if there is one, and waits until it gives each answer that it is to give. */
export async function startServer(peer: Peer, workers: number, core?: number): Promise<Server> {
  const dir = mkdtempSync(join(tmpdir(), "prefork-bench-"));
  const port = await freePort();
  const place = { port, workers, dir };
  const env = { ...process.env, NODE_ENV: "production", RACK_ENV: "production" };
  const children = peer.commands(place).map(({ words, env: own }) => {
    const [command = "", ...args] = pinned(words, core);
    return spawn(command, args, { detached: true, env: { ...env, ...own }, stdio: ["ignore", "ignore", "pipe"] });
  });
  for (const { pid } of children) if (pid !== undefined) groups.add(pid);
  const said: string[] = [];
  for (const { stderr } of children) stderr?.setEncoding("utf8").on("data", (text) => said.push(text));
  const server: Server = {
    peer,
    workers,
    port,
    pids: children.flatMap(({ pid }) => pid ?? []),
    async reload() {
      const { reload } = peer;
      if (typeof reload === "string") { for (const pid of server.pids) process.kill(pid, reload); }
      if (typeof reload !== "function") return;
      const { words: [command = "", ...args], env: own } = reload(place);
      const child = spawn(command, args, { env: { ...env, ...own }, stdio: "ignore" });
      await new Promise((resolve) => child.once("close", resolve));
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(children.map(end));
      rmSync(dir, { recursive: true, force: true });
    },
  };
  try {
    await untilAnswered(port, children);
    for (const path of pathsOf(peer)) await expectAnswer(port, path);
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw new Error(`Cannot measure ${peer.name}: ${error instanceof Error ? error.message : error}\n${said.join("")}`);
  }
  return server;
}

/** What a peer can do. */
export function pathsOf({ isPlain = false }: Peer): readonly Path[] {
  return isPlain ? ["/", "/json"] : ["/", "/cpu", "/json", "/echo"];
}

/** Loads a server by wrk over 32 connections, from one core if there is one. */
export async function loadServer(
  { port }: Server,
  path: Path,
  mode: Mode,
  seconds: number,
  core?: number,
): Promise<Outcome> {
  const words = ["wrk", "-t1", "-c32", "-d60s", "-s", LUA, `http://127.0.0.1:${port}`, "--", path, mode];
  const [command = "", ...args] = pinned(words, core);
  const wrk = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = Promise.withResolvers<void>();
  wrk.once("error", ended.reject);
  wrk.once("close", () => ended.resolve());
  let text = "";
  wrk.stdout.setEncoding("utf8").on("data", (chunk) => text += chunk);
  const timer = setTimeout(() => wrk.kill("SIGINT"), seconds * 1000); // it takes whole seconds only, and tells all then
  await ended.promise;
  clearTimeout(timer);
  return JSON.parse(text.trim().split("\n").at(-1) ?? "");
}

async function untilAnswered(port: number, children: readonly ChildProcess[]): Promise<void> {
  const due = performance.now() + START_MS;
  while (performance.now() < due) {
    const ended = children.find(({ exitCode, signalCode, pid }) => exitCode !== null || signalCode !== null || !pid);
    if (ended !== undefined) throw new Error("it has ended");
    const body = await ask(port, "/").catch(() => undefined);
    if (body !== undefined) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`it did not answer within ${START_MS / 1000} s`);
}

/** What a server answers over a connection of its own. */
export async function ask(port: number, path: Path | "/pid"): Promise<string> {
  const post = path === "/echo" ? { method: "POST", body: "x".repeat(16_384) } : {};
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { ...post, headers: { connection: "close" } });
  return await response.text();
}

async function expectAnswer(port: number, path: Path): Promise<void> {
  const body = await ask(port, path);
  const isRight = path === "/json" ? body.length === 10_240 : body === (path === "/echo" ? "16384" : "hello");
  if (!isRight) throw new Error(`it answered ${JSON.stringify(body.slice(0, 80))} for ${path}`);
}

async function end(child: ChildProcess): Promise<void> {
  const { pid } = child;
  if (pid === undefined) return;
  const ended = new Promise((resolve) => child.exitCode ?? child.signalCode ?? child.once("exit", resolve));
  child.kill("SIGTERM");
  const timer = setTimeout(() => kill(-pid), STOP_MS);
  if (child.exitCode === null && child.signalCode === null) await ended;
  clearTimeout(timer);
  kill(-pid);
  groups.delete(pid);
  child.stderr?.destroy();
}

/** Whatever of it is still there. */
function kill(group: number): void {
  try {
    process.kill(group, "SIGKILL");
  } catch {
    // Nobody.
  }
}
