/**
 * The file of a Unix socket: it outlives the process that made it, and its name may go to somebody else.
 *
 * @module
 */

import type { HandedSocket } from "./handover.ts";
import { cString, errnoText, type Libc } from "./libc.ts";
import type { SocketOwner } from "./listen.ts";
import { encodeSockaddr } from "./sockaddr.ts";

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_EMPTY_PATH = 0x1000;
const STATX_TYPE_MODE_INO = 0x103;
const STATX_SIZE = 256;
const S_IFMT = 0o170000;
const S_IFSOCK = 0o140000;
const O_CLOEXEC = 0o2000000;
const O_PATH = 0o10000000;
/** One bit on x86-64, the other on arm64; beside `O_PATH`, either machine ignores the other's. */
const O_NOFOLLOW = 0o400000 | 0o100000;
const LOCK_EX_NB = 2 | 4;
const AF_UNIX = 1;
/** How many bytes the path of a socket's address has. */
const SUN_PATH = 108;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const ENOENT = 2;
const ENFILE = 23;
const EMFILE = 24;
const EAGAIN = 11;
const EACCES = 13;
const EPROTOTYPE = 91;
const ECONNREFUSED = 111;

/** How long it is waited for the lock of a directory; nobody who makes a socket in it holds it for so long. */
const LOCK_MS = 1000;
const LOCK_STEP_MS = 5;

/** A file that was made here. */
export interface SocketFile {
  readonly path: string;
  /** Tells it from any other file of that name; undefined if it is not known. */
  readonly id?: string;
}

/** The file that a manager before this one has made for a socket that it hands over. */
export function fileOf({ file, fileId }: Pick<HandedSocket, "file" | "fileId">): SocketFile | undefined {
  if (file === undefined) return undefined;
  return { path: file, ...(fileId === undefined ? {} : { id: fileId }) };
}

interface Found {
  readonly id: string;
  readonly isSocket: boolean;
  /** Its permissions. */
  readonly mode: number;
}

/** Who may use the file of a socket; what is undefined stays as it is. */
export interface Access {
  readonly mode?: number | undefined;
  readonly owner?: SocketOwner | undefined;
}

/** The place of a file: its directory, which is the same still when somebody has put another at its path. */
export interface Place {
  readonly path: string;
  /** A descriptor of the directory. */
  readonly directory: number;
  /** What the file is called there. */
  readonly name: string;
}

/**
 * The file that was just made.
 *
 * @throws {Error} If it is not there.
 */
export function identify(libc: Libc, place: Place): SocketFile {
  const { path } = place;
  const found = look(libc, place);
  if (found === ENOENT) throw lost(path);
  return typeof found === "number" ? { path } : { path, id: found.id };
}

/**
 * Whether whoever goes by the name of a socket comes to it: not if its file is gone, or is another by now. What nobody
 * can find out is as it was.
 */
export function isInPlace(libc: Libc, { path, id }: SocketFile): boolean {
  if (id === undefined) return true;
  const found = look(libc, byPath(path));
  return typeof found === "number" ? found !== ENOENT : found.id === id;
}

/** What stands there, or the number of the failure. */
function look(libc: Libc, { directory, name }: Place): Found | number {
  return stat(libc, directory, name, AT_SYMLINK_NOFOLLOW);
}

/** The place to which a path leads at any time. */
function byPath(path: string): Place {
  return { path, directory: AT_FDCWD, name: path };
}

function stat(libc: Libc, directory: number, path: string, flags: number): Found | number {
  const bytes = new Uint8Array(STATX_SIZE);
  if (libc.statx(directory, cString(path), flags, STATX_TYPE_MODE_INO, bytes) < 0) return libc.errno();
  const view = new DataView(bytes.buffer);
  const device = `${view.getUint32(136, true)}:${view.getUint32(140, true)}`;
  return {
    id: `${device}:${view.getBigUint64(32, true)}`,
    isSocket: (view.getUint16(28, true) & S_IFMT) === S_IFSOCK,
    mode: view.getUint16(28, true) & 0o7777,
  };
}

/**
 * Gives the file of a socket to those who are to use it.
 *
 * @throws {Error} If that cannot be.
 */
export function giveAccess(libc: Libc, file: SocketFile, { mode, owner }: Access): void {
  if (mode === undefined && owner === undefined) return;
  withFile(libc, file, (fd) => {
    if (mode !== undefined) setMode(libc, fd, file, mode);
    if (owner !== undefined) setOwner(libc, fd, file, owner);
  });
}

/**
 * Finds out whether {@linkcode giveAccess} can do what it is to do later. Nobody can tell that it was tried.
 *
 * @throws {Error} If it cannot.
 */
export function tryAccess(libc: Libc, file: SocketFile, { mode, owner }: Access): void {
  if (mode === undefined && owner === undefined) return;
  withFile(libc, file, (fd, found) => {
    if (mode !== undefined) setMode(libc, fd, file, found.mode, mode);
    if (owner !== undefined) tryOwner(libc, file, owner);
  });
}

/** Whether this process may give away what is its own, is the same for a socket that has no file. */
function tryOwner(libc: Libc, file: SocketFile, owner: SocketOwner): void {
  const scratch = libc.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  try {
    setOwner(libc, scratch, file, owner);
  } finally {
    libc.close(scratch);
  }
}

/**
 * Whoever may write to the directory of a file can put a link, or somebody else's file, in its place at any time: the
 * descriptor that `use` gets is that of the file itself.
 */
function withFile(libc: Libc, { path, id }: SocketFile, use: (fd: number, found: Found) => void): void {
  const fd = libc.open(cString(path), O_PATH | O_NOFOLLOW | O_CLOEXEC);
  const errno = fd < 0 ? libc.errno() : 0;
  if (errno !== 0 && errno !== ENOENT) throw new Error(`Cannot open the file of unix:${path}: ${errnoText(errno)}`);
  try {
    const found = stat(libc, fd, "", AT_EMPTY_PATH);
    if (typeof found === "number" || !found.isSocket || (id !== undefined && found.id !== id)) {
      throw lost(path);
    }
    use(fd, found);
  } finally {
    libc.close(fd);
  }
}

function lost(path: string): Error {
  return new Error(
    `Cannot use unix:${path}: its file was removed or replaced by somebody else; look who may write to its directory`,
  );
}

/** There is no call that takes such a descriptor, but its name in `/proc` leads to the file, whatever its path is by now. */
function setMode(libc: Libc, fd: number, { path }: SocketFile, mode: number, wanted = mode): void {
  if (libc.chmod(cString(`/proc/self/fd/${fd}`), mode) === 0) return;
  const errno = libc.errno();
  throw new Error(
    `Cannot give unix:${path} the mode 0o${wanted.toString(8)}: ${errnoText(errno)}; only its owner and root may`,
  );
}

function setOwner(libc: Libc, fd: number, { path }: SocketFile, { uid, gid }: SocketOwner): void {
  if (libc.fchownat(fd, cString(""), uid, gid, AT_EMPTY_PATH) === 0) return;
  const errno = libc.errno();
  throw new Error(`Cannot give unix:${path} to ${uid}:${gid}: ${errnoText(errno)}; only root may`);
}

/** Removes a file that was made here, unless another has taken its name. */
export function remove(libc: Libc, file: SocketFile): void {
  inTurn(libc, file.path, (place) => removeFrom(libc, place, file));
}

/** The same, where nobody else makes a socket meanwhile. */
export function removeFrom(libc: Libc, place: Place, { id }: SocketFile): void {
  const found = look(libc, place);
  if (typeof found === "number" || (id !== undefined && found.id !== id)) return;
  libc.unlinkat(place.directory, cString(place.name), 0);
}

/**
 * Runs `use` while no other manager makes or removes a socket in the same directory: between finding that nobody
 * answers at a file and listening there oneself, another may have done so.
 */
export function inTurn<T>(libc: Libc, path: string, use: (place: Place) => T): T {
  const slash = path.lastIndexOf("/");
  const directory = libc.open(cString(path.slice(0, slash) || "/"), O_CLOEXEC);
  if (directory < 0) {
    const errno = libc.errno();
    if (errno === EMFILE || errno === ENFILE) throw new Error(`Cannot listen on unix:${path}: ${errnoText(errno)}`);
    return use(byPath(path)); // what is wrong is told by what is tried there
  }
  try {
    // Whoever may read the directory may hold its lock, so that it is not waited for without end.
    for (let left = LOCK_MS; libc.flock(directory, LOCK_EX_NB) < 0 && left > 0; left -= LOCK_STEP_MS) {
      libc.poll(new Uint8Array(8), 0, LOCK_STEP_MS);
    }
    return use({ path, directory, name: path.slice(slash + 1) || "." });
  } finally {
    libc.close(directory);
  }
}

/**
 * Removes the file of a process that is gone: a socket at which nobody answers.
 *
 * @throws {Error} If there is anything else.
 */
export function removeStale(libc: Libc, place: Place): void {
  const { path, directory, name } = place;
  const fail = (what: string): never => {
    throw new Error(`Cannot listen on unix:${path}: ${what}`);
  };
  const found = look(libc, place);
  if (found === ENOENT) return;
  if (typeof found === "number") return fail(`${errnoText(found)}; choose another path`);
  if (!found.isSocket) return fail("there is a file of that name; it is no socket");
  const refused = knock(libc, place);
  switch (refused) {
    case ECONNREFUSED:
      break;
    case ENOENT:
      return;
    case 0:
    case EAGAIN:
    case EPROTOTYPE:
      return fail("another process answers there; stop it, or choose another path");
    case EACCES:
      return fail("somebody else's socket is there, and permission is denied to ask who answers; choose another path");
    case EMFILE:
    case ENFILE:
      return fail(`a socket is there, and to ask who answers takes a descriptor: ${errnoText(refused)}`);
    default:
      return fail(`${errnoText(refused)}; choose another path`);
  }
  const left = look(libc, place);
  if (typeof left === "number" || left.id !== found.id) return; // somebody was faster: what comes next tells of that
  if (libc.unlinkat(directory, cString(name), 0) === 0) return;
  fail(`nobody answers there any more, but the file cannot be removed: ${errnoText(libc.errno())}`);
}

/**
 * Gives 0 if somebody answers, else the number of the failure. Somebody may have put another directory at the path by
 * now: the way leads through the one that is held, unless that makes too long an address, or there is no `/proc`.
 */
function knock(libc: Libc, { path, directory, name }: Place): number {
  const held = `/proc/self/fd/${directory}/${name}`;
  const refused = directory !== AT_FDCWD && cString(held).length <= SUN_PATH ? knockAt(libc, held) : ENOENT;
  return refused === ENOENT ? knockAt(libc, path) : refused;
}

function knockAt(libc: Libc, path: string): number {
  const probe = libc.socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (probe < 0) return libc.errno();
  const address = encodeSockaddr({ type: "unix", path }, "linux");
  const refused = libc.connect(probe, address, address.length) < 0 ? libc.errno() : 0;
  libc.close(probe);
  return refused;
}
