/**
 * How a Deno manager starts its workers the way it was started itself: same executable, flags, program, arguments and
 * directory. Workers never load this file.
 *
 * @module
 */
import { denoModuleCommand as writeModuleCommand, preloadUrl, threadError } from "../src/module_command.ts";
import type { ControlGrant, ManagerCommand, ModuleCommand, SelfCommand } from "../src/types.ts";
import { type DenoOrigin, granted, holdsAll, ownLine, runnable, startEnvironment } from "./deno_cmdline.ts";
import { checkRepeatable, type DenoLine } from "./deno_flags.ts";
import { checkCompiled, denoManagerFlags, denoWorkerFlags } from "./deno_grants.ts";

/**
 * How to run this program again as a worker.
 *
 * @throws {Error} A sentence, if that cannot be.
 */
export async function denoSelfCommand(origin: DenoOrigin, grant: ControlGrant): Promise<SelfCommand> {
  const main = mainModule();
  if (Deno.build.standalone) {
    checkCompiled(grant, granted);
    return { command: origin.executable, args: [...Deno.args], cwd: origin.directory };
  }
  const line = await ownLine(origin);
  return runAgain(origin, line, main, () => workerFlags(line, "self", grant));
}

/**
 * How to run this program again as a manager.
 *
 * @throws {Error} A sentence, if that cannot be.
 */
export async function denoManagerCommand(origin: DenoOrigin): Promise<ManagerCommand> {
  const main = mainModule();
  const env = await startEnvironment(origin);
  if (Deno.build.standalone) return { command: origin.executable, args: [...Deno.args], cwd: origin.directory, env };
  const line = await ownLine(origin);
  return { ...runAgain(origin, line, main, () => managerFlags(line)), env };
}

function mainModule(): string {
  const main: string | undefined = Deno.mainModule; // a thread has none
  if (main !== undefined) return main;
  throw threadError();
}

function runAgain(
  origin: DenoOrigin,
  line: DenoLine | undefined,
  main: string,
  flags: () => readonly string[],
): SelfCommand {
  checkRepeatable(line, main);
  const named = line?.script ?? "";
  // What a package's specifier stands for is resolved again: its main module alone lacks the package's own settings.
  const script = /^(jsr|npm):/.test(named) && line?.subcommand === "run" ? named : main;
  return {
    command: runnable(origin),
    args: ["run", ...flags(), script, ...Deno.args],
    cwd: origin.directory,
  };
}

/**
 * How to run a worker module on Deno.
 *
 * @throws {Error} A sentence, if that cannot be.
 */
export async function denoModuleCommand(origin: DenoOrigin, command: ModuleCommand): Promise<SelfCommand> {
  if (Deno.build.standalone && command.executable === undefined) {
    throw new Error("A compiled program cannot run a worker module by itself: name the deno or bun executable for it.");
  }
  const line = Deno.build.standalone ? NO_FLAGS : await ownLine(origin);
  const flags = workerFlags(line, "module", command);
  const executable = command.executable ?? runnable(origin);
  return { ...writeModuleCommand(command, executable, flags), cwd: origin.directory };
}

const NO_FLAGS: DenoLine = { subcommand: "run", flags: [] };

function workerFlags(line: DenoLine | undefined, form: "self" | "module", grant: ControlGrant): readonly string[] {
  return denoWorkerFlags({
    controlPath: grant.controlPath,
    ...(grant.denoArgs === undefined ? {} : { denoArgs: grant.denoArgs }),
    line: line ?? grantsOnly(grant),
    form,
    granted,
    holdsAll: holdsAll(),
    ...(form === "module" ? { preload: preloadUrl().href } : {}),
  });
}

function managerFlags(line: DenoLine | undefined): readonly string[] {
  if (line === undefined && !holdsAll()) {
    throw new Error(
      "Cannot learn the flags this program was started with, so it cannot be started again: add --allow-ffi, or allow " +
        "any program to be run (--allow-run).",
    );
  }
  return denoManagerFlags({ line: line ?? NO_FLAGS, granted, holdsAll: holdsAll() });
}

/** What can be told where the command line cannot be read: everything is allowed, or the user knows. */
function grantsOnly(grant: ControlGrant): DenoLine {
  if (grant.denoArgs !== undefined || holdsAll()) return NO_FLAGS;
  throw new Error(
    "Cannot learn the flags this program was started with, so workers cannot be given the same: " +
      'give theirs by the option denoArgs, as in { denoArgs: ["--allow-net"] }, or allow deno to be run (--allow-run).',
  );
}
