import assert from "node:assert/strict";
import { test } from "node:test";
import { inPieces, LineSplitter, prefixLines } from "../src/cli/lines.ts";
import { openLog } from "../src/cli/log.ts";
import { type Dropped, Outlet } from "../src/cli/outlet.ts";
import { byPrefix, byRecord, unnamed, workerPrefix } from "../src/cli/naming.ts";
import { OutputRelay } from "../src/cli/output.ts";
import type { WorkerInfo } from "../src/types.ts";
import { waitFor } from "./support/processes.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (block: Uint8Array): string => new TextDecoder().decode(block);
const describeDropped = ({ lines, bytes }: Dropped): string => `${lines} lines, ${bytes} bytes dropped\n`;

function cut(chunks: readonly string[], limit: number): string[] {
  const splitter = new LineSplitter(limit);
  return [...chunks.map((chunk) => text(splitter.push(bytes(chunk)))), text(splitter.end())];
}

test("LineSplitter gives whole lines, and holds back the rest", () => {
  const cases: readonly [readonly string[], readonly string[]][] = [
    [["one\n"], ["one\n", ""]],
    [["o", "ne", "\n"], ["", "", "one\n", ""]],
    [["one\ntw", "o\nthree"], ["one\n", "two\n", "three"]],
    [["\n\n"], ["\n\n", ""]],
    [["", "a"], ["", "", "a"]],
    [[], [""]],
    [["é".slice(0, 1) + "\r\n"], ["é\r\n", ""]],
  ];
  for (const [chunks, blocks] of cases) assert.deepEqual(cut(chunks, 100), blocks, JSON.stringify(chunks));
});

test("LineSplitter passes a line that is too long in pieces, and nothing is lost", () => {
  assert.deepEqual(cut(["12345678"], 8), ["12345678", ""]);
  assert.deepEqual(cut(["1234", "5678", "9\n"], 8), ["", "12345678", "9\n", ""]);
  assert.deepEqual(cut(["a\n1234", "5678", "9\nb"], 8), ["a\n", "12345678", "9\n", "b"]);
  assert.deepEqual(cut(["a\n12345678"], 8), ["a\n12345678", ""]);
});

test("LineSplitter cuts no character in two", () => {
  const line = "aé€😀".repeat(40);
  for (let size = 5; size < 40; size++) {
    const splitter = new LineSplitter(20);
    const all = bytes(line);
    const pieces: string[] = [];
    for (let at = 0; at < all.length; at += size) pieces.push(text(splitter.push(all.subarray(at, at + size))));
    pieces.push(text(splitter.end()));
    assert.equal(pieces.join(""), line, `${size}`);
  }
});

test("LineSplitter holds no more of what might be characters than of all else", () => {
  const splitter = new LineSplitter(20);
  let passed = 0;
  for (let count = 0; count < 1000; count++) passed += splitter.push(new Uint8Array([0xe2])).length;
  assert.ok(passed > 970, `${passed} of 1000 bytes were passed on`);
});

test("inPieces() cuts after so many lines, and loses nothing", () => {
  const cut = (block: string) => [...inPieces(bytes(block), 2)].map((piece) => text(piece));
  assert.deepEqual(cut("1\n2\n3\n4\n5"), ["1\n2\n", "3\n4\n", "5"]);
  assert.deepEqual(cut("1\n2\n"), ["1\n2\n"]);
  assert.deepEqual(cut("\n\n\n"), ["\n\n", "\n"]);
  assert.deepEqual(cut(""), []);
});

test("LineSplitter keeps its own copy of what it holds back", () => {
  const splitter = new LineSplitter();
  const chunk = bytes("abc");
  splitter.push(chunk);
  chunk.fill(0);
  assert.equal(text(splitter.push(bytes("\n"))), "abc\n");
});

test("prefixLines() names every line, and no continuation", () => {
  const cases: readonly [string, boolean, string][] = [
    ["one\ntwo\n", true, "> one\n> two\n"],
    ["end\ntwo", false, "end\n> two"],
    ["\n", true, "> \n"],
    ["", true, ""],
  ];
  for (const [block, begins, wanted] of cases) {
    assert.equal(text(prefixLines(bytes(block), bytes("> "), begins)), wanted, JSON.stringify(block));
  }
});

test("workerPrefix() is coloured on request only", () => {
  assert.equal(workerPrefix({ slot: 0, pid: 42 }, false), "[0 42] ");
  assert.equal(workerPrefix({ slot: -1, pid: 42 }, false), "[standby 42] ");
  assert.equal(workerPrefix({ slot: 1, pid: 42 }, true), "\x1b[33m[1 42]\x1b[0m ");
});

test("byRecord() makes one record of each line, and of a piece of one", () => {
  const name = byRecord("stderr", (line, { slot, pid }, stream) => `${JSON.stringify([line, slot, pid, stream])}\n`);
  const named = (block: string) => text(name(bytes(block), { slot: 1, pid: 42 }, true)).split("\n");
  assert.deepEqual(named('a "b"\n\n\tc\n'), [
    '["a \\"b\\"",1,42,"stderr"]',
    '["",1,42,"stderr"]',
    '["\\tc",1,42,"stderr"]',
    "",
  ]);
  assert.deepEqual(named("x"), ['["x",1,42,"stderr"]', ""]);
});

/** A reader that takes all at once. */
class EagerReader {
  written = "";

  readonly write = (block: Uint8Array): Promise<number> => {
    this.written += text(block);
    return Promise.resolve(block.length);
  };
}

/** A reader that takes bytes only when it is told to. */
class StuckReader {
  written = "";
  #open = Promise.withResolvers<void>();

  readonly write = async (block: Uint8Array): Promise<number> => {
    await this.#open.promise;
    this.written += text(block);
    return block.length;
  };

  go(): void {
    this.#open.resolve();
  }
}

test("Outlet drops log lines when nobody reads, and tells how many once somebody does", async () => {
  const reader = new StuckReader();
  const outlet = new Outlet(reader.write, { describeDropped, maxWaitingBytes: 10 });
  for (let line = 0; line < 100; line++) outlet.log(`line ${line}\n`);
  reader.go();
  await outlet.drain(1000);
  assert.equal(reader.written, "line 0\nline 1\n98 lines, 0 bytes dropped\n");
  outlet.log("again\n");
  await outlet.drain(1000);
  assert.equal(reader.written, "line 0\nline 1\n98 lines, 0 bytes dropped\nagain\n");
});

test("Outlet never drops what workers print, and keeps its order", async () => {
  const reader = new StuckReader();
  const outlet = new Outlet(reader.write, { describeDropped, maxWaitingBytes: 1 });
  const owner = {};
  let resolved = 0;
  for (let line = 0; line < 100; line++) outlet.print(owner, bytes(`${line}\n`)).then(() => resolved++);
  assert.equal(resolved, 0);
  reader.go();
  await outlet.drain(1000);
  assert.equal(reader.written, Array.from({ length: 100 }, (_, line) => `${line}\n`).join(""));
  assert.equal(resolved, 100);
});

test("Outlet drops what waits of those who are gone, once too much of that waits", async () => {
  const reader = new StuckReader();
  const outlet = new Outlet(reader.write, { describeDropped, maxWaitingBytes: 7 });
  const [live, gone, late] = [{}, {}, {}];
  outlet.print(live, bytes("live 1\n"));
  const waiting = outlet.print(gone, bytes("gone 1\n"));
  outlet.abandon(gone);
  await waiting;
  outlet.print(live, bytes("live 2\n"));
  outlet.abandon(late);
  outlet.print(late, bytes("late 1\n"));
  await outlet.print(late, bytes("late 2\n"));
  reader.go();
  await outlet.drain(1000);
  await outlet.print(late, bytes("late 3\n"));
  assert.equal(reader.written, "live 1\nlive 2\nlate 1\n0 lines, 14 bytes dropped\nlate 3\n");
});

test("Outlet drops nothing of those who are gone, however much the living print", async () => {
  const reader = new StuckReader();
  const outlet = new Outlet(reader.write, { describeDropped, maxWaitingBytes: 20 });
  const gone = {};
  for (let line = 0; line < 9; line++) outlet.print({}, bytes(`live ${line}\n`));
  outlet.print(gone, bytes("gone 1\n"));
  outlet.abandon(gone);
  outlet.print(gone, bytes("gone 2\n"));
  reader.go();
  await outlet.drain(1000);
  assert.match(reader.written, /^(live \d\n){9}gone 1\ngone 2\n$/);
});

test("Outlet writes on after short writes, a full non-blocking stream and errors", async () => {
  let written = "";
  const answers = ["EAGAIN", 2, "EAGAIN", undefined, "EPIPE", undefined];
  const write = (block: Uint8Array): Promise<number> => {
    const answer = answers.shift();
    if (typeof answer === "string") return Promise.reject(Object.assign(new Error(answer), { code: answer }));
    written += text(block.subarray(0, answer));
    return Promise.resolve(answer ?? block.length);
  };
  const outlet = new Outlet(write, { describeDropped });
  outlet.log("first\n");
  await outlet.drain(1000);
  outlet.log("lost\n");
  await outlet.drain(1000);
  outlet.log("last\n");
  await outlet.drain(1000);
  assert.equal(written, "first\nlast\n1 lines, 0 bytes dropped\n");
});

test("Outlet counts what a full disk does not take, ends what it cut, and tells of it once there is room", async () => {
  let written = "";
  let room = 0;
  const write = (block: Uint8Array): Promise<number> => {
    if (room === 0) return Promise.reject(Object.assign(new Error("no room"), { code: "ENOSPC" }));
    const taken = text(block.subarray(0, room));
    room -= taken.length;
    written += taken;
    return Promise.resolve(taken.length);
  };
  const outlet = new Outlet(write, { describeDropped, maxWaitingBytes: 20 });
  const say = async (space: number, ...lines: readonly string[]) => {
    room = space;
    for (const line of lines) outlet.log(line);
    await outlet.drain(1000);
  };
  await say(9, "whole\n", "half of it\n");
  await outlet.print({}, bytes("printed\n"));
  await say(0, ...Array.from({ length: 5 }, () => "a line of the log\n"));
  await say(14, "again\n"); // with room for that, but not for what is to be told
  await say(1000, "last\n");
  assert.equal(written, "whole\nhal\nagain\n6 lines\nlast\n6 lines, 8 bytes dropped\n");
});

test("Outlet takes lines again when it was full and its disk is not any more", async () => {
  let isFull = true;
  let written = "";
  const write = (block: Uint8Array): Promise<number> => {
    if (isFull) return Promise.reject(Object.assign(new Error("no room"), { code: "ENOSPC" }));
    written += text(block);
    return Promise.resolve(block.length);
  };
  const outlet = new Outlet(write, { describeDropped, maxWaitingBytes: 10 });
  for (let line = 0; line < 9; line++) outlet.log("a line\n");
  await outlet.drain(1000);
  isFull = false;
  outlet.log("last\n");
  await outlet.drain(1000);
  assert.equal(written, "last\n9 lines, 0 bytes dropped\n");
});

test("Outlet ends a line that one worker left unfinished before another begins one", async () => {
  const reader = new EagerReader();
  const outlet = new Outlet(reader.write, { describeDropped });
  const [one, two] = [{}, {}];
  outlet.print(one, bytes("half"));
  assert.equal(outlet.isMidLine(one), true);
  outlet.print(one, bytes(" more"));
  outlet.print(two, bytes("other\n"));
  outlet.print(one, bytes("rest\n"));
  outlet.log("log\n");
  await outlet.drain(1000);
  assert.equal(reader.written, "half more\nother\nrest\nlog\n");
});

test("Outlet.drain() gives up on a reader that takes nothing", async () => {
  const outlet = new Outlet(new StuckReader().write, { describeDropped });
  outlet.log("line\n");
  await outlet.drain(10);
});

test("OutputRelay passes whole lines with their worker's name, and knows when all is read", async () => {
  const read = { stdout: new EagerReader(), stderr: new EagerReader() };
  const outletOf = (stream: "stdout" | "stderr"): Outlet => new Outlet(read[stream].write, { describeDropped });
  const stdout = { outlet: outletOf("stdout"), naming: byPrefix(false) };
  const relay = new OutputRelay({ stdout, stderr: { outlet: outletOf("stderr"), naming: unnamed } });
  const worker: WorkerInfo = { pid: 42, slot: 3, generation: 1, state: "ready", status: "_" };
  relay.spawned(42);
  const [out, err] = [relay.output(worker, "stdout"), relay.output(worker, "stderr")];
  await out(bytes("one\ntw"));
  await err(bytes("oops\n"));
  let ended = false;
  const end = relay.ended(20_000).then(() => ended = true);
  await err(new Uint8Array(0));
  assert.equal(ended, false);
  await out(new Uint8Array(0));
  await end;
  await waitFor(() => read.stdout.written !== "one\n", { what: "the last line" });
  const written = { stdout: read.stdout.written, stderr: read.stderr.written };
  assert.deepEqual(written, { stdout: "[3 42] one\n[3 42] tw", stderr: "oops\n" });
});

test("OutputRelay writes nothing into the line of a worker's other stream", async () => {
  const reader = new EagerReader();
  const outlet = new Outlet(reader.write, { describeDropped });
  const both = { outlet, naming: byPrefix(false) };
  const relay = new OutputRelay({ stdout: both, stderr: both });
  const worker: WorkerInfo = { pid: 42, slot: 3, generation: 1, state: "ready", status: "_" };
  relay.spawned(42);
  const [out, err] = [relay.output(worker, "stdout"), relay.output(worker, "stderr")];
  const long = "x".repeat(70_000);
  await out(bytes(long));
  await err(bytes("oops\n"));
  await out(bytes("50 %"));
  await out(new Uint8Array(0));
  await err(bytes("crash\n"));
  assert.equal(reader.written, `[3 42] ${long}\n[3 42] oops\n[3 42] 50 %\n[3 42] crash\n`);
});

test("Log.format() gives a line as tell() writes it", () => {
  const lines: string[] = [];
  const log = openLog({
    format: "json",
    color: false,
    name: "web",
    speaker: () => "",
    write: (line) => lines.push(line),
  });
  const what = ["warning", "stderr was\nfull", { event: "full" }] as const;
  log.tell(...what);
  const [told, formatted] = [...lines, log.format(...what)].map((line) => ({ ...JSON.parse(line), "@timestamp": "" }));
  assert.deepEqual(formatted, told);
  assert.deepEqual([told.message, told.logger, told.properties.event], ["stderr was full", "prefork.web", "full"]);
  assert.ok(log.format(...what).endsWith("}\n"));
});
