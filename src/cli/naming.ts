/**
 * How what a worker prints tells that it is this worker's.
 *
 * @module
 */

import type { OutputStream } from "./host.ts";
import { concat, prefixLines } from "./lines.ts";

/** Who prints. */
export interface Printer {
  readonly slot: number;
  readonly pid: number;
}

/** Gives a block of whole lines, or a piece of one that is too long, the form in which it goes out. */
export type Naming = (block: Uint8Array, by: Printer, beginsLine: boolean) => Uint8Array;

/** As it was printed. */
export const unnamed: Naming = (block) => block;

/** The cyan, yellow, green, magenta and blue of a terminal: neighbours look different. */
const COLORS = [36, 33, 32, 35, 34];

/** Names a worker before each of its lines. */
export function workerPrefix({ slot, pid }: Printer, color: boolean): string {
  const name = slot < 0 ? `[standby ${pid}]` : `[${slot} ${pid}]`;
  return color ? `\x1b[${COLORS.at(slot % COLORS.length)}m${name}\x1b[0m ` : `${name} `;
}

/** Puts the name before each line. */
export function byPrefix(color: boolean): Naming {
  const encoder = new TextEncoder();
  return (block, by, beginsLine) => prefixLines(block, encoder.encode(workerPrefix(by, color)), beginsLine);
}

/** Writes a line of a worker as a record, newline included. */
export type RecordLine = (line: string, by: Printer, stream: OutputStream) => string;

/** Makes a record of each line, and of each piece of one that is too long. */
export function byRecord(stream: OutputStream, record: RecordLine): Naming {
  const [encoder, decoder] = [new TextEncoder(), new TextDecoder("utf-8", { ignoreBOM: true })];
  return (block, by) => {
    const lines = decoder.decode(block).split("\n");
    if (lines.at(-1) === "") lines.pop();
    return concat(lines.map((line) => encoder.encode(record(line, by, stream))));
  };
}
