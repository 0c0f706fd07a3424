/**
 * What goes through a stream between a manager and one of its workers: messages with a value, and the bytes in it as they
 * are. A message is a line, `KIND ID SIZES TEXT`, and so many bytes after it as the sizes say; or those of a size are in a
 * file, which is named: `SIZE@NAME`.
 *
 * @module
 */

import type { ControlConnection } from "../types.ts";
import type { Encoded } from "./codec.ts";
import type { Parcels } from "./parcels.ts";

/** What a message is about. */
export type FrameKind =
  /** The manager listens, and gives the worker a number; or it has taken what was sent. */
  | "ok"
  /** The worker can do jobs: its process is ID. It says whether it takes files. */
  | "here"
  /** The manager gives a job, or wants it ended. */
  | "do"
  | "end"
  /** The manager wants a job back that the worker has not begun, and gets it. */
  | "back"
  /** The worker takes no job more, and does none that it was given but ID. */
  | "last"
  /** The worker has done a job, or it has failed. */
  | "done"
  | "failed"
  /** What a process that is there for one job has to give. */
  | "given";

const KINDS: ReadonlySet<string> = new Set<FrameKind>([
  "ok",
  "here",
  "do",
  "end",
  "back",
  "last",
  "done",
  "failed",
  "given",
]);

function isKind(word: string | undefined): word is FrameKind {
  return word !== undefined && KINDS.has(word);
}

/** One message. */
export interface Frame {
  readonly kind: FrameKind;
  /** The job that it is about; 0 if it is about none. */
  readonly id: number;
  readonly value: Encoded;
  /** Why not all of the value could be had. */
  readonly failure?: unknown;
}

const NOTHING: Encoded = { text: "", blobs: [] };

/** What a worker says that gets many bytes in files, and leaves some there. */
export const TAKES_FILES: Encoded = { text: "files", blobs: [] };

const NEWLINE = 10;

/** Sends a message; many bytes in a file, if there are parcels. */
export function sendFrame(
  connection: ControlConnection,
  kind: FrameKind,
  id = 0,
  { text, blobs }: Encoded = NOTHING,
  parcels?: Parcels,
): void {
  const files = blobs.map((blob) => parcels?.put(blob));
  const sizes = blobs.map(({ length }, index) => files[index] === undefined ? length : `${length}@${files[index]}`);
  connection.send(`${kind} ${id} ${sizes.join(",")} ${text}\n`);
  for (const [index, blob] of blobs.entries()) if (files[index] === undefined) connection.send(blob);
}

/** A message whose bytes are still to come. */
interface Partial {
  readonly frame: Frame;
  /** The blobs that are not full yet. */
  readonly rest: Uint8Array[];
  /** How much of the first one is there. */
  at: number;
}

/** Cuts a stream of bytes into messages. */
export class FrameReader {
  readonly #decoder = new TextDecoder();
  /** Of a line whose end is still to come. */
  #line: Uint8Array[] = [];
  #partial: Partial | undefined;
  readonly #parcels: () => Parcels | undefined;

  /** @param parcels Where bytes are that come in files. */
  constructor(parcels: () => Parcels | undefined = () => undefined) {
    this.#parcels = parcels;
  }

  /**
   * Gives the messages that `chunk` completes, one by one, to `take`.
   *
   * @throws {SyntaxError} If it makes no sense.
   */
  push(chunk: Uint8Array, take: (frame: Frame) => void): void {
    for (let rest = chunk; rest.length > 0;) {
      const partial = this.#partial;
      rest = partial === undefined ? this.#readLine(rest) : fill(partial, rest);
      const { frame, rest: blobs } = this.#partial ?? {};
      if (frame === undefined || blobs === undefined || blobs.length > 0) continue;
      this.#partial = undefined;
      take(frame);
    }
  }

  #readLine(chunk: Uint8Array): Uint8Array {
    const end = chunk.indexOf(NEWLINE);
    if (end < 0) {
      this.#line.push(chunk.slice());
      return chunk.subarray(chunk.length);
    }
    const last = chunk.subarray(0, end);
    const line = this.#line.length === 0 ? last : concat([...this.#line, last]);
    this.#line = [];
    this.#partial = begin(this.#decoder.decode(line), this.#parcels());
    return chunk.subarray(end + 1);
  }
}

const SIZES = /^(\d+(@[\w-]+)?(,\d+(@[\w-]+)?)*)?$/;

function begin(line: string, parcels: Parcels | undefined): Partial {
  const [kind, id = "", sizes = ""] = line.split(" ", 3);
  if (!isKind(kind) || !/^\d+$/.test(id) || !SIZES.test(sizes)) {
    throw new SyntaxError(`sent a message that is not known: ${JSON.stringify(line.slice(0, 60))}`);
  }
  const text = line.slice(kind.length + id.length + sizes.length + 3);
  const rest: Uint8Array[] = [];
  let failure: unknown;
  const blobs = sizes === "" ? [] : sizes.split(",").map((word) => {
    const [size, file] = word.split("@");
    if (file !== undefined) return taken(parcels, file, Number(size), (error) => failure = error);
    const blob = new Uint8Array(Number(size));
    if (blob.length > 0) rest.push(blob);
    return blob;
  });
  const frame = { kind, id: Number(id), value: { text, blobs }, ...(failure === undefined ? {} : { failure }) };
  return { frame, rest, at: 0 };
}

/** What cannot be read, for want of descriptors perhaps, costs the message that it belongs to, and no other. */
function taken(
  parcels: Parcels | undefined,
  file: string,
  size: number,
  fail: (error: unknown) => void,
): Uint8Array<ArrayBuffer> {
  if (parcels === undefined) {
    throw new SyntaxError(`sent bytes in a file, '${file}', though it said that it makes none`);
  }
  try {
    return parcels.take(file, size);
  } catch (error) {
    if (error instanceof SyntaxError) throw error;
    fail(error);
    return new Uint8Array();
  }
}

/** Takes as much of a chunk as the next blob wants; gives what is left. */
function fill(partial: Partial, chunk: Uint8Array): Uint8Array {
  const [blob] = partial.rest;
  if (blob === undefined) return chunk;
  const part = chunk.subarray(0, blob.length - partial.at);
  blob.set(part, partial.at);
  partial.at += part.length;
  if (partial.at === blob.length) {
    partial.rest.shift();
    partial.at = 0;
  }
  return chunk.subarray(part.length);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
