/**
 * What a pool is told to listen on, and its checks.
 *
 * @module
 */

import { parseAddress } from "./address.ts";
import { checkCount, checkKeys } from "./checks.ts";

/**
 * Something to listen on: a port, an address as text, or an address with details.
 *
 * As text: `8080`, `127.0.0.1:8080`, `[::1]:8080`, `unix:/run/app.sock`, `fd:3` for a socket that this process has open,
 * each with a name in front if wished (`admin=127.0.0.1:9000`); `inherit` for the sockets that systemd (`LISTEN_FDS`) or
 * Server::Starter (`SERVER_STARTER_PORT`) gave to this process. Port 0 has the system pick a free one.
 */
export type Listen = number | string | ListenOptions;

/**
 * An address to listen on, with details. In a reload or an upgrade they hold for a socket that stays, too, once all has
 * gone well; what is not given stays as it is.
 */
export interface ListenOptions {
  /** The address, as text. */
  readonly address: string;
  /** The name by which workers find the socket; commands see it in `LISTEN_FDNAMES`. @default none */
  readonly name?: string;
  /**
   * How many connections may wait to be accepted; the system has a limit of its own.
   *
   * @default {4096} for what is bound here; what was open already stays as it is, whatever a server makes of it
   */
  readonly backlog?: number;
  /** Permissions of a Unix socket's file that is made here, such as `0o660`. @default what the umask leaves */
  readonly mode?: number;
  /** Who a Unix socket's file that is made here belongs to; needs root. @default the manager's user */
  readonly owner?: SocketOwner;
}

/** Who a Unix socket's file belongs to. */
export interface SocketOwner {
  /** User id. */
  readonly uid: number;
  /** Group id. */
  readonly gid: number;
}

/** The word for sockets that were given to this process. */
export const INHERIT = "inherit";

/**
 * Writes every short form out.
 *
 * @throws {TypeError} If one is of the wrong shape.
 * @throws {RangeError} If a number is out of range.
 */
export function checkListen(listen: Listen | readonly Listen[] | undefined): readonly ListenOptions[] {
  if (listen === undefined) return [];
  const all = isList(listen) ? listen : [listen];
  return all.map(checkOne);
}

function isList(listen: Listen | readonly Listen[]): listen is readonly Listen[] {
  return Array.isArray(listen);
}

function checkOne(listen: Listen): ListenOptions {
  const given = typeof listen === "object" && listen !== null ? listen : { address: String(listen) };
  checkKeys("listen", given, ["address", "name", "backlog", "mode", "owner"]);
  if (typeof given.address !== "string") {
    throw new TypeError(`Cannot use 'listen': its address must be text such as '8080', not ${String(given.address)}`);
  }
  const options = withName(given);
  const { address, name, backlog, mode, owner } = options;
  if (name !== undefined && !/^[\w.-]{1,255}$/.test(name)) {
    throw new TypeError(`Cannot name a socket '${name}': use letters, digits, '_', '-' and '.'`);
  }
  if (!isUnix(options) && (mode !== undefined || owner !== undefined)) {
    throw new TypeError(`Cannot use a mode or an owner for ${address}: only Unix sockets have a file`);
  }
  if (backlog !== undefined) checkCount("listen.backlog", backlog, 1);
  if (mode !== undefined) checkCount("listen.mode", mode, 0);
  if (mode !== undefined && mode > 0o777) {
    throw new RangeError(`Cannot use 'listen.mode': it must be from 0 to 0o777, not 0o${mode.toString(8)}`);
  }
  if (owner !== undefined) {
    checkCount("listen.owner.uid", owner.uid, 0);
    checkCount("listen.owner.gid", owner.gid, 0);
  }
  return options;
}

/** The word for what was given is no address, but has its name in front as addresses have theirs. */
function withName(options: ListenOptions): ListenOptions {
  const [, name] = /^([\w.-]+)=inherit$/.exec(options.address) ?? [];
  return name === undefined ? options : { name, ...options, address: INHERIT };
}

/** Whether it is a Unix socket that is made here. */
export function isUnix({ address }: ListenOptions): boolean {
  return address !== INHERIT && parseAddress(address).address.type === "unix";
}
