/**
 * The command lines that run a worker module on either runtime. Loaded only when a manager starts such workers.
 *
 * @module
 */
import type { ModuleCommand, SelfCommand } from "./types.ts";

/** A command line that does not yet know its directory. */
export type CommandLine = Omit<SelfCommand, "cwd">;

/** Runs a worker module on Deno, by `executable`, with `flags`. */
export function denoModuleCommand(command: ModuleCommand, executable: string, flags: readonly string[]): CommandLine {
  return {
    command: executable,
    args: ["run", ...flags, "--preload", preloadUrl().href, command.module, ...command.args],
  };
}

/** Runs a worker module on Bun, by `executable`, with `flags`. Bun takes paths only, and runs nothing from the network. */
export function bunModuleCommand(command: ModuleCommand, executable: string, flags: readonly string[]): CommandLine {
  const module = filePath(new URL(command.module));
  const preload = filePath(preloadUrl());
  return { command: executable, args: ["run", ...flags, "--preload", preload, module, ...bunArguments(command.args)] };
}

/** The arguments that give a program on Bun these: Bun itself takes a `--` that stands first. */
export function bunArguments(args: readonly string[]): readonly string[] {
  return args[0] === "--" ? ["--", ...args] : args;
}

/** What a worker module is preceded by. */
export function preloadUrl(): URL {
  return new URL("./preload.ts", import.meta.url);
}

function filePath(url: URL): string {
  if (url.protocol === "file:") return decodeURIComponent(url.pathname);
  throw new Error(`Bun cannot run ${url.href}: it runs modules from files only. Use Deno for it, or install it.`);
}

/** Of a thread, which has no program of its own that could be run again. */
export function threadError(): Error {
  return new Error(
    "A worker thread cannot be run again as a worker, its program would begin with the main thread: make the pool " +
      "there, or use a worker module.",
  );
}
