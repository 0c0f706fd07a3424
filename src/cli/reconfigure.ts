/**
 * A reload by what the configuration file says now: the options that may change do so, or it is refused whole.
 *
 * @module
 */

import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import type { PreforkOptions } from "../options.ts";
import type { Prefork } from "../prefork.ts";
import { type ChangeableOption, isChangeable, type PoolChanges } from "../terms.ts";
import type { Request, RunRequest } from "./request.ts";
import { poolOptions } from "./pool_options.ts";
import { prepare, type Prepared, type PreparedWork } from "./prepare.ts";
import { UsageError } from "./usage_error.ts";

/** What the configuration says now. */
interface Reading {
  readonly request: RunRequest;
  readonly prepared: Prepared;
  readonly options: PreforkOptions;
}

/** The configuration of a running manager. */
export class Configuration {
  readonly #reread: () => Promise<Request>;
  #request: RunRequest;
  #options: PreforkOptions;
  #work: PreparedWork;
  /** How many wait for a reload. */
  #left = 0;
  /** What was changed by reloads that did not come to their end: whether it holds is not known here. */
  #doubtful: ReadonlySet<ChangeableOption> = new Set();
  /** The last read, which the next one waits for: what is read last is what holds. */
  #read: Promise<unknown> = Promise.resolve();
  /** A reload that has yet to read the file, for all who ask until then. */
  #next: Promise<void> | undefined;

  /** @param reread Reads the file anew, and the command line with it. */
  constructor(request: RunRequest, prepared: Prepared, reread: () => Promise<Request>) {
    this.#reread = reread;
    this.#request = request;
    this.#options = poolOptions(request, prepared);
    this.#work = prepared.work;
  }

  /**
   * Reloads the pool by what the file says now.
   *
   * @throws {UsageError} If it says what cannot be, or cannot be changed. The pool is as it was.
   * @throws {ReloadError} If the new workers do not come to be ready.
   */
  async reload(pool: Prefork): Promise<void> {
    this.#next ??= this.#read.then(async () => {
      this.#next = undefined;
      const read = this.#readAnew();
      this.#read = read.catch(() => {});
      const { request, prepared, options } = await read;
      const changes = this.#changes(request, options);
      const doubtful = this.#doubtful = new Set(Object.keys(changes).filter(isChangeable));
      await pool.reload({ options: changes, env: prepared.env });
      if (this.#doubtful === doubtful) this.#doubtful = new Set();
      this.#request = request;
      this.#options = options;
      this.#work = prepared.work;
    });
    this.#left++;
    await this.#next.finally(() => this.#left--);
  }

  /** What the workers are, as the last reload has it that came to its end. */
  get work(): PreparedWork {
    return this.#work;
  }

  /** Whether a reload has not come to its end. */
  get isUnderWay(): boolean {
    return this.#left > 0;
  }

  /** Has the next workers be what the file says now. */
  async rework(): Promise<void> {
    this.#work = (await this.#readAnew()).prepared.work;
  }

  async #readAnew(): Promise<Reading> {
    const request = await this.#reread();
    if (request.kind !== "run") throw new UsageError(request.kind === "error" ? request.message : "it asks for help");
    refuseFixed(this.#request, request);
    const prepared = await prepare(request, currentHost, currentCommandLine);
    return { request, prepared, options: poolOptions(request, prepared) };
  }

  /** What was changed by hand since, such as the size, stays where the file says what it said. */
  #changes(request: RunRequest, options: PreforkOptions): PoolChanges {
    const isOther = (name: ChangeableOption): boolean => {
      if (this.#doubtful.has(name)) return true;
      if (name === "policy") return differ(this.#request.options.spare, request.options.spare);
      return differ(this.#options[name], options[name]);
    };
    const names = new Set([...Object.keys({ ...this.#options, ...options }).filter(isChangeable), ...this.#doubtful]);
    return Object.fromEntries([...names].filter(isOther).map((name) => [name, options[name]]));
  }
}

function refuseFixed(before: RunRequest, after: RunRequest): void {
  const [old, now] = [fixedParts(before), fixedParts(after)];
  const name = Object.keys({ ...old, ...now }).find((key) => differ(old[key], now[key]));
  if (name === undefined) return;
  throw new UsageError(
    `Cannot change '${name}' by a reload: it holds for as long as the manager lives; 'prefork upgrade' brings one that has it`,
  );
}

function fixedParts({ target, trapSignals, denoArgs, options }: RunRequest): Readonly<Record<string, unknown>> {
  const { readyWhen, name, runtime, user, group, cwd, umask, rlimit, envFile, control, pidFile } = options;
  const { statusListen, statusTokenFile, logFormat, logFile, output, watch } = options;
  return {
    [target.type === "module" ? "worker" : "command"]: target,
    trap: trapSignals,
    permissions: denoArgs,
    ...{ readyWhen, name, runtime, user, group, cwd, umask, rlimit, envFile, control, pidFile },
    ...{ statusListen, statusTokenFile, logFormat, logFile, output, watch },
  };
}

function differ(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) !== JSON.stringify(other);
}
