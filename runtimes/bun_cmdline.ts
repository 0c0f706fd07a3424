/**
 * What the kernel knows of how this process was started, and Bun does not tell. Workers never load this.
 *
 * @module
 */
import { readEnvironment } from "../src/environment.ts";
import type { BunProcess } from "./bun_api.ts";

declare const process: BunProcess;

/** `bun run mod.ts -- CMD` drops the `--` that follows the program; the kernel still knows it. */
export function withSwallowedDashes(args: readonly string[]): readonly string[] {
  const given = readOwn("cmdline") ?? []; // Not Linux: `run -- CMD` is there for that.
  return given.at(-args.length - 1) === "--" && given.slice(given.length - args.length).join("\0") === args.join("\0")
    ? ["--", ...args]
    : args;
}

/** The environment this process was started with: without what Bun read from `.env` since, or the program has set. */
export function startEnvironment(): Readonly<Record<string, string>> | undefined {
  const entries = readOwn("environ");
  return entries === undefined ? undefined : readEnvironment(entries);
}

function readOwn(file: "cmdline" | "environ"): readonly string[] | undefined {
  try {
    return process.getBuiltinModule("node:fs").readFileSync(`/proc/self/${file}`, "utf8").split("\0").slice(0, -1);
  } catch {
    return undefined;
  }
}
