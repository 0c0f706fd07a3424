/**
 * The listening sockets of a pool: each is bound once, by the manager, which never accepts from it; the workers inherit
 * it. So what waits in its queue belongs to no worker, and is not lost when one ends.
 *
 * @module
 */

import { FIRST_FD } from "./activation.ts";
import { formatAddress, type SocketAddress } from "./address.ts";
import { endOfTable } from "./descriptors.ts";
import { describeError } from "./events.ts";
import { type HandedSocket, Inheritance } from "./handover.ts";
import { type Libc, NoLibcError } from "./libc.ts";
import type { ListenOptions } from "./listen.ts";
import type { Listener, WorkerListener } from "./serving.ts";
import { cookieOf, isListening } from "./socket_facts.ts";
import { fileOf, isInPlace, type SocketFile } from "./socket_file.ts";
import { applyChange, closeSockets, duplicate, giveUp, openSockets, type SharedSocket } from "./socket_opener.ts";
import type { ProcessHost } from "./types.ts";

const F_GETFD = 1;
const F_SETFD = 2;
const F_GETFL = 3;
const F_SETFL = 4;
const FD_CLOEXEC = 1;
const O_NONBLOCK = 0o4000;

/** Where nobody tells how many there are. */
const MAX_INHERITED_FD = 1024;

/** A socket was closed or shut down. */
export class LostSocketError extends Error {
  /** Tells this error from others. */
  override readonly name = "LostSocketError";
}

/** Where a pool listens beside the sockets that it serves on. */
export interface Elsewhere {
  /** The sockets of generations that have not come to serve, which may be the first to listen somewhere. */
  readonly others: readonly SharedSockets[];
  /** Where workers of generations that serve no more may listen yet. */
  readonly left: readonly SocketAddress[];
}

/** The sockets of one pool. */
export class SharedSockets implements Disposable {
  readonly #host: ProcessHost;
  readonly #libc: Libc;
  #sockets: readonly SharedSocket[];
  /** A program may end without disposing of its pool; a file that it leaves behind looks like a server to others. */
  readonly #exit: Disposable;
  /** These, and all that came of them by {@linkcode reopen}: a file may be that of several, and is given away for all. */
  #kin = new Set<SharedSockets>([this]);
  #isBlocking: boolean | undefined;

  private constructor(host: ProcessHost, libc: Libc, sockets: readonly SharedSocket[]) {
    this.#host = host;
    this.#libc = libc;
    this.#sockets = sockets;
    this.#exit = host.onExit(() => this[Symbol.dispose]());
  }

  /**
   * Opens what is to be listened on, all or nothing.
   *
   * @param inheritance What the manager before this one has open.
   * @throws {Error} Names the address that cannot be listened on, and why.
   */
  static open(
    wanted: readonly ListenOptions[],
    host: ProcessHost,
    libc: () => Libc,
    inheritance?: Inheritance,
  ): SharedSockets {
    const loaded = loadLibc(libc);
    keepToItself(loaded);
    return new SharedSockets(host, loaded, openSockets(wanted, host, loaded, inheritance));
  }

  /** The sockets, in the order in which workers find them from descriptor 3 on. */
  get listeners(): readonly Listener[] {
    return this.#sockets.map(({ name, address }) => ({ name, address, text: formatAddress(address) }));
  }

  /** The same as workers have them, at their numbers here or from 3 on. */
  workerListeners(atOwnNumbers: boolean): readonly WorkerListener[] {
    return this.listeners.map((listener, index) => ({
      ...listener,
      fd: atOwnNumbers ? this.#sockets[index]?.fd ?? -1 : FIRST_FD + index,
    }));
  }

  /**
   * Looks whether all are as they were: a worker that inherits something else would look alive and accept nothing.
   *
   * @throws {LostSocketError} Names the first that does not listen any more.
   */
  check(): void {
    const lost = this.#sockets.find(({ fd }) => !isListening(this.#libc, fd));
    if (lost === undefined) return;
    throw new LostSocketError(
      `the socket that listens on ${formatAddress(lost.address)} was closed in the manager or shut down by a worker; ` +
        "start the manager anew",
    );
  }

  /**
   * Says whether an accept waits until somebody comes: programs written for start_server or systemd rely on it, and an
   * event loop must not stand still when another worker was faster. All who have a socket share this.
   *
   * @throws {Error} If the workers of the manager before this one, which serve still, need it otherwise.
   */
  setBlocking(isBlocking: boolean): void {
    if (isBlocking === this.#isBlocking) return; // a command may be a manager itself, and have set what it needs
    this.#refuseForOthers(isBlocking);
    this.#isBlocking = isBlocking;
    for (const { fd, claimed } of this.#sockets) {
      if (claimed?.isBlocking === isBlocking) continue; // the same
      const flags = this.#libc.fcntl(fd, F_GETFL, 0);
      this.#libc.fcntl(fd, F_SETFL, isBlocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
    }
  }

  /**
   * A server that listens on what it is given may have said for itself how many connections may wait. A socket that was
   * lost stays so, for {@linkcode check} to tell.
   */
  keepBacklog(): void {
    for (const { fd, backlog, change } of this.#sockets) {
      if (backlog === undefined || change !== undefined || !isListening(this.#libc, fd)) continue;
      this.#libc.listen(fd, backlog);
    }
  }

  #refuseForOthers(isBlocking: boolean): void {
    const other = this.#sockets.find(({ claimed }) => (claimed?.isBlocking ?? isBlocking) !== isBlocking);
    if (other === undefined) return;
    const why = isBlocking
      ? "are no commands, and would stand still if an accept waited, as commands want it"
      : "are commands, and would fail if an accept did not wait until somebody comes";
    const address = formatAddress(other.address);
    throw new Error(
      `Cannot take over ${address}: the workers there ${why}; stop that manager, and start this one by itself`,
    );
  }

  /** Runs `spawn`: what it starts inherits the sockets, at the numbers they have here. */
  lend<T>(spawn: () => T): T {
    for (const { fd } of this.#sockets) this.#libc.fcntl(fd, F_SETFD, 0);
    try {
      return spawn();
    } finally {
      for (const { fd } of this.#sockets) this.#libc.fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
  }

  /** Runs `spawn`, which is told of the descriptors. A runtime may make blocking what it hands on: that is undone. */
  pass<T>(spawn: (descriptors: readonly number[]) => T): T {
    const before = this.#sockets.map(({ fd }) => ({ fd, flags: this.#libc.fcntl(fd, F_GETFL, 0) }));
    try {
      return spawn(before.map(({ fd }) => fd));
    } finally {
      for (const { fd, flags } of before) this.#libc.fcntl(fd, F_SETFL, flags);
    }
  }

  /**
   * Opens what is to be listened on from now on, all or nothing. What is listened on already stays the same socket, in
   * both, unless nobody can find it any more.
   *
   * @throws {Error} As {@linkcode open}.
   */
  reopen(wanted: readonly ListenOptions[], host: ProcessHost, elsewhere?: Elsewhere): SharedSockets {
    const { others = [], left = [] } = elsewhere ?? {};
    const sockets = this.#known([this, ...others].flatMap((one) => one.#sockets));
    const serving = sockets.filter((socket) => this.#sockets.includes(socket)).length;
    const copies = new Inheritance(this.#copies(sockets), left, serving);
    try {
      const next = SharedSockets.open(wanted, host, () => this.#libc, copies);
      next.#kin = this.#kin.add(next);
      next.#inherit(sockets);
      next.own();
      return next;
    } finally {
      for (const { fd } of copies.unclaimed) this.#libc.close(fd);
    }
  }

  /** All, or none. */
  #copies(sockets: readonly SharedSocket[]): readonly HandedSocket[] {
    const copies: HandedSocket[] = [];
    try {
      for (const one of handedOver(sockets, (_, fd) => fd)) {
        copies.push({ ...one, fd: duplicate(this.#libc, one.fd, one.bound) });
      }
    } catch (error) {
      for (const { fd } of copies) this.#libc.close(fd);
      throw error;
    }
    return copies;
  }

  /** Each once, by whatever descriptors they are held; and none that nobody can find any more. */
  #known(sockets: readonly SharedSocket[]): readonly SharedSocket[] {
    const seen = new Set<bigint | undefined>();
    return sockets.filter(({ fd, file }) => {
      const cookie = cookieOf(this.#libc, fd);
      if (seen.has(cookie) || (file !== undefined && !isInPlace(this.#libc, file))) return false;
      seen.add(cookie);
      return true;
    });
  }

  #inherit(before: readonly SharedSocket[]): void {
    this.#sockets = this.#sockets.map((socket) => {
      const given = socket.given ?? before[socket.claimed?.place ?? -1]?.given;
      return given === undefined ? socket : { ...socket, given };
    });
  }

  /** The sockets as the next manager has them, at their numbers here or from 3 on. */
  handed(atOwnNumbers: boolean): readonly HandedSocket[] {
    const manner = this.#isBlocking === undefined ? {} : { isBlocking: this.#isBlocking };
    return handedOver(this.#sockets, (index, fd) => atOwnNumbers ? fd : FIRST_FD + index)
      .map((socket) => ({ ...socket, ...manner }));
  }

  /** The places of those that the manager before this one handed over, in its list. */
  get kept(): readonly number[] {
    return this.#sockets.flatMap(({ claimed }) => claimed === undefined ? [] : [claimed.place]);
  }

  /** The manager before this one leaves the files of its sockets to this one. */
  own(): void {
    this.#sockets = this.#sockets.map(({ claimed, ...socket }) => ({
      ...socket,
      file: claimed === undefined ? socket.file : fileOf(claimed),
    }));
  }

  /** What those that were open already were asked for with holds from now on. Says what cannot be any more. */
  settle(): void {
    const sockets = this.#sockets;
    this.#sockets = sockets.map(({ change: _, ...socket }) => socket);
    for (const socket of sockets) {
      try {
        applyChange(this.#libc, socket);
      } catch (error) {
        this.#host.write(`prefork: ${describeError(error)}\n`);
      }
    }
  }

  /** The next manager listens on those at these places: their files are its own, whoever else here knows of them. */
  disown(places: readonly number[]): void {
    const given = this.#sockets.filter((_, place) => places.includes(place)).map(({ file }) => file);
    for (const one of this.#kin) one.#leave(given);
  }

  #leave(files: readonly (SocketFile | undefined)[]): void {
    this.#sockets = this.#sockets.map((socket) =>
      files.some((file) => isSameFile(file, socket.file)) ? { ...socket, file: undefined } : socket
    );
  }

  /** The next manager finds the files, whenever it comes. */
  leaveFiles(): void {
    this.disown(this.#sockets.map((_, place) => place));
  }

  /**
   * Others in this process listen on, and need the files of the sockets that they have in common. What this process was
   * given, and none of them listens on, is given up, unless a reload only tried it.
   */
  leaveTo(others: readonly (SharedSockets | undefined)[]): void {
    const needed = others.flatMap((other) => other === undefined ? [] : other.#sockets);
    const [files, numbers] = [needed.map(({ file }) => file), needed.map(({ given }) => given)];
    for (const { given, change } of this.#sockets) {
      const isHeld = change === undefined; // settled, see there
      if (isHeld && given !== undefined && !numbers.includes(given)) giveUp(this.#libc, given);
    }
    this.#leave(files);
  }

  /** Stops listening, and removes the files of Unix sockets that were made here. */
  [Symbol.dispose](): void {
    const sockets = this.#sockets;
    this.#sockets = [];
    this.#kin.delete(this);
    this.#exit[Symbol.dispose]();
    closeSockets(this.#libc, sockets);
  }
}

function handedOver(
  sockets: readonly SharedSocket[],
  number: (index: number, fd: number) => number,
): readonly HandedSocket[] {
  return sockets.map(({ fd, asked, address, name, file, backlog }, index) => ({
    fd: number(index, fd),
    asked,
    bound: formatAddress(address),
    name,
    file: file?.path,
    ...(file?.id === undefined ? {} : { fileId: file.id }),
    ...(backlog === undefined ? {} : { backlog }),
  }));
}

/** Two of one name may be two files: one that was removed, and the one that was made in its place. */
function isSameFile(a: SocketFile | undefined, b: SocketFile | undefined): boolean {
  return a?.path === b?.path && a?.id === b?.id;
}

/** What this process was given is not its workers', who get the sockets that are meant for them. */
function keepToItself(libc: Libc): void {
  const end = endOfTable(libc) ?? MAX_INHERITED_FD;
  for (let fd = FIRST_FD; fd < end; fd++) {
    if (libc.fcntl(fd, F_GETFD, 0) === 0) libc.fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
}

function loadLibc(libc: () => Libc): Libc {
  try {
    return libc();
  } catch (error) {
    if (error instanceof NoLibcError) throw new Error(`Cannot share listening sockets: ${error.message}`);
    throw error;
  }
}
