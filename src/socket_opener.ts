/**
 * Opens what a pool is to listen on: binds it, takes what this process was given, or what the manager before had open.
 *
 * @module
 */

import { givenSockets } from "./activation.ts";
import { formatAddress, parseAddress, type SocketAddress } from "./address.ts";
import { absolute, askedFor, type Claimed, type Inheritance } from "./handover.ts";
import { isIpv4, withoutMapping } from "./ip.ts";
import { type Bytes, cString, errnoText, int32, type Libc } from "./libc.ts";
import { INHERIT, type ListenOptions } from "./listen.ts";
import type { Listener } from "./serving.ts";
import { encodeSockaddr } from "./sockaddr.ts";
import { backlogOf, isListening, localAddress } from "./socket_facts.ts";
import {
  fileOf,
  giveAccess,
  identify,
  inTurn,
  isInPlace,
  remove,
  removeFrom,
  removeStale,
  type SocketFile,
  tryAccess,
} from "./socket_file.ts";
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
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const O_CLOEXEC = 0o2000000;
const EINVAL = 22;
const EMFILE = 24;
const EADDRINUSE = 98;
const F_DUPFD_CLOEXEC = 1030;

/** Above what the runtimes use themselves, and above the places that descriptors have in a worker. */
const LEAST_FD = 64;

/** As many connections as the system allows to wait (`net.core.somaxconn`, 4096 since Linux 5.4). */
const BACKLOG = 4096;

/** A socket that listens. */
export interface SharedSocket extends Omit<Listener, "text"> {
  /** Its descriptor in this process. */
  readonly fd: number;
  /** The file of a Unix socket made here. */
  readonly file: SocketFile | undefined;
  /** What it was asked for as. */
  readonly asked: string;
  /** What the manager before this one handed over; undefined if it is this one's from the beginning. */
  readonly claimed?: Claimed;
  /** The descriptor by which this process was given it: it is open as well. */
  readonly given?: number;
  /** How it was asked for, if it was open already: holds once it is known that this is to go on. */
  readonly change?: ListenOptions;
  /** How many connections may wait, as it was said last; undefined if nobody tells. */
  readonly backlog: number | undefined;
}

/**
 * Opens all, or none.
 *
 * @param inheritance What the manager before this one has open.
 * @throws {Error} Names the address that cannot be listened on, and why.
 */
export function openSockets(
  wanted: readonly ListenOptions[],
  host: ProcessHost,
  libc: Libc,
  inheritance: Inheritance | undefined,
): readonly SharedSocket[] {
  const opener = new Opener(host, libc, wanted, inheritance);
  try {
    opener.openAll();
    return opener.opened;
  } catch (error) {
    closeSockets(libc, opener.opened);
    throw error;
  }
}

/** Stops listening, and removes the files of Unix sockets that were made here. */
export function closeSockets(libc: Libc, sockets: readonly SharedSocket[]): void {
  for (const { fd, file } of sockets) {
    // In this order nobody finds a file that is about to go and takes it for a stale one.
    if (file !== undefined) remove(libc, file);
    libc.close(fd);
  }
}

/**
 * Lets go of what this process was given. The number does not become free: something else that gets it would be taken
 * for what was given, by whoever asks for that once more.
 */
export function giveUp(libc: Libc, given: number): void {
  const nothing = libc.open(cString("/dev/null"), O_CLOEXEC);
  if (nothing < 0) return void libc.close(given);
  libc.dup3(nothing, given, O_CLOEXEC);
  libc.close(nothing);
}

/**
 * Has a socket that was open already be as it was asked for.
 *
 * @throws {Error} If that cannot be.
 */
export function applyChange(libc: Libc, { fd, address, file, backlog, change }: SharedSocket): void {
  if (change === undefined) return;
  if (file !== undefined) giveAccess(libc, file, change);
  // A server of the new workers may have said for itself how many may wait, though nobody has asked for a change.
  if (backlog === undefined || !isListening(libc, fd) || libc.listen(fd, backlog) === 0) return;
  const errno = libc.errno();
  throw new Error(`Cannot have ${backlog} connections wait at ${formatAddress(address)}: ${errnoText(errno)}`);
}

/**
 * The same once more, out of the way of the runtime's own descriptors.
 *
 * @param text Where it listens.
 * @throws {Error} If there can be no more.
 */
export function duplicate(libc: Libc, fd: number, text: string): number {
  const copy = libc.fcntl(fd, F_DUPFD_CLOEXEC, LEAST_FD);
  if (copy >= 0) return copy;
  const errno = libc.errno();
  const why = errno === EINVAL ? errnoText(EMFILE) : errnoText(errno);
  throw new Error(`Cannot listen on ${text}: ${why}; let it have more (ulimit -n)`);
}

/** Opens the sockets of one pool, one after the other. */
class Opener {
  readonly opened: SharedSocket[] = [];
  readonly #host: ProcessHost;
  readonly #libc: Libc;
  /** What is still to be opened. */
  #wanted: readonly ListenOptions[];
  readonly #inheritance: Inheritance | undefined;

  constructor(
    host: ProcessHost,
    libc: Libc,
    wanted: readonly ListenOptions[],
    inheritance: Inheritance | undefined,
  ) {
    this.#host = host;
    this.#libc = libc;
    this.#wanted = wanted;
    this.#inheritance = inheritance;
  }

  openAll(): void {
    for (let [next, ...rest] = this.#wanted; next !== undefined; [next, ...rest] = this.#wanted) {
      this.#wanted = rest;
      this.#open(next);
    }
  }

  #open(wanted: ListenOptions): void {
    const asked = askedFor(wanted.address, this.#host.directory);
    const claimed = this.#inheritance?.claim(asked, nameOf(wanted)) ?? [];
    if (claimed.length > 0) this.#takeOver(claimed, wanted, asked);
    else this.#openAnew(wanted, asked);
  }

  #openAnew(wanted: ListenOptions, asked: string): void {
    if (wanted.address === INHERIT) {
      const given = givenSockets(this.#host);
      if (given.length > 0) return given.forEach(({ fd, name }) => this.#take(fd, wanted.name ?? name, wanted, asked));
      throw new Error(
        "Cannot listen on inherited sockets: neither LISTEN_FDS with LISTEN_PID (systemd) nor SERVER_STARTER_PORT " +
          "(start_server) gives this process any",
      );
    }
    const { name, address } = parseAddress(wanted.address);
    if (address.type === "fd") this.#take(address.fd, wanted.name ?? name, wanted, asked);
    else this.#bind({ name: wanted.name ?? name, address }, wanted, asked);
  }

  /** Takes sockets of the manager before this one. Nobody else closes what was claimed, however this goes. */
  #takeOver(claimed: readonly Claimed[], wanted: ListenOptions, asked: string): void {
    try {
      for (const one of claimed) {
        const file = fileOf(one);
        if (file === undefined || isInPlace(this.#libc, file)) this.#takeOne(one, wanted, asked);
        else this.#openAnew(wanted, asked); // nobody comes to that one any more
      }
    } finally {
      for (const { fd } of claimed) this.#libc.close(fd);
    }
  }

  /** The file is that of the manager before this one until all is handed over. */
  #takeOne(claimed: Claimed, wanted: ListenOptions, asked: string): void {
    const name = asked === INHERIT ? wanted.name ?? claimed.name : nameOf(wanted);
    this.#tryAccess(claimed, wanted);
    const fd = duplicate(this.#libc, claimed.fd, claimed.bound);
    const backlog = wanted.backlog ?? claimed.backlog ?? backlogOf(this.#libc, fd);
    this.#keep({ fd, name, file: undefined, asked, claimed, change: wanted, backlog });
  }

  #tryAccess(claimed: Claimed, { mode, owner }: ListenOptions): void {
    if (mode === undefined && owner === undefined) return;
    const file = fileOf(claimed);
    if (file !== undefined) return tryAccess(this.#libc, file, { mode, owner });
    throw new Error(
      `Cannot set the mode or the owner of ${claimed.bound}: whoever gave that socket to this process made its file; ` +
        "have it set there",
    );
  }

  /** Takes a socket that somebody else has opened. */
  #take(fd: number, name: string | undefined, wanted: ListenOptions, asked: string): void {
    const address = localAddress(this.#libc, fd);
    if (address === undefined) {
      throw new Error(`Cannot listen on fd:${fd}: that is no open TCP or Unix socket in this process`);
    }
    if (!isListening(this.#libc, fd)) {
      throw new Error(`Cannot listen on fd:${fd}: that socket (${formatAddress(address)}) was not made to listen`);
    }
    // Workers get their own; no other process that is started from here is to have it.
    this.#libc.fcntl(fd, F_SETFD, FD_CLOEXEC);
    const own = duplicate(this.#libc, fd, `fd:${fd}`);
    const backlog = wanted.backlog ?? backlogOf(this.#libc, own);
    this.#keep({ fd: own, name, file: undefined, asked, given: fd, change: wanted, backlog }, `fd:${fd}`);
  }

  #bind({ name, address }: Pick<Listener, "name" | "address">, options: ListenOptions, asked: string): void {
    const place = address.type === "unix"
      ? { ...address, path: absolute(address.path, this.#host.directory) }
      : address;
    const low = this.#libc.socket(familyOf(place), SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (low < 0) throw this.#error(this.#libc.errno(), address);
    const fd = this.#raise(low, formatAddress(address));
    try {
      const isFile = place.type === "unix" && !place.path.startsWith("@");
      const file = isFile ? this.#listenAt(fd, place.path, options) : this.#listenOn(fd, place, options);
      this.#keep({ fd, name, file, asked, backlog: options.backlog ?? BACKLOG });
    } catch (error) {
      this.#libc.close(fd);
      throw error;
    }
  }

  #listenAt(fd: number, path: string, options: ListenOptions): SocketFile {
    const address = { type: "unix", path } as const;
    if (this.opened.some((own) => overlap(own.address, address))) throw this.#error(EADDRINUSE, address);
    return inTurn(this.#libc, path, (place) => {
      removeStale(this.#libc, place);
      const errno = this.#bindWithMode(fd, encodeSockaddr(address, "linux"), options.mode);
      if (errno !== 0) throw this.#error(errno, address);
      const file = identify(this.#libc, place);
      try {
        giveAccess(this.#libc, file, { owner: options.owner });
        this.#listen(fd, address, options);
        return file;
      } catch (error) {
        removeFrom(this.#libc, place, file);
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
    const own = errno === EADDRINUSE ? this.#whoElse(address) : undefined;
    return new Error(`Cannot listen on ${formatAddress(address)}: ${own ?? bindFailure(errno, address.type)}`);
  }

  /** What of this pool has an address already, and what to do then. */
  #whoElse(address: SocketAddress): string | undefined {
    const { unclaimed = [], left = [] } = this.#inheritance ?? {};
    const isThere = (other: SocketAddress | undefined): boolean => other !== undefined && overlap(other, address);
    const before = unclaimed.find(({ fd }) => isThere(localAddress(this.#libc, fd)));
    const own = this.opened.find((socket) => isThere(socket.address));
    const twice = own !== undefined
      ? formatAddress(own.address)
      : before && this.#asksFor(before)
      ? before.bound
      : undefined;
    if (twice !== undefined) {
      return `this pool listens on ${twice} already, which takes what comes there; leave one out`;
    }
    if (before !== undefined && this.#inheritance?.serves(before)) {
      return `this pool listens on ${before.bound}, and goes on to until its new workers are ready; choose another port, ` +
        "or stop it and start it anew";
    }
    if (before === undefined && !left.some(isThere)) return undefined;
    return "this pool listened there before, and its workers of then have yet to end; try again when they are gone, or " +
      "choose another port";
  }

  /** Whether a socket of before is still to be claimed. */
  #asksFor({ asked, bound }: Claimed): boolean {
    return this.#wanted.some(({ address }) => [asked, bound].includes(askedFor(address, this.#host.directory)));
  }

  /** Moves a descriptor out of the way of the runtime's own. */
  #raise(low: number, text: string): number {
    try {
      return duplicate(this.#libc, low, text);
    } finally {
      this.#libc.close(low);
    }
  }

  /** The mode is there from the first moment: nobody slips in before a chmod. */
  #bindWithMode(fd: number, address: Bytes, mode: number | undefined): number {
    const before = mode === undefined ? undefined : this.#libc.umask(0o777 & ~mode);
    const errno = this.#libc.bind(fd, address, address.length) < 0 ? this.#libc.errno() : 0;
    if (before !== undefined) this.#libc.umask(before);
    return errno;
  }

  #keep(socket: Omit<SharedSocket, "address">, text = socket.asked): void {
    const libc = this.#libc;
    const address = localAddress(libc, socket.fd);
    if (address === undefined) throw new Error(`Cannot listen on ${text}: ${errnoText(libc.errno())}`);
    this.opened.push({ ...socket, address });
  }
}

/** What a socket is to be called. */
export function nameOf({ address, name }: ListenOptions): string | undefined {
  return name ?? (address === INHERIT ? undefined : parseAddress(address).name);
}

function familyOf(address: SocketAddress): number {
  if (address.type === "unix") return AF_UNIX;
  return address.family === 4 ? AF_INET : AF_INET6;
}

/** Whether what comes to one address comes to the other, too. */
function overlap(a: SocketAddress, b: SocketAddress): boolean {
  if (a.type === "unix" || b.type === "unix") return a.type === b.type && formatAddress(a) === formatAddress(b);
  if (a.port !== b.port) return false;
  const hosts = [a, b].map(({ host }) => withoutMapping(host));
  return hosts[0] === hosts[1] || hosts.includes("::") || (hosts.includes("0.0.0.0") && hosts.every(isIpv4));
}

function bindFailure(errno: number, type: SocketAddress["type"]): string {
  if (errno === EADDRINUSE) {
    return `another process listens there; stop it, or choose another ${type === "tcp" ? "port" : "path"}`;
  }
  if (errno === 99) return `${errnoText(errno)}; choose another address`;
  if (type === "unix") return `${errnoText(errno)}; choose another path`;
  return errno === 13 ? "permission denied; ports below 1024 need root, choose a higher one" : errnoText(errno);
}
