/**
 * What the system tells of the descriptors of this process.
 *
 * @module
 */

import { cString, type Libc } from "./libc.ts";

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
