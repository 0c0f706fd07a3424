/**
 * The worker processes of a manager, and all that hangs on them: control channel, guard, hooks, output.
 *
 * @module
 */

import { ControlServer, type ControlSink } from "./control_server.ts";
import type { EventHub } from "./event_hub.ts";
import { Guard } from "./guard.ts";
import type { PreforkOptions } from "./options.ts";
import type { Effect, Input, WorkerRef } from "./pool_state.ts";
import type { Prefork } from "./prefork.ts";
import { encodeWelcome, type PoolSnapshot } from "./protocol.ts";
import { relayedSignal, STOP_SIGNALS } from "./signals.ts";
import { Table } from "./table.ts";
import type {
  Child,
  ExitStatus,
  Json,
  Output,
  ProcessHost,
  RuntimeName,
  Signal,
  TrapSignals,
  WorkerInfo,
} from "./types.ts";
import { prepareWork, type ReadyWork, spawnCommand, type Work } from "./work.ts";
import { session } from "./worker.ts";

type SpawnEffect = Extract<Effect, { type: "spawn" }>;
type Post = (input: Input) => void;

/** A live worker process. */
interface Member extends WorkerRef {
  readonly child: Child;
  readonly generation: number;
  readonly token: string | undefined;
  readonly forkValue: Json | null;
  readonly work: ReadyWork;
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

/** Keeps the worker processes of one manager. */
export class Staff {
  readonly #owner: Owner;
  readonly #host: ProcessHost;
  readonly #options: PreforkOptions;
  readonly #drainTimeoutMs: number;
  readonly #sink: ControlSink;
  readonly #stopSignals: readonly Signal[];
  readonly #hub: EventHub;
  readonly #byId = new Table<number, Member>();
  readonly #byPid = new Table<number, Member>();
  #server: ControlServer | undefined;
  #guard: Guard | undefined;
  #work: ReadyWork | undefined;

  constructor(
    owner: Owner,
    host: ProcessHost,
    options: PreforkOptions,
    drainTimeoutMs: number,
    sink: ControlSink,
    traps: TrapSignals,
    hub: EventHub,
  ) {
    this.#owner = owner;
    this.#host = host;
    this.#options = options;
    this.#drainTimeoutMs = drainTimeoutMs;
    this.#sink = sink;
    this.#hub = hub;
    const stops = STOP_SIGNALS.map((signal) => relayedSignal(traps[signal])).filter((signal) => signal !== undefined);
    this.#stopSignals = [...new Set([...stops, "SIGTERM" as const])];
  }

  /** How many there are. */
  get size(): number {
    return this.#byId.size;
  }

  /** The runtime of the workers made last, if it is known. */
  get runtime(): RuntimeName | undefined {
    return this.#work?.runtime;
  }

  /** Makes work ready to be done by the workers spawned from now on. */
  async prepare(work: Work, data: string): Promise<ReadyWork> {
    if (work.type !== "command") {
      this.#server ??= await ControlServer.open(this.#host, this.#sink, this.#options.workerUser);
    }
    const place = { controlPath: this.#server?.path ?? "", pathText: session?.pathText, key: this.#owner.key };
    this.#work = await prepareWork(this.#host, work, place, data);
    return this.#work;
  }

  /** Spawns a worker, and posts what became of it. */
  spawn(ref: SpawnEffect, post: Post): void {
    const work = this.#work;
    if (work === undefined) return;
    const value = this.#callHook("beforeFork", () => this.#options.beforeFork?.(this.#owner.pool));
    if (!(value instanceof Promise)) return this.#launch(ref, work, value, post);
    value.then((given) => given, (error: unknown) => this.#hookThrew("beforeFork", error))
      .then((given) => this.#launch(ref, work, given, post));
  }

  #launch({ slot, id, generation }: SpawnEffect, work: ReadyWork, value: Json | void, post: Post): void {
    const token = work.path === undefined ? undefined : this.#server?.expect({ slot, id });
    try {
      if (work.path !== undefined && token === undefined) throw new Error("the control channel is closed");
      const child = this.#host.spawn({
        ...spawnCommand(work, this.#options, this.#environment(slot, generation, work.path, token)),
        ...this.#outputs(slot, generation, () => child.pid),
      });
      const forkValue = value ?? null;
      const member = { slot, id, generation, child, token, forkValue, work, pools: this.#owner.snapshotOthers() };
      this.#watch(child.pid, work);
      this.#callHook("afterFork", () => this.#options.afterFork?.(this.#owner.pool, child.pid));
      this.#byId.set(id, member);
      this.#byPid.set(child.pid, member);
      post({ type: "spawned", slot, id, pid: child.pid });
      child.exited.then((status) => post({ type: "exited", slot, id, status }));
    } catch (error) {
      if (token !== undefined) this.#server?.forget({ slot, id }, token);
      post({ type: "spawnFailed", slot, id, error });
    }
  }

  #environment(slot: number, generation: number, path: string | undefined, token: string | undefined) {
    return {
      PREFORK_SLOT: String(slot),
      PREFORK_GENERATION: String(generation),
      PREFORK_MANAGER_PID: String(this.#host.pid),
      ...(path === undefined || token === undefined || this.#server === undefined
        ? {}
        : { PREFORK_CONTROL: this.#server.path, PREFORK_TOKEN: token, PREFORK_PATH: path }),
    };
  }

  #outputs(slot: number, generation: number, pid: () => number): { stdout?: Output; stderr?: Output } {
    const { output } = this.#options;
    if (output === undefined) return {};
    const reader = (stream: "stdout" | "stderr"): Output => {
      let read: ReturnType<typeof output> | undefined;
      return (chunk) => {
        const worker: WorkerInfo = { slot, generation, pid: pid(), state: "starting", status: "_" };
        read ??= output(worker, stream);
        return read(chunk);
      };
    };
    return { stdout: reader("stdout"), stderr: reader("stderr") };
  }

  /** Commands cannot see that their manager is gone; workers of the library can, unless they hang. */
  #watch(pid: number, work: ReadyWork): void {
    const isCommand = work.path === undefined;
    if (this.#guard === undefined && (isCommand || this.#host.mayRun("/bin/sh"))) {
      this.#guard = new Guard(this.#host, this.#drainTimeoutMs, this.#server?.dir);
    }
    this.#guard?.enter(pid, isCommand ? "command" : "worker");
  }

  /** Tells a worker that its own code may run. */
  welcome({ id }: WorkerRef): void {
    const member = this.#byId.get(id);
    if (member === undefined) return;
    const { slot, generation, pools, forkValue, work } = member;
    const line = encodeWelcome({
      stopSignals: this.#stopSignals,
      drainTimeoutMs: this.#drainTimeoutMs,
      pools,
      via: session?.via ?? [],
      slot,
      generation,
      managerPid: this.#host.pid,
      forkValue,
    }, work.data);
    this.#server?.send(id, line);
  }

  /** A worker is gone. */
  reaped(pid: number, status: ExitStatus): void {
    const member = this.#byPid.get(pid);
    if (member === undefined) return;
    this.#byPid.delete(pid);
    this.#byId.delete(member.id);
    if (member.token !== undefined) this.#server?.forget(member, member.token);
    this.#guard?.leave(pid);
    this.#callHook("onChildReap", () => this.#options.onChildReap?.(this.#owner.pool, pid, status));
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

  #callHook<T>(hook: string, call: () => T): T | undefined {
    try {
      return call();
    } catch (error) {
      return this.#hookThrew(hook, error);
    }
  }

  #hookThrew(hook: string, error: unknown): undefined {
    this.#hub.publish({ type: "hookError", hook, error });
  }
}
