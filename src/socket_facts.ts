/**
 * What the system tells of an open socket.
 *
 * @module
 */

import type { SocketAddress } from "./address.ts";
import { pollOne } from "./descriptors.ts";
import { int32, type Libc, readInt32 } from "./libc.ts";
import { decodeSockaddr } from "./sockaddr.ts";

const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SO_ACCEPTCONN = 30;
const SO_COOKIE = 57;
const SOCK_STREAM = 1;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const TCP_LISTEN = 10;
const POLLHUP = 0x10;
const POLLRDHUP = 0x2000;

/** Where a socket listens, or is connected from; undefined if the descriptor is no such socket. */
export function localAddress(libc: Libc, fd: number): SocketAddress | undefined {
  const bytes = new Uint8Array(128);
  const length = int32(bytes.length);
  if (libc.getsockname(fd, bytes, length) < 0) return undefined;
  return decodeSockaddr(bytes, readInt32(length), "linux");
}

/** Whether a descriptor is a socket that listens, and that nobody has shut down. */
export function isListening(libc: Libc, fd: number): boolean {
  return option(libc, fd, SO_ACCEPTCONN) === 1 && !isShutDown(libc, fd);
}

/** A Unix socket says that it listens even then. */
function isShutDown(libc: Libc, fd: number): boolean {
  return ((pollOne(libc, fd, POLLRDHUP, 0) ?? 0) & (POLLRDHUP | POLLHUP)) !== 0;
}

/** Whether a descriptor is a socket of connections, and not one of UDP. */
export function isStream(libc: Libc, fd: number): boolean {
  return option(libc, fd, SO_TYPE) === SOCK_STREAM;
}

function option(libc: Libc, fd: number, name: number): number | undefined {
  const value = int32(0);
  return libc.getsockopt(fd, SOL_SOCKET, name, value, int32(4)) < 0 ? undefined : readInt32(value);
}

/** How many connections may wait at a socket that listens; undefined if the system does not tell, as of a Unix socket. */
export function backlogOf(libc: Libc, fd: number): number | undefined {
  const info = new Uint8Array(32); // the beginning of struct tcp_info
  const length = int32(info.length);
  if (libc.getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, length) < 0 || readInt32(length) < info.length) return undefined;
  // Of a socket that listens this is no number of packets.
  return info[0] === TCP_LISTEN ? new DataView(info.buffer).getUint32(28, true) : undefined;
}

/** What tells a socket from all others, by whatever descriptor it is asked for; undefined if that is no socket. */
export function cookieOf(libc: Libc, fd: number): bigint | undefined {
  const value = new Uint8Array(8);
  if (libc.getsockopt(fd, SOL_SOCKET, SO_COOKIE, value, int32(value.length)) < 0) return undefined;
  return new DataView(value.buffer).getBigUint64(0, true);
}
