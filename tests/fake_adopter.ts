/**
 * A process with a server in it, as far as adoption looks at one: a {@linkcode Libc} whose sockets are in memory, and a
 * server that accepts, or does not, from whatever stands in its place.
 *
 * @module
 */
import type { SocketAddress } from "../src/address.ts";
import { EPOLL_CTL_ADD, EPOLL_CTL_DEL } from "../src/epoll.ts";
import type { Bytes, Libc } from "../src/libc.ts";
import { decodeSockaddr, encodeSockaddr } from "../src/sockaddr.ts";

/** A socket: descriptors are the same one if they have the same object. */
export interface FakeFile {
  readonly cookie: bigint;
  readonly type: number;
  address: SocketAddress;
  isListening: boolean;
  /** Connections that nobody has accepted. */
  waiting: number;
  deferral: number;
}

const EPOLL_FD = 4;
const FDINFO_FD = 1000;
const SOL_SOCKET = 1;
const SOL_TCP = 6;

export class FakeAdopter {
  readonly files = new Map<number, FakeFile>();
  /** The descriptors in the server's epoll set. */
  readonly watched = new Set<number>();
  /** How many turns of the event loop the server takes to accept. */
  patience = 0;
  /** What each call that failed is to fail with, by its name. */
  readonly fails: Partial<Record<keyof Libc, number>> = {};
  readonly libc: Libc;
  #errno = 0;
  #cookies = 0n;
  #info: Bytes = new Uint8Array(0);

  constructor() {
    const done = (name: keyof Libc, act: () => number): number => {
      const errno = this.fails[name];
      if (errno === undefined) return act();
      this.#errno = errno;
      return -1;
    };
    const fill = (to: Bytes, from: Uint8Array): number => (to.set(from.subarray(0, to.length)), 0);
    this.libc = {
      socket: () => done("socket", () => this.open({ address: { type: "tcp", host: "0.0.0.0", family: 4, port: 0 } })),
      bind: (fd, bytes, length) => {
        const address = decodeSockaddr(bytes, length, "linux");
        const file = this.#at(fd);
        if (address !== undefined) file.address = address.type === "tcp" ? { ...address, port: 50_000 + fd } : address;
        return 0;
      },
      flock: () => 0,
      statx: () => -1,
      listen: (fd) => (this.#at(fd).isListening = true, 0),
      connect: (_, bytes, length) => {
        const to = JSON.stringify(decodeSockaddr(bytes, length, "linux"));
        const file = [...this.files.values()].find(({ address }) => JSON.stringify(address) === to);
        if (file !== undefined) file.waiting++;
        return 0;
      },
      getsockname: (fd, bytes, length) => {
        const file = this.files.get(fd);
        if (file === undefined) return -1;
        const address = encodeSockaddr(file.address, "linux");
        new DataView(length.buffer).setInt32(0, address.length, true);
        return fill(bytes, address);
      },
      getsockopt: (fd, level, name, value) => {
        const file = this.files.get(fd);
        if (file === undefined) return -1;
        const view = new DataView(value.buffer);
        if (level === SOL_TCP) view.setInt32(0, file.deferral, true);
        else if (name === 57) view.setBigUint64(0, file.cookie, true);
        else view.setInt32(0, name === 3 ? file.type : Number(file.isListening), true);
        return level === SOL_TCP || level === SOL_SOCKET ? 0 : -1;
      },
      setsockopt: (fd, _, __, value) => (this.#at(fd).deferral = new DataView(value.buffer).getInt32(0, true), 0),
      fcntl: (fd, command) => {
        if (command !== 1030) return this.files.has(fd) ? 0 : -1;
        return done("fcntl", () => this.#add(this.#at(fd)));
      },
      dup3: (from, to) => done("dup3", () => (this.watched.delete(to), this.files.set(to, this.#at(from)), to)),
      shutdown: () => 0,
      sendmsg: () => -1,
      addressOf: () => 0n,
      close: (fd) => (this.files.delete(fd), 0),
      open: (path) => {
        this.#info = new TextEncoder().encode(this.#tell(new TextDecoder().decode(path).slice(0, -1)));
        return FDINFO_FD;
      },
      read: (_, buffer) => {
        const length = this.#info.length;
        buffer.set(this.#info);
        this.#info = new Uint8Array(0);
        return length;
      },
      poll: (entries) => {
        const file = this.#at(new DataView(entries.buffer).getInt32(0, true));
        if (file.waiting > 0 && this.#isWatched(file) && this.patience-- <= 0) file.waiting--;
        return file.waiting > 0 ? 1 : 0;
      },
      epoll_ctl: (_, operation, fd) => {
        if (operation === EPOLL_CTL_ADD) this.watched.add(fd);
        if (operation === EPOLL_CTL_DEL) this.watched.delete(fd);
        return 0;
      },
      write: () => 0,
      clock_gettime: () => 0,
      umask: () => 0,
      waitid: () => -1,
      prlimit: () => 0,
      chmod: () => 0,
      fchownat: () => 0,
      unlinkat: () => 0,
      errno: () => this.#errno,
    };
  }

  /** What stands in a file of the system. */
  #tell(path: string): string {
    if (path === "/proc/self/status") {
      return `Name:\tfake\nFDSize:\t${Math.max(...this.files.keys()) + 1}\nThreads:\t1\n`;
    }
    if (path !== `/proc/self/fdinfo/${EPOLL_FD}`) return "";
    return [...this.watched].map((fd) => `tfd: ${fd} events: 1 data: ${fd.toString(16)}\n`).join("");
  }

  /** Opens a socket at the first free number from `least` on, and gives that. */
  open(facts: Partial<FakeFile> & Pick<FakeFile, "address">, least = EPOLL_FD + 1): number {
    const file = { cookie: ++this.#cookies, type: 1, isListening: false, waiting: 0, deferral: 0, ...facts };
    return this.#add(file, least);
  }

  #add(file: FakeFile, least = EPOLL_FD + 1): number {
    let fd = least;
    while (this.files.has(fd)) fd++;
    this.files.set(fd, file);
    return fd;
  }

  #at(fd: number): FakeFile {
    const file = this.files.get(fd);
    if (file === undefined) throw new Error(`descriptor ${fd} is not open`);
    return file;
  }

  #isWatched(file: FakeFile): boolean {
    return [...this.watched].some((fd) => this.files.get(fd) === file);
  }
}
