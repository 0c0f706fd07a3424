/**
 * Bytes that go through files, in the private directory that the socket of a pool is in: for many of them that takes half
 * the time, since a stream is read and written in many parts.
 *
 * @module
 */

import { closeSync, existsSync, openSync, readdirSync, readSync, rmSync, writeFileSync } from "node:fs";

/** From so many bytes on. */
const LEAST = 2 ** 18;

/** Who writes a file: the manager what a job is given, the worker what it gives. */
export type Sender = "manager" | "worker";

/** What goes to and fro between a manager and one of its workers. */
export class Parcels {
  readonly #dir: string;
  /** How the files of this worker begin, and the next of this sender. */
  readonly #prefix: string;
  readonly #sender: Sender;
  #made = 0;

  /** @param worker The process of the worker. */
  constructor(dir: string, worker: number, sender: Sender) {
    this.#dir = dir;
    this.#prefix = `${worker}-`;
    this.#sender = sender;
  }

  /** Whether files can be made there: a worker on Deno may not be allowed to. */
  get isOpen(): boolean {
    const name = this.#put(new Uint8Array());
    if (name !== undefined) this.#remove(name);
    return name !== undefined;
  }

  /** Puts bytes into a file; gives its name, or nothing where there are few of them, or there is no room. */
  put(bytes: Uint8Array): string | undefined {
    return bytes.length < LEAST ? undefined : this.#put(bytes);
  }

  /**
   * Takes bytes out of a file, which is gone then.
   *
   * @throws {SyntaxError} If it is none that was meant for this one, or is not as long.
   */
  take(name: string, size: number): Uint8Array<ArrayBuffer> {
    if (!name.startsWith(this.#prefix) || !/^\d+-\w+$/.test(name)) {
      throw new SyntaxError(`sent bytes in a file that is not its own: '${name}'`);
    }
    const bytes = new Uint8Array(size);
    if (this.#read(name, bytes) < size) throw new SyntaxError(`sent less than ${size} bytes in the file '${name}'`);
    this.#remove(name);
    return bytes;
  }

  /** Removes what nobody has taken out, and nobody will. */
  clear(): void {
    if (!existsSync(this.#dir)) return;
    for (const name of readdirSync(this.#dir)) if (name.startsWith(this.#prefix)) this.#remove(name);
  }

  #pathOf(name: string): string {
    return `${this.#dir}/${name}`;
  }

  #put(bytes: Uint8Array): string | undefined {
    const name = `${this.#prefix}${this.#sender}${++this.#made}`;
    try {
      writeFileSync(this.#pathOf(name), bytes, { mode: 0o600, flag: "wx" });
      return name;
    } catch {
      this.#remove(name);
      return undefined;
    }
  }

  #read(name: string, bytes: Uint8Array): number {
    const file = openSync(this.#pathOf(name), "r");
    try {
      let at = 0;
      for (let more = 1; more > 0 && at < bytes.length; at += more) {
        more = readSync(file, bytes, at, bytes.length - at, at);
      }
      return at;
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
