/**
 * The part of the C library that sharing a listening socket takes. A runtime binds it by its foreign function interface;
 * nothing else needs it, so a plain pool runs without `--allow-ffi`. The numbers are those of Linux.
 *
 * @module
 */

/** Memory that a call reads, or fills. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** The calls, as in section 2 of the manual. Each gives what C gives: -1 is a failure, told by {@linkcode errno}. */
export interface Libc {
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Bytes, length: number): number;
  listen(fd: number, backlog: number): number;
  connect(fd: number, address: Bytes, length: number): number;
  getsockname(fd: number, address: Bytes, length: Bytes): number;
  getsockopt(fd: number, level: number, name: number, value: Bytes, length: Bytes): number;
  setsockopt(fd: number, level: number, name: number, value: Bytes, length: number): number;
  fcntl(fd: number, command: number, argument: number): number;
  dup3(from: number, to: number, flags: number): number;
  shutdown(fd: number, how: number): number;
  close(fd: number): number;
  open(path: Bytes, flags: number): number;
  read(fd: number, buffer: Bytes, length: number): number;
  write(fd: number, buffer: Bytes, length: number): number;
  sendmsg(fd: number, message: Bytes, flags: number): number;
  clock_gettime(clock: number, time: Bytes): number;
  poll(entries: Bytes, count: number, timeoutMs: number): number;
  epoll_ctl(epoll: number, operation: number, fd: number, event: Bytes): number;
  umask(mask: number): number;
  chmod(path: Bytes, mode: number): number;
  fchownat(directory: number, path: Bytes, uid: number, gid: number, flags: number): number;
  unlinkat(directory: number, path: Bytes, flags: number): number;
  waitid(kind: number, id: number, info: Bytes, options: number): number;
  prlimit(pid: number, resource: number, wanted: Bytes | null, before: Bytes): number;
  flock(fd: number, operation: number): number;
  statx(directory: number, path: Bytes, flags: number, mask: number, result: Bytes): number;
  /** The number of the last failure. */
  errno(): number;
  /** Where these bytes stand in memory, for a structure that is to point at them. */
  addressOf(bytes: Bytes): bigint;
}

/** Where the C library is found: glibc's name, then musl's. */
export function libcNames(arch: string): readonly string[] {
  return ["libc.so.6", `libc.musl-${arch === "x64" ? "x86_64" : arch === "arm64" ? "aarch64" : arch}.so.1`, "libc.so"];
}

/** What there is to say where the C library cannot be used. */
export class NoLibcError extends Error {
  /** Tells this error from others. */
  override readonly name = "NoLibcError";
}

/**
 * Opens the first of the C libraries that there is.
 *
 * @throws {NoLibcError} If there is none, or this is no Linux.
 */
export function openFirst(os: string, arch: string, open: (name: string) => Libc): Libc {
  if (os !== "linux") throw new NoLibcError(`this is ${os}, and prefork shares listening sockets on Linux only`);
  const names = libcNames(arch);
  const failures: string[] = [];
  for (const name of names) {
    try {
      return open(name);
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
    }
  }
  // One that is there and cannot be used tells more than those that are not.
  const reason = failures.find((text) => !/no such file/i.test(text)) ?? failures[0];
  throw new NoLibcError(`no C library could be used as ${names.join(", ")} (${reason})`);
}

/** The words for the failures a user can do something about. */
const REASONS: Readonly<Record<number, string>> = {
  1: "that is not allowed",
  2: "its directory does not exist",
  9: "that descriptor is not open",
  12: "out of memory",
  13: "permission denied",
  20: "a part of its path is no directory",
  21: "it is a directory",
  22: "the system does not take it",
  23: "the system is out of file descriptors",
  24: "this process is out of file descriptors",
  28: "no space is left on the disk",
  30: "its file system is read-only",
  36: "its name is too long",
  40: "its path has too many symbolic links",
  88: "that descriptor is no socket",
  97: "this machine has no such kind of address",
  98: "the address is taken",
  99: "this machine has no such address",
  105: "out of memory",
};

/** What `errno` means. */
export function errnoText(errno: number): string {
  return REASONS[errno] ?? `error ${errno}`;
}

/** Text as C wants it. */
export function cString(text: string): Bytes {
  return new TextEncoder().encode(`${text}\0`);
}

/** Four bytes that hold a number, as `int` or `socklen_t`. */
export function int32(value: number): Bytes {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return bytes;
}

/** The number in four bytes. */
export function readInt32(bytes: Bytes): number {
  return new DataView(bytes.buffer).getInt32(0, true);
}
