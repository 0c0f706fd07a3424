/**
 * Has a native server accept from a listening socket that it did not open. Neither `Deno.serve` nor `Bun.serve` takes a
 * descriptor, so the server listens on a private address first; then the shared socket takes the place of its own, by
 * `dup3`, and is entered in the server's epoll set as the old one was.
 *
 * @module
 */

import type { SocketAddress } from "./address.ts";
import { endOfTable, pollOne, readFile } from "./descriptors.ts";
import { encodeEvent, EPOLL_CTL_ADD, EPOLL_CTL_DEL, type EpollEntry, parseFdinfo } from "./epoll.ts";
import { refusal } from "./host_common.ts";
import { type Bytes, errnoText, int32, type Libc } from "./libc.ts";
import type { Acceptor } from "./serving.ts";
import { encodeSockaddr } from "./sockaddr.ts";
import { cookieOf, isListening, isStream, localAddress } from "./socket_facts.ts";
import type { ProcessHost } from "./types.ts";

const FIRST_FD = 3;
/** The runtimes open their epoll set as they start, so its number is small. */
const MAX_EPOLL_FD = 1024;
/** Where nobody tells how far to look: no process was seen to leave so many numbers unused in between. */
const MAX_GAP = 1024;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const O_CLOEXEC = SOCK_CLOEXEC;
const F_DUPFD_CLOEXEC = 1030;
const IPPROTO_TCP = 6;
const TCP_DEFER_ACCEPT = 9;
const POLLIN = 1;
const ANY_HOST: readonly string[] = ["0.0.0.0", "::"];
/** How long a server has to take the one connection of the self-test. */
const TEST_TIMEOUT_MS = 2000;
/** How many turns of its event loop it has in any case: time alone says nothing of one whose machine is busy. */
const TEST_TURNS = 100;

/** Where a server's listener stands in this process. */
interface Place {
  readonly fd: number;
  readonly epoll: number;
  readonly entry: EpollEntry;
}

/** What adoption takes. */
export interface AdoptionParts {
  readonly host: ProcessHost;
  readonly libc: Libc;
  readonly arch: string;
  /** Where the server listens by itself. */
  readonly own: SocketAddress;
  /** The socket it is to accept from. */
  readonly shared: number;
}

/** The kinds of sockets for which a server has passed the test in this process. */
const proven = new Set<SocketAddress["type"]>();

/** Whether it is known that servers can accept from shared sockets of this kind here. */
export function isProven(type: SocketAddress["type"]): boolean {
  return proven.has(type);
}

/**
 * Makes the place of a server's own socket ready for a shared one. Whether a server accepts from that is not told by any
 * version number, so the first one of its kind has to accept a connection from a scratch socket put in that place.
 *
 * @returns Puts the shared socket there.
 * @throws {Error} Says what does not work. The server's own socket is gone then.
 */
export async function prepareAdoption(parts: AdoptionParts): Promise<() => Acceptor> {
  const { libc, arch, shared, own } = parts;
  if (cookieOf(libc, shared) === undefined) throw new Error("this system does not tell one socket from another");
  const place = findPlace(libc, own);
  const deferral = deferralOf(libc, place.fd);
  if (!isProven(own.type)) await testAdoption(parts, place);
  proven.add(own.type);
  empty(libc, place, own);
  return () => {
    const plug = libc.fcntl(place.fd, F_DUPFD_CLOEXEC, FIRST_FD);
    if (plug < 0) throw refusal(new Error(`Cannot serve: ${errnoText(libc.errno())}`));
    if (deferral !== undefined) libc.setsockopt(shared, IPPROTO_TCP, TCP_DEFER_ACCEPT, deferral, deferral.length);
    enter(libc, arch, place, shared);
    return new AdoptedSocket(parts, place, plug);
  };
}

/** Leaves nothing in the place that anybody could connect to. */
function empty(libc: Libc, { fd }: Place, own: SocketAddress): void {
  const plug = openSocket(libc, own);
  libc.dup3(plug, fd, O_CLOEXEC);
  libc.close(plug);
}

/**
 * A shared socket in the place of a server's own. A program that closes its server itself gives the number of that place
 * back, and somebody else may have it: what stands there is looked at before each change.
 */
class AdoptedSocket implements Acceptor {
  readonly #libc: Libc;
  readonly #arch: string;
  readonly #shared: number;
  readonly #address: SocketAddress | undefined;
  readonly #place: Place;
  readonly #plug: number;
  readonly #cookies: { readonly shared: bigint | undefined; readonly plug: bigint | undefined };
  #left = false;
  #yields = false;

  constructor({ libc, arch, shared }: AdoptionParts, place: Place, plug: number) {
    this.#libc = libc;
    this.#arch = arch;
    this.#shared = shared;
    this.#address = localAddress(libc, shared);
    this.#place = place;
    this.#plug = plug;
    this.#cookies = { shared: cookieOf(libc, shared), plug: cookieOf(libc, plug) };
  }

  leave(): void {
    this.#left = true;
    if (!this.#yields && this.#holds("shared")) this.#remove();
  }

  connections(): number {
    return this.#address === undefined ? 0 : countConnections(this.#libc, this.#address);
  }

  /** The server sends to its clients itself, and so the system goes on with what it has sent. */
  behind(): number {
    return 0;
  }

  /**
   * A server that accepts for as long as there is more finds out at its next try that there is none: for the rest of this
   * turn a socket that gives nothing stands in the place.
   */
  yield(nextTurn: (callback: () => void) => void): void {
    if (this.#yields || this.#left || !this.#holds("shared")) return;
    if (cookieOf(this.#libc, this.#shared) !== this.#cookies.shared) return; // closed by the program: there is no way back
    this.#yields = true;
    this.#remove();
    this.#libc.dup3(this.#plug, this.#place.fd, O_CLOEXEC);
    nextTurn(() => {
      this.#yields = false;
      if (!this.#left && this.#holds("plug")) enter(this.#libc, this.#arch, this.#place, this.#shared);
    });
  }

  /** Whether this is what stands in the place. */
  #holds(which: "shared" | "plug"): boolean {
    return cookieOf(this.#libc, this.#place.fd) === this.#cookies[which];
  }

  #remove(): void {
    const { epoll, fd, entry } = this.#place;
    this.#libc.epoll_ctl(epoll, EPOLL_CTL_DEL, fd, encodeEvent(entry, this.#arch));
  }
}

/**
 * For how long, in seconds, a server has the system hold a connection back until its first bytes are there. Bun does, and
 * counts on it: it accepts for as long as there is more, and looks at nothing else meanwhile. Without it, a connection that
 * came before its bytes waited for seconds under load. A server that speaks first must not have it: not even from one
 * that had the shared socket before. Undefined where there is no such thing.
 */
function deferralOf(libc: Libc, own: number): Bytes | undefined {
  const seconds = int32(0);
  return libc.getsockopt(own, IPPROTO_TCP, TCP_DEFER_ACCEPT, seconds, int32(4)) < 0 ? undefined : seconds;
}

function findPlace(libc: Libc, own: SocketAddress): Place {
  const fd = findDescriptor(libc, (each) => isAt(localAddress(libc, each), own) && isListening(libc, each));
  if (fd === undefined) throw new Error("the server's own socket was not found among the descriptors of this process");
  for (let epoll = FIRST_FD; epoll < MAX_EPOLL_FD; epoll++) {
    const entry = parseFdinfo(readFile(libc, `/proc/self/fdinfo/${epoll}`)).find((each) => each.fd === fd);
    if (entry !== undefined) return { fd, epoll, entry };
  }
  throw new Error("the server's own socket was found in no epoll set (is /proc mounted?)");
}

function enter(libc: Libc, arch: string, { fd, epoll, entry }: Place, socket: number): void {
  if (libc.dup3(socket, fd, O_CLOEXEC) < 0) throw new Error(`dup3: ${errnoText(libc.errno())}`);
  if (libc.epoll_ctl(epoll, EPOLL_CTL_ADD, fd, encodeEvent(entry, arch)) < 0) {
    throw new Error(`epoll_ctl: ${errnoText(libc.errno())}`);
  }
}

async function testAdoption({ host, libc, arch, own }: AdoptionParts, place: Place): Promise<void> {
  const scratch = openScratch(libc, own);
  const client = openSocket(libc, own);
  try {
    enter(libc, arch, place, scratch.fd);
    libc.connect(client, scratch.address, scratch.address.length); // Non-blocking: on its way is enough.
    // First the connection must be there, then it must be taken.
    const deadline = host.now() + TEST_TIMEOUT_MS;
    let turns = 0;
    const isLate = (): boolean => ++turns > TEST_TURNS && host.now() >= deadline;
    while (!isReadable(libc, scratch.fd) && !isLate()) await pause(host);
    while (isReadable(libc, scratch.fd)) {
      if (isLate()) throw new Error("the server took no connection from a socket put in its own's place");
      await pause(host);
    }
    await pause(host); // a program that accepts by itself asks only now for more, and would fail on what does not listen
  } finally {
    libc.close(client);
    libc.close(scratch.fd);
  }
}

function pause(host: ProcessHost): Promise<void> {
  return new Promise((resolve) => void host.setTimer(1, resolve));
}

/** A listening socket of the same kind as the server's, where nobody else looks for one. */
function openScratch(libc: Libc, own: SocketAddress): { readonly fd: number; readonly address: Bytes } {
  const fd = openSocket(libc, own);
  const wanted = own.type === "tcp" ? { ...own, port: 0 } : { ...own, path: `${own.path}-test` };
  const bytes = encodeSockaddr(wanted, "linux");
  if (libc.bind(fd, bytes, bytes.length) < 0 || libc.listen(fd, 8) < 0) {
    const errno = libc.errno();
    libc.close(fd);
    throw new Error(`a scratch socket could not be opened: ${errnoText(errno)}`);
  }
  return { fd, address: encodeSockaddr(localAddress(libc, fd) ?? wanted, "linux") };
}

function openSocket(libc: Libc, own: SocketAddress): number {
  const family = encodeSockaddr(own, "linux")[0] ?? 0;
  const fd = libc.socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new Error(`a scratch socket could not be made: ${errnoText(libc.errno())}`);
  return fd;
}

/** Whether a connection waits in the queue of a listening socket. */
function isReadable(libc: Libc, fd: number): boolean {
  return pollOne(libc, fd, POLLIN, 0) !== undefined;
}

function isAt(address: SocketAddress | undefined, wanted: SocketAddress): boolean {
  if (address?.type === "unix") return wanted.type === "unix" && address.path === wanted.path;
  if (address === undefined || wanted.type === "unix") return false;
  return address.port === wanted.port && address.host === wanted.host;
}

/** Whether a connection at `address` may be of the socket `shared`, which may listen on every address there is. */
function isOf(address: SocketAddress | undefined, shared: SocketAddress): boolean {
  if (address?.type !== "tcp" || shared.type !== "tcp") return isAt(address, shared);
  return address.port === shared.port && (isAt(address, shared) || ANY_HOST.includes(shared.host));
}

/** The connections that were accepted from a socket: their own address is its address. */
function countConnections(libc: Libc, shared: SocketAddress): number {
  let count = 0;
  findDescriptor(libc, (fd) => {
    if (isOf(localAddress(libc, fd), shared) && isStream(libc, fd) && !isListening(libc, fd)) count++;
    return false;
  });
  return count;
}

/** The lowest descriptor for which `test` holds. */
function findDescriptor(libc: Libc, test: (fd: number) => boolean): number | undefined {
  const F_GETFD = 1;
  const end = endOfTable(libc);
  for (let fd = FIRST_FD, lastOpen = fd; fd < (end ?? lastOpen + MAX_GAP); fd++) {
    if (libc.fcntl(fd, F_GETFD, 0) < 0) continue;
    lastOpen = fd;
    if (test(fd)) return fd;
  }
  return undefined;
}
