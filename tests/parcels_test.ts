/** Bytes that go through files, and messages that name them. `PREFORK_TEST_HUGE=1` tries more of them than take 31 bits. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import process from "node:process";
import { describe, it } from "node:test";
import { FrameReader, sendFrame } from "../src/jobs/frames.ts";
import { Parcels } from "../src/jobs/parcels.ts";
import type { ControlConnection } from "../src/types.ts";
import { tempDir } from "./support/run.ts";

const MANY = new Uint8Array(300_000).map((_, index) => index);
const FEW = new Uint8Array(200_000).fill(1);

/** What a message comes to in the stream. */
function sent(blobs: readonly Uint8Array<ArrayBuffer>[], parcels: Parcels): (string | Uint8Array)[] {
  const parts: (string | Uint8Array)[] = [];
  const send = (data: string | Uint8Array): void => void parts.push(data);
  const connection: ControlConnection = { send, flush: () => Promise.resolve(), close() {}, ref() {}, unref() {} };
  sendFrame(connection, "do", 7, { text: "d", blobs }, parcels);
  return parts;
}

function read(line: string, parcels: Parcels | undefined): readonly Uint8Array[] {
  const found: (readonly Uint8Array[])[] = [];
  new FrameReader(() => parcels).push(new TextEncoder().encode(line), ({ value }) => found.push(value.blobs));
  return found[0] ?? assert.fail("no message");
}

describe("bytes of a message", () => {
  it("go through a file where there are many, and it is gone once they are taken", async () => {
    await using dir = await tempDir();
    const manager = new Parcels(dir.path, 4711, "manager");
    const worker = new Parcels(dir.path, 4711, "worker");
    assert.ok(manager.isOpen && worker.isOpen);
    const [line, ...more] = sent([MANY, FEW, MANY], manager);
    assert.match(String(line), /^do 7 300000@4711-manager\d,200000,300000@4711-manager\d d\n$/);
    assert.deepEqual(more, [FEW]);
    assert.equal(readdirSync(dir.path).length, 2);
    for (const name of readdirSync(dir.path)) assert.equal(statSync(dir.file(name)).mode & 0o777, 0o600);
    assert.deepEqual(read(`${String(line).replace(",200000", "")}`, worker), [MANY, MANY]);
    assert.deepEqual(readdirSync(dir.path), []);
  });

  if (process.env["PREFORK_TEST_HUGE"] !== undefined) {
    it("go through a file, however many there are", { timeout: 300_000 }, async () => {
      await using dir = await tempDir();
      const bytes = new Uint8Array(2 ** 31 + 1);
      bytes[2 ** 31] = 7;
      const name = new Parcels(dir.path, 4711, "manager").put(bytes) ?? assert.fail("no file");
      const taken = new Parcels(dir.path, 4711, "worker").take(name, bytes.length);
      assert.deepEqual([taken.length, taken[2 ** 31]], [bytes.length, 7]);
      assert.deepEqual(readdirSync(dir.path), []);
    });
  }

  it("go through the stream where files cannot be made", async () => {
    await using dir = await tempDir();
    const parcels = new Parcels(dir.file("none"), 4711, "manager");
    assert.equal(parcels.isOpen, false);
    assert.deepEqual(sent([MANY], parcels), ["do 7 300000 d\n", MANY]);
    parcels.clear();
  });

  it("are those of one worker, and of nobody else", async () => {
    await using dir = await tempDir();
    const mine = new Parcels(dir.path, 4711, "worker");
    writeFileSync(dir.file("secret"), MANY);
    writeFileSync(dir.file("471-worker1"), MANY);
    mkdirSync(dir.file("4711-d"));
    for (const name of ["secret", "471-worker1", "4711-d-", "47110-worker1"]) {
      const what = { name: "SyntaxError", message: `sent bytes in a file that is not its own: '${name}'` };
      assert.throws(() => read(`do 7 300000@${name} d\n`, mine), what);
    }
    for (const name of ["../4711-worker1", "4711-/secret", "4711-worker1/../secret"]) {
      assert.throws(() => read(`do 7 300000@${name} d\n`, mine), /^SyntaxError: sent a message that is not known/);
      assert.throws(() => mine.take(name, 300_000), /^SyntaxError: sent bytes in a file that is not its own/);
    }
    assert.throws(() => read("do 7 3@4711-worker1 d\n", undefined), /though it said that it makes none/);
    assert.deepEqual(readdirSync(dir.path).sort(), ["471-worker1", "4711-d", "secret"]);
  });

  it("are refused where there are fewer or more than was said, or it is no file", async () => {
    await using dir = await tempDir();
    const parcels = new Parcels(dir.path, 4711, "worker");
    writeFileSync(dir.file("4711-worker1"), MANY);
    mkdirSync(dir.file("4711-d"));
    symlinkSync(dir.file("4711-worker1"), dir.file("4711-link"));
    execFileSync("mkfifo", [dir.file("4711-fifo")]);
    for (const size of [299_999, 300_001]) {
      assert.throws(
        () => parcels.take("4711-worker1", size),
        new RegExp(`sent no file of ${size} bytes by the name '4711-w`),
      );
    }
    assert.throws(() => parcels.take("4711-fifo", 3), /sent no file of 3 bytes/);
    for (const name of ["4711-d", "4711-link"]) assert.throws(() => parcels.take(name, 300_000));
    assert.deepEqual(parcels.take("4711-worker1", 300_000), MANY);
  });

  it("that cannot be read are the failure of their message, and of no other", async () => {
    await using dir = await tempDir();
    const found: unknown[] = [];
    const reader = new FrameReader(() => new Parcels(dir.path, 4711, "worker"));
    const lines = "do 7 300000@4711-manager1 d\ndo 8  d\n";
    reader.push(new TextEncoder().encode(lines), ({ id, failure }) => found.push([id, failure instanceof Error]));
    assert.deepEqual(found, [[7, true], [8, false]]);
  });

  it("do not take the place of what is there", async () => {
    await using dir = await tempDir();
    writeFileSync(dir.file("4711-manager1"), "somebody's");
    assert.equal(new Parcels(dir.path, 4711, "manager").put(MANY), undefined);
    assert.equal(readFileSync(dir.file("4711-manager1"), "utf8"), "somebody's");
  });

  it("that nobody takes are removed", async () => {
    await using dir = await tempDir();
    const [one, other] = [4711, 471].map((pid) => new Parcels(dir.path, pid, "manager"));
    for (const parcels of [one, other]) assert.ok(parcels?.put(MANY));
    one?.clear();
    assert.deepEqual(readdirSync(dir.path), ["471-manager1"]);
    await rm(dir.path, { recursive: true });
    one?.clear();
  });
});
