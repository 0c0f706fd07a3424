/**
 * Standard output and error as the manager and all workers share them. Nothing here blocks or throws, whatever the
 * reader does: it may be slow, stuck or gone.
 *
 * @module
 */

import { concat, endsLine } from "./lines.ts";

/** Writes some bytes and gives how many; rejects with an error that has a `code`. */
export type Write = (bytes: Uint8Array) => Promise<number>;

/** The most that waits of the log, and of workers that are gone, before it is dropped. */
const MAX_WAITING_BYTES = 262_144;
/** The most that is handed over in one write. */
const MAX_BATCH_BYTES = 65_536;
/** How long to wait for a stream that somebody made non-blocking and that is full. */
const RETRY_MS = 20;

interface Entry {
  readonly bytes: Uint8Array;
  readonly owner: object;
  /** Undefined for a line of the log. */
  readonly written: (() => void) | undefined;
}

/** What was dropped because nobody took it. */
export interface Dropped {
  /** Lines of the log. */
  readonly lines: number;
  /** Bytes of workers that are gone. */
  readonly bytes: number;
}

const NOTHING: Dropped = { lines: 0, bytes: 0 };

/** What {@linkcode Outlet} needs to know, and can be given by tests. */
export interface OutletOptions {
  /** Told what was dropped, once the stream takes bytes again; gives the line to write about it. */
  readonly describeDropped: (dropped: Dropped) => string;
  /** @default {262144} */
  readonly maxWaitingBytes?: number;
}

/** One standard stream: a queue, and at most one write at a time. */
export class Outlet {
  readonly #write: Write;
  readonly #describeDropped: (dropped: Dropped) => string;
  readonly #maxWaitingBytes: number;
  readonly #encoder = new TextEncoder();
  #queue: Entry[] = [];
  #waitingBytes = 0;
  #waitingLogBytes = 0;
  #dropped = NOTHING;
  readonly #gone = new WeakSet<object>();
  #writing: Promise<void> | undefined;
  #midLine: object | undefined;

  constructor(write: Write, options: OutletOptions) {
    this.#write = write;
    this.#describeDropped = options.describeDropped;
    this.#maxWaitingBytes = options.maxWaitingBytes ?? MAX_WAITING_BYTES;
  }

  /** Takes a line of the log, newline included, or drops it if too much waits already. */
  log(line: string): void {
    if (this.#dropped.lines > 0 || this.#waitingLogBytes >= this.#maxWaitingBytes) {
      this.#dropped = { ...this.#dropped, lines: this.#dropped.lines + 1 };
      return;
    }
    this.#enqueue(this.#encoder.encode(line), this, undefined);
  }

  /** Whether the last thing taken was a part of a line, by `owner`. */
  isMidLine(owner: object): boolean {
    return this.#midLine === owner;
  }

  /** Takes what `owner` printed. Resolves once it is written, or cannot be: who waits for that prints no faster. */
  print(owner: object, bytes: Uint8Array): Promise<void> {
    if (this.#gone.has(owner) && this.#isFull()) {
      this.#drop(bytes);
      return Promise.resolve();
    }
    return new Promise((resolve) => this.#enqueue(bytes, owner, resolve));
  }

  /**
   * `owner` is gone, so waiting slows nobody down, and its successors print too. What it left is dropped where too much
   * waits already.
   */
  abandon(owner: object): void {
    this.#gone.add(owner);
    if (!this.#isFull()) return;
    const abandoned = this.#queue.filter((entry) => entry.owner === owner);
    this.#queue = this.#queue.filter((entry) => entry.owner !== owner);
    for (const entry of abandoned) {
      this.#drop(entry.bytes);
      this.#settle(entry);
    }
  }

  /** Resolves when all is written, or nothing was for `patienceMs`. */
  async drain(patienceMs: number): Promise<void> {
    while (this.#writing !== undefined) {
      const before = this.#waitingBytes;
      if (!await settlesWithin(this.#writing, patienceMs) && this.#waitingBytes >= before) return;
    }
  }

  #isFull(): boolean {
    return this.#waitingBytes >= this.#maxWaitingBytes;
  }

  #drop(bytes: Uint8Array): void {
    this.#dropped = { ...this.#dropped, bytes: this.#dropped.bytes + bytes.length };
  }

  #settle({ bytes, written }: Entry): void {
    this.#waitingBytes -= bytes.length;
    if (written === undefined) this.#waitingLogBytes -= bytes.length;
    else written();
  }

  /** A line that one left unfinished is ended before another begins one. */
  #enqueue(bytes: Uint8Array, owner: object, written: (() => void) | undefined): void {
    if (this.#midLine !== undefined && this.#midLine !== owner) {
      this.#push({ bytes: this.#encoder.encode("\n"), owner: this, written: undefined });
    }
    this.#midLine = endsLine(bytes) ? undefined : owner;
    this.#push({ bytes, owner, written });
    this.#writing ??= this.#writeAll();
  }

  #push(entry: Entry): void {
    this.#queue.push(entry);
    this.#waitingBytes += entry.bytes.length;
    if (entry.written === undefined) this.#waitingLogBytes += entry.bytes.length;
  }

  async #writeAll(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#takeBatch();
      const arrived = await this.#writeFully(concat(batch.map(({ bytes }) => bytes)));
      for (const entry of batch) this.#settle(entry);
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
    if (this.#dropped === NOTHING) return;
    const line = this.#describeDropped(this.#dropped);
    this.#dropped = NOTHING;
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
