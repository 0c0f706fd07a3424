/**
 * `prefork logs`: the end of a manager's log file, and what comes to it.
 *
 * @module
 */

import { type FileHandle, open } from "node:fs/promises";
import { currentHost } from "../../runtimes/current.ts";
import { write } from "./print.ts";
import { codeOf, inWords } from "./system_error.ts";

/** How often it is looked whether there is more. */
const LOOK_MS = 200;
const CHUNK_BYTES = 65_536;

/** Prints the last `count` lines of a file; goes on with what comes, if that is wanted, for as long as somebody reads. */
export async function showLog(path: string, count: number, follows: boolean): Promise<void> {
  let file = await openLog(path);
  try {
    const { size } = await file.stat();
    let at = await copy(file, await findLines(file, size, count), size);
    while (follows && at !== undefined) {
      at = await copy(file, at);
      if (at === undefined) return;
      await new Promise<void>((resolve) => currentHost.setTimer(LOOK_MS, resolve));
      if (!await isOther(file, path, at)) continue;
      if (await copy(file, at) === undefined) return;
      await file.close();
      file = await openLog(path);
      at = 0;
    }
  } finally {
    await file.close();
  }
}

async function openLog(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (error) {
    const isMoved = codeOf(error) === "ENOENT";
    const why = isMoved ? "it is not there any more; 'prefork reopen' begins it anew" : inWords(error);
    throw new Error(`Cannot show ${path}: ${why}`);
  }
}

/** Whether another file has the name by now and is written to, so that this one is complete; or this one was emptied. */
async function isOther(file: FileHandle, path: string, at: number): Promise<boolean> {
  const there = await open(path, "r").catch(() => undefined);
  if (there === undefined) return false; // moved away, and not begun anew yet
  const [now, old] = await Promise.all([there.stat(), file.stat()]).finally(() => there.close());
  return now.ino === old.ino ? now.size < at : now.size > 0;
}

/** Where the last lines begin. */
async function findLines(file: FileHandle, size: number, count: number): Promise<number> {
  if (count === 0) return size;
  let left = count + 1;
  for (let end = size; end > 0;) {
    const begin = Math.max(0, end - CHUNK_BYTES);
    const { buffer } = await file.read(new Uint8Array(end - begin), 0, end - begin, begin);
    for (let at = end - begin - 1; at >= 0; at--) {
      const isLineEnd = buffer[at] === 10;
      const isLast = begin + at === size - 1;
      if (isLineEnd && !isLast && --left === 1) return begin + at + 1;
    }
    end = begin;
  }
  return 0;
}

/** Prints a file from a place to another; gives how far it came, undefined if nobody reads any more. */
async function copy(file: FileHandle, from: number, end = Infinity): Promise<number | undefined> {
  for (let at = from;;) {
    const length = Math.min(CHUNK_BYTES, end - at);
    if (length === 0) return at;
    const { bytesRead, buffer } = await file.read(new Uint8Array(length), 0, length, at);
    if (bytesRead === 0) return at;
    at += bytesRead;
    if (!await write("stdout", buffer.subarray(0, bytesRead))) return undefined;
  }
}
