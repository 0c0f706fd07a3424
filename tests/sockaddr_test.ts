import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import fc from "fast-check";
import type { SocketAddress } from "../src/address.ts";
import { decodeSockaddr, encodeSockaddr, type SockaddrOs } from "../src/sockaddr.ts";
import { socketAddress } from "./support/addresses.ts";

const hex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const bytesOf = (text: string): Uint8Array =>
  Uint8Array.from(text.replaceAll(" ", "").match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));

const V4: SocketAddress = { type: "tcp", host: "127.0.0.1", family: 4, port: 8080 };
const V6: SocketAddress = { type: "tcp", host: "2001:db8::1", family: 6, port: 443 };
const FILE: SocketAddress = { type: "unix", path: "/run/é" };

const ENCODED: readonly (readonly [SockaddrOs, SocketAddress, string])[] = [
  ["linux", V4, "0200 1f90 7f000001 0000000000000000"],
  ["darwin", V4, "1002 1f90 7f000001 0000000000000000"],
  ["linux", V6, "0a00 01bb 00000000 20010db8000000000000000000000001 00000000"],
  ["darwin", V6, "1c1e 01bb 00000000 20010db8000000000000000000000001 00000000"],
  ["linux", FILE, "0100 2f72756e2fc3a9 00"],
  ["darwin", FILE, "0a01 2f72756e2fc3a9 00"],
  ["linux", { type: "unix", path: "@app" }, "0100 00 617070"],
  ["darwin", { type: "unix", path: "@app" }, "0701 40617070 00"],
];

test("encodeSockaddr() and decodeSockaddr() know the layouts of each system", () => {
  for (const [os, address, bytes] of ENCODED) {
    assert.equal(hex(encodeSockaddr(address, os)), bytes.replaceAll(" ", ""), `${os} ${JSON.stringify(address)}`);
    assert.deepEqual(decodeSockaddr(bytesOf(bytes), bytesOf(bytes).length, os), address);
  }
});

test("decodeSockaddr() reads what encodeSockaddr() wrote, in a larger buffer too", () => {
  const os = fc.constantFrom<SockaddrOs>("linux", "darwin");
  fc.assert(fc.property(socketAddress, os, fc.nat(255), (address, os, rest) => {
    const bytes = encodeSockaddr(address, os);
    const buffer = new Uint8Array(128).fill(rest);
    buffer.set(bytes);
    assert.deepEqual(decodeSockaddr(buffer, bytes.length, os), address);
    const within = new Uint8Array(200).fill(rest);
    within.set(bytes, 7);
    assert.deepEqual(decodeSockaddr(within.subarray(7), bytes.length, os), address);
  }));
});

const DECODED: readonly (readonly [string, SockaddrOs, string, number, SocketAddress | undefined])[] = [
  ["nothing", "linux", "", 0, undefined],
  ["half a family", "linux", "02", 1, undefined],
  ["netlink", "linux", "1000 0000 00000000 00000000", 12, undefined],
  ["IPv6 of the other system", "linux", "1e00".padEnd(56, "0"), 28, undefined],
  ["IPv4 that is cut off", "linux", "0200 1f90 7f0000", 7, undefined],
  ["IPv4 in too small a buffer", "linux", "0200 1f90 7f00", 16, undefined],
  ["IPv6 that is cut off", "linux", "0a00 1f90 00000000 00", 9, undefined],
  ["a path in too small a buffer", "linux", "0100 2f61", 9, undefined],
  ["a socket without a name", "linux", "0100", 2, { type: "unix", path: "" }],
  ["a socket without a name, with room for one", "linux", "0100 2f6100", 2, { type: "unix", path: "" }],
  ["a socket without a name", "darwin", "1001".padEnd(32, "0"), 16, { type: "unix", path: "" }],
  ["a path without NUL", "linux", "0100 2f61", 4, { type: "unix", path: "/a" }],
  ["a path with more than one NUL", "linux", "0100 2f61 000000", 7, { type: "unix", path: "/a" }],
  ["a name that the kernel made", "linux", "0100 00 3030303032", 8, { type: "unix", path: "@00002" }],
  ["a file that begins with @", "linux", "0100 4061 00", 5, { type: "unix", path: "./@a" }],
  ["a file that begins with @", "darwin", "0501 4061 00", 5, { type: "unix", path: "@a" }],
  ["a file that begins with a mark of byte order", "linux", "0100 efbbbf61 00", 7, { type: "unix", path: "\ufeffa" }],
];

test("decodeSockaddr() reads what systems fill in", () => {
  for (const [what, os, bytes, length, address] of DECODED) {
    assert.deepEqual(decodeSockaddr(bytesOf(bytes), length, os), address, `${what} (${os})`);
  }
});

test("encodeSockaddr() refuses what no socket can be bound to", () => {
  const unix = (path: string): SocketAddress => ({ type: "unix", path });
  assert.throws(() => encodeSockaddr(unix(""), "linux"), { name: "TypeError", message: /to an empty path: give/ });
  assert.throws(() => encodeSockaddr(unix("a\0b"), "linux"), { name: "TypeError", message: /'a\\0b': a path cannot/ });
  assert.throws(() => encodeSockaddr({ ...V4, host: "127.1" }, "linux"), {
    name: "TypeError",
    message: /'127.1' as an/,
  });
  for (const [os, most] of [["linux", 107], ["darwin", 103]] as const) {
    assert.equal(encodeSockaddr(unix("x".repeat(most)), os).length, 2 + most + 1);
    assert.throws(() => encodeSockaddr(unix("x".repeat(most + 1)), os), {
      name: "RangeError",
      message: new RegExp(`the path has ${most + 1} bytes, and ${os} allows ${most}; give a shorter one`),
    });
  }
});

test(
  "encodeSockaddr() writes what Perl's Socket writes",
  { skip: process.platform !== "linux", timeout: 180_000 },
  () => {
    const script = `use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6); print unpack("H*", $_), "\\n" for
    pack_sockaddr_in(8080, inet_aton("127.0.0.1")), pack_sockaddr_in6(443, inet_pton(AF_INET6, "2001:db8::1")),
    pack_sockaddr_un("/run/app.sock")`;
    const wanted = execFileSync("perl", ["-e", script], { encoding: "utf8" }).trim().split("\n");
    assert.equal(hex(encodeSockaddr(V4, "linux")), wanted[0]);
    assert.equal(hex(encodeSockaddr(V6, "linux")), wanted[1]);
    // Perl fills up sun_path with NULs.
    assert.equal(hex(encodeSockaddr({ type: "unix", path: "/run/app.sock" }, "linux")).padEnd(220, "0"), wanted[2]);
  },
);
