/** What goes through a stream between a manager and a worker, however it is cut. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decode, encode } from "../src/jobs/codec.ts";
import { type Frame, FrameReader, sendFrame } from "../src/jobs/frames.ts";
import type { ControlConnection } from "../src/types.ts";

function bytesOf(...frames: readonly (readonly [Frame["kind"], number, unknown])[]): Uint8Array {
  const sent: number[] = [];
  const send = (data: string | Uint8Array): void => {
    for (const byte of typeof data === "string" ? new TextEncoder().encode(data) : data) sent.push(byte);
  };
  const connection: ControlConnection = { send, flush: () => Promise.resolve(), close() {}, ref() {}, unref() {} };
  for (const [kind, id, value] of frames) sendFrame(connection, kind, id, encode(value));
  return new Uint8Array(sent);
}

function read(bytes: Uint8Array, size: number): unknown[] {
  const reader = new FrameReader();
  const found: unknown[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    const chunk = bytes.slice(at, at + size);
    reader.push(chunk, ({ kind, id, value }) => found.push([kind, id, decode(value)]));
    chunk.fill(0); // whose memory is used again
  }
  return found;
}

describe("messages of a stream", () => {
  const bytes = new Uint8Array(300).map((_, index) => index); // newlines among them
  const frames = [
    ["do", 1, { text: "zwölf\n", list: [1, 2] }],
    ["do", 2, bytes],
    ["done", 3, [bytes, { more: new Uint8Array(1000).fill(10) }]],
    ["end", 4, undefined],
  ] as const;

  for (const size of [1, 7, 100, 100_000]) {
    it(`are the same in chunks of ${size} bytes`, () => assert.deepEqual(read(bytesOf(...frames), size), frames));
  }

  it("may have no value", () => {
    const sent: string[] = [];
    const send = (data: string | Uint8Array): void => void sent.push(String(data));
    sendFrame({ send, flush: () => Promise.resolve(), close() {}, ref() {}, unref() {} }, "ok");
    assert.deepEqual(sent, ["ok 0  \n"]);
    new FrameReader().push(new TextEncoder().encode(sent.join("")), ({ kind, id, value }) => {
      assert.deepEqual({ kind, id, value }, { kind: "ok", id: 0, value: { text: "", blobs: [] } });
    });
  });

  for (const line of ["", "hello 1  ", "do x  ", "do 1 1,,2 ", "do -1  "]) {
    it(`are refused if they make no sense: '${line}'`, () => {
      const push = () => new FrameReader().push(new TextEncoder().encode(`${line}\n`), () => {});
      assert.throws(push, { name: "SyntaxError", message: `sent a message that is not known: "${line}"` });
    });
  }
});
