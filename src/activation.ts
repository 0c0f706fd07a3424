/**
 * How a process is given sockets that are open already: by systemd and what follows its `sd_listen_fds(3)`, and by
 * Perl's `Server::Starter`.
 *
 * @module
 */

import { type Address, formatAddress } from "./address.ts";
import type { ProcessHost } from "./types.ts";

/** A socket that a process was given. */
export interface GivenSocket {
  /** What it is called; undefined if nobody named it. */
  readonly name: string | undefined;
  /** Its file descriptor. */
  readonly fd: number;
  /** Where it is bound, as text of whoever did it; undefined if it does not say. */
  readonly bound: string | undefined;
}

/** Where variables are read from; a `Map` is one. */
export interface EnvReader {
  /** The value of a variable. */
  get(name: string): string | undefined;
}

/** The variables of both protocols. */
export const ACTIVATION_VARIABLES: readonly string[] = [
  "LISTEN_FDS",
  "LISTEN_FDNAMES",
  "LISTEN_PID",
  "LISTEN_PIDFDID",
  "SERVER_STARTER_PORT",
];

/** How the names begin by which a manager leaves its own sockets with systemd: no name in `listen` has a space. */
export const STORED = "prefork ";

/** Where given sockets begin: after standard input, output and error. */
export const FIRST_FD = 3;
/** What systemd calls a socket that nobody named. */
const UNNAMED = "unknown";
/** As many as Linux lets a process have unless told otherwise. */
const MAX_SOCKETS = 1_048_576;

/** The sockets that whoever started this process has given it, but for those that a manager before it had left there. */
export function givenSockets(host: ProcessHost): readonly GivenSocket[] {
  const env = { get: (name: string) => host.getEnv(name) };
  const bySystemd = fromSystemd(env, host.pid).filter((socket) => !isStored(socket));
  return bySystemd.length > 0 ? bySystemd : fromServerStarter(env);
}

/** The sockets that a manager before this one had left with systemd. */
export function storedSockets(host: ProcessHost): readonly GivenSocket[] {
  return fromSystemd({ get: (name) => host.getEnv(name) }, host.pid).filter(isStored);
}

function isStored({ name }: GivenSocket): boolean {
  return name?.startsWith(STORED) ?? false;
}

/**
 * Reads `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`.
 *
 * @param pid The process that asks: what is meant for another is not given.
 * @throws {TypeError} If one of them makes no sense.
 * @throws {RangeError} If there are more sockets than a process can have.
 */
export function fromSystemd(env: EnvReader, pid: number): readonly GivenSocket[] {
  const receiver = readNumber(env, "LISTEN_PID");
  if (receiver !== pid) return [];
  const count = readNumber(env, "LISTEN_FDS") ?? 0;
  if (count > MAX_SOCKETS) {
    throw new RangeError(`Cannot use LISTEN_FDS=${count}: no process can have so many sockets`);
  }
  const names = readNames(env, count);
  return Array.from({ length: count }, (_, index) => ({
    name: names[index],
    fd: FIRST_FD + index,
    bound: undefined,
  }));
}

function readNumber(env: EnvReader, variable: string): number | undefined {
  const value = env.get(variable) ?? "";
  if (value === "") return undefined;
  if (/^\d+$/.test(value)) return Number(value);
  throw new TypeError(
    `Cannot use ${variable}='${value}': it must be a whole number; unset it if nobody passes sockets`,
  );
}

function readNames(env: EnvReader, count: number): readonly (string | undefined)[] {
  const value = env.get("LISTEN_FDNAMES") ?? "";
  if (value === "" || count === 0) return [];
  const names = value.split(":");
  if (names.length === count) return names.map((name) => name === "" || name === UNNAMED ? undefined : name);
  throw new TypeError(
    `Cannot use LISTEN_FDNAMES='${value}': it names ${names.length} and LISTEN_FDS=${count}; ` +
      "there must be a name for each socket, with ':' between them",
  );
}

/**
 * Reads `SERVER_STARTER_PORT`: `HOST:PORT=FD`, `PORT=FD` and `PATH=FD`, with `;` between them.
 *
 * @throws {TypeError} If it makes no sense.
 */
export function fromServerStarter(env: EnvReader): readonly GivenSocket[] {
  const value = env.get("SERVER_STARTER_PORT") ?? "";
  const sockets: GivenSocket[] = [];
  // A path may hold what stands between entries; nothing is escaped.
  const entry = /([^;]+|[^;]*\/.*?)=(\d{1,9})(?:;|$)/sy;
  while (entry.lastIndex < value.length) {
    const [, bound, fd] = entry.exec(value) ?? [];
    if (fd === undefined) {
      throw new TypeError(
        `Cannot use SERVER_STARTER_PORT='${value}': it must be like 127.0.0.1:8080=4;/run/app.sock=5; ` +
          "unset it if not started by start_server",
      );
    }
    sockets.push({ name: undefined, fd: Number(fd), bound });
  }
  return sockets;
}

/** A socket that a child is to be told of. */
export interface PassedSocket {
  /** What it is called. */
  readonly name: string | undefined;
  /** Where it listens. */
  readonly address: Address;
  /** Its descriptor in the child. */
  readonly fd: number;
}

/**
 * Gives the variables that tell a child of its sockets, in the words of both protocols. `LISTEN_PID`, which must be
 * the child's own, is not among them: who executes the child sets it. systemd's protocol knows no numbers: it says
 * nothing of sockets that do not stand at 3, 4 and so on.
 */
export function activationEnv(sockets: readonly PassedSocket[]): Record<string, string> {
  if (sockets.length === 0) return {};
  const byNumber = { SERVER_STARTER_PORT: sockets.map(({ address, fd }) => `${starterText(address)}=${fd}`).join(";") };
  if (!sockets.every(({ fd }, index) => fd === FIRST_FD + index)) return byNumber;
  return {
    LISTEN_FDS: String(sockets.length),
    LISTEN_FDNAMES: sockets.map(({ name }) => fdName(name)).join(":"),
    ...byNumber,
  };
}

/** A name with what systemd forbids replaced: all but printable ASCII, and what stands between names. */
function fdName(name: string | undefined): string {
  return name === undefined || name === "" ? UNNAMED : name.replace(/[^\x20-\x7e]|:/gu, "_");
}

function starterText(address: Address): string {
  return address.type === "unix" ? address.path : formatAddress(address);
}
