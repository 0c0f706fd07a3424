/**
 * IP addresses as text and as bytes.
 *
 * @module
 */

/** Whether it is an IPv4 address of four numbers; leading zeros, which some read as octal, are not allowed. */
export function isIpv4(text: string): boolean {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
}

/**
 * Gives the 4 bytes of an IPv4 address.
 *
 * @throws {TypeError} If it is none.
 */
export function parseIpv4(text: string): Uint8Array<ArrayBuffer> {
  if (isIpv4(text)) return Uint8Array.from(text.split("."), Number);
  throw new TypeError(`Cannot use '${text}' as an IPv4 address: it must be of four numbers up to 255, as in 127.0.0.1`);
}

/**
 * Gives the 16 bytes of an IPv6 address, without brackets or zone; its end may be written as IPv4 (`::ffff:1.2.3.4`).
 *
 * @throws {TypeError} If it is none.
 */
export function parseIpv6(text: string): Uint8Array<ArrayBuffer> {
  const halves = text.split("::");
  const [head, tail] = halves.map((half, index) => readGroups(half, index === halves.length - 1));
  const known = (head?.length ?? 0) + (tail?.length ?? 0);
  // Where `::` stands, it stands for at least one group of zeros.
  if (head === undefined || halves.length > 2 || (tail === undefined ? known !== 8 : known > 7)) throw noIpv6(text);
  const groups = [...head, ...Array<number>(8 - known).fill(0), ...tail ?? []];
  if (groups.some(Number.isNaN)) throw noIpv6(text);
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

function noIpv6(text: string): TypeError {
  return new TypeError(`Cannot use '${text}' as an IPv6 address: it must look like ::1 or 2001:db8::ffff:7`);
}

/** The 16-bit groups of one side of `::`; NaN for what is none. */
function readGroups(text: string, isLast: boolean): readonly number[] {
  if (text === "") return [];
  const parts = text.split(":");
  return parts.flatMap((part, index) => {
    if (isLast && index === parts.length - 1 && isIpv4(part)) {
      const [a = 0, b = 0, c = 0, d = 0] = parseIpv4(part);
      return [a << 8 | b, c << 8 | d];
    }
    return [/^[0-9a-f]{1,4}$/i.test(part) ? Number.parseInt(part, 16) : NaN];
  });
}

/**
 * Writes 16 bytes the way RFC 5952 wants it: lower case, no leading zeros, `::` for the longest run of zeros.
 *
 * @throws {RangeError} If there are not 16 bytes.
 */
export function formatIpv6(bytes: Uint8Array): string {
  if (bytes.length !== 16) {
    throw new RangeError(`Cannot write an IPv6 address of ${bytes.length} bytes: it must have 16`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const groups = Array.from({ length: 8 }, (_, index) => view.getUint16(index * 2));
  const isMapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (isMapped) return `::ffff:${bytes.subarray(12).join(".")}`;
  const [start, length] = longestZeros(groups);
  const hex = groups.map((group) => group.toString(16));
  if (length < 2) return hex.join(":");
  return `${hex.slice(0, start).join(":")}::${hex.slice(start + length).join(":")}`;
}

/** The IPv4 address in an IPv6 address that stands for one (`::ffff:1.2.3.4`), as RFC 5952 writes it; else the same. */
export function withoutMapping(host: string): string {
  const [, inner = ""] = /^::ffff:([\d.]+)$/.exec(host) ?? [];
  return isIpv4(inner) ? inner : host;
}

/** Where the first of the longest runs of zeros begins, and how long it is. */
function longestZeros(groups: readonly number[]): readonly [number, number] {
  let best: readonly [number, number] = [0, 0];
  let length = 0;
  for (const [index, group] of groups.entries()) {
    length = group === 0 ? length + 1 : 0;
    if (length > best[1]) best = [index - length + 1, length];
  }
  return best;
}
