/**
 * Has a native server accept from a listening socket that it did not open. Neither `Deno.serve` nor `Bun.serve` takes a
 * descriptor, so the server listens on a private address first; then the shared socket takes the place of its own, by
 * `dup3`, and is entered in the server's epoll set as the old one was.
 *
 * @module
 */

import type { SocketAddress } from "./address.ts";
import { encodeEvent, EPOLL_CTL_ADD, EPOLL_CTL_DEL, type EpollEntry, parseFdinfo } from "./epoll.ts";
import { type Bytes, cString, errnoText, int32, type Libc, readInt32 } from "./libc.ts";
import type { Acceptor } from "./serving.ts";
import { encodeSockaddr } from "./sockaddr.ts";
import { isListening, localAddress } from "./socket_facts.ts";
import type { ProcessHost } from "./types.ts";

const FIRST_FD = 3;
/** The runtimes open their epoll set as they start, so its number is small. */
const MAX_EPOLL_FD = 1024;
/** No process was seen to leave so many numbers unused in between. */
const MAX_GAP = 1024;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const O_CLOEXEC = SOCK_CLOEXEC;
const IPPROTO_TCP = 6;
const TCP_DEFER_ACCEPT = 9;
const POLLIN = 1;
/** How long the self-test waits for its one connection to be accepted. */
const TEST_TIMEOUT_MS = 2000;

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
  const place = findPlace(libc, own);
  takeOverDeferral(libc, place.fd, shared);
  if (!isProven(own.type)) await testAdoption(parts, place);
  proven.add(own.type);
  empty(libc, place, own);
  return () => {
    enter(libc, arch, place, shared);
    return new AdoptedSocket(parts, place);
  };
}

/** Leaves nothing in the place that anybody could connect to. */
function empty(libc: Libc, { fd }: Place, own: SocketAddress): void {
  const plug = openSocket(libc, own);
  libc.dup3(plug, fd, O_CLOEXEC);
  libc.close(plug);
}

/** A shared socket in the place of a server's own. */
class AdoptedSocket implements Acceptor {
  readonly #libc: Libc;
  readonly #arch: string;
  readonly #shared: number;
  readonly #address: SocketAddress | undefined;
  readonly #place: Place;
  readonly #plugAddress: SocketAddress;
  #plug: number | undefined;
  #left = false;
  #yields = false;

  constructor({ libc, arch, shared, own, host }: AdoptionParts, place: Place) {
    this.#libc = libc;
    this.#arch = arch;
    this.#shared = shared;
    this.#address = localAddress(libc, shared);
    this.#place = place;
    this.#plugAddress = { type: "unix", path: `@prefork-plug-${host.pid}-${own.type === "tcp" ? own.port : own.path}` };
  }

  leave(): void {
    this.#left = true;
    if (!this.#yields) this.#remove();
  }

  connections(): number {
    return this.#address === undefined ? 0 : countConnections(this.#libc, this.#address);
  }

  /**
   * A server that accepts for as long as there is more finds out at its next try that there is none: for the rest of this
   * turn a socket that gives nothing stands in the place.
   */
  yield(nextTurn: (callback: () => void) => void): void {
    if (this.#yields || this.#left) return;
    this.#yields = true;
    this.#plug ??= this.#openPlug();
    this.#remove();
    this.#libc.dup3(this.#plug, this.#place.fd, O_CLOEXEC);
    nextTurn(() => {
      this.#yields = false;
      // A server that was closed meanwhile has given the number back, and somebody else may have it.
      const stands = isAt(localAddress(this.#libc, this.#place.fd), this.#plugAddress);
      if (stands && !this.#left) enter(this.#libc, this.#arch, this.#place, this.#shared);
    });
  }

  #remove(): void {
    const { epoll, fd, entry } = this.#place;
    this.#libc.epoll_ctl(epoll, EPOLL_CTL_DEL, fd, encodeEvent(entry, this.#arch));
  }

  #openPlug(): number {
    const plug = openSocket(this.#libc, this.#plugAddress);
    const bytes = encodeSockaddr(this.#plugAddress, "linux");
    this.#libc.bind(plug, bytes, bytes.length);
    return plug;
  }
}

/**
 * Bun has the system hold connections back until their first bytes are there, and counts on it: it accepts for as long as
 * there is more, and looks at nothing else meanwhile. Without it, a connection that came before its bytes waited for
 * seconds under load.
 */
function takeOverDeferral(libc: Libc, own: number, shared: number): void {
  const seconds = int32(0);
  if (libc.getsockopt(own, IPPROTO_TCP, TCP_DEFER_ACCEPT, seconds, int32(4)) < 0 || readInt32(seconds) === 0) return;
  libc.setsockopt(shared, IPPROTO_TCP, TCP_DEFER_ACCEPT, seconds, 4);
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
    const deadline = host.now() + TEST_TIMEOUT_MS;
    // First the connection must be there, then it must be taken.
    while (!isReadable(libc, scratch.fd) && host.now() < deadline) await pause(host);
    while (isReadable(libc, scratch.fd)) {
      if (host.now() >= deadline) throw new Error("the server took no connection from a socket put in its own's place");
      await pause(host);
    }
    await pause(host); // a program that accepts by itself asks only now for more, and would fail on what does not listen
  } finally {
    libc.close(client);
    libc.close(scratch.fd);
  }
}

function pause(host: ProcessHost): Promise<void> {
  return new Promise((resolve) => void host.setTimer(0, resolve));
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
  const entry = new Uint8Array(8);
  entry.set(int32(fd));
  entry[4] = POLLIN;
  return libc.poll(entry, 1, 0) > 0;
}

function isAt(address: SocketAddress | undefined, wanted: SocketAddress): boolean {
  if (address?.type === "unix") return wanted.type === "unix" && address.path === wanted.path;
  return address?.type === "tcp" && wanted.type === "tcp" && address.port === wanted.port;
}

/** The connections that were accepted from a socket: their own address is its address. */
function countConnections(libc: Libc, shared: SocketAddress): number {
  let count = 0;
  findDescriptor(libc, (fd) => {
    if (isAt(localAddress(libc, fd), shared) && !isListening(libc, fd)) count++;
    return false;
  });
  return count;
}

/** The lowest descriptor for which `test` holds. */
function findDescriptor(libc: Libc, test: (fd: number) => boolean): number | undefined {
  const F_GETFD = 1;
  for (let fd = FIRST_FD, lastOpen = fd; fd - lastOpen < MAX_GAP; fd++) {
    if (libc.fcntl(fd, F_GETFD, 0) < 0) continue;
    lastOpen = fd;
    if (test(fd)) return fd;
  }
  return undefined;
}

/** By the C library, since Deno itself lets nobody read `/proc` but who may do everything. */
function readFile(libc: Libc, path: string): string {
  const fd = libc.open(cString(path), 0);
  if (fd < 0) return "";
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(4096);
  let text = "";
  for (let length = libc.read(fd, buffer, 4096); length > 0; length = libc.read(fd, buffer, 4096)) {
    text += decoder.decode(buffer.subarray(0, length), { stream: true });
  }
  libc.close(fd);
  return text;
}
