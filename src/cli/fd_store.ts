/**
 * Keeps systemd's file descriptor store as the pool is: what it listens on stands there, and nothing else.
 *
 * @module
 */

import { storedSockets } from "../activation.ts";
import { isStorable, storeName } from "../fd_store.ts";
import type { HandedSocket } from "../handover.ts";
import { type Prefork, socketsOf } from "../prefork.ts";
import { takeoverOn } from "../succession.ts";
import type { ProcessHost, Timer } from "../types.ts";

/** How long systemd may have no room for more before it is tried again. */
const RETRY_MS = 500;

/** What a store is kept for. */
export interface FdStoreParts {
  readonly host: ProcessHost;
  readonly pool: Prefork;
  /** Told what cannot be kept. */
  readonly warn: (text: string) => void;
}

/** Says something to systemd, if that can be done now. */
export interface StoreSocket {
  /** Says a text. */
  send(text: string): boolean;
  /** The same, with a descriptor. */
  sendDescriptor(text: string, fd: number): boolean;
}

/** The store of the service that this manager is. */
export class FdStore implements Disposable {
  readonly #parts: FdStoreParts;
  readonly #socket: StoreSocket;
  /** The names in it. */
  readonly #kept: Set<string>;
  /** The addresses that cannot be in it, of which it was told. */
  readonly #refused = new Set<string>();
  #retry: Timer | undefined;

  constructor(parts: FdStoreParts, socket: StoreSocket) {
    this.#parts = parts;
    this.#socket = socket;
    this.#kept = new Set(namesBefore(parts.host));
  }

  /** Tells systemd what is to be in it from now on. */
  update(): void {
    this.#retry?.[Symbol.dispose]();
    const wanted = this.#wanted();
    const gone = [...this.#kept].filter((name) => !wanted.has(name));
    const added = [...wanted].filter(([name]) => !this.#kept.has(name));
    // In this order, since systemd takes no socket twice, by whatever name.
    for (const name of gone) if (this.#socket.send(`FDSTOREREMOVE=1\nFDNAME=${name}`)) this.#kept.delete(name);
    for (const [name, fd] of added) {
      if (this.#socket.sendDescriptor(`FDSTORE=1\nFDNAME=${name}`, fd)) this.#kept.add(name);
    }
    const isDone = gone.every((name) => !this.#kept.has(name)) && added.every(([name]) => this.#kept.has(name));
    if (isDone) return;
    this.#retry = this.#parts.host.setTimer(RETRY_MS, () => this.update());
    this.#retry.unref();
  }

  /** The files of Unix sockets stay for the next manager: without its file a stored socket is of no use. */
  leaveFiles(): void {
    socketsOf(this.#parts.pool)?.leaveFiles();
  }

  /** Tells nothing more. */
  [Symbol.dispose](): void {
    this.#retry?.[Symbol.dispose]();
  }

  #wanted(): ReadonlyMap<string, number> {
    const wanted = new Map<string, number>();
    for (const socket of socketsOf(this.#parts.pool)?.handed(true) ?? []) {
      const name = storeName(socket);
      if (!isStorable(socket)) continue;
      if (name === undefined) this.#warn(socket);
      else wanted.set(name, socket.fd);
    }
    return wanted;
  }

  #warn({ bound }: HandedSocket): void {
    if (this.#refused.has(bound)) return;
    this.#refused.add(bound);
    this.#parts.warn(`does not leave ${bound} with systemd: its name would be too long`);
  }
}

/** The names in the store when this manager came to be the one. */
function namesBefore(host: ProcessHost): readonly string[] {
  const takeover = takeoverOn(host);
  if (takeover === undefined) return storedSockets(host).flatMap(({ name }) => name ?? []);
  return takeover.inheritance.all.filter(isStorable).flatMap((socket) => storeName(socket) ?? []);
}
