/**
 * Runs the daemon of `fixtures/lifecycle/pool.ts`, and reads from its lines what its pool is like.
 *
 * @module
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { PreforkEvent, WorkerInfo } from "../../mod.ts";
import type { PoolSpec } from "../fixtures/lifecycle/pool.ts";
import { descendants, processState } from "./processes.ts";
import { type Program, type RunOptions, runProgram, waitFor } from "./run.ts";

/** Runs a program of `fixtures/lifecycle/`. */
export function runFixture(name: string, args: readonly string[] = [], options: RunOptions = {}): Program {
  return runProgram(new URL(`../fixtures/lifecycle/${name}.ts`, import.meta.url), args, options);
}

/** Runs the daemon that `spec` describes. */
export function runPool(spec: PoolSpec, options?: RunOptions): Program {
  return runFixture("pool", [JSON.stringify(spec)], options);
}

/** What was parsed before, since tests ask again and again and long runs tell much. */
const parsed = new WeakMap<Program, { readonly events: PreforkEvent[]; lines: number }>();

/** The events so far. */
export function eventsOf(program: Program): readonly PreforkEvent[] {
  const known = parsed.get(program) ?? { events: [], lines: 0 };
  for (const line of program.lines.slice(known.lines)) if (line.startsWith("{")) known.events.push(JSON.parse(line));
  known.lines = program.lines.length;
  parsed.set(program, known);
  return known.events;
}

/** The events of one type so far. */
export function eventsOfType<T extends PreforkEvent["type"]>(program: Program, type: T): EventOf<T>[] {
  return eventsOf(program).filter((event): event is EventOf<T> => event.type === type);
}

type EventOf<T, Event = PreforkEvent> = Event extends { readonly type: infer U } ? T extends U ? Event : never : never;

/** The workers that were spawned and not reaped, as they were last told of. */
export function liveWorkers(program: Program): WorkerInfo[] {
  const live = new Map<number, WorkerInfo>();
  for (const event of eventsOf(program)) {
    if (event.type === "spawn" || event.type === "ready") live.set(event.worker.pid, event.worker);
    if (event.type === "reap") live.delete(event.worker.pid);
  }
  return [...live.values()].sort((a, b) => a.slot - b.slot);
}

/** Waits until `count` workers live and all of them are ready. */
export async function waitForReady(program: Program, count: number, timeoutMs = 60_000): Promise<WorkerInfo[]> {
  const seen = (): WorkerInfo[] => liveWorkers(program).filter(({ state }) => state === "ready");
  return await waitFor(() => seen().length === count && seen(), { what: `${count} ready workers`, timeoutMs }).catch(
    (error) => {
      throw new Error(`${error.message}; there are ${seen().length}\n${program.report()}`);
    },
  );
}

/** The TCP port that the pool listens on. */
export async function portOf(program: Program): Promise<number> {
  const line = await program.waitForLine(/^listens /);
  const [{ address: { port } }] = JSON.parse(line.slice("listens ".length));
  return typeof port === "number" ? port : assert.fail(`no port in ${line}`);
}

/** Sends SIGTERM, and expects an end with status 0 that leaves nothing behind. */
export async function stopPool(program: Program): Promise<void> {
  program.kill("SIGTERM");
  await expectEnd(program);
}

/** Expects an end with status 0 that leaves nothing behind. */
export async function expectEnd(program: Program): Promise<void> {
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  assert.ok(program.lines.includes("left 0"), program.report());
  await waitForNobody(program);
}

/** Waits until no process of the run is left, wherever it was adopted. */
export async function waitForNobody(program: Program, timeoutMs = 60_000): Promise<void> {
  await waitFor(() => program.processes().length === 0, { what: "every process to be gone", timeoutMs }).catch(
    (error) => {
      const left = program.processes().map((pid) => `${pid} ${commandLine(pid)}`);
      throw new Error(`${error.message}; left are:\n${left.join("\n")}\n${program.report()}`);
    },
  );
}

/** The children of a process, theirs, and so on, that are dead and not reaped. */
export function zombies(pid: number): number[] {
  return descendants(pid).filter((each) => processState(each) === "Z");
}

/** The processes of the run but the manager, the guard and the workers that the manager knows of. */
export function strangers(program: Program): string[] {
  const known = new Set([program.pid, ...liveWorkers(program).map(({ pid }) => pid)]);
  return program.processes().filter((pid) => !known.has(pid) && !isGuard(pid))
    .map((pid) => `${pid} ${commandLine(pid)}`);
}

/** The guard of the manager; none for a moment after its end. */
export function guards(program: Program): number[] {
  return program.processes().filter(isGuard);
}

/** Whether a process is the guard of a manager. */
export function isGuard(pid: number): boolean {
  return commandLine(pid).includes("prefork-guard");
}

/** The command line of a process, on one line. */
export function commandLine(pid: number): string {
  return readProc(pid, "cmdline").replaceAll("\0", " ").replaceAll("\n", " ");
}

/** What the descriptors of a process are, by number. */
export function descriptors(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    const target = readLink(`/proc/${pid}/fd/${fd}`);
    return target === undefined ? [] : [`${fd} ${target}`];
  });
}

/** The local addresses, as the kernel writes them, at which any of these processes listens for TCP. */
export function listening(pids: readonly number[]): string[] {
  const own = new Set(pids.flatMap((pid) => sockets(pid)));
  const rows = ["tcp", "tcp6"].flatMap((table) => readFileSync(`/proc/net/${table}`, "utf8").split("\n"));
  return rows.map((row) => row.trim().split(/\s+/))
    .filter(([, , , state, , , , , , inode]) => state === "0A" && own.has(`socket:[${inode}]`))
    .map(([, local]) => String(local));
}

function sockets(pid: number): string[] {
  try {
    return descriptors(pid).map((line) => line.slice(line.indexOf(" ") + 1));
  } catch {
    return []; // gone
  }
}

/** One number of `/proc/PID/FILE`, such as `VmRSS` of `status`, in kB. */
export function memoryKb(pid: number, file: "status" | "smaps_rollup", field: string): number {
  const found = new RegExp(`^${field}:\\s*(\\d+) kB`, "m").exec(readProc(pid, file));
  if (found === null) throw new Error(`Cannot find ${field} in /proc/${pid}/${file}`);
  return Number(found[1]);
}

/** How often each thread of a process, by its id, went to sleep so far; so often it was woken. */
export function sleeps(pid: number): Map<string, number> {
  const count = (tid: string): number => {
    return Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(readProc(pid, `task/${tid}/status`))?.[1] ?? 0);
  };
  return new Map(readdirSync(`/proc/${pid}/task`).map((tid) => [tid, count(tid)]));
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function readProc(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "latin1");
  } catch {
    return "";
  }
}
