/**
 * What the system tells of an open socket.
 *
 * @module
 */

import type { SocketAddress } from "./address.ts";
import { int32, type Libc, readInt32 } from "./libc.ts";
import { decodeSockaddr } from "./sockaddr.ts";

const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;

/** Where a socket listens, or is connected from; undefined if the descriptor is no such socket. */
export function localAddress(libc: Libc, fd: number): SocketAddress | undefined {
  const bytes = new Uint8Array(128);
  const length = int32(bytes.length);
  if (libc.getsockname(fd, bytes, length) < 0) return undefined;
  return decodeSockaddr(bytes, readInt32(length), "linux");
}

/** Whether a descriptor is a socket that listens. */
export function isListening(libc: Libc, fd: number): boolean {
  const value = int32(0);
  return libc.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, value, int32(4)) === 0 && readInt32(value) === 1;
}
