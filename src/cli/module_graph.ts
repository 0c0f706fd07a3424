/**
 * Which files a worker is made of, as the runtime of the worker finds them: packages are not among them.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseFlags } from "../../runtimes/deno_flags.ts";
import type { ProcessHost } from "../types.ts";
import { capture } from "./capture.ts";
import type { PreparedWork } from "./prepare.ts";

/** A worker that runs a module. */
export type ModuleWork = Extract<PreparedWork, { type: "module" }>;

/** The files of a program. */
export interface ModuleGraph {
  /** Absolute paths; those that are imported and not there are among them. */
  readonly files: readonly string[];
  /** Whether all of them are known: what a file imports that cannot be read is not. */
  readonly isWhole: boolean;
}

/** How long a large program may take. */
const GRAPH_MS = 60_000;

/** What says how modules are found. */
const SETTINGS = {
  deno: ["deno.json", "deno.jsonc", "package.json"],
  bun: ["package.json", "tsconfig.json", "bunfig.toml"],
} as const;

/** Finds the files of a worker: at least its own, and what says how the others are found. */
export async function findModules(work: ModuleWork, host: ProcessHost, signal: AbortSignal): Promise<ModuleGraph> {
  const own = work.module.startsWith("file:") ? [fileURLToPath(work.module)] : [];
  const directory = dirname(own[0] ?? join(host.directory, "x"));
  const { files, isWhole } = await askRuntime(work, directory, host, signal).catch(() => NOTHING);
  const settings = settingsAbove(directory, SETTINGS[work.options.runtime ?? host.name]);
  return { files: [...new Set([...own, ...files, ...settings])], isWhole };
}

const NOTHING: ModuleGraph = { files: [], isWhole: false };

async function askRuntime(
  { module, options }: ModuleWork,
  directory: string,
  host: ProcessHost,
  signal: AbortSignal,
): Promise<ModuleGraph> {
  const { runtime = host.name, executable = process.execPath, env = {} } = options;
  const [args, read] = runtime === "deno"
    ? [["info", "--json", ...await denoFlags(module, options, host), module], readDeno] as const
    : [["run", "--no-install", filePath("../../runtimes/bun_modules_cli.ts"), filePath(module)], readBun] as const;
  const answer = await capture(host, executable, args, { timeoutMs: GRAPH_MS, cwd: directory, env, signal });
  return answer?.code === 0 ? read(answer.text) : NOTHING;
}

function filePath(url: string): string {
  return fileURLToPath(new URL(url, import.meta.url));
}

/** The flags of a worker that say where its modules are. What a path in them is relative to is not where this is run. */
async function denoFlags(
  module: string,
  { denoArgs, executable }: ModuleWork["options"],
  host: ProcessHost,
): Promise<readonly string[]> {
  const { args } = await host.moduleCommand({
    module,
    args: [],
    controlPath: "/",
    runtime: "deno",
    ...denoArgs === undefined ? {} : { denoArgs },
    ...executable === undefined ? {} : { executable },
  });
  return parseFlags(args.slice(1, args.lastIndexOf("--preload"))).flatMap(({ name, value, words }) => {
    if (value !== undefined && /^--(config|import-map)$/.test(name)) {
      return [`${name}=${/^[a-z]{2,}:/.test(value) ? value : resolve(host.directory, value)}`];
    }
    return /^--(no-config|no-remote|node-modules-dir|vendor|cert|unstable-.*)$/.test(name) ? words : [];
  });
}

interface DenoInfo {
  readonly modules?: readonly { readonly specifier: string; readonly error?: string }[];
}

function readDeno(text: string): ModuleGraph {
  const { modules = [] }: DenoInfo = JSON.parse(text);
  return {
    files: modules.map(({ specifier }) => specifier)
      .filter((specifier) => specifier.startsWith("file:") && !specifier.includes("/node_modules/"))
      .map((specifier) => fileURLToPath(specifier)),
    isWhole: modules.every(({ error }) => error === undefined),
  };
}

function readBun(text: string): ModuleGraph {
  return JSON.parse(text.trimEnd().split("\n").at(-1) ?? "");
}

/** The nearest of each. */
function settingsAbove(directory: string, names: readonly string[]): readonly string[] {
  if (names.length === 0) return [];
  const found = names.filter((name) => isThere(join(directory, name)));
  const rest = names.filter((name) => !found.includes(name));
  const above = dirname(directory);
  return [...found.map((name) => join(directory, name)), ...above === directory ? [] : settingsAbove(above, rest)];
}

function isThere(path: string): boolean {
  try {
    return existsSync(path);
  } catch {
    return false; // where it may not even be looked for
  }
}
