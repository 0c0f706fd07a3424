/**
 * How others find a manager: its pid file and its operator's socket. An upgrade hands both on: the new manager takes the
 * socket's name as it takes over, and the lock of the pid file as soon as the old one has let it go.
 *
 * @module
 */

import { basename } from "node:path";
import { describeError, type PreforkEvent } from "../events.ts";
import type { Past } from "../operator/history.ts";
import type { Obey } from "../operator/server.ts";
import { takeoverOn } from "../succession.ts";
import type { ProcessHost, Timer } from "../types.ts";
import { ask, findManager } from "./client.ts";
import type { CommandLineHost } from "./host.ts";
import type { Log } from "./log.ts";
import { outwait } from "./outwait.ts";
import { PidFile, pidFileTaken } from "./pid_file.ts";
import {
  controlPath,
  listSockets,
  makeControlDirectory,
  nameOfSocket,
  OperatorSocket,
  SocketTakenError,
} from "./place.ts";
import { UsageError } from "./usage_error.ts";

/** How often it is looked whether somebody has removed the socket. */
const LOOK_MS = 60_000;

/** How long the old manager may take to answer. */
const ELDER_MS = 3000;

/** What was asked for, and what it takes. */
export interface PresenceOptions {
  readonly host: ProcessHost;
  readonly line: CommandLineHost;
  readonly log: Log;
  /** What `--control` said. */
  readonly control: string | undefined;
  readonly pidFile: string | undefined;
  /** What `--name` said. */
  readonly name: string | undefined;
  /** What to be called without. */
  readonly fallbackName: string;
  readonly obey: Obey;
}

/** What a manager is called after its worker: `app` for `src/app.ts`. It can be typed, so it begins as no option does. */
export function nameAfter(work: string): string {
  const file = basename(work.replace(/[?#].*$/, "")).replace(/\.\w+$/, "");
  const name = file.replace(/[^\w.-]+/g, "-").replace(/^[.-]+|-+$/g, "") || "prefork";
  return /^\d/.test(name) ? `_${name}` : name;
}

/** The presence of one manager. */
export class Presence implements AsyncDisposable {
  /** What this manager is called. */
  name: string;
  readonly #options: PresenceOptions;
  #socket: OperatorSocket | undefined;
  #pidFile: PidFile | undefined;
  #look: Timer | undefined;
  /** Whether it was told that the socket cannot be made again. */
  #isLost = false;
  #isOver = false;

  /**
   * Shows that this manager is there, unless it has yet to take over.
   *
   * @throws {UsageError} If another manager has the name or the file.
   */
  static async open(options: PresenceOptions): Promise<Presence> {
    const presence = new Presence(options);
    const elder = takeoverOn(options.host)?.elderPid;
    if (elder === undefined) await presence.#open();
    else await presence.#followName(elder).catch((error: unknown) => presence.#goWithout(error));
    return presence;
  }

  private constructor(options: PresenceOptions) {
    this.#options = options;
    this.name = options.name ?? options.fallbackName;
  }

  /** What the manager before this one knows of the past, if there is one and it tells: its socket is still there. */
  async elderPast(): Promise<Past | undefined> {
    const { host } = this.#options;
    const elder = takeoverOn(host)?.elderPid;
    if (elder === undefined) return undefined;
    const reply = await ask(host, this.#path, { do: "past" }, undefined, ELDER_MS).catch(() => undefined);
    return reply?.type === "past" && reply.past.pid === elder ? reply.past : undefined;
  }

  /** Something has happened in the pool. */
  heed(event: PreforkEvent): void {
    if (event.type === "takeover") void this.#takeOver();
    if (event.type === "upgraded") this.#leave();
  }

  /** Nobody finds this manager any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    this.#look?.[Symbol.dispose]();
    this.#pidFile?.[Symbol.dispose]();
    await this.#socket?.[Symbol.asyncDispose]();
  }

  get #path(): string {
    return this.#options.control ?? controlPath(this.#options.host, this.name);
  }

  async #open(): Promise<void> {
    this.#takePidFile();
    try {
      await this.#openSocket();
    } catch (error) {
      this.#pidFile?.[Symbol.dispose]();
      throw error;
    }
  }

  #takePidFile(): void {
    const { line, pidFile, host } = this.#options;
    if (pidFile === undefined) return;
    this.#pidFile = PidFile.take(line, pidFile, host.pid);
    if (this.#pidFile === undefined) throw pidFileTaken(line, pidFile);
  }

  /** A manager that was not told what to be called is found by its pid, too, if its name is taken. */
  async #openSocket(): Promise<void> {
    const { host, log, name, control } = this.#options;
    const isAsked = name !== undefined || control !== undefined;
    try {
      this.#socket = await this.#bind(false);
    } catch (error) {
      if (isAsked && error instanceof SocketTakenError) throw await this.#nameTaken();
      if (control !== undefined) throw new UsageError(`${describeError(error)} (--control)`);
      if (isAsked) throw new UsageError(`Cannot listen to operators: ${describeError(error)}`);
      if (!(error instanceof SocketTakenError)) return this.#goWithout(error);
      this.name = `${this.name}-${host.pid}`;
      this.#socket = await this.#bind(false).catch((again) => this.#goWithout(again));
      log.tell("info", `is called ${this.name}: another manager has the name without the number`);
    }
  }

  #goWithout(error: unknown): undefined {
    this.#options.log.tell("warning", `goes without an operator's socket: ${describeError(error)}`);
  }

  async #bind(isInherited: boolean): Promise<OperatorSocket> {
    const { host, control, obey } = this.#options;
    if (control === undefined) makeControlDirectory(host);
    const socket = await OperatorSocket.open(host, this.#path, isInherited, obey);
    this.#lookLater();
    return socket;
  }

  #lookLater(): void {
    this.#look?.[Symbol.dispose]();
    if (this.#isOver) return;
    this.#look = this.#options.host.setTimer(LOOK_MS, () => void this.#lookAfterSocket());
    this.#look.unref();
  }

  /** A socket whose file is gone is made again, as soon as that can be: nobody would find this manager any more. */
  async #lookAfterSocket(): Promise<void> {
    const lost = this.#socket;
    if (lost === undefined || lost.isThere) return this.#lookLater();
    const { log } = this.#options;
    try {
      const made = await this.#bind(false);
      log.tell("info", `${made.path} had been removed, and is made again`);
      this.#isLost = false;
      this.#socket = made;
      await lost[Symbol.asyncDispose]();
      if (this.#isOver) await made[Symbol.asyncDispose]();
    } catch (error) {
      if (!this.#isLost) log.tell("warning", `the operator's socket was removed: ${describeError(error)}`);
      this.#isLost = true;
      this.#lookLater();
    }
  }

  async #nameTaken(): Promise<UsageError> {
    const { host, control, name } = this.#options;
    const found = await findManager(host, this.#path).catch(() => undefined);
    const who = found === undefined ? "another manager" : `the manager pid=${found.pid} of ${found.work}`;
    return control === undefined
      ? new UsageError(`Cannot use the name '${name}': ${who} has it; stop that one, or give another --name`)
      : new UsageError(
        `Cannot use ${control} for --control: ${who} answers there; stop that one, or name another path`,
      );
  }

  /** The new manager is called what the old one is. */
  async #followName(elder: number): Promise<void> {
    const { host, name, control } = this.#options;
    if (name !== undefined || control !== undefined) return;
    const paths = new Set([this.#path, ...listSockets(host)]);
    const asked = [...paths].map(async (path) => {
      const found = await findManager(host, path, ELDER_MS).catch(() => undefined);
      if (found?.pid === elder) this.name = nameOfSocket(path);
    });
    await Promise.all(asked);
  }

  /** This manager serves, whatever cannot be had of its presence. */
  async #takeOver(): Promise<void> {
    try {
      this.#socket = await this.#bind(true);
      if (this.#isOver) await this.#socket[Symbol.asyncDispose]();
    } catch (error) {
      this.#goWithout(error);
    }
    await this.#awaitPidFile().catch((error: unknown) => this.#options.log.tell("warning", describeError(error)));
  }

  /** The old manager has it until it knows of this one. */
  async #awaitPidFile(): Promise<void> {
    const { host, line, log, pidFile } = this.#options;
    if (pidFile === undefined) return;
    const isTaken = await outwait(host, () => this.#isOver, () => {
      this.#pidFile = PidFile.take(line, pidFile, host.pid);
      return this.#pidFile !== undefined;
    });
    if (!isTaken && !this.#isOver) log.tell("warning", pidFileTaken(line, pidFile).message);
  }

  /** To the manager that has taken over. */
  #leave(): void {
    this.#isOver = true;
    this.#look?.[Symbol.dispose]();
    this.#pidFile?.leave();
    this.#pidFile = undefined;
  }
}
