/**
 * Runs the daemon of `fixtures/upgrade/daemon.ts`, which goes through several managers.
 *
 * @module
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import type { PreforkEvent, PreforkOptions, WorkerInfo } from "../../mod.ts";
import type { Edition } from "../fixtures/upgrade/daemon.ts";
import type { Where } from "./client.ts";
import { commandLine, descriptors } from "./pool.ts";
import { type Program, runProgram, signalProcess, type TempDir, waitFor } from "./run.ts";

const program = new URL("../fixtures/upgrade/daemon.ts", import.meta.url);

/** An event, and the manager that told it. */
export type ToldEvent = PreforkEvent & { readonly manager: number };

/** A daemon, and the file that says what its next manager is like. */
export class Daemon implements AsyncDisposable {
  readonly program: Program;
  readonly #file: string;

  constructor(options: PreforkOptions, dir: TempDir) {
    this.#file = dir.file("edition");
    this.edit({});
    this.program = runProgram(program, [JSON.stringify(options)], { env: { TEST_EDITION: this.#file } });
  }

  /** Its managers so far, the first one first. */
  get managers(): readonly number[] {
    return this.program.matching(/^begins /).map((line) => Number(line.slice("begins ".length)));
  }

  /** Says what the next manager will be like. */
  edit(edition: Edition): void {
    writeFileSync(this.#file, JSON.stringify(edition));
  }

  /** Asks a manager for an upgrade. */
  upgrade(manager: number, edition: Edition = {}): void {
    this.edit(edition);
    signalProcess(manager, "SIGUSR2");
  }

  /** What a manager says of how its `count`-th upgrade went. */
  async outcome(manager: number, count = 1): Promise<string> {
    const line = await this.program.waitForLine(new RegExp(`^${manager} `), { count });
    return line.slice(`${manager} `.length);
  }

  /** The manager that took over after `count` upgrades that went well. */
  async heir(count = 1): Promise<number> {
    const upgraded = () => this.events().filter(({ type }) => type === "takeover")[count - 1]?.manager;
    return await waitFor(upgraded, { what: `a manager to take over\n${this.program.report()}` });
  }

  events(manager?: number): readonly ToldEvent[] {
    const all = this.program.matching(/^\{/).map((line): ToldEvent => JSON.parse(line));
    return manager === undefined ? all : all.filter((event) => event.manager === manager);
  }

  /** The workers of a manager that were spawned and not reaped, as they were last told of. */
  workers(manager: number): readonly WorkerInfo[] {
    const live = new Map<number, WorkerInfo>();
    for (const event of this.events(manager)) {
      if (event.type === "spawn" || event.type === "ready") live.set(event.worker.pid, event.worker);
      if (event.type === "reap") live.delete(event.worker.pid);
    }
    return [...live.values()];
  }

  async ready(manager: number, count = 2): Promise<readonly WorkerInfo[]> {
    const seen = () => this.workers(manager).filter(({ state }) => state === "ready");
    const what = `${count} ready workers of ${manager}`;
    return await waitFor(() => seen().length === count && seen(), { what }).catch((error) => {
      throw new Error(`${error.message}\n${this.program.report()}`);
    });
  }

  /** Where a manager listens. */
  async listens(manager: number): Promise<readonly Where[]> {
    const start = `listens ${manager} `;
    const line = await this.program.waitForLine(start);
    const listeners: readonly { readonly address: { readonly port?: number; readonly path?: string } }[] = JSON.parse(
      line.slice(start.length),
    );
    return listeners.map(({ address: { port = 0, path } }) => path === undefined ? { port } : { path });
  }

  /** All that belongs to the run: its processes, and what they have in their temporary directory. */
  belongings(): string {
    const processes = this.program.processes().map((pid) => `${pid} ${commandLine(pid).slice(0, 60)}`);
    return [...processes, ...readdirSync(this.program.temporary)].sort().join("\n");
  }

  /** Waits until nothing is left but what was there before. */
  async isBackTo(before: string, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (this.belongings() !== before && performance.now() < deadline) await pause(10);
    if (this.belongings() === before) return;
    throw new Error(`Left are:\n${this.belongings()}\n--- in place of\n${before}\n${this.program.report()}`);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.program[Symbol.asyncDispose]();
  }
}

/** The sockets that a process has at 64 and up, with their flags as the system tells them. */
export function sharedSockets(pid: number): readonly string[] {
  const sockets = descriptors(pid).filter((line) => / socket:/.test(line) && Number(line.split(" ")[0]) >= 64);
  return sockets.map((line) => {
    const info = readFileSync(`/proc/${pid}/fdinfo/${line.split(" ")[0]}`, "utf8");
    return `${line} ${/^flags:\s*(\d+)/m.exec(info)?.[1]}`;
  });
}
