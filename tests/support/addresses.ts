/**
 * Random addresses for property tests.
 *
 * @module
 */
import fc from "fast-check";
import { formatIpv6, type SocketAddress } from "../../src/address.ts";

/** An IPv6 address that holds an IPv4 address. */
export const MAPPED = /^::ffff:\d+\./;

/** Objects as literals make them, for `deepEqual`. */
export const PLAIN = { noNullPrototype: true } as const;

const port = fc.nat(65_535);
const path = fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 })
  .filter((path) => !/^@|\0/.test(path) && new TextEncoder().encode(path).length <= 103);

/** Any address of a socket that can be bound on Linux and on macOS. */
export const socketAddress: fc.Arbitrary<SocketAddress> = fc.oneof(
  fc.record({ type: fc.constant("tcp" as const), host: fc.ipV4(), family: fc.constant(4 as const), port }, PLAIN),
  fc.record({
    type: fc.constant("tcp" as const),
    host: fc.uint8Array({ minLength: 16, maxLength: 16 }).map(formatIpv6),
    family: fc.constant(6 as const),
    port,
  }, PLAIN),
  fc.record({ type: fc.constant("unix" as const), path }, PLAIN),
);
