/**
 * How a Bun manager starts its workers the way it was started itself: same executable, flags, program, arguments and
 * directory. Workers never load this file.
 *
 * @module
 */
import {
  bunArguments,
  bunModuleCommand as writeBun,
  denoModuleCommand as writeDeno,
  preloadUrl,
  threadError,
} from "../src/module_command.ts";
import type { ManagerCommand, ModuleCommand, SelfCommand } from "../src/types.ts";
import type { BunProcess, BunRuntime } from "./bun_api.ts";
import { startEnvironment, withSwallowedDashes } from "./bun_cmdline.ts";
import { denoWorkerFlags } from "./deno_grants.ts";

declare const Bun: BunRuntime;
declare const process: BunProcess;

/** What a manager notes of itself as it begins; both may change later. */
export interface BunOrigin {
  /** Path of the executable. */
  readonly executable: string;
  /** The working directory. */
  readonly directory: string;
}

/**
 * How to run this program again as a worker.
 *
 * @param write Writes its arguments so that Bun gives them to it.
 * @throws {Error} A sentence, if that cannot be.
 */
export function bunSelfCommand({ executable, directory }: BunOrigin, write = bunArguments): SelfCommand {
  if (!Bun.isMainThread) throw threadError();
  const args = process.argv.slice(2);
  if (isCompiled()) return { command: executable, args, cwd: directory };
  const unnamed = /\/\[(eval|stdin)\]$/.exec(Bun.main)?.[1];
  if (unnamed !== undefined) {
    throw new Error(`A program from ${unnamed} cannot be run again as a worker: put it into a file.`);
  }
  if (isTestRun()) {
    throw new Error(`A worker of ${Bun.main} would run all its tests again: put the program into a file of its own.`);
  }
  const flags = bunWorkerFlags(process.execArgv);
  return { command: executable, args: ["run", ...flags, Bun.main, ...write(args)], cwd: directory };
}

/**
 * How to run this program again as a manager.
 *
 * @throws {Error} A sentence, if that cannot be.
 */
export function bunManagerCommand(origin: BunOrigin): ManagerCommand {
  const { command, args, cwd } = bunSelfCommand(origin, withSwallowedDashes);
  return { command, args, cwd, env: startEnvironment() };
}

/**
 * How to run a worker module on Bun.
 *
 * @throws {Error} A sentence, if that cannot be.
 */
export function bunModuleCommand({ executable, directory }: BunOrigin, command: ModuleCommand): SelfCommand {
  checkFiles();
  const flags = bunWorkerFlags(process.execArgv);
  return { ...writeBun(command, command.executable ?? executable, flags), cwd: directory };
}

/**
 * How to run a worker module on Deno. Bun knows no permissions: who may do everything gives everything, unless told
 * otherwise.
 *
 * @throws {Error} A sentence, if that cannot be.
 */
export function denoModuleCommand({ directory }: BunOrigin, command: ModuleCommand): SelfCommand {
  checkFiles();
  const { controlPath, denoArgs = ["--allow-all"] } = command;
  const flags = denoWorkerFlags({ controlPath, denoArgs, form: "module", preload: preloadUrl().href });
  return { ...writeDeno(command, command.executable ?? "deno", flags), cwd: directory };
}

/** Whether `bun build --compile` made this program: its modules then stand in a file system of its own. */
function isCompiled(): boolean {
  return /^(\/\$bunfs\/|[A-Z]:[\\/]~BUN[\\/])/.test(Bun.main);
}

function checkFiles(): void {
  if (!isCompiled()) return;
  throw new Error("A compiled program cannot run worker modules: it holds no file of them. Run it with bun instead.");
}

/** Bun says nothing of `bun test` but this, and runs only files of such a name. */
function isTestRun(): boolean {
  return process.env["NODE_ENV"] === "test" && /[._](test|spec)\.[cm]?[jt]sx?$/.test(Bun.main);
}

/** Flags for whoever sits before the manager: a worker must neither restart by itself nor stop for a debugger. */
const DROPPED = /^--(watch|hot|no-clear-screen|watch-kill-signal|inspect|inspect-wait|inspect-brk|cwd|revision)(=|$)/;
const PROFILING = /^--(cpu|heap)-prof(-\w+)?(=|$)/;
/** Of these, the ones whose value may be the next argument. */
const WITH_VALUE = /^--((cpu|heap)-prof-(name|dir|interval)|cwd|watch-kill-signal)$/;

/**
 * Takes away what is not for workers. `--cwd` goes because the worker starts in that directory already.
 *
 * @example
 * ```ts
 * bunWorkerFlags(["--smol", "--watch", "--cpu-prof-dir", "prof"]); // ["--smol"]
 * ```
 */
export function bunWorkerFlags(flags: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at < flags.length; at++) {
    const flag = flags[at] ?? "";
    if (!DROPPED.test(flag) && !PROFILING.test(flag)) kept.push(flag);
    else if (WITH_VALUE.test(flag)) at++;
  }
  return kept;
}
