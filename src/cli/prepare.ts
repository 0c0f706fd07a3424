/**
 * Makes a request ready to run: everything it names is looked up, and whatever cannot be is a {@linkcode UsageError}.
 *
 * @module
 */

import { basename } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { describeError } from "../events.ts";
import type { WorkerUser } from "../options.ts";
import { relayedSignal } from "../signals.ts";
import type { ProcessHost, Relays, RuntimeName, WorkerCommand } from "../types.ts";
import { checkRelayed, type ModuleOptions } from "../work.ts";
import { capture } from "./capture.ts";
import { findProgram, noProgram, requireDirectory, requireModule } from "./files.ts";
import type { CommandLineHost } from "./host.ts";
import type { RunOptions, RunRequest, Target } from "./request.ts";
import { findSockets, type Sockets } from "./sockets.ts";
import { describeCount } from "./telling.ts";
import { UsageError } from "./usage_error.ts";
import type { NeededFile } from "./user.ts";
import { parseCount } from "./values.ts";
import { type Lookup, readVariables } from "./variables.ts";

/** What the workers are, with nothing left to look up. */
export type PreparedWork =
  | { readonly type: "module"; readonly module: string; readonly options: ModuleOptions }
  | { readonly type: "command"; readonly command: WorkerCommand };

/** A request that can be run. */
export interface Prepared {
  readonly work: PreparedWork;
  /** What workers have in their environment that the manager lacks. */
  readonly env: Readonly<Record<string, string>>;
  readonly workers: number;
  readonly workerUser: WorkerUser | undefined;
  readonly sockets: Sockets;
}

/** Looks up what a request names. */
export async function prepare(request: RunRequest, host: ProcessHost, line: CommandLineHost): Promise<Prepared> {
  const { options } = request;
  const here = line.cwd();
  const cwd = options.cwd === undefined ? undefined : requireDirectory("the directory --cwd", options.cwd, here);
  const { filed, lookup } = readVariables(options.envFile, here, host);
  const { work, needs } = request.target.type === "command"
    ? prepareCommand(request, request.target, lookup, here)
    : await prepareModule(request, request.target.module, host, lookup, here);
  const needed = cwd === undefined ? needs : [...needs, { path: cwd, what: "--cwd", access: "enter" } as const];
  const workers = options.workers ?? fromEnvironment(lookup) ?? host.cpuCount;
  checkSpare(options, workers);
  checkToken(options);
  const workerUser = await findUser(request, host, needed);
  const env = without(filed, workerUser?.env ?? {}); // who a worker is, no file says
  return {
    work: inPlace(work, { env, ...cwd === undefined ? {} : { cwd } }),
    env,
    workers,
    workerUser,
    sockets: await findSockets(request, host, lookup),
  };
}

/** A pool that cannot have as many spare workers as are asked for grows to its limit and stays there. */
function checkSpare({ spare }: RunOptions, workers: number): void {
  if (spare === undefined || spare.minSpare < workers) return;
  throw new UsageError(
    `Cannot keep ${
      describeCount(spare.minSpare)
    } spare of ${workers}, as --spare asks: give a larger -w, or a smaller MIN`,
  );
}

/** Whoever names a secret takes what it is for to be there. */
function checkToken({ statusListen, statusTokenFile }: RunOptions): void {
  if (statusTokenFile === undefined || statusListen !== undefined) return;
  throw new UsageError("Cannot use --status-token-file without --status-listen: add one, as in --status-listen 9090");
}

interface Found {
  readonly work: PreparedWork;
  readonly needs: readonly NeededFile[];
}

/** An option that is nothing to a command, and why. */
interface Unheeded {
  readonly flag: string;
  readonly isAsked: (options: RunOptions) => boolean;
  readonly reason: string;
}

const ONLY_MODULES_HEED: readonly Unheeded[] = [
  { flag: "--standby", isAsked: ({ standby = 0 }) => standby > 0, reason: "it cannot be told to wait" },
  { flag: "--watch", isAsked: ({ watch }) => watch === true, reason: "nothing tells which files it is made of" },
  {
    flag: "--hang-timeout",
    isAsked: ({ hangTimeoutMs }) => hangTimeoutMs !== undefined,
    reason: "it does not tell whether its event loop turns",
  },
  {
    flag: "--max-requests",
    isAsked: ({ maxRequests }) => maxRequests !== undefined,
    reason: "it does not tell how many it has answered",
  },
  {
    flag: "--no-adoption",
    isAsked: ({ adoption }) => adoption === false,
    reason: "how it takes connections is its own affair",
  },
];

function prepareCommand(
  { options, denoArgs }: RunRequest,
  { command, args }: Extract<Target, { type: "command" }>,
  lookup: Lookup,
  here: string,
): Found {
  const [flag] = [...denoArgs, ...options.runtime === undefined ? [] : ["--runtime"]];
  if (flag !== undefined) {
    throw new UsageError(`Cannot use ${flag} with the command ${command}: it is for worker modules only`);
  }
  const unheeded = ONLY_MODULES_HEED.find(({ isAsked }) => isAsked(options));
  if (unheeded !== undefined) {
    throw new UsageError(`Cannot use ${unheeded.flag} with the command ${command}: ${unheeded.reason}; leave it out`);
  }
  const program = findProgram(command, here, lookup("PATH"));
  if (program === undefined) throw noProgram(command, here);
  const found = command.includes("/") ? program : command;
  return {
    work: { type: "command", command: { command: found, args } },
    needs: [{ path: program, what: "the command", access: "execute" }],
  };
}

async function prepareModule(
  request: RunRequest,
  module: string,
  host: ProcessHost,
  lookup: Lookup,
  here: string,
): Promise<Found> {
  const { runtime, executable } = await findRuntime(request.options.runtime, host, lookup, here);
  checkTraps(request.trapSignals, runtime);
  const [flag] = request.denoArgs;
  if (flag !== undefined && runtime !== "deno") {
    throw new UsageError(
      `Cannot use ${flag} for workers on Bun: it has no permissions; leave it out, or add --runtime deno`,
    );
  }
  const url = requireModule(module, here);
  if (runtime === "bun" && url.protocol !== "file:") {
    throw new UsageError(`Cannot run ${module} on Bun: it runs files only; save it, or add --runtime deno`);
  }
  if (runtime === "bun" && /\?|%3f/i.test(url.href)) {
    throw new UsageError(`Cannot run ${module} on Bun: it takes no path with a '?'; rename it, or add --runtime deno`);
  }
  const args = request.target.args;
  return {
    work: {
      type: "module",
      module: url.href,
      options: {
        args,
        runtime,
        ...(executable === undefined ? {} : { executable }),
        ...(request.denoArgs.length === 0 ? {} : { denoArgs: request.denoArgs }),
      },
    },
    needs: [
      { path: executable ?? process.execPath, what: "the runtime", access: "execute" },
      ...libraryFiles(),
      ...url.protocol === "file:" ? [{ path: fileURLToPath(url), what: "the worker", access: "read" } as const] : [],
    ],
  };
}

function checkTraps(traps: Relays, runtime: RuntimeName): void {
  try {
    checkRelayed(Object.values(traps).map(relayedSignal), runtime);
  } catch (error) {
    throw new UsageError(describeError(error));
  }
}

/** What a worker loads of this library. */
function libraryFiles(): readonly NeededFile[] {
  if (!import.meta.url.startsWith("file:")) return [];
  const files = ["../preload.ts", "../worker.ts", "../../runtimes/current.ts"];
  return files.map((file) => ({
    path: fileURLToPath(new URL(file, import.meta.url)),
    what: "the library's module",
    access: "read",
  }));
}

interface FoundRuntime {
  readonly runtime: RuntimeName;
  /** Undefined for the manager's own. */
  readonly executable?: string;
}

async function findRuntime(
  wanted: string | undefined,
  host: ProcessHost,
  lookup: Lookup,
  here: string,
): Promise<FoundRuntime> {
  if (wanted === undefined || wanted === host.name) return { runtime: host.name };
  const executable = findProgram(wanted, here, lookup("PATH"));
  if (wanted === "deno" || wanted === "bun") {
    if (executable !== undefined) return { runtime: wanted, executable };
    throw new UsageError(`Cannot find ${wanted} along PATH for --runtime: install it, or give its path`);
  }
  if (executable === undefined) {
    if (wanted.includes("/")) throw noProgram(wanted, here, "the --runtime");
    throw new UsageError(`Cannot use '${wanted}' for --runtime: it must be deno, bun, or the path of one of them`);
  }
  return { runtime: await nameRuntime(wanted, executable, host), executable };
}

/** By its file's name, else by what it says of itself: `deno 2.9.6 (...)` and `1.4.5`. */
async function nameRuntime(wanted: string, executable: string, host: ProcessHost): Promise<RuntimeName> {
  const named = /^(deno|bun)(?![a-z])/.exec(basename(executable))?.[1];
  if (named === "deno" || named === "bun") return named;
  const answer = await capture(host, executable, ["--version"]);
  if (answer?.code === 0 && answer.text.startsWith("deno ")) return "deno";
  if (answer?.code === 0 && /^\d+\.\d+\.\d+\S*\s*$/.test(answer.text)) return "bun";
  throw new UsageError(`Cannot use ${wanted} for --runtime: it does not answer --version as Deno or Bun do`);
}

function without(variables: Prepared["env"], others: Prepared["env"]): Prepared["env"] {
  return Object.fromEntries(Object.entries(variables).filter(([name]) => others[name] === undefined));
}

function inPlace(work: PreparedWork, place: Pick<WorkerCommand, "cwd" | "env">): PreparedWork {
  if (work.type === "command") return { ...work, command: { ...work.command, ...place } };
  return { ...work, options: { ...work.options, ...place } };
}

function fromEnvironment(lookup: Lookup): number | undefined {
  const text = lookup("WEB_CONCURRENCY");
  return text === undefined || text === "" ? undefined : parseCount("WEB_CONCURRENCY", text);
}

async function findUser(
  { options: { user, group } }: RunRequest,
  host: ProcessHost,
  needs: readonly NeededFile[],
): Promise<WorkerUser | undefined> {
  if (user === undefined && group === undefined) return undefined;
  const { checkAccess, findIdentity } = await import("./user.ts");
  const identity = await findIdentity(host, user, group);
  if (identity === undefined) return undefined;
  await checkAccess(host, identity, needs);
  const { label: _, ...workerUser } = identity;
  return workerUser;
}
