/**
 * The new manager's side of an upgrade: it takes over from the manager that started it, if there is one.
 *
 * @module
 */

import { currentHost } from "../runtimes/current.ts";
import { currentLibc } from "../runtimes/current_libc.ts";
import { describeError } from "./events.ts";
import {
  decodeElderMessage,
  decodeTask,
  encodeMessage,
  type HeirMessage,
  Inheritance,
  type Task,
  UPGRADE_VARIABLE,
  upgradeSocket,
} from "./handover.ts";
import type { Libc } from "./libc.ts";
import { hasProved } from "./proof.ts";
import type { PoolState } from "./pool_state.ts";
import { LineReader } from "./protocol.ts";
import { SlotSet } from "./slot_set.ts";
import type { ControlConnection, ProcessHost, WorkerInfo } from "./types.ts";

const F_SETFD = 2;
const FD_CLOEXEC = 1;

/** How much longer than its workers a manager that is not wanted any more may take to end. */
const GRACE_MS = 5000;

/** What of the new manager takes over. */
export interface Heir {
  /** The key of its pool. */
  readonly pool: string;
  /** How long its workers may take to stop. */
  readonly stopTimeoutMs: number;
  /** The places of the sockets that it listens on, in the list it was handed. */
  kept(): readonly number[];
  /** All is its own from here on. */
  takenOver(pid: number): void;
  /** Stops as by a signal. */
  stop(): void;
}

/**
 * `booting`: no worker is made yet. `started`: some are. `ready`: all that were wanted first are ready, and the old
 * manager has yet to hear or answer it. `over`: this manager is on its own, or it ends.
 */
type Phase = "booting" | "started" | "ready" | "over";

/** What it asks of the C library, if there are sockets. */
type Calls = Pick<Libc, "fcntl" | "close">;

/** One manager's way to take over from another. */
export class Takeover {
  /** What there is to be taken over. */
  readonly inheritance: Inheritance;
  readonly #host: ProcessHost;
  readonly #task: Task;
  readonly #libc: () => Calls;
  readonly #connected: Promise<ControlConnection | undefined>;
  #phase: Phase = "booting";
  #hasTakenOver = false;
  #heir: Heir | undefined;
  /** Where workers have ended well. */
  #done = SlotSet.empty;

  /** Connects to the old manager at once, while the program is still loading: its end is seen by that. */
  constructor(host: ProcessHost, task: Task, libc: () => Calls) {
    this.#host = host;
    this.#task = task;
    this.#libc = libc;
    this.inheritance = new Inheritance(task.sockets);
    // They crossed the start of this process, and are not to cross that of another.
    for (const { fd } of task.sockets) libc().fcntl(fd, F_SETFD, FD_CLOEXEC);
    this.#connected = this.#connect();
    this.#say({ type: "hello", token: task.token });
  }

  /** The manager that is to be taken over from; undefined once this one has done so. */
  get elderPid(): number | undefined {
    return this.#hasTakenOver ? undefined : this.#task.pid;
  }

  /** A pool of this program begins. Another than the one that was to be taken over proves nothing. */
  begin(heir: Heir): void {
    if (heir.pool !== this.#task.pool || this.#phase !== "booting") return;
    this.#heir = heir;
    this.#phase = "started";
    this.#say({ type: "started" });
  }

  /** A worker of a pool has ended as it should, without being told to. One that was not ready stays no more than it. */
  ended(pool: string, { slot, pid, state }: WorkerInfo): void {
    if (pool !== this.#task.pool || this.#phase !== "started") return;
    this.#done = this.#done.add(slot);
    if (!this.#task.stays || state === "ready") return;
    this.#host.write(
      `prefork: worker=${slot} pid=${pid} has ended before it was ready, though the workers of the manager ` +
        `pid=${this.#task.pid} stay: this one does not take over\n`,
    );
    this.#end();
  }

  /** A pool has made a step. */
  look(pool: string, state: PoolState): void {
    if (this.#phase !== "started" || pool !== this.#task.pool || !hasProved(state, this.#done)) return;
    this.#phase = "ready";
    for (const { fd } of this.inheritance.unclaimed) this.#libc().close(fd);
    this.#say({ type: "ready", kept: this.#heir?.kept() ?? [] });
  }

  async #connect(): Promise<ControlConnection | undefined> {
    const lines = new LineReader();
    const handlers = {
      data: (chunk: Uint8Array) => lines.push(chunk, (line) => this.#take(line)),
      closed: () => this.#bereaved(),
    };
    try {
      const connection = await this.#host.connectControl(upgradeSocket(this.#task.dir), handlers);
      connection.unref();
      return connection;
    } catch {
      this.#bereaved();
      return undefined;
    }
  }

  #say(message: HeirMessage): void {
    void this.#connected.then((connection) => connection?.send(encodeMessage(message)));
  }

  #take(line: string): void {
    if (this.#phase === "over") return;
    switch (decodeElderMessage(line).type) {
      case "yours":
        return this.#takeOver();
      case "stop":
        this.#say({ type: "stopping" });
        return this.#end();
    }
  }

  /**
   * The old manager is gone, however that came. Whoever has proved itself goes on; it was but for an answer that it did
   * not count yet.
   */
  #bereaved(): void {
    if (this.#phase === "over") return;
    this.#removeDir();
    if (this.#phase === "ready") return this.#takeOver();
    this.#host.write(
      `prefork: the manager pid=${this.#task.pid} is gone, from which this one was to take over; this one has not proved ` +
        "itself and ends, start it by itself\n",
    );
    this.#end();
  }

  /** From here on all is this manager's: the place where it will take a pid file and the operator's socket. */
  #takeOver(): void {
    this.#phase = "over";
    this.#hasTakenOver = true;
    this.#heir?.takenOver(this.#task.pid);
    void this.#connected.then((connection) => connection?.close());
  }

  #end(): void {
    this.#phase = "over";
    if (this.#heir === undefined) return this.#host.exit(1);
    this.#host.setTimer(this.#heir.stopTimeoutMs + GRACE_MS, () => this.#host.exit(1)).unref();
    this.#heir.stop();
  }

  /** A sign of life to whoever watches over this upgrade: see `leash.ts`. */
  #removeDir(): void {
    try {
      this.#host.removeDir(this.#task.dir);
    } catch {
      // Whoever watches removes it then, and this process with it.
    }
  }
}

function openTakeover(host: ProcessHost): Takeover | undefined {
  const text = host.getEnv(UPGRADE_VARIABLE);
  if (text === undefined) return undefined;
  host.unsetEnv(UPGRADE_VARIABLE); // no process that is started from here is meant
  try {
    return new Takeover(host, decodeTask(text), currentLibc);
  } catch (error) {
    host.write(`prefork: ${describeError(error)}\n`);
    return host.exit(1);
  }
}

/** How this program takes over from the manager that started it; undefined if it was started by anybody else. */
export const takeover: Takeover | undefined = openTakeover(currentHost);
