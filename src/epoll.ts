/**
 * What Linux tells of an epoll set, and what it wants to be told. For little-endian machines.
 *
 * @module
 */

/** `op` of `epoll_ctl(2)`: add a descriptor to the set. */
export const EPOLL_CTL_ADD = 1;
/** `op` of `epoll_ctl(2)`: take a descriptor out of the set. */
export const EPOLL_CTL_DEL = 2;

/** A descriptor in an epoll set. */
export interface EpollEntry {
  /** The descriptor, by its number when it was added. */
  readonly fd: number;
  /** The events that are asked for. */
  readonly events: number;
  /** The word that comes back with each event. 64 bits, unsigned. */
  readonly data: bigint;
}

/** Reads `/proc/self/fdinfo/N` of an epoll descriptor; gives nothing for any other descriptor. */
export function parseFdinfo(text: string): readonly EpollEntry[] {
  const lines = text.matchAll(/^tfd:\s*(\d+)\s+events:\s*([0-9a-f]+)\s+data:\s*([0-9a-f]+)/gm);
  return Array.from(lines, ([, fd = "", events = "", data = ""]) => ({
    fd: Number(fd),
    events: Number.parseInt(events, 16),
    data: BigInt(`0x${data}`),
  }));
}

/**
 * Gives a `struct epoll_event`. It is packed on x86-64 (12 bytes, data at 4) and nowhere else (16 bytes, data at 8).
 *
 * @param arch The processor, as `Deno.build.arch` or `process.arch` has it.
 */
export function encodeEvent(
  entry: { readonly events: number; readonly data: bigint },
  arch: string,
): Uint8Array<ArrayBuffer> {
  const isPacked = arch === "x86_64" || arch === "x64";
  const bytes = new Uint8Array(isPacked ? 12 : 16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, entry.events, true);
  view.setBigUint64(isPacked ? 4 : 8, entry.data, true);
  return bytes;
}
