/**
 * Processes that are there for one job each: this program, run again up to the call that they were made by.
 *
 * @module
 */

import { ControlServer, type ControlSink } from "../control_server.ts";
import { Guard } from "../guard.ts";
import { childPath } from "../identity.ts";
import { setDeadline } from "../last_look.ts";
import { Leftovers } from "../leftovers.ts";
import type { Input } from "../pool_state.ts";
import { snapshotOthers } from "../prefork.ts";
import { encodeWelcome } from "../protocol.ts";
import { Table } from "../table.ts";
import type { Child, ControlConnection, ControlHandlers, ExitStatus, ProcessHost } from "../types.ts";
import { session } from "../worker.ts";
import type { Encoded } from "./codec.ts";
import { sendFrame } from "./frames.ts";
import { byFrames } from "./stream.ts";

/** What a process may take to end once this one is gone. */
const GRACE_MS = 10_000;

/** A process to be made. */
export interface Job {
  /** The call that it is made by, as a key of its path. */
  readonly key: string;
  /** What the program must come to again at that call. */
  readonly ident: string;
  /** Its place among those that run. */
  readonly slot: number;
}

/** How a process ended. */
export interface Ended {
  readonly status: ExitStatus;
  /** Whether it came to the call that it was made for. */
  readonly hasBegun: boolean;
  /** What was done to it here, if anything was. */
  readonly killedFor: string | undefined;
  /** What it gave; undefined if nothing. */
  readonly given: Encoded | undefined;
}

/** A process that was made. */
export interface Forked {
  readonly pid: number;
  readonly ended: Promise<Ended>;
}

/** What children are made with. */
export interface ChildrenParts {
  readonly host: ProcessHost;
  /** How long one may take to come to its call, in milliseconds. */
  readonly bootTimeoutMs: number;
  /** Flags for those on Deno, in place of the permissions of this process. */
  readonly denoArgs: readonly string[] | undefined;
}

/** A process that lives, and what is known of it. */
interface Member {
  readonly id: number;
  readonly job: Job;
  readonly child: Child;
  readonly streams: string;
  readonly deadline: Disposable;
  hasBegun: boolean;
  killedFor: string | undefined;
  given: Encoded | undefined;
}

/** Makes processes, and looks after them. */
export class Children implements Disposable {
  readonly #parts: ChildrenParts;
  readonly #members = new Table<number, Member>();
  readonly #leftovers: Leftovers;
  #server: ControlServer | undefined;
  #guard: Guard | undefined;
  #made = 0;

  constructor(parts: ChildrenParts) {
    this.#parts = parts;
    this.#leftovers = new Leftovers(parts.host, () => {}, (group) => this.#guard?.leave(group));
  }

  /**
   * Makes a process.
   *
   * @throws {Error} If it cannot be made, or the program cannot be run again.
   */
  async fork(job: Job): Promise<Forked> {
    const { host, denoArgs, bootTimeoutMs } = this.#parts;
    const path = childPath(session?.pathText, job.key);
    const server = this.#server ??= await this.#openServer();
    if (host.mayRun("/bin/sh")) this.#guard ??= new Guard(host, GRACE_MS, server.dir);
    const self = await host.selfCommand({ controlPath: server.path, ...(denoArgs === undefined ? {} : { denoArgs }) });
    const id = ++this.#made;
    const token = server.expect({ slot: job.slot, id });
    const env = {
      PREFORK_SLOT: String(job.slot),
      PREFORK_MANAGER_PID: String(host.pid),
      PREFORK_CONTROL: server.path,
      PREFORK_TOKEN: token,
      PREFORK_PATH: path,
    };
    let child: Child;
    try {
      child = host.spawn({ ...self, env });
    } catch (error) {
      server.forget({ slot: job.slot, id }, token);
      throw error;
    }
    this.#guard?.enter(child.pid, "worker");
    const member: Member = {
      ...{ id, job, child, hasBegun: false, killedFor: undefined, given: undefined },
      streams: server.expectStreams((connection) => takeGiven(connection, (value) => member.given = value)),
      deadline: setDeadline(host, bootTimeoutMs, () => this.#kill(member, `was killed after ${bootTimeoutMs} ms`)),
    };
    this.#members.set(id, member);
    return { pid: child.pid, ended: this.#untilEnded(member, server, token) };
  }

  async #untilEnded(member: Member, server: ControlServer, token: string): Promise<Ended> {
    const { id, job: { slot }, child, streams, deadline } = member;
    const status = await child.exited;
    deadline[Symbol.dispose]();
    this.#members.delete(id);
    server.forget({ slot, id }, token);
    server.forgetStreams(streams);
    if (!this.#leftovers.sweep(child.pid, GRACE_MS)) this.#guard?.leave(child.pid);
    const { hasBegun, killedFor, given } = member;
    return { status, hasBegun, killedFor, given };
  }

  #openServer(): Promise<ControlServer> {
    const { host, bootTimeoutMs } = this.#parts;
    const sink: ControlSink = { post: (input) => this.#hear(input), waits() {}, stopping() {}, figures() {} };
    return ControlServer.open(host, sink, bootTimeoutMs, undefined);
  }

  #hear(input: Input): void {
    const member = "id" in input ? this.#members.get(input.id) : undefined;
    if (member === undefined) return;
    if (input.type === "connected") return this.#welcome(member);
    if (input.type === "rejected") return this.#kill(member, `was killed, for it ${input.reason}`);
    if (input.type !== "begun") return;
    member.hasBegun = true;
    member.deadline[Symbol.dispose]();
  }

  #welcome({ id, job: { slot, ident }, streams }: Member): void {
    const line = encodeWelcome({
      ...{ slot, generation: 1, managerPid: this.#parts.host.pid, forkValue: null },
      ...{ beatMs: null, maxRequests: null, stopSignals: ["SIGTERM"], drainTimeoutMs: GRACE_MS },
      ...{ listeners: [], selfCheck: null, adoption: false },
      pools: snapshotOthers(""),
      via: session?.via ?? [],
      job: { ident, token: streams },
    }, "null");
    this.#server?.send(id, line);
  }

  #kill(member: Member, reason: string): void {
    member.killedFor ??= reason;
    this.#parts.host.kill(-member.child.pid, "SIGKILL");
  }

  /** Resolves when nothing is left of what those that have ended had started. */
  cleared(): Promise<void> {
    return this.#leftovers.gone();
  }

  /** Lets go of what is needed only while there are processes. */
  [Symbol.dispose](): void {
    this.#guard?.[Symbol.dispose]();
    this.#guard = undefined;
    this.#server?.[Symbol.dispose]();
    this.#server = undefined;
  }
}

/** The other end of `give`. */
function takeGiven(connection: ControlConnection, take: (value: Encoded) => void): ControlHandlers {
  sendFrame(connection, "ok");
  const data = byFrames(({ value }) => {
    take(value);
    sendFrame(connection, "ok");
  });
  return { data, closed() {} };
}
