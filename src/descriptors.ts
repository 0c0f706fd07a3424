/**
 * What the system tells of the descriptors of this process.
 *
 * @module
 */

import { cString, type Libc } from "./libc.ts";

/** What there is of these events at a descriptor within so many milliseconds; undefined if nothing. As poll(2). */
export function pollOne(libc: Libc, fd: number, events: number, timeoutMs: number): number | undefined {
  const entry = new Uint8Array(8); // struct pollfd
  const view = new DataView(entry.buffer);
  view.setInt32(0, fd, true);
  view.setInt16(4, events, true);
  return libc.poll(entry, 1, timeoutMs) > 0 ? view.getInt16(6, true) : undefined;
}

/** Where the table of descriptors ends: those that are left of many may stand far behind the others. */
export function endOfTable(libc: Libc): number | undefined {
  const size = /^FDSize:\s*(\d+)$/m.exec(readFile(libc, "/proc/self/status"))?.[1];
  return size === undefined ? undefined : Number(size);
}

/** By the C library, since Deno itself lets nobody read `/proc` but who may do everything. */
export function readFile(libc: Libc, path: string): string {
  const fd = libc.open(cString(path), 0);
  if (fd < 0) return "";
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(4096);
  let text = "";
  for (let length = libc.read(fd, buffer, 4096); length > 0; length = libc.read(fd, buffer, 4096)) {
    text += decoder.decode(buffer.subarray(0, length), { stream: true });
  }
  libc.close(fd);
  return text;
}
