/**
 * Standard output and error as the manager and all workers share them. Nothing here blocks or throws, whatever the
 * reader does: it may be slow, stuck or gone.
 *
 * @module
 */

import { concat, endsLine } from "./lines.ts";

/** Writes some bytes and gives how many; rejects with an error that has a `code`. */
export type Write = (bytes: Uint8Array) => Promise<number>;

/** The most of the log that waits for the reader before lines are dropped. */
const MAX_WAITING_BYTES = 262_144;
/** The most that is handed over in one write. */
const MAX_BATCH_BYTES = 65_536;
/** How long to wait for a stream that somebody made non-blocking and that is full. */
const RETRY_MS = 20;

interface Entry {
  readonly bytes: Uint8Array;
  readonly written: (() => void) | undefined;
}

/** What {@linkcode Outlet} needs to know, and can be given by tests. */
export interface OutletOptions {
  /** Told after log lines were dropped, once the stream takes bytes again; gives the line to write about it. */
  readonly describeDropped: (count: number) => string;
  /** @default {262144} */
  readonly maxWaitingBytes?: number;
}

/** One standard stream: a queue, and at most one write at a time. */
export class Outlet {
  readonly #write: Write;
  readonly #describeDropped: (count: number) => string;
  readonly #maxWaitingBytes: number;
  readonly #encoder = new TextEncoder();
  #queue: Entry[] = [];
  #waitingBytes = 0;
  #waitingLogBytes = 0;
  #dropped = 0;
  #writing: Promise<void> | undefined;
  #midLine: object | undefined;

  constructor(write: Write, options: OutletOptions) {
    this.#write = write;
    this.#describeDropped = options.describeDropped;
    this.#maxWaitingBytes = options.maxWaitingBytes ?? MAX_WAITING_BYTES;
  }

  /** Takes a line of the log, newline included, or drops it if too much waits already. */
  log(line: string): void {
    if (this.#dropped > 0 || this.#waitingLogBytes >= this.#maxWaitingBytes) {
      this.#dropped++;
      return;
    }
    this.#enqueue(this.#encoder.encode(line), this, undefined);
  }

  /** Whether the last thing taken was a part of a line, by `owner`. */
  isMidLine(owner: object): boolean {
    return this.#midLine === owner;
  }

  /** Takes what `owner` printed. Resolves once it is written, or cannot be. */
  print(owner: object, bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => this.#enqueue(bytes, owner, resolve));
  }

  /** Resolves when all is written, or nothing was for `patienceMs`. */
  async drain(patienceMs: number): Promise<void> {
    while (this.#writing !== undefined) {
      const before = this.#waitingBytes;
      if (!await settlesWithin(this.#writing, patienceMs) && this.#waitingBytes >= before) return;
    }
  }

  /** A line that one left unfinished is ended before another begins one. */
  #enqueue(bytes: Uint8Array, owner: object, written: (() => void) | undefined): void {
    if (this.#midLine !== undefined && this.#midLine !== owner) this.#push(this.#encoder.encode("\n"), undefined);
    this.#midLine = endsLine(bytes) ? undefined : owner;
    this.#push(bytes, written);
    this.#writing ??= this.#writeAll();
  }

  #push(bytes: Uint8Array, written: (() => void) | undefined): void {
    this.#queue.push({ bytes, written });
    this.#waitingBytes += bytes.length;
    if (written === undefined) this.#waitingLogBytes += bytes.length;
  }

  async #writeAll(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#takeBatch();
      const arrived = await this.#writeFully(concat(batch.map(({ bytes }) => bytes)));
      for (const { bytes, written } of batch) {
        this.#waitingBytes -= bytes.length;
        if (written === undefined) this.#waitingLogBytes -= bytes.length;
        else written();
      }
      if (arrived) this.#tellDropped();
    }
    this.#writing = undefined;
  }

  #takeBatch(): Entry[] {
    let size = 0;
    const fits = this.#queue.findIndex(({ bytes }) => (size += bytes.length) > MAX_BATCH_BYTES);
    return this.#queue.splice(0, fits < 0 ? this.#queue.length : Math.max(fits, 1));
  }

  /** False if the stream does not take these bytes: its reader is gone, or its disk is full. The next may get through. */
  async #writeFully(bytes: Uint8Array): Promise<boolean> {
    for (let at = 0; at < bytes.length;) {
      try {
        at += await this.#write(bytes.subarray(at));
      } catch (error) {
        if (!isAgain(error)) return false;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    return true;
  }

  #tellDropped(): void {
    if (this.#dropped === 0) return;
    const line = this.#describeDropped(this.#dropped);
    this.#dropped = 0;
    this.#enqueue(this.#encoder.encode(line), this, undefined);
  }
}

function isAgain(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EAGAIN";
}

async function settlesWithin(promise: Promise<void>, ms: number): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => late.resolve(false), ms);
  try {
    return await Promise.race([promise.then(() => true), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
