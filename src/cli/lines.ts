/**
 * Cuts a stream of bytes into whole lines. Pure.
 *
 * @module
 */

const NEWLINE = 0x0a;

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
    const whole = tooLong ? chunk.length : end;
    const block = whole === 0 ? new Uint8Array(0) : this.#join(chunk.subarray(0, whole));
    if (whole < chunk.length) this.#hold(chunk.slice(whole));
    return block;
  }

  /** The stream has ended: gives what was held back. */
  end(): Uint8Array {
    return this.#join(new Uint8Array(0));
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
