/**
 * Runs programs as child processes on either runtime, keeps what they print for the failure message, and leaves
 * nothing behind, even of a test process that is killed. Works under `deno test` and under `bun test`.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, existsSync, mkdtempSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { processesWith, signalProcess, waitFor } from "./processes.ts";
import { testSuite } from "./suite.ts";

export * from "./processes.ts";

/** A runtime the tests run on. */
export type TestRuntime = "deno" | "bun";

/** The runtime that runs the tests now. */
export const runtime: TestRuntime = "Deno" in globalThis ? "deno" : "bun";

/** An executable and the arguments that go before the TypeScript file it is to run. */
export interface RuntimeCommand {
  readonly command: string;
  readonly args: readonly string[];
}

const RUN_ARGS: Readonly<Record<TestRuntime, readonly string[]>> = {
  deno: ["run", "-A", "--no-prompt"],
  bun: ["run"],
};

/** How to run a TypeScript file on the runtime that runs the tests. */
export function runtimeCommand(): RuntimeCommand {
  return { command: process.execPath, args: RUN_ARGS[runtime] };
}

/** How to run a TypeScript file on the runtime that does not run the tests. */
export function otherRuntimeCommand(): RuntimeCommand & { readonly name: TestRuntime } {
  const name = runtime === "deno" ? "bun" : "deno";
  const installed = fileURLToPath(new URL(`../../node_modules/.bin/${name}`, import.meta.url));
  return { name, command: existsSync(installed) ? installed : name, args: RUN_ARGS[name] };
}

/** A temporary directory that is removed with all it holds at the end of the block. */
export interface TempDir extends AsyncDisposable {
  readonly path: string;
  /** The path of a file in it. */
  file(name: string): string;
}

/** Makes a temporary directory of a unique name. */
export async function tempDir(): Promise<TempDir> {
  const path = await mkdtemp(join(testSuite().directory, "t-"));
  return {
    path,
    file: (name) => join(path, name),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 5 }),
  };
}

/** How a program ended. */
export interface ProgramStatus {
  readonly code: number | null;
  readonly signal: string | null;
}

export interface RunOptions {
  /** Variables on top of those of the test run; `undefined` removes one. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** The runtime to use; by default the one that runs the tests. */
  readonly on?: RuntimeCommand;
  /** Arguments for the runtime itself, in place of the usual ones (`run -A --no-prompt`, `run`). */
  readonly runtimeArgs?: readonly string[];
}

export interface WaitOptions {
  /** @default {60000} */
  readonly timeoutMs?: number;
  /** How many such lines there must be; the last of them is the one returned. @default {1} */
  readonly count?: number;
}

/** What a line must be: contain a text, match a pattern, or satisfy a predicate. */
export type LinePattern = string | RegExp | ((line: string) => boolean);

/** Finds what a program printed so far, or waits for it. */
export class Program implements AsyncDisposable {
  readonly pid: number;
  /** Resolves when the process itself has ended, though others may still hold its standard output. */
  readonly status: Promise<ProgramStatus>;
  /** Resolves when the process and everybody else who held its standard output and error have ended. */
  readonly closed: Promise<ProgramStatus>;
  /** Every full line of standard output so far. */
  readonly lines: string[] = [];
  /** Every full line of standard error so far. */
  readonly errorLines: string[] = [];
  /** The directory it has its temporary files in. */
  readonly temporary: string;
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #tag: string;
  #ended: ProgramStatus | undefined;
  #isClosed = false;

  constructor(child: ChildProcess, name: string, tag: string, temporary: string) {
    if (child.pid === undefined) throw new Error(`Cannot run ${name}: it was not started`);
    this.pid = child.pid;
    this.#child = child;
    this.#name = name;
    this.#tag = tag;
    this.temporary = temporary;
    collectLines(child.stdout, this.lines);
    collectLines(child.stderr, this.errorLines);
    this.status = new Promise((resolve) =>
      child.once("exit", (code, signal) => resolve(this.#ended = { code, signal: signal ?? null }))
    );
    this.closed = new Promise((resolve) =>
      child.once("close", (code, signal) => {
        this.#isClosed = true;
        resolve(this.#ended ?? { code, signal: signal ?? null });
      })
    );
  }

  /** Every process of this run that is alive: the program, its workers, theirs, wherever they were adopted. */
  processes(): number[] {
    return processesWith(this.#tag);
  }

  /** The lines of standard output so far that fit `pattern`. */
  matching(pattern: LinePattern): string[] {
    return this.lines.filter(lineTest(pattern));
  }

  /** Waits for a line of standard output, past ones included. */
  waitForLine(pattern: LinePattern, options?: WaitOptions): Promise<string> {
    return this.#waitForLine(this.lines, pattern, options);
  }

  /** Waits for a line of standard error, past ones included. */
  waitForErrorLine(pattern: LinePattern, options?: WaitOptions): Promise<string> {
    return this.#waitForLine(this.errorLines, pattern, options);
  }

  async #waitForLine(lines: string[], pattern: LinePattern, options: WaitOptions = {}): Promise<string> {
    const { count = 1, timeoutMs = 60_000 } = options;
    const fits = lineTest(pattern);
    const what = count === 1 ? `a line that fits ${pattern}` : `${count} lines that fit ${pattern}`;
    const found = (): string | undefined => lines.filter(fits)[count - 1];
    return await waitFor(() => {
      const line = found();
      if (line === undefined && this.#isClosed) throw new Error(`The program ended without printing ${what}`);
      return line;
    }, { timeoutMs, what: `${what} from ${this.#name}`, intervalMs: 5 }).catch((error) => {
      throw new Error(`${error.message}\n${this.report()}`);
    });
  }

  /** Waits for the process to end; a failure that shows its output if it does not. */
  async waitForEnd(options: { readonly timeoutMs?: number } = {}): Promise<ProgramStatus> {
    const { timeoutMs = 60_000 } = options;
    const deadline = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => deadline.resolve(undefined), timeoutMs);
    const status = await Promise.race([this.closed, deadline.promise]);
    clearTimeout(timer);
    if (status === undefined) throw new Error(`${this.#name} did not end within ${timeoutMs} ms\n${this.report()}`);
    return status;
  }

  /** Sends a signal to the process; false if it is gone. */
  kill(signal: NodeJS.Signals = "SIGTERM"): boolean {
    return this.#ended === undefined && signalProcess(this.pid, signal);
  }

  /** All that is known of the run, for failure messages. */
  report(): string {
    const ended = this.#ended === undefined ? "still running" : `ended: ${JSON.stringify(this.#ended)}`;
    const section = (title: string, lines: readonly string[]) => [`--- ${title}`, ...lines.slice(-200)].join("\n");
    return `${this.#name} (pid ${this.pid}, ${ended})\n${section("stdout", this.lines)}\n${
      section("stderr", this.errorLines)
    }\n---`;
  }

  /** Ends whatever of the run is alive. The program is stopped first so that it cannot start more meanwhile. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended === undefined) signalProcess(this.pid, "SIGSTOP");
    await waitFor(() => {
      const left = this.processes();
      for (const pid of left) signalProcess(pid, "SIGKILL");
      if (this.#ended === undefined) signalProcess(this.pid, "SIGKILL");
      return left.length === 0 && this.#ended !== undefined;
    }, { what: `every process of ${this.#name} to be gone` });
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
    await rm(this.temporary, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Runs a TypeScript file with `args` on the current runtime, or on `options.on`. */
export function runProgram(file: string | URL, args: readonly string[] = [], options: RunOptions = {}): Program {
  const on = options.on ?? runtimeCommand();
  const path = typeof file === "string" ? file : fileURLToPath(file);
  return runCommand(on.command, [...options.runtimeArgs ?? on.args, path, ...args], options);
}

/** Runs any command. */
export function runCommand(
  command: string,
  args: readonly string[],
  options: Pick<RunOptions, "env" | "cwd"> = {},
): Program {
  const tag = `TEST_RUN_ID=${randomUUID()}`;
  // Of its own, so that what a killed manager leaves there can be removed; workers of another user pass through it.
  const suite = testSuite();
  const temporary = mkdtempSync(join(suite.directory, "r-"));
  chmodSync(temporary, 0o711);
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    ...suite.env,
    NO_COLOR: "1",
    TEST_RUN_ID: tag.slice("TEST_RUN_ID=".length),
    TMPDIR: temporary,
    XDG_RUNTIME_DIR: temporary,
  };
  for (const [name, value] of Object.entries(options.env ?? {})) {
    if (value === undefined) delete env[name];
    else env[name] = value;
  }
  const child = spawn(command, args, {
    env,
    stdio: ["ignore", "pipe", "pipe"],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  return new Program(child, [command, ...args].join(" "), tag, temporary);
}

function lineTest(pattern: LinePattern): (line: string) => boolean {
  if (typeof pattern === "string") return (line) => line.includes(pattern);
  if (typeof pattern === "function") return pattern;
  return (line) => line.search(pattern) >= 0;
}

function collectLines(stream: ChildProcess["stdout"], lines: string[]): void {
  let rest = "";
  stream?.setEncoding("utf8");
  stream?.on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
  });
  stream?.on("end", () => {
    if (rest !== "") lines.push(rest);
    rest = "";
  });
}
