/**
 * Bytes that go through files, in the private directory that the socket of a pool is in: many of them are there sooner so,
 * since a stream is read and written in many parts.
 *
 * @module
 */

import { closeSync, constants, fstatSync, openSync, readdirSync, readSync, rmSync, writeSync } from "node:fs";

/** From so many bytes on. */
const LEAST = 2 ** 18;

/** So many at a time: Deno reads no more than 2 GiB at once, and writes more without end. */
const PART = 2 ** 30;

/** What is opened is to be a file, and no way to another one, nor one at whose end somebody else has to be. */
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Who writes a file: the manager what a job is given, the worker what it gives. */
export type Sender = "manager" | "worker";

/** What goes to and fro between a manager and one of its workers. */
export class Parcels {
  readonly #dir: string;
  /** How the files of this worker begin. */
  readonly #prefix: string;
  readonly #sender: Sender;
  #made = 0;

  /** @param key The number that the manager has given to the worker. */
  constructor(dir: string, key: number, sender: Sender) {
    this.#dir = dir;
    this.#prefix = `${key}-`;
    this.#sender = sender;
  }

  /** Whether files can be written and read there: a worker on Deno may not be allowed to. */
  get isOpen(): boolean {
    try {
      const name = this.#put(new Uint8Array(1));
      return name !== undefined && this.take(name, 1).length === 1;
    } catch {
      return false;
    }
  }

  /** Puts bytes into a file; gives its name, or nothing where there are few of them, or there is no room. */
  put(bytes: Uint8Array): string | undefined {
    return bytes.length < LEAST ? undefined : this.#put(bytes);
  }

  /**
   * Takes bytes out of a file, which is gone then.
   *
   * @throws {SyntaxError} If it is none that was meant for this one, or is not as long.
   * @throws {Error} If it cannot be read.
   */
  take(name: string, size: number): Uint8Array<ArrayBuffer> {
    if (!name.startsWith(this.#prefix) || !/^\d+-\w+$/.test(name)) {
      throw new SyntaxError(`sent bytes in a file that is not its own: '${name}'`);
    }
    const bytes = this.#read(name, size);
    this.#remove(name);
    return bytes;
  }

  /** Removes what nobody has taken out, and nobody will. */
  clear(): void {
    try {
      for (const name of readdirSync(this.#dir)) if (name.startsWith(this.#prefix)) this.#remove(name);
    } catch {
      // It goes with its directory, or has gone with it.
    }
  }

  #pathOf(name: string): string {
    return `${this.#dir}/${name}`;
  }

  #put(bytes: Uint8Array): string | undefined {
    const name = `${this.#prefix}${this.#sender}${++this.#made}`;
    let file: number | undefined;
    try {
      file = openSync(this.#pathOf(name), "wx", 0o600);
      for (let at = 0; at < bytes.length;) at += writeSync(file, bytes.subarray(at, at + PART));
      return name;
    } catch {
      if (file !== undefined) this.#remove(name);
      return undefined;
    } finally {
      if (file !== undefined) closeSync(file);
    }
  }

  #read(name: string, size: number): Uint8Array<ArrayBuffer> {
    const file = openSync(this.#pathOf(name), READ);
    try {
      const found = fstatSync(file);
      if (!found.isFile() || found.size !== size) {
        throw new SyntaxError(`sent no file of ${size} bytes by the name '${name}'`);
      }
      const bytes = new Uint8Array(size);
      for (let at = 0; at < size;) {
        const part = bytes.subarray(at, at + PART);
        at += readSync(file, part, 0, part.length, at) || size;
      }
      return bytes;
    } finally {
      closeSync(file);
    }
  }

  #remove(name: string): void {
    try {
      rmSync(this.#pathOf(name), { force: true });
    } catch {
      // It goes with its directory.
    }
  }
}
