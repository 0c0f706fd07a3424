/**
 * `struct sockaddr` as bytes, for the calls that take and give one. For little-endian machines.
 *
 * @module
 */

import type { SocketAddress } from "./address.ts";
import { formatIpv6, parseIpv4, parseIpv6 } from "./ip.ts";

/** An operating system whose `struct sockaddr` is known. */
export type SockaddrOs = "linux" | "darwin";

interface Layout {
  readonly inet: number;
  readonly inet6: number;
  readonly unix: number;
  /** Bytes of `sun_path`, the NUL at its end included. */
  readonly sunPath: number;
  /** Whether the first byte is the length; the family is the second one then, and the first two otherwise. */
  readonly hasLength: boolean;
}

const LAYOUTS: Readonly<Record<SockaddrOs, Layout>> = {
  linux: { inet: 2, inet6: 10, unix: 1, sunPath: 108, hasLength: false },
  darwin: { inet: 2, inet6: 30, unix: 1, sunPath: 104, hasLength: true },
};

const INET_SIZE = 16;
const INET6_SIZE = 28;
/** Where the path begins in a Unix address, and the port in the others. */
const HEAD = 2;

/**
 * Gives the bytes of an address, as many as `bind(2)` and `connect(2)` want to be told.
 *
 * @throws {TypeError} If the host is no IP address, or the path is empty or holds a NUL.
 * @throws {RangeError} If the path is too long for this system.
 */
export function encodeSockaddr(address: SocketAddress, os: SockaddrOs): Uint8Array<ArrayBuffer> {
  const layout = LAYOUTS[os];
  if (address.type === "unix") return withHead(layout, layout.unix, encodePath(address.path, os));
  const isV4 = address.family === 4;
  const body = new Uint8Array((isV4 ? INET_SIZE : INET6_SIZE) - HEAD);
  new DataView(body.buffer).setUint16(0, address.port);
  if (isV4) body.set(parseIpv4(address.host), 2);
  else body.set(parseIpv6(address.host), 6);
  return withHead(layout, isV4 ? layout.inet : layout.inet6, body);
}

function withHead(layout: Layout, family: number, body: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEAD + body.length);
  bytes.set(layout.hasLength ? [bytes.length, family] : [family, 0]);
  bytes.set(body, HEAD);
  return bytes;
}

function encodePath(path: string, os: SockaddrOs): Uint8Array {
  if (path === "") throw new TypeError("Cannot bind a Unix socket to an empty path: give the path of a file");
  const isAbstract = os === "linux" && path.startsWith("@");
  if (!isAbstract && path.includes("\0")) {
    throw new TypeError(`Cannot bind a Unix socket to '${path.replaceAll("\0", "\\0")}': a path cannot hold a NUL`);
  }
  // A name in the abstract namespace begins with a NUL, and ends where the length says, not at one.
  const bytes = new TextEncoder().encode(isAbstract ? `\0${path.slice(1)}` : `${path}\0`);
  const { sunPath } = LAYOUTS[os];
  if (bytes.length <= sunPath) return bytes;
  throw new RangeError(
    `Cannot bind a Unix socket to '${path}': the path has ${bytes.length - 1} bytes, and ${os} allows ${
      sunPath - 1
    }; ` +
      "give a shorter one",
  );
}

/**
 * Reads what `getsockname(2)`, `getpeername(2)` and `accept(2)` fill in.
 *
 * @param bytes The buffer they were given.
 * @param length What they say the address has; more than the buffer has if it did not fit.
 * @returns The address; a path of "" if a Unix socket has no name; undefined for any other family, and for an
 * address that is cut off.
 */
export function decodeSockaddr(bytes: Uint8Array, length: number, os: SockaddrOs): SocketAddress | undefined {
  const layout = LAYOUTS[os];
  const known = bytes.subarray(0, Math.max(length, 0));
  if (known.length < HEAD) return undefined;
  const view = new DataView(known.buffer, known.byteOffset, known.byteLength);
  const family = layout.hasLength ? view.getUint8(1) : view.getUint16(0, true);
  if (family === layout.unix) {
    return known.length < length ? undefined : { type: "unix", path: decodePath(known.subarray(HEAD), os) };
  }
  if (family === layout.inet && known.length >= INET_SIZE) {
    return { type: "tcp", host: known.subarray(4, 8).join("."), family: 4, port: view.getUint16(HEAD) };
  }
  if (family === layout.inet6 && known.length >= INET6_SIZE) {
    return { type: "tcp", host: formatIpv6(known.subarray(8, 24)), family: 6, port: view.getUint16(HEAD) };
  }
  return undefined;
}

function decodePath(path: Uint8Array, os: SockaddrOs): string {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  if (os === "linux" && path[0] === 0) return `@${decoder.decode(path.subarray(1))}`;
  const end = path.indexOf(0);
  const text = decoder.decode(end < 0 ? path : path.subarray(0, end));
  // A file, not a name in the abstract namespace.
  return os === "linux" && text.startsWith("@") ? `./${text}` : text;
}
