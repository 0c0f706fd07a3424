/**
 * Standard output and error as the manager and all workers share them. Nothing here blocks or throws, whatever the
 * reader does: it may be slow, stuck or gone.
 *
 * @module
 */

import { concat, endsLine } from "./lines.ts";

/** Writes some bytes and gives how many; rejects with an error that has a `code`. */
export type Write = (bytes: Uint8Array) => Promise<number>;

/** The most that waits of the log, and of all workers that are gone, before it is dropped. */
const MAX_WAITING_BYTES = 4_194_304;
/** The most that is handed over in one write. */
const MAX_BATCH_BYTES = 65_536;
/** How long to wait for a stream that somebody made non-blocking and that is full. */
const RETRY_MS = 20;

interface Entry {
  readonly bytes: Uint8Array;
  readonly owner: object;
  /** Undefined for a line of the log. */
  readonly written: (() => void) | undefined;
  /** What the line tells was dropped. */
  readonly tells: Dropped | undefined;
}

/** What was dropped because nobody took it, or there was no room for it. */
export interface Dropped {
  /** Lines of the log. */
  readonly lines: number;
  /** Bytes of what workers printed. */
  readonly bytes: number;
}

const NOTHING: Dropped = { lines: 0, bytes: 0 };
const ONE_LINE: Dropped = { lines: 1, bytes: 0 };

/** What {@linkcode Outlet} needs to know, and can be given by tests. */
export interface OutletOptions {
  /** Told what was dropped, once the stream takes bytes again; gives the line to write about it. */
  readonly describeDropped: (dropped: Dropped) => string;
  /** @default {4194304} */
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
  /** Whether lines of the log are dropped, until it is told. */
  #isDropping = false;
  /** Whether the stream has a part of a line whose rest did not get through. */
  #isCut = false;
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
    this.#isDropping ||= this.#waitingLogBytes >= this.#maxWaitingBytes;
    if (this.#isDropping) this.#drop(ONE_LINE);
    else this.#enqueue(this.#encoder.encode(line), this, undefined);
  }

  /** Whether the last thing taken was a part of a line, by `owner`. */
  isMidLine(owner: object): boolean {
    return this.#midLine === owner;
  }

  /** Takes what `owner` printed. Resolves once it is written, or cannot be: who waits for that prints no faster. */
  print(owner: object, bytes: Uint8Array): Promise<void> {
    if (this.#gone.has(owner) && this.#isFull()) {
      this.#drop(bytesOf(bytes));
      return Promise.resolve();
    }
    return new Promise((resolve) => this.#enqueue(bytes, owner, resolve));
  }

  /**
   * `owner` is gone, so waiting slows nobody down, and its successors print too. What it left is dropped where too much of
   * such waits already.
   */
  abandon(owner: object): void {
    this.#gone.add(owner);
    if (!this.#isFull()) return;
    const abandoned = this.#queue.filter((entry) => entry.owner === owner);
    this.#queue = this.#queue.filter((entry) => entry.owner !== owner);
    for (const entry of abandoned) {
      this.#drop(bytesOf(entry.bytes));
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

  /** What the live have printed does not count: there is never more of it than they may hold in hand. */
  #isFull(): boolean {
    const left = this.#queue.filter(({ owner }) => this.#gone.has(owner));
    return left.reduce((sum, { bytes }) => sum + bytes.length, 0) >= this.#maxWaitingBytes;
  }

  #drop({ lines, bytes }: Dropped): void {
    this.#dropped = { lines: this.#dropped.lines + lines, bytes: this.#dropped.bytes + bytes };
  }

  #settle({ bytes, written }: Entry): void {
    this.#waitingBytes -= bytes.length;
    if (written === undefined) this.#waitingLogBytes -= bytes.length;
    else written();
  }

  /** A line that one left unfinished is ended before another begins one. */
  #enqueue(bytes: Uint8Array, owner: object, written: (() => void) | undefined, tells?: Dropped): void {
    if (this.#midLine !== undefined && this.#midLine !== owner) {
      this.#push({ bytes: this.#encoder.encode("\n"), owner: this, written: undefined, tells: NOTHING });
    }
    this.#midLine = endsLine(bytes) ? undefined : owner;
    this.#push({ bytes, owner, written, tells });
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
      const block = concat([...this.#isCut ? [this.#encoder.encode("\n")] : [], ...batch.map(({ bytes }) => bytes)]);
      const written = await this.#writeFully(block);
      if (written < block.length) this.#lose(batch, block.length - written);
      if (written > 0) this.#isCut = written < block.length && !endsLine(block.subarray(0, written));
      for (const entry of batch) this.#settle(entry);
      if (written === block.length) this.#tellDropped();
      else this.#isDropping = false; // only another line finds out whether there is room again
    }
    this.#writing = undefined;
  }

  /** The last `bytes` of a batch did not get through. */
  #lose(batch: readonly Entry[], bytes: number): void {
    let left = bytes;
    for (const entry of batch.toReversed()) {
      if (left <= 0) return;
      left -= entry.bytes.length;
      this.#drop(entry.written === undefined ? entry.tells ?? ONE_LINE : bytesOf(entry.bytes));
    }
  }

  #takeBatch(): Entry[] {
    let size = 0;
    const fits = this.#queue.findIndex(({ bytes }) => (size += bytes.length) > MAX_BATCH_BYTES);
    return this.#queue.splice(0, fits < 0 ? this.#queue.length : Math.max(fits, 1));
  }

  /** Gives how many bytes the stream took: its reader may be gone, or its disk full. The next may get through. */
  async #writeFully(bytes: Uint8Array): Promise<number> {
    let at = 0;
    while (at < bytes.length) {
      try {
        at += await this.#write(bytes.subarray(at));
      } catch (error) {
        if (!isAgain(error)) return at;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    return at;
  }

  #tellDropped(): void {
    if (this.#dropped === NOTHING) return;
    const dropped = this.#dropped;
    this.#dropped = NOTHING;
    this.#isDropping = false;
    this.#enqueue(this.#encoder.encode(this.#describeDropped(dropped)), this, undefined, dropped);
  }
}

function bytesOf({ length }: Uint8Array): Dropped {
  return { lines: 0, bytes: length };
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
