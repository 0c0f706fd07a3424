/**
 * What workers are made of: this program run again, a module, or a command.
 *
 * @module
 */

import { childPath, MODULE_KEY } from "./identity.ts";
import { checkKeys } from "./checks.ts";
import type { ReloadOptions } from "./call_options.ts";
import type { PreforkOptions } from "./options.ts";
import type { ProcessHost, RuntimeName, Signal, SpawnCommand, WorkerCommand } from "./types.ts";

/**
 * What `start` may be given.
 *
 * @typeParam Data The type of `data`.
 */
export interface StartOptions<Data = unknown> {
  /** What all workers made under this call get as `data`. It must survive JSON, which is checked. */
  readonly data?: Data;
  /**
   * Flags for workers on Deno (`["--allow-net"]`), in place of the permissions the manager itself was given. The
   * control socket is added to them.
   */
  readonly denoArgs?: readonly string[];
}

/** What `startModule` may be given. */
export interface ModuleOptions extends StartOptions {
  /** Arguments of the worker's program. */
  readonly args?: readonly string[];
  /** The runtime of the workers. @default the manager's own */
  readonly runtime?: RuntimeName;
  /** The executable of that runtime. @default the manager's own, or what `PATH` has */
  readonly executable?: string;
  /** The working directory of the workers. @default the directory the manager was started in */
  readonly cwd?: string;
  /** Variables added to the manager's environment for the workers. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Work for workers, as one call of `start` gave it. */
export type Work =
  | { readonly type: "self"; readonly options: StartOptions }
  | { readonly type: "module"; readonly module: string; readonly options: ModuleOptions }
  | { readonly type: "command"; readonly command: WorkerCommand };

/** Work made ready: how to run it, and what its workers are told. */
export interface ReadyWork {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string | undefined;
  readonly env: Readonly<Record<string, string>>;
  /** The runtime of the workers; undefined if it is not known. */
  readonly runtime: RuntimeName | undefined;
  /** The identity of its workers; undefined for commands, which have none. */
  readonly path: string | undefined;
  /** `data` as JSON. */
  readonly data: string;
}

/**
 * Checks what `start`, `startModule` and `startCommand` were given.
 *
 * @throws {TypeError} If something is unknown or of the wrong shape.
 */
export function checkWork(work: Work): void {
  if (work.type === "command") return checkCommand(work.command);
  const known = work.type === "self"
    ? ["data", "denoArgs"]
    : ["data", "denoArgs", "args", "cwd", "env", "runtime", "executable"];
  checkKeys(work.type === "self" ? "start" : "startModule", work.options, known);
  checkWords("denoArgs", work.options.denoArgs);
  if (work.type === "self") return;
  checkWords("args", work.options.args);
  checkVariables(work.options.env);
  const { runtime } = work.options;
  if (runtime === undefined || runtime === "deno" || runtime === "bun") return;
  throw new TypeError(`Cannot run workers on '${String(runtime)}': the runtimes are 'deno' and 'bun'`);
}

function checkCommand(command: WorkerCommand): void {
  if (
    typeof command !== "object" || command === null || typeof command.command !== "string" || command.command === ""
  ) {
    throw new TypeError('Cannot start a command: give { command: "NAME", args: [...] }');
  }
  checkKeys("startCommand", command, ["command", "args", "env", "cwd"]);
  checkWords("args", command.args);
  checkVariables(command.env);
}

function checkVariables(env: Readonly<Record<string, string>> | undefined): void {
  if (env === undefined) return;
  if (typeof env !== "object" || env === null) {
    throw new TypeError(`Cannot use 'env': it must map names to strings, not ${JSON.stringify(env)}`);
  }
  const [name, value] = Object.entries(env).find(([, value]) => typeof value !== "string") ?? [];
  if (name === undefined) return;
  throw new TypeError(`Cannot use 'env': the value of ${name} must be a string, not ${JSON.stringify(value)}`);
}

function checkWords(name: string, words: readonly string[] | undefined): void {
  if (words === undefined || (Array.isArray(words) && words.every((word) => typeof word === "string"))) return;
  throw new TypeError(`Cannot use '${name}': it must be a list of strings, not ${JSON.stringify(words)}`);
}

/**
 * Refuses to have workers wait that do not know how to.
 *
 * @throws {TypeError} If the work is a command.
 */
export function checkStandby(work: Work, standby: number): void {
  if (work.type !== "command" || standby === 0) return;
  throw new TypeError("Cannot keep standbys of a command: it cannot be told to wait; leave out the option 'standby'");
}

/**
 * The same work with what a reload brings.
 *
 * @throws {TypeError} If it is not for such work, or of the wrong shape.
 */
export function renew(work: Work, { data, env }: Pick<ReloadOptions, "data" | "env">): Work {
  return withEnv(withData(work, data), env);
}

function withEnv(work: Work, env: ReloadOptions["env"]): Work {
  if (env === undefined) return work;
  checkVariables(env);
  if (work.type === "command") return { ...work, command: { ...work.command, env } };
  if (work.type === "module") return { ...work, options: { ...work.options, env } };
  throw new TypeError(
    "Cannot reload with 'env': these workers have the manager's; startModule() and startCommand() take it",
  );
}

function withData(work: Work, data: unknown): Work {
  if (data === undefined) return work;
  if (work.type === "command") {
    throw new TypeError("Cannot reload with 'data': a command takes none; give it to start(), startModule()");
  }
  return work.type === "self"
    ? { ...work, options: { ...work.options, data } }
    : { ...work, options: { ...work.options, data } };
}

/** A path is resolved from the directory the program was started in. */
export function resolveModule(module: string, directory: string): string {
  const isUrl = /^[a-z][a-z\d+.-]+:/i.test(module);
  return isUrl ? new URL(module).href : new URL(encodePath(module), `file://${encodePath(directory)}/`).href;
}

/** A path may hold what would end the path of a URL. */
function encodePath(path: string): string {
  return encodeURI(path).replaceAll(/[?#]/g, encodeURIComponent);
}

/** Finds out how to run some work. */
export async function prepareWork(
  host: ProcessHost,
  work: Work,
  place: { readonly controlPath: string; readonly pathText: string | undefined; readonly key: string },
  data: string,
): Promise<ReadyWork> {
  if (work.type === "command") {
    const { command, args = [], env = {}, cwd } = work.command;
    return { command, args, env, cwd, data, runtime: undefined, path: undefined };
  }
  const path = childPath(place.pathText, place.key);
  const grant = {
    controlPath: place.controlPath,
    ...(work.options.denoArgs === undefined ? {} : { denoArgs: work.options.denoArgs }),
  };
  if (work.type === "self") {
    const self = await host.selfCommand(grant);
    return { ...self, env: {}, data, path, runtime: host.name };
  }
  const { args = [], env = {}, runtime, executable, cwd } = work.options;
  const self = await host.moduleCommand({
    ...grant,
    module: resolveModule(work.module, host.directory),
    args,
    ...(runtime === undefined ? {} : { runtime }),
    ...(executable === undefined ? {} : { executable }),
  });
  return {
    ...self,
    ...(cwd === undefined ? {} : { cwd }),
    env,
    data,
    path: childPath(path, MODULE_KEY),
    runtime: runtime ?? host.name,
  };
}

/**
 * Refuses SIGUSR1 for workers on Deno, where it does not reach the program: it opens the inspector's port.
 *
 * @throws {TypeError} If one of `signals` is SIGUSR1.
 */
export function checkRelayed(signals: readonly (Signal | undefined)[], runtime: RuntimeName | undefined): void {
  if (runtime !== "deno" || !signals.includes("SIGUSR1")) return;
  throw new TypeError(
    "Cannot send SIGUSR1 to workers on Deno: it opens the inspector on 127.0.0.1:9229 in them; use SIGUSR2",
  );
}

/**
 * Only the process itself knows its id in time: the shell's stays, as it makes way for the command. By the other
 * variable new systemds say whom they meant, which was the manager.
 */
const WITH_LISTEN_PID = ["/bin/sh", "-c", 'unset LISTEN_PIDFDID; export LISTEN_PID=$$; exec "$@"', "sh"];

/** The process to spawn for one worker. */
export function spawnCommand(
  work: ReadyWork,
  options: PreforkOptions,
  env: Readonly<Record<string, string>>,
): Pick<SpawnCommand, "command" | "args" | "env" | "cwd" | "uid" | "gid"> {
  const user = options.workerUser;
  const isTold = work.path === undefined && "LISTEN_FDS" in env;
  const argv = [...(user?.prefix ?? []), ...(isTold ? WITH_LISTEN_PID : []), work.command, ...work.args];
  const [command = work.command, ...args] = argv;
  const direct = user !== undefined && user.prefix === undefined;
  return {
    command,
    args,
    env: { ...user?.env, ...work.env, ...env },
    ...(work.cwd === undefined ? {} : { cwd: work.cwd }),
    ...(direct ? { uid: user.uid, gid: user.gid } : {}),
  };
}
