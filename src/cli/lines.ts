/**
 * Cuts a stream of bytes into whole lines. Pure.
 *
 * @module
 */

const NEWLINE = 0x0a;

/** Of UTF-8. */
const LONGEST_CHARACTER = 4;

/** The longest line that is kept until its end has come. */
export const MAX_LINE_BYTES = 65_536;

/** Holds back what does not end a line yet, but never more than a line may be long. */
export class LineSplitter {
  readonly #limit: number;
  #held: Uint8Array[] = [];
  #heldBytes = 0;

  /** @param limit A line longer than this is passed on in pieces of at least that length. */
  constructor(limit: number = MAX_LINE_BYTES) {
    this.#limit = limit;
  }

  /** Takes a chunk, and gives the whole lines it completes as one block; empty if there are none. */
  push(chunk: Uint8Array): Uint8Array {
    const end = chunk.lastIndexOf(NEWLINE) + 1;
    const tooLong = chunk.length - end + (end > 0 ? 0 : this.#heldBytes) >= this.#limit;
    const whole = !tooLong ? end : this.#isFull ? chunk.length : chunk.length - unfinished(chunk);
    const block = whole === 0 ? new Uint8Array(0) : this.#join(chunk.subarray(0, whole));
    if (whole < chunk.length) this.#hold(chunk.slice(whole));
    return block;
  }

  /** The stream has ended: gives what was held back. */
  end(): Uint8Array {
    return this.#join(new Uint8Array(0));
  }

  /** So much is held that nothing can be held back for the sake of a character. */
  get #isFull(): boolean {
    return this.#heldBytes >= this.#limit + LONGEST_CHARACTER;
  }

  #hold(bytes: Uint8Array): void {
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
  }

  #join(last: Uint8Array): Uint8Array {
    if (this.#heldBytes === 0) return last;
    const parts = [...this.#held, last];
    this.#held = [];
    this.#heldBytes = 0;
    return concat(parts);
  }
}

/** How many bytes at the end are of a character of UTF-8 that is not whole. */
function unfinished(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return 0;
    if (byte < 0xc0) continue; // not its first one
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return length > back ? back : 0;
  }
  return 0;
}

/** Cuts a block into pieces of so many lines at most. */
export function* inPieces(block: Uint8Array, lines: number): Generator<Uint8Array> {
  let [begin, count] = [0, 0];
  for (let at = block.indexOf(NEWLINE); at >= 0; at = block.indexOf(NEWLINE, at + 1)) {
    if (++count < lines) continue;
    yield block.subarray(begin, at + 1);
    [begin, count] = [at + 1, 0];
  }
  if (begin < block.length) yield block.subarray(begin);
}

/** Whether a block ends with a whole line. */
export function endsLine(block: Uint8Array): boolean {
  return block.at(-1) === NEWLINE;
}

/** Puts `prefix` before every line of a block; before its first one only if it begins one. */
export function prefixLines(block: Uint8Array, prefix: Uint8Array, beginsLine: boolean): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  while (at < block.length) {
    const newline = block.indexOf(NEWLINE, at);
    const next = newline < 0 ? block.length : newline + 1;
    if (at > 0 || beginsLine) parts.push(prefix);
    parts.push(block.subarray(at, next));
    at = next;
  }
  return concat(parts);
}

/** Joins chunks. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
