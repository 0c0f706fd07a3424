/**
 * The sockets that a manager leaves with systemd, in the file descriptor store of its service: the manager after it,
 * however it ended, is given them with whoever waits in their queues.
 *
 * @module
 */

import { currentHost } from "../runtimes/current.ts";
import { type GivenSocket, STORED, storedSockets } from "./activation.ts";
import { formatAddress } from "./address.ts";
import { askedFor, type HandedSocket, Inheritance } from "./handover.ts";
import { type Libc, NoLibcError } from "./libc.ts";
import { INHERIT, type ListenOptions } from "./listen.ts";
import { isListening, localAddress } from "./socket_facts.ts";
import { fileOf, isInPlace, remove } from "./socket_file.ts";
import { nameOf } from "./socket_opener.ts";
import type { ProcessHost } from "./types.ts";

const SHUT_RDWR = 2;

/** The longest name that systemd takes. */
const MAX_NAME = 255;

/** What a name in the store says of a socket. */
type Named = Pick<HandedSocket, "asked" | "name" | "fileId">;

/**
 * What a socket is called in the store: what it was asked for as, and if that is not all, where it is bound or which
 * file it has. A name holds no `:`, which is written `;`.
 *
 * @returns Undefined if systemd takes no name of that length.
 */
export function storeName({ name, asked, bound, fileId }: Named & Pick<HandedSocket, "bound">): string | undefined {
  const label = name === undefined ? asked : `${name}=${asked}`;
  const detail = fileId ?? (bound === asked ? undefined : bound);
  const text = STORED + [label, detail].filter((part) => part !== undefined).map(escape).join(" ");
  return text.length <= MAX_NAME ? text : undefined;
}

/** Reads what {@linkcode storeName} wrote. */
export function readStoreName(text: string): Named {
  const [label = "", detail] = text.slice(STORED.length).split(" ").map(unescape);
  const equals = label.startsWith("unix:") ? -1 : label.indexOf("=");
  const asked = label.slice(equals + 1);
  const isFile = asked.startsWith("unix:") && detail !== undefined;
  return { asked, name: equals < 0 ? undefined : label.slice(0, equals), ...(isFile ? { fileId: detail } : {}) };
}

function escape(text: string): string {
  return text.toWellFormed().replace(/[^!-~]|[%;]/gu, encodeURIComponent).replaceAll(":", ";");
}

function unescape(text: string): string {
  const plain = text.replaceAll(";", ":");
  try {
    return decodeURIComponent(plain);
  } catch {
    return plain; // of no manager, and so of no use
  }
}

/** Whether a socket is the manager's own to store: systemd keeps what it opened by itself. */
export function isStorable({ asked }: HandedSocket): boolean {
  return asked !== INHERIT && !asked.startsWith("fd:");
}

let stored: Inheritance | undefined;

/** What the manager before this one had left with systemd, and this one has taken. */
export function storedOn(host: ProcessHost): Inheritance | undefined {
  return host === currentHost ? stored : undefined;
}

/**
 * Takes what the manager before this one had left with systemd. What is not wanted any more stops to listen, whoever has
 * it open, so that another socket can be bound in its place, and nobody waits in its queue for ever.
 */
export function takeStored(wanted: readonly ListenOptions[], host: ProcessHost, openLibc: () => Libc): void {
  const given = storedSockets(host);
  if (given.length === 0) return;
  const libc = loadLibc(openLibc);
  if (libc === undefined) return;
  const known = given.map((socket) => describe(socket, libc));
  const usable = known.filter((socket) => isReachable(socket, libc));
  const trial = new Inheritance(usable);
  for (const one of wanted) trial.claim(askedFor(one.address, host.directory), nameOf(one));
  const kept = usable.filter(({ fd }) => !trial.unclaimed.some((left) => left.fd === fd));
  for (const socket of known) if (!kept.includes(socket)) end(socket, libc);
  stored = new Inheritance(kept);
}

/** Whoever is to listen says why that cannot be. */
function loadLibc(openLibc: () => Libc): Libc | undefined {
  try {
    return openLibc();
  } catch (error) {
    if (error instanceof NoLibcError) return undefined;
    throw error;
  }
}

function describe({ name = "", fd }: GivenSocket, libc: Libc): HandedSocket {
  const address = localAddress(libc, fd);
  const named = readStoreName(name);
  const file = address?.type === "unix" && named.fileId !== undefined ? address.path : undefined;
  return { ...named, fd, bound: address === undefined ? "" : formatAddress(address), file };
}

/** A Unix socket whose file is gone, or is another's by now, listens to nobody. */
function isReachable(socket: HandedSocket, libc: Libc): boolean {
  if (!isListening(libc, socket.fd)) return false;
  if (!socket.bound.startsWith("unix:")) return true;
  const file = fileOf(socket);
  return file !== undefined && isInPlace(libc, file);
}

function end({ fd, file, fileId }: HandedSocket, libc: Libc): void {
  if (file !== undefined && fileId !== undefined) remove(libc, { path: file, id: fileId });
  libc.shutdown(fd, SHUT_RDWR);
  libc.close(fd);
}
