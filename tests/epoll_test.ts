import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import fc from "fast-check";
import { encodeEvent, parseFdinfo } from "../src/epoll.ts";

const FDINFO = `pos:\t0
flags:\t02000002
mnt_id:\t17
ino:\t18
tfd:        4 events: 80002019 data:                4  pos:0 ino:5107ac sdev:9
tfd:      123 events:       1d data: ffff7f0012345678  pos:0 ino:5107ad sdev:9
tfd:        5 events:        0 data:                0
`;

test("parseFdinfo() reads the entries of an epoll set", () => {
  assert.deepEqual(parseFdinfo(FDINFO), [
    { fd: 4, events: 0x80002019, data: 4n },
    { fd: 123, events: 0x1d, data: 0xffff7f0012345678n },
    { fd: 5, events: 0, data: 0n },
  ]);
  assert.deepEqual(parseFdinfo("pos:\t0\nflags:\t02\nmnt_id:\t17\n"), []);
  assert.deepEqual(parseFdinfo(""), []);
});

test("parseFdinfo() reads what the kernel prints", { skip: process.platform !== "linux" }, () => {
  const texts = readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const isEpoll = readlinkSync(`/proc/self/fd/${fd}`) === "anon_inode:[eventpoll]";
      return isEpoll ? [readFileSync(`/proc/self/fdinfo/${fd}`, "utf8")] : [];
    } catch {
      return []; // Closed meanwhile, as the one that lists them is.
    }
  });
  const lines = texts.flatMap((text) => text.split("\n").filter((line) => line.startsWith("tfd:")));
  assert(lines.length > 0, "the runtime waits for something");
  const entries = texts.flatMap(parseFdinfo);
  const again = entries.map(({ fd, events, data }) =>
    `tfd: ${fd} events: ${events.toString(16)} data: ${data.toString(16)}`
  );
  assert.deepEqual(again, lines.map((line) => line.replaceAll(/ +/g, " ").replace(/ pos:.*| $/, "")));
});

const ENTRY = { events: 0x80000001, data: 0x1122334455667788n };

test("encodeEvent() packs on x86-64 and nowhere else", () => {
  const packed = [0x01, 0, 0, 0x80, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11];
  const aligned = [0x01, 0, 0, 0x80, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11];
  for (const arch of ["x86_64", "x64"]) assert.deepEqual([...encodeEvent(ENTRY, arch)], packed, arch);
  for (const arch of ["aarch64", "arm64", "riscv64"]) assert.deepEqual([...encodeEvent(ENTRY, arch)], aligned, arch);
});

test("encodeEvent() keeps every bit that parseFdinfo() reads", () => {
  const events = fc.nat(0xffff_ffff);
  const data = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  fc.assert(fc.property(events, data, fc.constantFrom("x64", "arm64"), (events, data, arch) => {
    const line = `tfd: 4 events: ${events.toString(16).padStart(8)} data: ${data.toString(16).padStart(16)} pos:0\n`;
    const [entry] = parseFdinfo(line);
    assert.deepEqual(entry, { fd: 4, events, data });
    const view = new DataView(encodeEvent({ events, data }, arch).buffer);
    assert.equal(view.getUint32(0, true), events);
    assert.equal(view.getBigUint64(view.byteLength - 8, true), data);
  }));
});
