/**
 * Where the operator's sockets stand: one directory for each user, one socket for each manager, by its name.
 *
 * @module
 */

import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import process from "node:process";
import { type Obey, OperatorServer } from "../operator/server.ts";
import type { ProcessHost } from "../types.ts";
import { codeOf, inWords, inWordsOfFile } from "./system_error.ts";
import { isForbidden } from "./usage_error.ts";

const ENDING = ".sock";

/** The longest path that fits `sun_path` on Linux, without the NUL at its end. */
const MAX_PATH_BYTES = 107;

/** The longest directory in which a socket can be made apart, before it gets its name. */
const MAX_DIRECTORY_BYTES = MAX_PATH_BYTES - "/.s123456/s".length;

/** How often a name is tried that somebody else takes and leaves at the same time. */
const TRIES = 10;

/** What says where the directories of a user's sockets are. */
export interface Surroundings {
  readonly user: number;
  /** `XDG_RUNTIME_DIR`. */
  readonly runtimeDir: string | undefined;
  /** `TMPDIR`. */
  readonly temporary: string | undefined;
}

/**
 * Where managers of a user may have their sockets, this one's own first. A login has `XDG_RUNTIME_DIR`, and what runs
 * without one has not: cron, `su`, a service of the system. Each is found by the other; but whoever sets it to a place of
 * his own means that alone.
 */
export function controlDirectories({ user, runtimeDir, temporary }: Surroundings): readonly [string, ...string[]] {
  const login = `/run/user/${user}`;
  const bare = user === 0 ? "/run/prefork" : join(temporary ?? "/tmp", `prefork-${user}`);
  const others = user === 0 ? [] : [`/tmp/prefork-${user}`].filter((path) => path !== bare);
  const given = runtimeDir !== undefined && runtimeDir.startsWith("/") ? resolve(runtimeDir) : undefined;
  if (given === undefined) return [bare, join(login, "prefork"), ...others];
  return given === login ? [join(login, "prefork"), bare, ...others] : [join(given, "prefork")];
}

function surroundings(host: ProcessHost): Surroundings {
  return {
    user: process.getuid?.() ?? 0,
    runtimeDir: host.getEnv("XDG_RUNTIME_DIR"),
    temporary: host.getEnv("TMPDIR"),
  };
}

/** The directory that this process makes its own socket in. */
export function controlDirectory(host: ProcessHost): string {
  return controlDirectories(surroundings(host))[0];
}

/** Where it was looked for managers, in words. */
export function describePlaces(host: ProcessHost): string {
  return controlDirectories(surroundings(host)).join(" or ");
}

/** The socket of the manager of that name. */
export function controlPath(host: ProcessHost, name: string): string {
  return join(controlDirectory(host), `${name}${ENDING}`);
}

/** The name of the manager whose socket that is. */
export function nameOfSocket(path: string): string {
  return basename(path).replace(/\.sock$/, "");
}

/** What a manager may be called. Whatever else stands in the directory is not the name of one. */
const NAME = /^[\w.-]+$/;

/** All sockets there are of this user, by name; those of managers that are gone among them. */
export function listSockets(host: ProcessHost): readonly string[] {
  const sockets = controlDirectories(surroundings(host)).flatMap((dir) => isOwn(dir) ? socketsIn(dir) : []);
  return sockets.sort((one, other) => nameOfSocket(one) < nameOfSocket(other) ? -1 : 1);
}

function socketsIn(dir: string): readonly string[] {
  try {
    const files = readdirSync(dir).filter((file) => file.endsWith(ENDING) && NAME.test(nameOfSocket(file)));
    return files.map((file) => join(dir, file));
  } catch {
    return [];
  }
}

/**
 * Makes the directory of this user's sockets, which nobody else may enter.
 *
 * @throws {Error} If it cannot be made, or is somebody else's.
 */
export function makeControlDirectory(host: ProcessHost): void {
  const dir = controlDirectory(host);
  const found = findOrMake(dir);
  const wrong = wrongWith(found);
  if (wrong !== undefined) throw new Error(`Cannot use ${dir}: ${wrong}; remove it, or ${ELSEWHERE}`);
  if ((found.mode & 0o077) !== 0) chmodSync(dir, 0o700);
}

const ELSEWHERE = "give --control with a path in a directory of your own, to the commands as well, or set " +
  "XDG_RUNTIME_DIR to one for both";

function findOrMake(dir: string): Stats {
  try {
    const found = lstatSync(dir, { throwIfNoEntry: false });
    if (found !== undefined) return found;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    return lstatSync(dir);
  } catch (error) {
    throw new Error(`Cannot make ${dir}: ${inWords(error)}; ${ELSEWHERE}`);
  }
}

/** Whoever has the directory could answer in the place of this manager, or take its socket away. */
function wrongWith(found: Stats): string | undefined {
  if (found.isSymbolicLink()) return "it is a symbolic link";
  if (!found.isDirectory()) return "it is no directory";
  const user = process.getuid?.();
  return found.uid === user ? undefined : `it belongs to user ${found.uid}, and this is user ${user}`;
}

function isOwn(path: string): boolean {
  try {
    return belongsToUser(lstatSync(path));
  } catch (error) {
    if (isForbidden(error)) throw error;
    return false; // what this user may not reach is not his
  }
}

/** Whether a directory or a socket is this user's: whoever else made it could say what he likes. */
function belongsToUser(found: Stats): boolean {
  return !found.isSymbolicLink() && (found.uid === process.getuid?.() || found.uid === 0);
}

/** Why somebody may not be asked by that path; undefined if he may. Somebody else's socket could answer anything. */
export function whyNotAsked(path: string): string | undefined {
  const isRoot = process.getuid?.() === 0; // who asks whom he names
  try {
    const found = isRoot ? statSync(path) : lstatSync(path);
    if (found.isDirectory() || found.isFile()) return `Cannot ask ${path}: ${describeOther(found)}, and no socket`;
    return isRoot || belongsToUser(found) ? undefined : `there is no socket of this user at ${path}`;
  } catch (error) {
    if (isForbidden(error)) throw error;
    return codeOf(error) === "ENOENT"
      ? `there is no socket of this user at ${path}`
      : `Cannot look for a socket at ${path}: ${inWords(error)}`;
  }
}

function describeOther(found: Stats): string {
  return `it is a ${found.isDirectory() ? "directory" : "file"}`;
}

/** Whether a manager answers at a socket. */
export async function isAnswered(host: ProcessHost, path: string): Promise<boolean> {
  try {
    (await host.connectControl(path, { data: () => {}, closed: () => {} })).close();
    return true;
  } catch (error) {
    // Whoever is busy, or cannot be reached for another reason, may be alive.
    const cause = error instanceof Error ? error.cause : undefined;
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    return code !== "ECONNREFUSED" && code !== "ENOENT";
  }
}

/** Thrown where another manager has the socket. */
export class SocketTakenError extends Error {
  /** Tells this error from others. */
  override readonly name = "SocketTakenError";
}

/** The operator's socket of this manager. */
export class OperatorSocket {
  readonly path: string;
  readonly #server: OperatorServer;
  readonly #inode: bigint;

  /**
   * Takes the socket at `path`; the file of a manager that is gone is replaced.
   *
   * @param isInherited Whether it is that of the manager which hands all over, so that it is replaced in any case.
   * @throws {SocketTakenError} If another manager answers there.
   */
  static async open(host: ProcessHost, path: string, isInherited: boolean, obey: Obey): Promise<OperatorSocket> {
    const absolute = resolve(path);
    if (bytesOf(absolute) > MAX_PATH_BYTES || bytesOf(dirname(absolute)) > MAX_DIRECTORY_BYTES) {
      throw new Error(
        `Cannot use ${absolute}: a socket's path has ${MAX_PATH_BYTES} bytes at most, and that of its directory ` +
          `${MAX_DIRECTORY_BYTES}; give a shorter one`,
      );
    }
    // Made where nobody else may enter, so that it is private before anybody can find it.
    const dir = makeApart(absolute);
    const made = join(dir, "s");
    let server: OperatorServer | undefined;
    try {
      server = new OperatorServer(host, made, obey);
      chmodSync(made, 0o600);
      const inode = inodeOf(made);
      if (isInherited) renameSync(made, absolute);
      else await place(host, made, absolute);
      return new OperatorSocket(absolute, server, inode ?? 0n);
    } catch (error) {
      await server?.[Symbol.asyncDispose]();
      throw error;
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  }

  private constructor(path: string, server: OperatorServer, inode: bigint) {
    this.path = path;
    this.#server = server;
    this.#inode = inode;
  }

  /** Whether it can be found still: directories for what lasts no longer than a session are cleared. */
  get isThere(): boolean {
    return inodeOf(this.path) !== undefined;
  }

  /** Says the last word to all operators, and removes the file if it is still this manager's. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (inodeOf(this.path) === this.#inode) rmSync(this.path, { force: true });
    await this.#server[Symbol.asyncDispose]();
  }
}

function makeApart(path: string): string {
  try {
    return mkdtempSync(join(dirname(path), ".s"));
  } catch (error) {
    throw new Error(`Cannot use ${path}: ${inWordsOfFile(error, "path")}`);
  }
}

/** Gives the socket its name, which nobody else may have. */
async function place(host: ProcessHost, made: string, path: string): Promise<void> {
  for (let left = TRIES; left > 0; left--) {
    const found = inodeOf(path);
    if (found !== undefined) {
      const stats = lstatSync(path);
      if (!stats.isSocket()) {
        throw new Error(`Cannot use ${path}: ${describeOther(stats)}, and no socket; name another path`);
      }
      if (await isAnswered(host, path)) throw new SocketTakenError(`another manager answers at ${path}`);
      if (inodeOf(path) === found) rmSync(path, { force: true });
    }
    try {
      return linkSync(made, path);
    } catch (error) {
      if (inodeOf(path) === undefined) throw new Error(`Cannot make ${path}: ${inWords(error)}`);
    }
  }
  throw new SocketTakenError(`others come and go at ${path}`);
}

function bytesOf(path: string): number {
  return new TextEncoder().encode(path).length;
}

/** Undefined also where the way there is none any more, or is closed. */
function inodeOf(path: string): bigint | undefined {
  try {
    return lstatSync(path, { bigint: true }).ino;
  } catch {
    return undefined;
  }
}
