/**
 * `--watch`: tells when a file changes that workers are made of.
 *
 * @module
 */

import { realpath } from "node:fs/promises";
import { relative, resolve } from "node:path";
import { describeError, type PreforkEvent } from "../events.ts";
import { isStopSignal, STOP_SIGNALS } from "../signals.ts";
import type { ProcessHost } from "../types.ts";
import { NEVER_MS } from "../waiting.ts";
import { Directories } from "./directories.ts";
import { FileStates } from "./file_states.ts";
import type { Log } from "./log.ts";
import { Lull } from "./lull.ts";
import { findModules, type ModuleWork } from "./module_graph.ts";

/** What is watched, and for whom. */
export interface WatchOptions {
  readonly host: ProcessHost;
  readonly log: Log;
  /** The worker, and the configuration file where that is a program. */
  readonly programs: readonly ModuleWork[];
  /** Files that workers are made by, whatever their modules are: as they were named. */
  readonly others: readonly string[];
  readonly cwd: string;
  /** Replaces the workers. */
  reload(): void;
}

/** Watches the files of one pool. */
export class Watch implements AsyncDisposable {
  readonly #options: WatchOptions;
  readonly #lull: Lull;
  readonly #directories: Directories;
  readonly #states: FileStates;
  readonly #ended = new AbortController();
  #files: readonly string[] = [];
  /** Where they are: what a link leads to is elsewhere. */
  #places: readonly string[] = [];
  /** When the last workers began that were told to: what was modified later they may not have seen. */
  #begunMs = Date.now();
  #running: Promise<void> | undefined;
  #hasFailed = false;
  /** Whether there is a save that the pool has not yet made workers of, nor refused. */
  #isDue = false;
  /** A pool that has given up waits for this. */
  #saved: PromiseWithResolvers<void> | undefined;

  /** Begins when the first worker has come as far as it does: finding all the files takes a processor for a while. */
  constructor(options: WatchOptions) {
    this.#options = options;
    this.#lull = new Lull(options.host);
    this.#directories = new Directories({
      changed: () => this.#lull.note(),
      failed: (directory, error) => this.#fail(directory, error),
    });
    this.#states = new FileStates((path, error) => this.#fail(path, error));
  }

  /** Something has happened in the pool. */
  heed(event: PreforkEvent): void {
    switch (event.type) {
      case "ready":
      case "reap":
      case "spawnError":
        if (!this.#ended.signal.aborted) this.#running ??= this.#run();
        return;
      case "reloaded":
        this.#isDue = false;
        return;
      case "reloadFailed":
        if (event.cause === "failed") this.#isDue = false;
        return;
      case "upgraded":
        return this.#end();
      case "signal":
        if (isStopSignal(event.signal)) this.#end();
    }
  }

  /**
   * Resolves with the next save, of which the pool makes its workers then, or when it is told to stop. At once if the last
   * one came too late for workers that had yet to fail.
   */
  async nextSave(stop: AbortSignal): Promise<void> {
    const { host } = this.#options;
    if (this.#isDue) {
      this.#isDue = false;
      return;
    }
    const saved = this.#saved = Promise.withResolvers<void>();
    const end = (): void => saved.resolve();
    using stack = new DisposableStack();
    for (const signal of STOP_SIGNALS) stack.use(host.onSignal(signal, end));
    stack.use(host.setTimer(NEVER_MS, () => {}));
    stop.addEventListener("abort", end);
    stack.defer(() => stop.removeEventListener("abort", end));
    if (stop.aborted) end();
    await saved.promise;
    this.#saved = undefined;
  }

  /** Watches no longer. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#end();
    await this.#running;
  }

  #end(): void {
    this.#ended.abort();
    this.#lull[Symbol.dispose]();
    this.#directories[Symbol.dispose]();
  }

  async #run(): Promise<void> {
    try {
      while (!this.#ended.signal.aborted) await this.#watchOnce();
    } catch (error) {
      this.#options.log.tell("warning", `watches no longer: ${describeError(error)}`);
    } finally {
      this.#directories[Symbol.dispose]();
    }
  }

  /** Until the first change, which may bring other files. */
  async #watchOnce(): Promise<void> {
    const isFirst = this.#files.length === 0;
    const isWhole = await this.#findFiles();
    let changed = await this.#look();
    if (isFirst && !this.#hasFailed) this.#tellFiles(isWhole);
    while (changed.length === 0) {
      await this.#lull.next();
      changed = await this.#look();
      if (this.#ended.signal.aborted) return;
    }
    this.#begunMs = Date.now();
    this.#tell(changed);
    if (this.#saved !== undefined) return this.#saved.resolve();
    this.#isDue = true;
    this.#options.reload();
  }

  /** Gives whether all are known. What was known of files that cannot be read as modules now holds until they can be. */
  async #findFiles(): Promise<boolean> {
    const { programs, others, cwd, host } = this.#options;
    const graphs = await Promise.all(programs.map((program) => findModules(program, host, this.#ended.signal)));
    const isWhole = graphs.every((graph) => graph.isWhole);
    const found = graphs.flatMap((graph) => graph.files);
    const files = [...isWhole ? [] : this.#files, ...found, ...others.map((file) => resolve(cwd, file))];
    const real = await Promise.all(files.map((file) => realpath(file).catch(() => file)));
    this.#files = [...new Set(files)];
    this.#places = [...new Set([...files, ...real])];
    return isWhole;
  }

  async #look(): Promise<readonly string[]> {
    if (this.#ended.signal.aborted) return [];
    this.#directories.watch(this.#places);
    return await this.#states.look(this.#files, this.#begunMs);
  }

  #tellFiles(isWhole: boolean): void {
    const rest = isWhole ? "" : ", and more as soon as they can be read";
    if (!this.#ended.signal.aborted) this.#options.log.tell("info", `watches ${count(this.#files.length)}${rest}`);
  }

  #tell(changed: readonly string[]): void {
    const { log, cwd } = this.#options;
    const [first = "", ...rest] = changed.map((file) => relative(cwd, file));
    const others = rest.length === 0 ? "" : ` and ${count(rest.length)} more`;
    log.tell("info", `${first}${others} changed: workers are replaced`, { event: "change", files: changed });
  }

  #fail(path: string, error: unknown): void {
    if (this.#hasFailed || this.#ended.signal.aborted) return;
    this.#hasFailed = true;
    this.#options.log.tell("warning", `cannot watch ${path}, nor maybe others: ${describeFailure(error)}`);
  }
}

/** Not every runtime gives a code with it. */
const EXHAUSTED = /ENOSPC|EMFILE|watch limit|too many open files/i;

function describeFailure(error: unknown): string {
  const text = describeError(error);
  if (!EXHAUSTED.test(text)) return text;
  return "the system gives no more watches; sysctl fs.inotify.max_user_watches and max_user_instances allow more";
}

function count(files: number): string {
  return `${files} file${files === 1 ? "" : "s"}`;
}
