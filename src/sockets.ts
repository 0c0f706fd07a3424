/**
 * The listening sockets of a pool: each is bound once, by the manager, which never accepts from it; the workers inherit
 * it. So what waits in its queue belongs to no worker, and is not lost when one ends.
 *
 * @module
 */

import { fromServerStarter, fromSystemd, type GivenSocket } from "./activation.ts";
import { formatAddress, parseAddress, type SocketAddress } from "./address.ts";
import { absolute, askedFor, type Claimed, type HandedSocket, Inheritance } from "./handover.ts";
import { type Bytes, cString, errnoText, int32, type Libc, NoLibcError } from "./libc.ts";
import { INHERIT, type ListenOptions, type SocketOwner } from "./listen.ts";
import type { Listener, WorkerListener } from "./serving.ts";
import { encodeSockaddr } from "./sockaddr.ts";
import { identify, inTurn, remove, removeStale, type SocketFile } from "./socket_file.ts";
import { isListening, localAddress } from "./socket_facts.ts";
import type { ProcessHost } from "./types.ts";

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const F_GETFD = 1;
const F_SETFD = 2;
const F_GETFL = 3;
const F_SETFL = 4;
const FD_CLOEXEC = 1;
const EINVAL = 22;
const EMFILE = 24;
const EADDRINUSE = 98;
const F_DUPFD_CLOEXEC = 1030;
const O_NONBLOCK = 0o4000;

/** Above what the runtimes use themselves, and above the places that descriptors have in a worker. */
const LEAST_FD = 64;

/** The first descriptor after the standard streams. */
const FIRST_FD = 3;

/** Nobody hands a process so many descriptors that they go beyond this. */
const MAX_INHERITED_FD = 1024;

/** As many connections as the system allows to wait (`net.core.somaxconn`, 4096 since Linux 5.4). */
const BACKLOG = 4096;

/** A socket that listens. */
interface SharedSocket extends Omit<Listener, "text"> {
  /** Its descriptor in this process. */
  readonly fd: number;
  /** The file of a Unix socket made here. */
  readonly file: SocketFile | undefined;
  /** What it was asked for as. */
  readonly asked: string;
  /** What the manager before this one handed over; undefined if it is this one's from the beginning. */
  readonly claimed?: Claimed;
}

/** A socket was closed or shut down. */
export class LostSocketError extends Error {
  /** Tells this error from others. */
  override readonly name = "LostSocketError";
}

/** The sockets of one pool. */
export class SharedSockets implements Disposable {
  readonly #libc: Libc;
  readonly #inheritance: Inheritance | undefined;
  #sockets: SharedSocket[] = [];
  #isBlocking: boolean | undefined;

  private constructor(libc: Libc, inheritance: Inheritance | undefined) {
    this.#libc = libc;
    this.#inheritance = inheritance;
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
    const sockets = new SharedSockets(loadLibc(libc), inheritance);
    sockets.#keepToItself();
    try {
      for (const one of wanted) sockets.#openOne(one, host);
      return sockets;
    } catch (error) {
      sockets[Symbol.dispose]();
      throw error;
    }
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
   */
  setBlocking(isBlocking: boolean): void {
    if (isBlocking === this.#isBlocking) return; // a command may be a manager itself, and have set what it needs
    this.#isBlocking = isBlocking;
    for (const { fd } of this.#sockets) {
      const flags = this.#libc.fcntl(fd, F_GETFL, 0);
      this.#libc.fcntl(fd, F_SETFL, isBlocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
    }
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
   * both.
   *
   * @throws {Error} As {@linkcode open}.
   */
  reopen(wanted: readonly ListenOptions[], host: ProcessHost): SharedSockets {
    const copies = new Inheritance(
      this.handed(true).map((one) => ({ ...one, fd: this.#libc.fcntl(one.fd, F_DUPFD_CLOEXEC, LEAST_FD) })),
    );
    try {
      const next = SharedSockets.open(wanted, host, () => this.#libc, copies);
      next.own();
      return next;
    } finally {
      for (const { fd } of copies.unclaimed) this.#libc.close(fd);
    }
  }

  /** The sockets as the next manager has them, at their numbers here or from 3 on. */
  handed(atOwnNumbers: boolean): readonly HandedSocket[] {
    return this.#sockets.map(({ fd, asked, address, name, file }, index) => ({
      fd: atOwnNumbers ? fd : FIRST_FD + index,
      asked,
      bound: formatAddress(address),
      name,
      file: file?.path,
      ...(file?.id === undefined ? {} : { fileId: file.id }),
    }));
  }

  /** The places of those that the manager before this one handed over, in its list. */
  get kept(): readonly number[] {
    return this.#sockets.flatMap(({ claimed }) => claimed === undefined ? [] : [claimed.place]);
  }

  /** The manager before this one leaves the files of its sockets to this one. */
  own(): void {
    this.#sockets = this.#sockets.map(({ claimed, ...socket }) => ({
      ...socket,
      file: fileOf(claimed) ?? socket.file,
    }));
  }

  /** The next manager listens on those at these places: their files are its own. */
  disown(places: readonly number[]): void {
    this.#sockets = this.#sockets.map((socket, place) =>
      places.includes(place) ? { ...socket, file: undefined } : socket
    );
  }

  /** Others in this process listen on, and need the files of the sockets that they have in common. */
  leaveFilesTo(others: readonly (SharedSockets | undefined)[]): void {
    const needed = others.flatMap((other) => other === undefined ? [] : other.#sockets.map(({ file }) => file?.path));
    this.#sockets = this.#sockets.map((socket) =>
      needed.includes(socket.file?.path) ? { ...socket, file: undefined } : socket
    );
  }

  /** Stops listening, and removes the files of Unix sockets that were made here. */
  [Symbol.dispose](): void {
    for (const { fd, file } of this.#sockets.splice(0)) {
      // In this order nobody finds a file that is about to go and takes it for a stale one.
      if (file !== undefined) remove(this.#libc, file);
      this.#libc.close(fd);
    }
  }

  /** What this process was given is not its workers', who get the sockets that are meant for them. */
  #keepToItself(): void {
    for (let fd = FIRST_FD; fd < MAX_INHERITED_FD; fd++) {
      if (this.#libc.fcntl(fd, F_GETFD, 0) === 0) this.#libc.fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
  }

  #openOne(wanted: ListenOptions, host: ProcessHost): void {
    const asked = askedFor(wanted.address, host.directory);
    const claimed = this.#inheritance?.claim(asked, nameOf(wanted)) ?? [];
    if (claimed.length > 0) return claimed.forEach((one) => this.#takeOver(one, wanted, asked));
    if (wanted.address === INHERIT) {
      const given = givenSockets(host);
      if (given.length > 0) return given.forEach((socket) => this.#take(socket.fd, wanted.name ?? socket.name, asked));
      throw new Error(
        "Cannot listen on inherited sockets: neither LISTEN_FDS with LISTEN_PID (systemd) nor SERVER_STARTER_PORT " +
          "(start_server) gives this process any",
      );
    }
    const { name, address } = parseAddress(wanted.address);
    if (address.type === "fd") this.#take(address.fd, wanted.name ?? name, asked);
    else this.#bind({ name: wanted.name ?? name, address }, wanted, host, asked);
  }

  /** Takes a socket of the manager before this one. Its file is that one's until all is handed over. */
  #takeOver(claimed: Claimed, wanted: ListenOptions, asked: string): void {
    const name = asked === INHERIT ? wanted.name ?? claimed.name : nameOf(wanted);
    const fd = this.#raise(claimed.fd, claimed.bound);
    this.#keep({ fd, name, file: undefined, asked, claimed });
  }

  /** Takes a socket that somebody else has opened. */
  #take(fd: number, name: string | undefined, asked: string): void {
    const address = localAddress(this.#libc, fd);
    if (address === undefined) {
      throw new Error(`Cannot listen on fd:${fd}: that is no open TCP or Unix socket in this process`);
    }
    if (!isListening(this.#libc, fd)) {
      throw new Error(`Cannot listen on fd:${fd}: that socket (${formatAddress(address)}) was not made to listen`);
    }
    // Workers get their own; no other process that is started from here is to have it.
    this.#libc.fcntl(fd, F_SETFD, FD_CLOEXEC);
    this.#keep({ fd: this.#libc.fcntl(fd, F_DUPFD_CLOEXEC, LEAST_FD), name, file: undefined, asked }, `fd:${fd}`);
  }

  #bind(
    { name, address }: Pick<Listener, "name" | "address">,
    options: ListenOptions,
    host: ProcessHost,
    asked: string,
  ): void {
    const place = address.type === "unix" ? { ...address, path: absolute(address.path, host.directory) } : address;
    const low = this.#libc.socket(familyOf(place), SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (low < 0) throw this.#error(this.#libc.errno(), address);
    const fd = this.#raise(low, formatAddress(address));
    try {
      const isFile = place.type === "unix" && !place.path.startsWith("@");
      const file = isFile ? this.#listenAt(fd, place.path, options) : this.#listenOn(fd, place, options);
      this.#keep({ fd, name, file, asked });
    } catch (error) {
      this.#libc.close(fd);
      throw error;
    }
  }

  #listenAt(fd: number, path: string, options: ListenOptions): SocketFile {
    const address = { type: "unix", path } as const;
    if (this.#sockets.some((own) => overlap(own.address, address))) throw this.#error(EADDRINUSE, address);
    return inTurn(this.#libc, path, () => {
      removeStale(this.#libc, path);
      const errno = this.#bindWithMode(fd, encodeSockaddr(address, "linux"), options.mode);
      if (errno !== 0) throw this.#error(errno, address);
      const file = identify(this.#libc, path);
      try {
        if (options.owner !== undefined) this.#giveTo(path, options.owner);
        this.#listen(fd, address, options);
        return file;
      } catch (error) {
        this.#libc.unlink(cString(path));
        throw error;
      }
    });
  }

  #listenOn(fd: number, address: SocketAddress, options: ListenOptions): undefined {
    const libc = this.#libc;
    libc.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, int32(1), 4);
    if (address.type === "tcp" && address.family === 6) libc.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, int32(0), 4);
    const bytes = encodeSockaddr(address, "linux");
    if (libc.bind(fd, bytes, bytes.length) < 0) throw this.#error(libc.errno(), address);
    this.#listen(fd, address, options);
  }

  #listen(fd: number, address: SocketAddress, { backlog = BACKLOG }: ListenOptions): void {
    if (this.#libc.listen(fd, backlog) < 0) throw this.#error(this.#libc.errno(), address);
  }

  #error(errno: number, address: SocketAddress): Error {
    const own = errno === EADDRINUSE && this.#sockets.find((socket) => overlap(socket.address, address));
    const why = own
      ? `this pool listens on ${formatAddress(own.address)} already, which takes what comes there; leave one out`
      : bindFailure(errno, address.type);
    return new Error(`Cannot listen on ${formatAddress(address)}: ${why}`);
  }

  /** Moves a descriptor out of the way of the runtime's own. */
  #raise(low: number, text: string): number {
    const fd = this.#libc.fcntl(low, F_DUPFD_CLOEXEC, LEAST_FD);
    const errno = fd < 0 ? this.#libc.errno() : 0;
    this.#libc.close(low);
    if (errno === 0) return fd;
    const why = errno === EINVAL ? errnoText(EMFILE) : errnoText(errno);
    throw new Error(`Cannot listen on ${text}: ${why}; let it have more (ulimit -n)`);
  }

  /** The mode is there from the first moment: nobody slips in before a chmod. */
  #bindWithMode(fd: number, address: Bytes, mode: number | undefined): number {
    const before = mode === undefined ? undefined : this.#libc.umask(0o777 & ~mode);
    const errno = this.#libc.bind(fd, address, address.length) < 0 ? this.#libc.errno() : 0;
    if (before !== undefined) this.#libc.umask(before);
    return errno;
  }

  #giveTo(file: string, { uid, gid }: SocketOwner): void {
    if (this.#libc.chown(cString(file), uid, gid) === 0) return;
    const errno = this.#libc.errno();
    throw new Error(`Cannot give unix:${file} to ${uid}:${gid}: ${errnoText(errno)}; only root may`);
  }

  #keep(socket: Omit<SharedSocket, "address">, text = socket.asked): void {
    const libc = this.#libc;
    const address = socket.fd < 0 ? undefined : localAddress(libc, socket.fd);
    if (address === undefined) throw new Error(`Cannot listen on ${text}: ${errnoText(libc.errno())}`);
    this.#sockets.push({ ...socket, address });
  }
}

function nameOf({ address, name }: ListenOptions): string | undefined {
  return name ?? (address === INHERIT ? undefined : parseAddress(address).name);
}

function fileOf(claimed: Claimed | undefined): SocketFile | undefined {
  if (claimed?.file === undefined) return undefined;
  return { path: claimed.file, ...(claimed.fileId === undefined ? {} : { id: claimed.fileId }) };
}

function loadLibc(libc: () => Libc): Libc {
  try {
    return libc();
  } catch (error) {
    if (error instanceof NoLibcError) throw new Error(`Cannot share listening sockets: ${error.message}`);
    throw error;
  }
}

/** The sockets that whoever started this process has given it. */
export function givenSockets(host: ProcessHost): readonly GivenSocket[] {
  const env = { get: (name: string) => host.getEnv(name) };
  const bySystemd = fromSystemd(env, host.pid);
  return bySystemd.length > 0 ? bySystemd : fromServerStarter(env);
}

function familyOf(address: SocketAddress): number {
  if (address.type === "unix") return AF_UNIX;
  return address.family === 4 ? AF_INET : AF_INET6;
}

/** Whether what comes to one address comes to the other, too. */
function overlap(a: SocketAddress, b: SocketAddress): boolean {
  if (a.type === "unix" || b.type === "unix") return a.type === b.type && formatAddress(a) === formatAddress(b);
  if (a.port !== b.port) return false;
  return a.host === b.host || [a, b].some(({ host, family }) => {
    return host === "::" || (host === "0.0.0.0" && a.family === b.family && family === 4);
  });
}

function bindFailure(errno: number, type: SocketAddress["type"]): string {
  if (errno === EADDRINUSE) {
    return `another process listens there; stop it, or choose another ${type === "tcp" ? "port" : "path"}`;
  }
  if (errno === 99) return `${errnoText(errno)}; choose another address`;
  if (type === "unix") return `${errnoText(errno)}; choose another path`;
  return errno === 13 ? "permission denied; ports below 1024 need root, choose a higher one" : errnoText(errno);
}
