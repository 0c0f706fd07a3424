/**
 * A process of the {@linkcode FakeHost}: it does what its program, a function, does with it.
 *
 * @module
 */
import type { Child, ExitStatus, OutputReader, Signal, SpawnCommand } from "../src/types.ts";

/** What a fake process does once it was started. One that does nothing lives until it is killed. */
export type FakeProgram = (process: FakeProcess) => void;

const HARMLESS: ReadonlySet<Signal> = new Set(["SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH"]);
const STOPPING: ReadonlySet<Signal> = new Set(["SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"]);

export class FakeProcess implements Child {
  readonly exited: Promise<ExitStatus>;
  /** Every signal it was sent while it lived. */
  readonly received: Signal[] = [];
  /** Signals that do nothing to it; `SIGKILL` always does. */
  readonly ignored = new Set<Signal>();
  /** All it was given on its standard input. */
  stdin = "";
  /** Bytes its readers have taken. */
  printed = 0;
  status: ExitStatus | undefined;
  referenced = true;
  readonly #resolve: (status: ExitStatus) => void;
  readonly #handlers = new Map<Signal, () => void>();
  #onStdin: ((text: string) => void) | undefined;

  readonly pid: number;
  /** The process group it is in, which is its session as well. */
  readonly group: number;
  readonly command: SpawnCommand;
  /** Its whole environment. */
  readonly env: Readonly<Record<string, string>>;

  constructor(pid: number, group: number, command: SpawnCommand, env: Readonly<Record<string, string>>) {
    this.pid = pid;
    this.group = group;
    this.command = command;
    this.env = env;
    const { promise, resolve } = Promise.withResolvers<ExitStatus>();
    this.exited = promise;
    this.#resolve = resolve;
  }

  get alive(): boolean {
    return this.status === undefined;
  }

  /** Ends it by `exit(code)`. */
  exit(code: number): void {
    this.end({ type: "exited", code });
  }

  end(status: ExitStatus): void {
    if (this.status !== undefined) return;
    this.status = status;
    this.#resolve(status);
    void this.print("");
    void this.printError("");
  }

  /** Handles a signal instead of dying of it. */
  on(signal: Signal, handler: () => void): void {
    this.#handlers.set(signal, handler);
  }

  onStdin(handler: (text: string) => void): void {
    this.#onStdin = handler;
  }

  /** Delivers a signal, as the kernel would. */
  signal(signal: Signal): void {
    this.received.push(signal);
    if (signal === "SIGKILL") return this.end({ type: "signaled", signal });
    if (this.ignored.has(signal)) return;
    const handler = this.#handlers.get(signal);
    if (handler !== undefined) return handler();
    if (!HARMLESS.has(signal) && !STOPPING.has(signal)) this.end({ type: "signaled", signal });
  }

  /** Prints to standard output; resolves when the reader has taken it. */
  async print(text: string): Promise<void> {
    await this.#give(this.command.stdout, text);
  }

  /** Prints to standard error; resolves when the reader has taken it. */
  async printError(text: string): Promise<void> {
    await this.#give(this.command.stderr, text);
  }

  async #give(output: OutputReader | "inherit" | "null" | undefined, text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    // As from a real pipe: not within the call that started the process.
    await Promise.resolve();
    try {
      if (typeof output === "function") await output(bytes);
    } catch {
      // The reader's own trouble.
    }
    this.printed += bytes.length;
  }

  writeStdin(text: string): void {
    if (!this.alive || this.command.stdin !== "pipe") return;
    this.stdin += text;
    this.#onStdin?.(text);
  }

  unref(): void {
    this.referenced = false;
  }
}
