/**
 * The old manager's side of an upgrade: it starts this program again, waits until the new manager has proved itself, and
 * gives it the sockets. Whatever goes wrong before that, it ends what it started, and is as it was.
 *
 * @module
 */

import { makeToken } from "./control_server.ts";
import { describeError, describeStatus } from "./events.ts";
import type { EventHub } from "./event_hub.ts";
import {
  decodeHeirMessage,
  type ElderMessage,
  encodeMessage,
  encodeTask,
  type HandedSocket,
  type HeirMessage,
  UPGRADE_VARIABLE,
  upgradeSocket,
} from "./handover.ts";
import { setDeadline } from "./last_look.ts";
import { leash } from "./leash.ts";
import { LineReader } from "./protocol.ts";
import type { SharedSockets } from "./sockets.ts";
import type { Child, ControlConnection, ControlHandlers, ManagerCommand, ProcessHost } from "./types.ts";

/** The longest line a new manager may send, in characters. */
const MAX_LINE = 64 * 1024;

/** How long a new manager that is to stop may take to say that it does. */
const ANSWER_MS = 1000;

/** How much longer than its workers it may take then. */
const GRACE_MS = 5000;

/** What `upgrade` rejects with when this manager goes on; the message says why. */
export class UpgradeError extends Error {
  /** Tells this error from others. */
  override readonly name = "UpgradeError";
}

/** What an upgrade is made of. */
export interface UpgradeParts {
  readonly host: ProcessHost;
  readonly hub: EventHub;
  readonly sockets: SharedSockets | undefined;
  /** The key of the pool. */
  readonly pool: string;
  /** Whether its workers stay until they are told to stop. */
  readonly stays: boolean;
  /** How long the new manager may take to prove itself. */
  readonly timeoutMs: number;
  /** How long workers may take to stop. */
  readonly stopTimeoutMs: number;
}

type Failed = { readonly type: "failed"; readonly cause: "failed" | "stopped"; readonly reason: string };
type Verdict = Failed | { readonly type: "ready"; readonly kept: readonly number[] };

/** One try to have a new manager take over. */
export class Upgrade {
  readonly #parts: UpgradeParts;
  readonly #token = makeToken();
  readonly #verdict = Promise.withResolvers<Verdict>();
  readonly #stopping = Promise.withResolvers<void>();
  readonly #killed = Promise.withResolvers<void>();
  #connection: ControlConnection | undefined;
  /** Whether the new manager has said that it makes workers. */
  #hasWorkers = false;
  #isUnwanted = false;
  /** Whether somebody has told this process to stop. */
  #isStopHeard = false;
  #isStopping = false;

  constructor(parts: UpgradeParts) {
    this.#parts = parts;
  }

  /**
   * Resolves when the new manager has taken over.
   *
   * @throws {UpgradeError} If it has not, and is gone.
   */
  async run(): Promise<void> {
    const { host, hub, sockets } = this.#parts;
    const failed = await this.#attempt().catch((error): Failed => failure(describeError(error)));
    if (failed === undefined) return;
    const { cause, reason } = failed;
    sockets?.keepBacklog(); // the new manager's workers may have cut it
    hub.publish({ type: "upgradeFailed", cause, reason });
    const goesOn = cause === "failed" ? `. This manager, pid=${host.pid}, goes on` : "";
    throw new UpgradeError(`Cannot upgrade: ${reason}${goesOn}`);
  }

  /** Gives the upgrade up, since this manager is to end. */
  abandon(reason: string): void {
    this.#verdict.resolve({ type: "failed", cause: "stopped", reason });
  }

  /** The same, and at once. */
  kill(): void {
    this.abandon("the workers were killed");
    this.#killed.resolve();
  }

  /** Somebody has told this process to stop, and so whoever may be about to take over from it. */
  hearStop(): void {
    this.#isStopHeard = true;
  }

  async #attempt(): Promise<Failed | undefined> {
    const { host, hub } = this.#parts;
    const command = await host.managerCommand();
    using stack = new DisposableStack();
    const dir = stack.adopt(await host.privateDir(), (path) => this.#remove(path));
    stack.use(host.listenControl(upgradeSocket(dir), (connection) => this.#accept(connection))).unref();
    stack.defer(() => this.#connection?.close());
    const child = this.#spawn(command, dir);
    using leashed = leash(host, dir, child.pid);
    hub.publish({ type: "upgrade", pid: child.pid });
    const verdict = await this.#judge(child);
    if (verdict.type === "failed") {
      await this.#end(child);
      return verdict;
    }
    leashed[Symbol.dispose]();
    await this.#handOver(child, verdict.kept);
    return undefined;
  }

  #spawn({ command, args, cwd, env }: ManagerCommand, dir: string): Child {
    const { host, sockets, pool, stays } = this.#parts;
    const spawn = (handed: readonly HandedSocket[], descriptors: readonly number[] = []): Child => {
      const task = encodeTask({ dir, token: this.#token, pool, pid: host.pid, stays, sockets: handed });
      return host.spawn({
        command,
        args,
        cwd,
        clearEnv: env !== undefined,
        env: { ...env, [UPGRADE_VARIABLE]: task },
        ...(descriptors.length === 0 ? {} : { sockets: descriptors }),
      });
    };
    if (sockets === undefined) return spawn([]);
    sockets.check();
    const handed = sockets.handed(host.inheritsDescriptors);
    if (host.inheritsDescriptors) return sockets.lend(() => spawn(handed));
    return sockets.pass((descriptors) => spawn(handed, descriptors));
  }

  async #judge({ pid, exited }: Child): Promise<Verdict> {
    const { host, pool, timeoutMs } = this.#parts;
    const fail = (what: string): void => this.#verdict.resolve(failure(`the new manager, pid=${pid}, ${what}`));
    exited.then((status) => fail(`${describeStatus(status)} before it had proved itself; what it printed tells why`));
    using _deadline = setDeadline(host, timeoutMs, () => {
      const missed = this.#hasWorkers
        ? "did not have its workers ready"
        : `did not come to start() of the pool '${pool}'`;
      fail(`${missed} within ${timeoutMs} ms`);
    });
    return await this.#verdict.promise;
  }

  /** From here on all is the new manager's: the place where a pid file and the operator's socket will be let go. */
  async #handOver(child: Child, kept: readonly number[]): Promise<void> {
    const { host, hub, sockets } = this.#parts;
    sockets?.disown(kept);
    hub.publish({ type: "upgraded", pid: child.pid });
    // Who reads the events has the first word: a service manager hears no other process before it is told of that one.
    await new Promise<void>((resolve) => void host.setTimer(0, resolve));
    this.#say("yours");
    await this.#connection?.flush();
    child.unref();
    if (this.#isStopHeard) this.#passStopOn(child);
  }

  /** A signal that came while all was given away was meant for the whole service; the new manager could not know of it. */
  #passStopOn({ pid }: Child): void {
    try {
      this.#parts.host.kill(pid, "SIGTERM");
    } catch {
      // It runs as somebody else by now.
    }
  }

  /**
   * Ends the new manager and whatever it started. It is asked first, also when nothing was heard of workers so far: the
   * word of them may be on its way, and they may be in the middle of something.
   */
  async #end(child: Child): Promise<void> {
    await this.#stop(child);
    this.#killGroup(child);
    await child.exited;
    this.#killGroup(child);
  }

  async #stop({ exited }: Child): Promise<void> {
    this.#isUnwanted = true;
    this.#say("stop");
    await this.#within(ANSWER_MS, exited, this.#stopping.promise);
    if (this.#isStopping) await this.#within(this.#parts.stopTimeoutMs + GRACE_MS, exited);
  }

  async #within(delayMs: number, ...ends: readonly Promise<unknown>[]): Promise<void> {
    const over = Promise.withResolvers<void>();
    using _timer = this.#parts.host.setTimer(delayMs, over.resolve);
    await Promise.race([over.promise, this.#killed.promise, ...ends]);
  }

  #killGroup({ pid }: Child): void {
    try {
      this.#parts.host.kill(-pid, "SIGKILL");
    } catch {
      // It runs as somebody else by now, and ends at the end of file.
    }
  }

  /** Whatever is left of it does not change how the upgrade went. */
  #remove(dir: string): void {
    try {
      this.#parts.host.removeDir(dir);
    } catch (error) {
      this.#parts.hub.publish({ type: "hookError", hook: `removing ${dir}`, error });
    }
  }

  #say(type: ElderMessage["type"]): void {
    this.#connection?.send(encodeMessage({ type }));
  }

  #accept(connection: ControlConnection): ControlHandlers {
    connection.unref();
    const lines = new LineReader(MAX_LINE);
    return {
      data: (chunk) => {
        try {
          lines.push(chunk, (line) => this.#take(connection, decodeHeirMessage(line)));
        } catch {
          connection.close(); // a new manager sees by that that it is not wanted
        }
      },
      closed: () => {},
    };
  }

  #take(connection: ControlConnection, message: HeirMessage): void {
    const isNew = this.#connection === undefined && message.type === "hello" && message.token === this.#token;
    if (isNew) this.#connection = connection;
    if (connection !== this.#connection) return connection.close();
    switch (message.type) {
      case "hello":
        if (this.#isUnwanted) this.#say("stop");
        return;
      case "started":
        this.#hasWorkers = true;
        return;
      case "ready":
        return this.#verdict.resolve(message);
      case "stopping":
        this.#isStopping = true;
        return this.#stopping.resolve();
    }
  }
}

function failure(reason: string): Failed {
  return { type: "failed", cause: "failed", reason: reason.replace(/\.$/, "") };
}
