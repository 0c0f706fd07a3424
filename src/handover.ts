/**
 * What passes between two managers in an upgrade: the task that the old one leaves in the environment of the new one, the
 * sockets that go with it, and what the two say to each other, one JSON message a line.
 *
 * @module
 */

import { formatAddress, parseAddress, type SocketAddress } from "./address.ts";
import { INHERIT } from "./listen.ts";

/** The variable that holds the task. */
export const UPGRADE_VARIABLE = "PREFORK_UPGRADE";

/** Raised by one whenever a message or the task changes its meaning; both managers must speak the same. */
const VERSION = 1;

/** A socket that the new manager has inherited. */
export interface HandedSocket {
  /** Its descriptor in the new manager. */
  readonly fd: number;
  /** What the old manager was asked to listen on, as {@linkcode askedFor} writes it. */
  readonly asked: string;
  /** Where it listens, as text. */
  readonly bound: string;
  /** What it is called, if it has a name. */
  readonly name: string | undefined;
  /** The file of a Unix socket that the manager made which bound it, and is to be removed by the last one. */
  readonly file: string | undefined;
  /** Tells that file from another of its name. */
  readonly fileId?: string;
  /** Whether an accept on it waits, as the workers have it that the old manager made last. */
  readonly isBlocking?: boolean;
  /** How many connections may wait, if the old manager knows. */
  readonly backlog?: number;
}

/** What a new manager is told by the one that started it. */
export interface Task {
  /** The directory of the socket at which the old manager listens. */
  readonly dir: string;
  /** What the new one says first. */
  readonly token: string;
  /** The pool that it takes over: its key. */
  readonly pool: string;
  /** The old manager's process id. */
  readonly pid: number;
  /** Whether its workers stay until they are told to stop, so that none is as good as ready which has ended. */
  readonly stays: boolean;
  readonly sockets: readonly HandedSocket[];
}

/** The socket at which the old manager listens. */
export function upgradeSocket(dir: string): string {
  return `${dir}/upgrade.sock`;
}

/** What the new manager says. */
export type HeirMessage =
  | { readonly type: "hello"; readonly token: string }
  /** Its pool has begun: from here on it has workers. */
  | { readonly type: "started" }
  /** All the workers it wanted first are ready. It listens on these of the sockets it was handed, by their place. */
  | { readonly type: "ready"; readonly kept: readonly number[] }
  /** It was told to stop, and does. */
  | { readonly type: "stopping" };

/** What the old manager says: all is yours, or the upgrade has failed. */
export interface ElderMessage {
  readonly type: "yours" | "stop";
}

/** A message as a line. */
export function encodeMessage(message: HeirMessage | ElderMessage): string {
  return `${JSON.stringify(message)}\n`;
}

/**
 * Reads what the new manager said.
 *
 * @throws {SyntaxError} If it makes no sense.
 */
export function decodeHeirMessage(line: string): HeirMessage {
  const { type, token, kept } = parseObject(line);
  if (type === "started" || type === "stopping") return { type };
  if (type === "hello" && typeof token === "string") return { type, token };
  if (type === "ready" && isList(kept) && kept.every((place) => typeof place === "number")) return { type, kept };
  throw new SyntaxError(`the new manager said what is not known: ${line.slice(0, 60)}`);
}

/**
 * Reads what the old manager said.
 *
 * @throws {SyntaxError} If it makes no sense.
 */
export function decodeElderMessage(line: string): ElderMessage {
  const { type } = parseObject(line);
  if (type === "yours" || type === "stop") return { type };
  throw new SyntaxError(`the old manager said what is not known: ${line.slice(0, 60)}`);
}

/** A task as text. */
export function encodeTask(task: Task): string {
  return JSON.stringify({ version: VERSION, ...task });
}

/**
 * Reads a task.
 *
 * @throws {Error} A sentence, if it makes no sense or is of another version.
 */
export function decodeTask(text: string): Task {
  const { version, dir, token, pool, pid, stays, sockets } = parseObject(text);
  if (typeof version === "number" && version !== VERSION) {
    throw new Error(
      `Cannot take over from the manager before: it hands over by version ${version} of the protocol, this one by ` +
        `${VERSION}; stop it, and start this one by itself`,
    );
  }
  if (
    typeof dir === "string" && typeof token === "string" && typeof pool === "string" && typeof pid === "number" &&
    typeof stays === "boolean" && isList(sockets)
  ) {
    return { dir, token, pool, pid, stays, sockets: sockets.map(readSocket) };
  }
  throw new TypeError(`Cannot use ${UPGRADE_VARIABLE}='${text}': only a manager sets it, for one that it starts`);
}

function readSocket(value: unknown): HandedSocket {
  const { fd, asked, bound, name, file, fileId, isBlocking, backlog } = objectOf(value);
  if (typeof fd !== "number" || typeof asked !== "string" || typeof bound !== "string") {
    throw new TypeError(`Cannot use ${UPGRADE_VARIABLE}: ${JSON.stringify(value)} is no socket`);
  }
  const id = typeof fileId === "string" ? { fileId } : {};
  const manner = typeof isBlocking === "boolean" ? { isBlocking } : {};
  const queue = typeof backlog === "number" ? { backlog } : {};
  return { fd, asked, bound, name: textOf(name), file: textOf(file), ...id, ...manner, ...queue };
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

function parseObject(text: string): { readonly [key: string]: unknown } {
  try {
    return objectOf(JSON.parse(text));
  } catch {
    return {};
  }
}

function objectOf(value: unknown): { readonly [key: string]: unknown } {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

/** An address as it was asked for, without its name, and written in one way only. */
export function askedFor(text: string, directory: string): string {
  if (text === INHERIT) return INHERIT;
  const { address } = parseAddress(text);
  return formatAddress(address.type === "unix" ? { ...address, path: absolute(address.path, directory) } : address);
}

/** The path of a Unix socket from the root on. */
export function absolute(path: string, directory: string): string {
  return path.startsWith("/") || path.startsWith("@") ? path : `${directory}/${path}`;
}

/** A socket in the list that was handed over. */
export interface Claimed extends HandedSocket {
  /** Its place in that list. */
  readonly place: number;
}

/** The sockets that were handed over and nobody has asked for yet. */
export class Inheritance {
  /** All that were handed over. */
  readonly all: readonly HandedSocket[];
  /** Where workers may listen yet that have nothing to hand over any more. */
  readonly left: readonly SocketAddress[];
  readonly #serving: number;
  #unclaimed: readonly Claimed[];

  /** @param serving How many of them, the first, are listened on to serve, and not by workers that have yet to end. */
  constructor(
    sockets: readonly HandedSocket[],
    left: readonly SocketAddress[] = [],
    serving: number = sockets.length,
  ) {
    this.all = sockets;
    this.left = left;
    this.#serving = serving;
    this.#unclaimed = sockets.map((socket, place) => ({ ...socket, place }));
  }

  /** Those that no program has asked for. */
  get unclaimed(): readonly Claimed[] {
    return this.#unclaimed;
  }

  /** Whether one is listened on to serve. */
  serves({ place }: Claimed): boolean {
    return place < this.#serving;
  }

  /**
   * Gives what stands for an address: the socket that the manager before was asked for in the same words, by the same
   * name if there are several, else the one that listens there. For `inherit`, all that it had inherited itself.
   */
  claim(asked: string, name?: string): readonly Claimed[] {
    const found = asked === INHERIT ? this.#unclaimed.filter((socket) => socket.asked === INHERIT) : [
      this.#find((socket) => socket.asked === asked && socket.name === name) ??
        this.#find((socket) => socket.asked === asked) ?? this.#find((socket) => socket.bound === asked),
    ];
    const claimed = found.filter((socket) => socket !== undefined);
    this.#unclaimed = this.#unclaimed.filter((socket) => !claimed.includes(socket));
    return claimed;
  }

  /** How many of them were asked for in these words. */
  count(asked: string): number {
    return this.#unclaimed.filter((socket) => socket.asked === asked).length;
  }

  #find(test: (socket: Claimed) => boolean): Claimed | undefined {
    return this.#unclaimed.find(test);
  }
}
