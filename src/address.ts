/**
 * Reads and writes the addresses a pool listens on. Nothing is looked up: an address means the same on every machine.
 *
 * @module
 */

import { formatIpv6, isIpv4, parseIpv6 } from "./ip.ts";
import { nearest } from "./nearest.ts";

export { formatIpv6, parseIpv6 } from "./ip.ts";

/** Where a socket listens. */
export type Address = SocketAddress | {
  /** A socket that is open already. */
  readonly type: "fd";
  /** Its number in this process, 3 or more. */
  readonly fd: number;
};

/** An address that a socket can be bound to. */
export type SocketAddress =
  | {
    /** TCP. */
    readonly type: "tcp";
    /** An IPv4 address, or an IPv6 address without brackets. */
    readonly host: string;
    /** The version of IP. */
    readonly family: 4 | 6;
    /** From 0 to 65535; 0 has the system pick a free one. */
    readonly port: number;
  }
  | {
    /** A Unix domain socket. */
    readonly type: "unix";
    /**
     * Its path, from the root on once the socket is made. `@` in front means Linux's abstract namespace, in addresses of
     * inherited sockets.
     */
    readonly path: string;
  };

/** An address with the name that programs know it by. */
export interface ListenAddress {
  /** The name, in `LISTEN_FDNAMES` for one. */
  readonly name: string | undefined;
  /** The address. */
  readonly address: Address;
}

/** The longest path that fits `sun_path` on Linux, without the NUL at its end. */
const MAX_PATH_BYTES = 107;
const MAX_NAME = 255;
const MAX_FD = 2 ** 31 - 1;
const MAX_PORT = 65_535;

/**
 * Reads `PORT`, `HOST:PORT`, `[v6]:PORT`, `unix:PATH` or `fd:N`, each with an optional `NAME=` in front.
 *
 * A port alone, `*` and an empty host stand for every IPv4 address; `localhost` is 127.0.0.1.
 *
 * @throws {TypeError} If it is none of these.
 * @throws {RangeError} If a port, a descriptor or a length is out of range.
 */
export function parseAddress(text: string): ListenAddress {
  if (typeof text !== "string") {
    throw new TypeError(`Cannot listen on ${String(text)}: an address is a string, such as "127.0.0.1:8080"`);
  }
  const equals = text.startsWith("unix:") ? -1 : text.indexOf("=");
  if (equals < 0) return { name: undefined, address: parseBare(text, text) };
  const name = text.slice(0, equals);
  checkSocketName(name, text);
  return { name, address: parseBare(text.slice(equals + 1), text) };
}

/** Writes an address as {@linkcode parseAddress} reads it. */
export function formatAddress(address: Address): string {
  switch (address.type) {
    case "tcp":
      return address.family === 4 ? `${address.host}:${address.port}` : `[${address.host}]:${address.port}`;
    case "unix":
      return `unix:${address.path}`;
    case "fd":
      return `fd:${address.fd}`;
  }
}

function checkSocketName(name: string, text: string): void {
  if (!/^[\w.-]+$/.test(name)) {
    throw refused(text, `'${name}' is no name for a socket: it must be of letters, digits, '_', '-' and '.'`);
  }
  if (name.length > MAX_NAME) {
    throw new RangeError(
      `Cannot listen on '${text}': its name has ${name.length} characters, and systemd allows ${MAX_NAME} at most`,
    );
  }
}

/** `text` is what messages show, with the name. */
function parseBare(bare: string, text: string): Address {
  if (bare.startsWith("unix:")) return parseUnix(bare.slice("unix:".length), text);
  if (bare.startsWith("fd:")) return parseFd(bare.slice("fd:".length), text);
  if (bare.startsWith("[")) return parseBracketed(bare, text);
  if (/^-?\d+$/.test(bare)) return { type: "tcp", host: "0.0.0.0", family: 4, port: parsePort(bare, text) };
  return parseHostPort(bare, text);
}

function parseUnix(path: string, text: string): Address {
  if (path === "") throw refused(text, "the path is missing; write it as in unix:/run/app.sock");
  if (path.includes("\0")) throw refused(text.replaceAll("\0", "\\0"), "a path cannot hold a NUL");
  if (path.startsWith("@")) {
    throw refused(
      text,
      `abstract sockets are not supported; write unix:./${path} for a file of that name, or give the path of a file`,
    );
  }
  const bytes = new TextEncoder().encode(path).length;
  if (bytes <= MAX_PATH_BYTES) return { type: "unix", path };
  throw new RangeError(
    `Cannot listen on '${text}': its path has ${bytes} bytes and a socket's may have ${MAX_PATH_BYTES}; ` +
      "give a shorter one",
  );
}

function parseFd(number: string, text: string): Address {
  if (!/^\d+$/.test(number)) throw refused(text, "a file descriptor is a whole number, as in fd:3");
  const fd = Number(number);
  if (fd < 3) {
    throw new RangeError(
      `Cannot listen on '${text}': 0, 1 and 2 are standard input, output and error; give the number of a socket, 3 or more`,
    );
  }
  if (fd <= MAX_FD) return { type: "fd", fd };
  throw new RangeError(`Cannot listen on '${text}': no file descriptor has a number above ${MAX_FD}`);
}

function parsePort(port: string, text: string): number {
  const number = Number(port);
  if (/^\d+$/.test(port) && number <= MAX_PORT) return number;
  throw new RangeError(
    `Cannot listen on '${text}': there is no port ${port}; give one from 1 to ${MAX_PORT}, or 0 for a free one`,
  );
}

function parseBracketed(bare: string, text: string): Address {
  const [, inner, rest = ""] = /^\[([^\]]*)\](.*)$/s.exec(bare) ?? [];
  if (inner === undefined) throw refused(text, "the bracket is not closed; write it as in [::1]:8080");
  if (inner.includes("%")) {
    throw refused(text, "an address with a zone is not supported; give one without it, or [::] for all addresses");
  }
  if (isIpv4(inner)) throw refused(text, `brackets are for IPv6; write ${inner}${rest === "" ? ":8080" : rest}`);
  const host = formatIpv6(readIpv6(inner, text));
  if (rest === "" || rest === ":") throw refused(text, `the port is missing; write it as in [${host}]:8080`);
  const port = rest.slice(1);
  if (!rest.startsWith(":") || !/^-?\d+$/.test(port)) {
    throw refused(text, `'${rest}' is no port; write one as in [${host}]:8080`);
  }
  return { type: "tcp", host, family: 6, port: parsePort(port, text) };
}

function readIpv6(host: string, text: string): Uint8Array {
  try {
    return parseIpv6(host);
  } catch (cause) {
    throw new TypeError(`Cannot listen on '${text}': '${host}' is no IPv6 address; write one as in [::1]:8080`, {
      cause,
    });
  }
}

function parseHostPort(bare: string, text: string): Address {
  const colon = bare.lastIndexOf(":");
  const host = bare.slice(0, Math.max(colon, 0));
  const port = bare.slice(colon + 1);
  const mend = mendOf(bare, host, port);
  if (mend !== undefined) throw refused(text, mend);
  if (colon < 0) throw refused(text, `the port is missing; write it as in ${hostOf(bare) ?? "127.0.0.1"}:8080`);
  const found = hostOf(host);
  if (found === undefined) throw notLiteral(host, text);
  if (port === "") throw refused(text, `the port is missing; write it as in ${found}:8080`);
  if (!/^-?\d+$/.test(port)) throw refused(text, `'${port}' is no port; write one as in ${found}:8080`);
  return { type: "tcp", host: found, family: 4, port: parsePort(port, text) };
}

/** The IPv4 address that `host` stands for on every machine. */
function hostOf(host: string): string | undefined {
  if (host === "" || host === "*") return "0.0.0.0";
  if (host.toLowerCase() === "localhost") return "127.0.0.1";
  return isIpv4(host) ? host : undefined;
}

/** What to say of an address that was meant as another kind. */
function mendOf(bare: string, host: string, port: string): string | undefined {
  if (bare === "") return "it is empty; give a port, such as 8080, or an address, such as 127.0.0.1:8080";
  const [, authority] = /^\w+:\/\/([^/]+)/.exec(bare) ?? [];
  if (authority !== undefined) return `it is a URL; give its address only, such as ${authority}`;
  if (/^[^:]*\//.test(bare)) return `it looks like a path; write unix:${bare} for a Unix socket`;
  const bracketed = withBrackets(bare, host, port);
  if (bracketed !== undefined) return `an IPv6 address stands in brackets; write ${bracketed}`;
  const near = /^[a-z]+$/i.test(host) && !/^\d*$/.test(port) ? nearest(host, ["unix", "fd"]) : undefined;
  return near === undefined ? undefined : `there are no addresses of the kind '${host}'; did you mean ${near}:${port}?`;
}

function withBrackets(bare: string, host: string, port: string): string | undefined {
  // `::1` alone is an address, but `::8080` was meant as a port on all of them.
  if (/^::\d{2,5}$/.test(bare)) return `[::]:${port}`;
  if (isIpv6(host) && /^\d{1,5}$/.test(port)) return `[${host}]:${port}`;
  return isIpv6(bare) ? `[${bare}]:8080` : undefined;
}

function isIpv6(text: string): boolean {
  try {
    parseIpv6(text);
    return true;
  } catch {
    return false;
  }
}

function notLiteral(host: string, text: string): Error {
  if (!/^[\d.]+$/.test(host)) {
    return refused(text, `'${host}' is no IP address; give an IP address, since a name may stand for several`);
  }
  const parts = host.split(".");
  const large = parts.find((part) => Number(part) > 255);
  if (parts.length === 4 && large !== undefined) {
    return new RangeError(`Cannot listen on '${text}': ${large} in '${host}' is too large; each part goes up to 255`);
  }
  return refused(
    text,
    `'${host}' is no IPv4 address: it must be of four numbers without leading zeros, as in 127.0.0.1`,
  );
}

function refused(text: string, why: string): TypeError {
  return new TypeError(`Cannot listen on '${text}': ${why}`);
}
