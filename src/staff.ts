/**
 * The worker processes of a manager, and all that hangs on them: control channel, guard, hooks, output.
 *
 * @module
 */

import { activationEnv } from "./activation.ts";
import { ControlServer, type ControlSink } from "./control_server.ts";
import type { EventHub } from "./event_hub.ts";
import { Guard } from "./guard.ts";
import { Leftovers } from "./leftovers.ts";
import type { PreforkOptions } from "./options.ts";
import type { Effect, Input, WorkerRef } from "./pool_state.ts";
import type { Prefork } from "./prefork.ts";
import { encodeHold, encodeWelcome, type PoolSnapshot, type ServingFacts } from "./protocol.ts";
import { relayedSignal, STOP_SIGNALS } from "./signals.ts";
import { Table } from "./table.ts";
import type { Terms } from "./terms.ts";
import { isStandby, NO_SLOT } from "./turn.ts";
import type { Child, Json, Output, ProcessHost, RuntimeName, Signal, SpawnCommand } from "./types.ts";
import { prepareWork, type ReadyWork, spawnCommand, type Work } from "./work.ts";
import { session } from "./worker.ts";

type SpawnEffect = Extract<Effect, { type: "spawn" }>;
type Reaped = Extract<Effect, { type: "reaped" }>;
type Post = (input: Input) => void;

/** How often a worker's heart beats within the time that it may stand still. */
const BEATS = 4;
/** How often it beats where only its lag counts. */
const BEAT_MS = 1000;

/** A live worker process. */
interface Member extends WorkerRef {
  readonly pid: number;
  readonly generation: number;
  readonly token: string | undefined;
  readonly forkValue: Json | null;
  readonly work: ReadyWork;
  readonly terms: Terms;
  readonly pools: Readonly<Record<string, PoolSnapshot>>;
}

/** The work of one generation. */
interface Assignment {
  readonly generation: number;
  readonly asked: Work;
  readonly work: ReadyWork;
  readonly terms: Terms;
  /** Whether it is known to begin with the default export of a module. */
  readonly waits: boolean;
}

/** The pool that a manager works for. */
export interface Owner {
  /** The pool, for the hooks. */
  readonly pool: Prefork;
  /** Its key in the paths of its workers. */
  readonly key: string;
  /** Where the other pools of this program stand. */
  snapshotOthers(): Readonly<Record<string, PoolSnapshot>>;
}

/** What a staff is made of. */
export interface StaffParts {
  readonly owner: Owner;
  readonly host: ProcessHost;
  readonly options: PreforkOptions;
  /** The terms with which the pool begins. */
  readonly terms: Terms;
  readonly sink: ControlSink;
  readonly hub: EventHub;
}

/** Keeps the worker processes of one manager. */
export class Staff {
  readonly #owner: Owner;
  readonly #host: ProcessHost;
  readonly #options: PreforkOptions;
  readonly #terms: Terms;
  readonly #leftovers: Leftovers;
  readonly #sink: ControlSink;
  readonly #stopSignals: readonly Signal[];
  readonly #hub: EventHub;
  /** Live workers by id: two may share a slot while one replaces the other. */
  readonly #members = new Table<number, Member>();
  /** How many chunks of a worker's output are with their reader, by the worker's id. */
  readonly #reading = new Table<number, number>();
  #server: ControlServer | undefined;
  #guard: Guard | undefined;
  /** What the workers of each generation do that may still get one. */
  #work: readonly Assignment[] = [];

  constructor({ owner, host, options, terms, sink, hub }: StaffParts) {
    this.#owner = owner;
    this.#host = host;
    this.#options = options;
    this.#terms = terms;
    this.#leftovers = new Leftovers(
      host,
      (group) => hub.publish({ type: "leftover", group }),
      (group) => this.#guard?.leave(group),
    );
    this.#sink = sink;
    this.#hub = hub;
    const { trapSignals } = terms.config;
    const stops = STOP_SIGNALS.map((signal) => relayedSignal(trapSignals[signal])).filter((signal) =>
      signal !== undefined
    );
    this.#stopSignals = [...new Set([...stops, "SIGTERM" as const])];
  }

  /** How many there are. */
  get size(): number {
    return this.#members.size;
  }

  /** How many of them stand by. */
  get standbys(): number {
    return [...this.#members.values()].filter(isStandby).length;
  }

  /** The runtimes of the workers, as far as they are known. */
  get runtimes(): readonly (RuntimeName | undefined)[] {
    return this.#work.map(({ work }) => work.runtime);
  }

  /** Gives a generation its work, and its terms. */
  assign(generation: number, asked: Work, work: ReadyWork, terms: Terms): void {
    this.#work = [...this.#work, { generation, asked, work, terms, waits: false }];
    terms.sockets?.setBlocking(asked.type === "command");
  }

  /** Forgets generations that will have no new workers any more, and listens no longer where only they do. */
  keepOnly(isKept: (generation: number) => boolean): void {
    const gone = this.#work.filter(({ generation }) => !isKept(generation));
    if (gone.length === 0) return;
    this.#work = this.#work.filter(({ generation }) => isKept(generation));
    const open = this.#work.map(({ terms }) => terms.sockets);
    for (const { terms: { sockets } } of gone) {
      if (open.includes(sockets)) continue;
      sockets?.leaveFilesTo(open);
      sockets?.[Symbol.dispose]();
    }
  }

  /** What was asked of a generation that may still get workers. */
  askedOf(generation: number): Work | undefined {
    return this.#assignment(generation)?.asked;
  }

  /** The terms of a generation that may still get workers; those with which the pool began if there is no such. */
  termsOf(generation: number): Terms {
    return this.#assignment(generation)?.terms ?? this.#terms;
  }

  #assignment(generation: number): Assignment | undefined {
    return this.#work.find((known) => known.generation === generation);
  }

  /** Makes work ready to be done by workers. */
  async prepare(work: Work, data: string): Promise<ReadyWork> {
    const isCommand = work.type === "command";
    if (!isCommand) this.#server ??= await this.#openServer();
    // Commands cannot see that their manager is gone. Workers of the library can, unless they hang.
    if (isCommand || this.#host.mayRun("/bin/sh")) {
      this.#guard ??= new Guard(this.#host, this.#terms.drainTimeoutMs, this.#server?.dir);
    }
    if (this.#server) this.#guard?.protect(this.#server.dir);
    const place = { controlPath: this.#server?.path ?? "", pathText: session?.pathText, key: this.#owner.key };
    return await prepareWork(this.#host, work, place, data);
  }

  #openServer(): Promise<ControlServer> {
    return ControlServer.open(this.#host, this.#sink, this.#terms.config.bootTimeoutMs, this.#options.workerUser);
  }

  /**
   * Spawns a worker, and posts what became of it.
   *
   * @param isWanted Asked again before the process is made: the hook may take its time.
   */
  spawn(ref: SpawnEffect, isWanted: () => boolean, post: Post): void {
    const assignment = this.#assignment(ref.generation.number);
    if (assignment === undefined) {
      const error = new Error(`generation ${ref.generation.number} has no work`);
      return post({ type: "spawnFailed", slot: ref.slot, id: ref.id, error });
    }
    const launch = (value: Json | void): void => {
      if (isWanted()) this.#launch(ref, assignment, value ?? null, post);
      else post({ type: "spawnCancelled", slot: ref.slot, id: ref.id });
    };
    try {
      const value = this.#options.beforeFork?.(this.#owner.pool);
      if (!(value instanceof Promise)) return launch(value);
      value.catch((error: unknown) => this.#hookThrew("beforeFork", error)).then(launch);
    } catch (error) {
      launch(this.#hookThrew("beforeFork", error));
    }
  }

  #launch(ref: SpawnEffect, { work, terms }: Assignment, forkValue: Json | null, post: Post): void {
    const { slot, id, generation: { number: generation } } = ref;
    const token = work.path === undefined ? undefined : this.#server?.expect({ slot, id });
    let child: Child;
    try {
      if (work.path !== undefined && token === undefined) throw new Error("the control channel is closed");
      child = this.#spawnWithSockets(terms, work, {
        ...spawnCommand(work, this.#options, this.#environment(terms, slot, generation, work.path, token)),
        ...this.#outputs(ref, () => child.pid),
      });
    } catch (error) {
      if (token !== undefined) this.#server?.forget({ slot, id }, token);
      return post({ type: "spawnFailed", slot, id, error });
    }
    const { pid } = child;
    this.#guard?.enter(pid, work.path === undefined ? "command" : "worker");
    this.#callHook("afterFork", () => this.#options.afterFork?.(this.#owner.pool, pid));
    const pools = this.#owner.snapshotOthers();
    this.#members.set(id, { slot, id, generation, pid, token, forkValue, work, terms, pools });
    post({ type: "spawned", slot, id, pid });
    child.exited.then((status) => post({ type: "exited", slot, id, status }));
  }

  /** Commands look for sockets from 3 on; workers are told where theirs are, and cost less so. */
  #lends(path: string | undefined): boolean {
    return path !== undefined && this.#host.inheritsDescriptors;
  }

  #spawnWithSockets({ sockets }: Terms, { path }: ReadyWork, command: SpawnCommand): Child {
    if (sockets === undefined) return this.#host.spawn(command);
    if (this.#lends(path)) return sockets.lend(() => this.#host.spawn(command));
    return sockets.pass((descriptors) => this.#host.spawn({ ...command, sockets: descriptors }));
  }

  #environment(
    { sockets }: Terms,
    slot: number,
    generation: number,
    path: string | undefined,
    token: string | undefined,
  ) {
    return {
      ...(slot === NO_SLOT ? {} : { PREFORK_SLOT: String(slot) }),
      PREFORK_GENERATION: String(generation),
      PREFORK_MANAGER_PID: String(this.#host.pid),
      ...activationEnv(sockets?.workerListeners(this.#lends(path)) ?? []),
      ...(path === undefined || token === undefined || this.#server === undefined
        ? {}
        : { PREFORK_CONTROL: this.#server.path, PREFORK_TOKEN: token, PREFORK_PATH: path }),
    };
  }

  #outputs({ slot, id, generation }: SpawnEffect, pid: () => number): { stdout?: Output; stderr?: Output } {
    const { output } = this.#options;
    if (output === undefined) return {};
    let lastSlot = slot;
    const seat = (): number => lastSlot = this.#members.get(id)?.slot ?? lastSlot;
    const reader = (stream: "stdout" | "stderr"): Output => {
      let read: ReturnType<typeof output> | undefined;
      return async (chunk) => {
        read ??= output({
          get slot() {
            return seat();
          },
          generation: generation.number,
          pid: pid(),
          state: "starting",
          status: "_",
        }, stream);
        this.#reading.set(id, (this.#reading.get(id) ?? 0) + 1);
        try {
          await read(chunk);
        } finally {
          this.#doneReading(id);
        }
      };
    };
    return { stdout: reader("stdout"), stderr: reader("stderr") };
  }

  #doneReading(id: number): void {
    const left = (this.#reading.get(id) ?? 1) - 1;
    if (left > 0) this.#reading.set(id, left);
    else this.#reading.delete(id);
  }

  /** Whether what a worker prints waits for this process to read on, so that the worker may be stuck for that. */
  isHeldBack(id: number): boolean {
    return this.#reading.get(id) !== undefined;
  }

  /** A worker's module has its work in its default export, so that others may run as far as that and wait there. */
  waits({ id }: WorkerRef): void {
    const generation = this.#members.get(id)?.generation;
    this.#work = this.#work.map((known) => known.generation === generation ? { ...known, waits: true } : known);
  }

  /** Tells a worker to stand by. */
  hold({ id }: WorkerRef): void {
    const member = this.#members.get(id);
    if (member === undefined) return;
    const runsModule = this.#assignment(member.generation)?.waits ?? false;
    this.#server?.send(id, encodeHold({ runsModule, ...this.#serving(member) }));
  }

  /** Tells a worker that its own code may run. */
  welcome({ slot, id }: WorkerRef): void {
    const found = this.#members.get(id);
    if (found === undefined) return;
    const isActivated = isStandby(found);
    const member = isActivated ? { ...found, slot, pools: this.#owner.snapshotOthers() } : found;
    if (isActivated) this.#members.set(id, member);
    const { generation, pools, forkValue, work, terms: { config, drainTimeoutMs } } = member;
    const { hangTimeoutMs, recycle: { maxRequests, maxLagMs, jitter } } = config;
    const beatMs = hangTimeoutMs !== undefined ? hangTimeoutMs / BEATS : maxLagMs !== undefined ? BEAT_MS : null;
    const line = encodeWelcome({
      beatMs,
      maxRequests: maxRequests === undefined ? null : Math.ceil(maxRequests * (1 - jitter * Math.random())),
      stopSignals: this.#stopSignals,
      drainTimeoutMs,
      pools,
      via: session?.via ?? [],
      slot,
      generation,
      managerPid: this.#host.pid,
      forkValue,
      ...this.#serving(member),
    }, work.data);
    this.#server?.send(id, line);
  }

  #serving({ work, terms: { sockets, readiness, options } }: Member): ServingFacts {
    const listeners = sockets?.workerListeners(this.#lends(work.path)) ?? [];
    return {
      listeners: listeners.map((listener) => ({ ...listener, name: listener.name ?? null })),
      selfCheck: readiness?.by === "worker" ? readiness : null,
      adoption: options.adoption ?? true,
    };
  }

  /** A worker is gone. The guard stays with what it left behind. */
  reaped({ id, status, isCleared }: Reaped): void {
    const member = this.#members.get(id);
    if (member === undefined) return;
    const { pid, terms } = member;
    this.#members.delete(id);
    if (member.token !== undefined) this.#server?.forget(member, member.token);
    if (isCleared || !this.#sweep(pid, terms.config.stopTimeoutMs)) this.#guard?.leave(pid);
    this.#callHook("onChildReap", () => this.#options.onChildReap?.(this.#owner.pool, pid, status));
  }

  #sweep(group: number, patienceMs: number): boolean {
    try {
      return this.#leftovers.sweep(group, patienceMs);
    } catch {
      return false; // They run as somebody else, who may do as they like.
    }
  }

  /** Kills at once what workers left behind. */
  killLeftovers(): void {
    this.#leftovers.kill();
  }

  /** Resolves when nothing is left of what workers started. */
  cleared(): Promise<void> {
    return this.#leftovers.gone();
  }

  /** Lets go of control channel and guard. */
  close(): void {
    this.#guard?.[Symbol.dispose]();
    this.#guard = undefined;
    this.#closeServer();
  }

  /**
   * Lets go of the control channel: this process dies at once of a signal that all workers got, and leaves those that
   * ignore it to the guard.
   */
  abandon(): void {
    this.#guard?.told();
    this.#closeServer();
  }

  #closeServer(): void {
    this.#server?.[Symbol.dispose]();
    this.#server = undefined;
  }

  /** What a hook throws, now or later, is an event. */
  #callHook(hook: string, call: () => unknown): void {
    try {
      const result = call();
      if (result instanceof Promise) result.catch((error: unknown) => this.#hookThrew(hook, error));
    } catch (error) {
      this.#hookThrew(hook, error);
    }
  }

  #hookThrew(hook: string, error: unknown): undefined {
    this.#hub.publish({ type: "hookError", hook, error });
  }
}
