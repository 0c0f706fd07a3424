/**
 * Which connections a process has accepted, as the kernel tells it: what waits in a queue is not among them.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { promisify } from "node:util";
import type { Failure } from "./load.ts";
import { descriptors } from "./pool.ts";
import { isAlive, signalProcess, waitFor } from "./processes.ts";

/** A worker that was killed, and the connections it had accepted: it did nothing more from `at` on. */
export interface Kill {
  readonly at: number;
  /** Undefined if somebody else has ended it before that could be found out. */
  readonly held: ReadonlySet<number> | undefined;
}

/**
 * Freezes a worker that is about to be killed, and tells what it has in hand.
 *
 * @throws {Error} If it is gone already.
 */
export async function freezeForGood(pid: number, port: number): Promise<Kill> {
  await freeze(pid);
  const at = performance.now();
  return { at, held: await acceptedBy(pid, port) };
}

/** Whether the connection of a request that was lost had been accepted by a worker that was killed. */
export function isHeld({ port, begunAt, at }: Failure, kills: readonly Kill[]): boolean {
  if (port === undefined || begunAt === undefined) return false;
  return kills.some((kill) => begunAt <= kill.at && kill.at <= at && kill.held?.has(port) !== false);
}

/**
 * Stops a process, all its threads, so that it accepts nothing more.
 *
 * @throws {Error} If it is gone.
 */
export async function freeze(pid: number): Promise<void> {
  signalProcess(pid, "SIGSTOP");
  await waitFor(() => {
    if (!isAlive(pid)) throw new Error(`Cannot freeze ${pid}: it is gone`);
    return threadStates(pid).every((state) => state === "T");
  }, { what: `${pid} to be stopped`, intervalMs: 1 });
}

function threadStates(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`).map((tid) => {
    const stat = readFileSync(`/proc/${pid}/task/${tid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2).charAt(0);
  });
}

/**
 * The clients' ports of the connections to `port` that a frozen process has accepted. By `ss`, since `/proc/net/tcp` has
 * all that are closed for another minute, ten thousands after some load, and takes a second to be read. Clients go on
 * meanwhile: whoever keeps them from it has them send requests to connections that were closed as idle.
 */
export async function acceptedBy(pid: number, port: number): Promise<ReadonlySet<number> | undefined> {
  const own = new Set(descriptors(pid).map((line) => line.slice(line.indexOf(" ") + 1)));
  const ports = new Set<number>();
  // The kernel may leave out a row of a table that changes while it is read.
  for (let reading = 0; reading < 3; reading++) {
    for (const row of await run("ss", ["-Htne", "state", "connected", "exclude", "time-wait", `sport = :${port}`])) {
      const [, inode] = /\bino:(\d+)/.exec(row) ?? [];
      const [, remote] = /:\d+ +\S+:(\d+)/.exec(row) ?? [];
      if (own.has(`socket:[${inode}]`)) ports.add(Number(remote));
    }
  }
  return isAlive(pid) ? ports : undefined; // what is gone by now has taken its connections with it
}

async function run(command: string, args: readonly string[]): Promise<string[]> {
  const { stdout } = await promisify(execFile)(command, [...args]);
  return stdout.split("\n");
}
