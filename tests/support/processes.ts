/**
 * Looks at processes through `/proc`, and waits for conditions.
 *
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";
import process from "node:process";

export interface WaitForOptions {
  /** @default {60000} */
  readonly timeoutMs?: number;
  /** What is waited for, to be read after "waited ... for". */
  readonly what: string;
  /** @default {10} */
  readonly intervalMs?: number;
}

/**
 * Polls `predicate` until it gives something other than `undefined` or `false`, and returns that. What it throws ends
 * the wait.
 */
export async function waitFor<T>(
  predicate: () => T | undefined | false | Promise<T | undefined | false>,
  options: WaitForOptions,
): Promise<T> {
  const { timeoutMs = 60_000, intervalMs = 10, what } = options;
  const deadline = performance.now() + timeoutMs;
  while (true) {
    const value = await predicate();
    if (value !== undefined && value !== false) return value;
    if (performance.now() >= deadline) throw new Error(`Waited ${timeoutMs} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}

/** The letter of a process's state (`R`, `S`, `T`, `Z`...), or `gone`. */
export function processState(pid: number): string {
  return readStat(pid)?.state ?? "gone";
}

/** Whether a process runs: it exists and is no zombie. */
export function isAlive(pid: number): boolean {
  return !["gone", "Z", "X"].includes(processState(pid));
}

/** The pid of a process's parent; undefined once it is gone. */
export function parentOf(pid: number): number | undefined {
  return readStat(pid)?.parent;
}

/** The pids of the children of a process, theirs, and so on; zombies included. */
export function descendants(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const each of allPids()) {
    const parent = parentOf(each);
    if (parent !== undefined) children.set(parent, [...children.get(parent) ?? [], each]);
  }
  const below = (parent: number): number[] => (children.get(parent) ?? []).flatMap((child) => [child, ...below(child)]);
  return below(pid);
}

/** The pids of running processes that were started with `assignment` (`NAME=value`) in their environment. */
export function processesWith(assignment: string): number[] {
  return allPids().filter((pid) => isAlive(pid) && readProc(pid, "environ").split("\0").includes(assignment));
}

/** Sends a signal; false if the process is gone. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return false;
    throw error;
  }
}

function allPids(): number[] {
  return readdirSync("/proc").map(Number).filter((pid) => Number.isInteger(pid) && pid > 0);
}

function readStat(pid: number): { readonly state: string; readonly parent: number } | undefined {
  const stat = readProc(pid, "stat");
  // The name stands in parentheses and may itself hold spaces and parentheses.
  const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return stat === "" || state === undefined ? undefined : { state, parent: Number(parent) };
}

function readProc(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "latin1");
  } catch {
    return "";
  }
}
