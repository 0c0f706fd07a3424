/**
 * Managers of the command line on several hosts.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Host } from "./network.ts";
import { prefork } from "./operator.ts";
import { isAlive, type Program, runtimeCommand, signalProcess, waitFor } from "./run.ts";

/** A manager on a host, and those that take its place. */
export class Manager {
  readonly host: Host;
  readonly #words: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  readonly #stack: AsyncDisposableStack;
  readonly #workers: number;
  #program: Program;
  #pid: number;

  constructor(
    stack: AsyncDisposableStack,
    host: Host,
    workers: number,
    words: readonly string[],
    env: Readonly<Record<string, string>>,
  ) {
    this.host = host;
    this.#stack = stack;
    this.#workers = workers;
    this.#words = words;
    this.#env = env;
    this.#program = this.#start();
    this.#pid = this.#program.pid;
  }

  /** What it has said. */
  report(): string {
    return this.#program.report();
  }

  /** The pids of all workers that it, and whoever was in its place, has had since it was last begun. */
  get workers(): readonly string[] {
    return this.#program.errorLines.flatMap((line) => / pid=(\d+) .*is ready$/.exec(line)?.[1] ?? []);
  }

  /** Waits until all workers are ready. */
  async ready(): Promise<void> {
    await this.#program.waitForErrorLine(/ is ready$/, { count: this.#workers });
  }

  /** Begins it again where its host was without power. */
  async restart(): Promise<void> {
    await this.#program[Symbol.asyncDispose]();
    this.#program = this.#start();
    this.#pid = this.#program.pid;
    await this.ready();
  }

  /** Has another manager take its place. */
  async upgrade(): Promise<void> {
    const heirs = () =>
      this.#program.errorLines.flatMap((line) => /manager pid=(\d+) has taken over/.exec(line)?.[1] ?? []);
    const before = heirs().length;
    const old = this.#pid;
    signalProcess(old, "SIGUSR2");
    await waitFor(() => heirs().length > before, { what: "the new manager to take over" })
      .catch((error) => assert.fail(`${error.message}\n${this.report()}`));
    this.#pid = Number(heirs().at(-1));
    await waitFor(() => !isAlive(old), { what: `the old manager to be gone\n${this.report()}` });
  }

  /** Stops it; nothing is to be left. */
  async stop(): Promise<void> {
    signalProcess(this.#pid, "SIGTERM");
    await waitFor(() => this.#program.processes().length === 0, { what: "the manager and all its workers to be gone" })
      .catch((error) => assert.fail(`${error.message}\n${this.report()}`));
  }

  #start(): Program {
    const { command, args } = runtimeCommand();
    const words = [...args, prefork, "--log-format", "plain", "-w", String(this.#workers), ...this.#words];
    return this.#stack.use(this.host.run(command, words, { env: this.#env }));
  }
}
