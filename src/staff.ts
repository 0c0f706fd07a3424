/**
 * The worker processes of a manager, and all that hangs on them: control channel, guard, leftovers.
 *
 * @module
 */

import { activationEnv } from "./activation.ts";
import { ControlServer, type ControlSink, type TakeStream } from "./control_server.ts";
import type { EventHub } from "./event_hub.ts";
import type { Assignment, Generations } from "./generations.ts";
import { Figures, type PoolFigures } from "./figures.ts";
import { Guard } from "./guard.ts";
import { Hooks } from "./hooks.ts";
import { Leftovers } from "./leftovers.ts";
import type { PreforkOptions } from "./options.ts";
import type { Outputs } from "./outputs.ts";
import type { Effect, Input, WorkerRef } from "./pool_state.ts";
import type { Prefork } from "./prefork.ts";
import { encodeHold, encodeWelcome, type PoolSnapshot, type ServingFacts } from "./protocol.ts";
import { relayedSignal, STOP_SIGNALS } from "./signals.ts";
import { Table } from "./table.ts";
import type { Terms } from "./terms.ts";
import { isStandby, NO_SLOT } from "./turn.ts";
import type { Child, Json, ProcessHost, Signal, SpawnCommand, WorkerInfo } from "./types.ts";
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
  readonly generations: Generations;
  readonly outputs: Outputs;
  readonly hub: EventHub;
  /** Tells the pool what became of a worker, or what one said. */
  readonly post: Post;
}

/** Keeps the worker processes of one manager. */
export class Staff {
  readonly #owner: Owner;
  readonly #host: ProcessHost;
  readonly #options: PreforkOptions;
  readonly #generations: Generations;
  readonly #outputs: Outputs;
  readonly #post: Post;
  readonly #hub: EventHub;
  readonly #hooks: Hooks;
  readonly #leftovers: Leftovers;
  readonly #stopSignals: readonly Signal[];
  /** Live workers by id: two may share a slot while one replaces the other. */
  readonly #members = new Table<number, Member>();
  readonly #figures: Figures;
  /** Who told a worker to stop first, by its process id. */
  readonly #stoppedBy = new Table<number, "manager" | "others">();
  #server: ControlServer | undefined;
  #guard: Guard | undefined;
  #takeStream: TakeStream | undefined;
  /** What opens a stream for what jobs are given and what they give, if workers are to do jobs. */
  #streams: string | undefined;

  constructor({ owner, host, options, generations, outputs, hub, post }: StaffParts) {
    this.#owner = owner;
    this.#host = host;
    this.#options = options;
    this.#generations = generations;
    this.#outputs = outputs;
    this.#post = post;
    this.#hub = hub;
    this.#figures = new Figures(host);
    this.#hooks = new Hooks(options, owner.pool, hub, host, generations.first.config.bootTimeoutMs);
    this.#leftovers = new Leftovers(
      host,
      (group) => hub.publish({ type: "leftover", group }),
      (group) => this.#guard?.leave(group),
    );
    const { trapSignals } = generations.first.config;
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

  /** Has workers open streams beside the control channel, which are given to `take`. To be called before the start. */
  takeStreams(take: TakeStream): void {
    this.#takeStream = take;
  }

  /** Makes work ready to be done by workers. */
  async prepare(work: Work, data: string): Promise<ReadyWork> {
    const isCommand = work.type === "command";
    if (!isCommand) this.#server ??= await this.#openServer();
    if (this.#takeStream !== undefined) this.#streams ??= this.#server?.expectStreams(this.#takeStream);
    // Commands cannot see that their manager is gone. Workers of the library can, unless they hang.
    if (isCommand || this.#host.mayRun("/bin/sh")) {
      this.#guard ??= new Guard(this.#host, this.#generations.first.drainTimeoutMs, this.#server?.dir);
    }
    if (this.#server) this.#guard?.protect(this.#server.dir);
    const place = { controlPath: this.#server?.path ?? "", pathText: session?.pathText, key: this.#owner.key };
    return await prepareWork(this.#host, work, place, data);
  }

  #openServer(): Promise<ControlServer> {
    const sink: ControlSink = {
      post: this.#post,
      waits: (ref) => this.#waits(ref),
      stopping: (ref) => this.#noteStopping(ref),
      figures: (ref, figures) => this.#figures.heard(ref, figures),
    };
    const { bootTimeoutMs } = this.#generations.first.config;
    return ControlServer.open(this.#host, sink, bootTimeoutMs, this.#options.workerUser);
  }

  /** What the workers have done. */
  async figures(timeoutMs: number): Promise<PoolFigures> {
    return await this.#figures.ask((id, line) => this.#server?.send(id, line), timeoutMs);
  }

  #noteStopping({ id }: WorkerRef): void {
    const pid = this.#members.get(id)?.pid;
    if (pid !== undefined && this.#stoppedBy.get(pid) === undefined) this.#stoppedBy.set(pid, "others");
  }

  /**
   * Signals a worker, or its whole process group. One that is gone already needs no signal; one that may not be signalled
   * is told of and left alone.
   */
  kill(pid: number, signal: Signal, group: boolean): void {
    if (!group && !this.#isToBeTold(pid, signal)) return;
    try {
      this.#host.kill(group ? -pid : pid, signal);
    } catch (error) {
      this.#hub.publish({ type: "hookError", hook: `kill(${pid}, ${signal})`, error });
    }
  }

  /**
   * Whether a worker has yet to be told to stop. One that somebody else has told would take the manager's word for a
   * second one, by which it ends at once.
   */
  #isToBeTold(pid: number, signal: Signal): boolean {
    if (!this.#stopSignals.includes(signal)) return true;
    const by = this.#stoppedBy.get(pid);
    this.#stoppedBy.set(pid, "manager");
    return by !== "others";
  }

  /** A worker's module has its work in its default export. */
  #waits({ id }: WorkerRef): void {
    const member = this.#members.get(id);
    if (member !== undefined) this.#generations.waits(member.generation);
  }

  /**
   * Spawns a worker, and posts what became of it.
   *
   * @param isWanted Asked again before the process is made: the hook may take its time.
   */
  spawn(ref: SpawnEffect, isWanted: () => boolean): void {
    const assignment = this.#generations.get(ref.generation.number);
    // Its `start` returned before its turn came, and that of the next one has returned, too: the slot is for a newer one.
    if (assignment === undefined) return this.#post({ type: "spawnCancelled", slot: ref.slot, id: ref.id });
    const launch = (value: Json | void): void => {
      if (isWanted()) this.#launch(ref, assignment, value ?? null);
      else this.#post({ type: "spawnCancelled", slot: ref.slot, id: ref.id });
    };
    this.#hooks.beforeFork(launch);
  }

  #launch(ref: SpawnEffect, { work, terms }: Assignment, forkValue: Json | null): void {
    const { slot, id, generation: { number: generation } } = ref;
    const token = work.path === undefined ? undefined : this.#server?.expect({ slot, id });
    let child: Child;
    try {
      if (work.path !== undefined && token === undefined) throw new Error("the control channel is closed");
      child = this.#spawnWithSockets(terms, work, {
        ...spawnCommand(work, this.#options, {
          ...this.#environment(terms, slot, generation, work.path, token),
          ...(work.path === undefined ? this.#guard?.mark() : {}),
        }),
        ...this.#outputs.of(id, this.#printer(ref, () => child.pid)),
      });
    } catch (error) {
      if (token !== undefined) this.#server?.forget({ slot, id }, token);
      this.#outputs.forget(id);
      return this.#post({ type: "spawnFailed", slot, id, error });
    }
    try {
      this.#guard?.allow(terms.drainTimeoutMs);
      this.#guard?.enter(child.pid, work.path === undefined ? "command" : "worker");
      this.#hooks.afterFork(child.pid);
    } finally {
      this.#takeOn(ref, child, { token, forkValue, work, terms }); // whatever has failed here, the process is there
    }
  }

  /** A process that was made is a member from here on. */
  #takeOn(
    { slot, id, generation: { number: generation } }: SpawnEffect,
    { pid, exited }: Child,
    made: Pick<Member, "token" | "forkValue" | "work" | "terms">,
  ): void {
    const pools = this.#owner.snapshotOthers();
    this.#members.set(id, { ...made, slot, id, generation, pid, pools });
    if (made.token !== undefined) this.#figures.add({ slot, id }, pid);
    this.#post({ type: "spawned", slot, id, pid });
    exited.then((status) => this.#post({ type: "exited", slot, id, status }));
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

  /** A worker as the reader of its output sees it: one that stood by has got its slot meanwhile. */
  #printer({ slot, id, generation }: SpawnEffect, pid: () => number): () => WorkerInfo {
    let lastSlot = slot;
    const seat = (): number => lastSlot = this.#members.get(id)?.slot ?? lastSlot;
    return () => ({
      get slot() {
        return seat();
      },
      generation: generation.number,
      pid: pid(),
      state: "starting",
      status: "_",
    });
  }

  /** Tells a worker to stand by. */
  hold({ id }: WorkerRef): void {
    const member = this.#members.get(id);
    if (member === undefined) return;
    const runsModule = this.#generations.get(member.generation)?.waits ?? false;
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
      ...(this.#streams === undefined ? {} : { job: { ident: null, token: this.#streams } }),
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
    this.#figures.remove(id);
    this.#outputs.forget(id);
    this.#stoppedBy.delete(pid);
    if (member.token !== undefined) this.#server?.forget(member, member.token);
    if (isCleared || !this.#leftovers.sweep(pid, terms.config.stopTimeoutMs)) this.#guard?.leave(pid);
    this.#hooks.onChildReap(pid, status);
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
    this.#server = this.#streams = undefined;
  }
}
