/**
 * Tells systemd how the manager is doing, as sd_notify(3): READY, RELOADING, STOPPING, STATUS, WATCHDOG, MAINPID; and
 * leaves the listening sockets with it.
 *
 * @module
 */

import { describeError, type PreforkEvent } from "../events.ts";
import type { Libc } from "../libc.ts";
import type { Prefork } from "../prefork.ts";
import { isStopSignal } from "../signals.ts";
import { takeoverOn } from "../succession.ts";
import type { ProcessHost, Timer } from "../types.ts";
import { FdStore } from "./fd_store.ts";
import { Notices } from "./notices.ts";
import { NotifySocket } from "./notify_socket.ts";
import { countsAsReady } from "./readiness.ts";

const VARIABLES = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE"];

/** What it takes to tell. */
export interface NotifierParts {
  readonly host: ProcessHost;
  readonly pool: Prefork;
  readonly libc: () => Libc;
  /** Told why nothing can be told to systemd. */
  readonly warn: (text: string) => void;
}

/** Tells the service manager that started this one, if there is one. */
export class Notifier implements Disposable {
  readonly #parts: NotifierParts;
  readonly #socket: NotifySocket;
  readonly #notices: Notices;
  readonly #store: FdStore | undefined;
  readonly #watchdogMs: number | undefined;
  #watchdog: Timer | undefined;
  /** A manager that has yet to take over says nothing, and neither does one that was taken over from. */
  #speaks: boolean;
  #isReady = false;
  #isStopping = false;
  #isReloading = false;
  #status = "";
  /** What became of the last reload, if that is worth a word. */
  #note = "";

  /** Undefined where nobody wants to be told. The variables that say so are not for the workers. */
  static open(parts: NotifierParts): Notifier | undefined {
    const { host, libc, warn } = parts;
    const [path = "", usec, pid, room] = VARIABLES.map((name) => {
      const value = host.getEnv(name);
      if (value !== undefined) host.unsetEnv(name);
      return value;
    });
    if (path === "") return undefined;
    try {
      const isHeir = takeoverOn(host)?.elderPid !== undefined;
      const watched = Number(usec) > 0 && (isHeir || pid === undefined || Number(pid) === host.pid);
      const socket = new NotifySocket(libc(), path);
      const store = Number(room) > 0 ? new FdStore(parts, socket) : undefined;
      return new Notifier(parts, socket, store, watched ? Number(usec) / 1000 : undefined, !isHeir);
    } catch (error) {
      warn(`goes without telling systemd: ${describeError(error)}`);
      return undefined;
    }
  }

  private constructor(
    parts: NotifierParts,
    socket: NotifySocket,
    store: FdStore | undefined,
    watchdogMs: number | undefined,
    speaks: boolean,
  ) {
    this.#parts = parts;
    this.#socket = socket;
    this.#notices = new Notices(parts.host, socket);
    this.#store = store;
    this.#watchdogMs = watchdogMs;
    this.#speaks = speaks;
    if (!speaks) return;
    this.#updateStore();
    this.#beat();
    this.#tellReady();
  }

  /** Something has happened in the pool. */
  heed(event: PreforkEvent): void {
    this.#tellReady(event);
    switch (event.type) {
      case "reload":
        this.#isReloading = true;
        return this.#say(`RELOADING=1\nMONOTONIC_USEC=${this.#socket.monotonicUsec()}`);
      case "reloaded":
        this.#updateStore();
        return this.#endReload("");
      case "reloadFailed":
        return this.#endReload(`; the last reload failed: ${event.reason}`);
      case "signal":
        if (isStopSignal(event.signal)) this.#stop();
        return;
      case "upgraded":
        this.#say(`MAINPID=${event.pid}`);
        return this.#fallSilent();
      case "takeover":
        this.#speaks = true;
        this.#isReady = true;
        this.#updateStore();
        this.#say("READY=1");
        this.#beat();
        return this.#tellStatus();
      case "ready":
      case "reap":
      case "spawn":
        return this.#tellStatus();
      default:
        return;
    }
  }

  /** A reload was asked for that did not begin: systemd waits for its end all the same. */
  refuse(reason: string): void {
    if (this.#isStopping || this.#isReloading) return;
    this.#say(`RELOADING=1\nMONOTONIC_USEC=${this.#socket.monotonicUsec()}`);
    this.#endReload(`; the last reload was refused: ${reason}`);
  }

  /** The pool is about to be disposed of, and may be started anew. */
  leave(): void {
    if (this.#speaks) this.#store?.leaveFiles();
  }

  /** Says nothing more than what is owed. */
  [Symbol.dispose](): void {
    this.#fallSilent();
    this.#watchdog?.[Symbol.dispose]();
    this.#notices[Symbol.dispose]();
    this.#socket[Symbol.dispose]();
  }

  #stop(): void {
    this.#isStopping = true;
    this.#notices.forget();
    this.#say("STOPPING=1\nSTATUS=stopping");
  }

  #tellReady(event?: PreforkEvent): void {
    const { pool } = this.#parts;
    if (this.#isReady || this.#isStopping || this.#isReloading || !countsAsReady(pool, event)) return;
    this.#isReady = true;
    this.#say("READY=1");
  }

  #endReload(note: string): void {
    this.#isReloading = false;
    if (this.#isStopping) return;
    this.#isReady = true;
    this.#note = note;
    this.#say("READY=1");
    this.#tellStatus();
  }

  #tellStatus(): void {
    if (!this.#speaks || this.#isStopping || this.#isReloading) return;
    const { workers, generation } = this.#parts.pool;
    const ready = workers.filter(({ state }) => state === "ready").length;
    const all = workers.filter(({ state }) => state !== "stopping").length;
    const text = `${ready} of ${all} workers ready, generation ${generation}${this.#note}`;
    if (text === this.#status) return;
    this.#status = text;
    this.#notices.describe(text.replaceAll("\n", " "));
  }

  /** By a timer of the event loop that does all the work: one that hangs does not beat. */
  #beat(): void {
    const ms = this.#watchdogMs;
    if (ms === undefined || this.#watchdog !== undefined) return;
    const beat = (): void => {
      if (this.#speaks) this.#notices.beat();
      this.#watchdog = this.#parts.host.setTimer(ms / 2, beat);
      this.#watchdog.unref();
    };
    beat();
  }

  #updateStore(): void {
    if (this.#speaks) this.#store?.update();
  }

  #fallSilent(): void {
    this.#speaks = false;
    this.#notices.forget();
    this.#store?.[Symbol.dispose]();
  }

  #say(state: string): void {
    if (this.#speaks) this.#notices.tell(state);
  }
}
