/** What jobs are given and what they give, as it arrives in another process. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decode, encode, encodeThrown } from "../src/jobs/codec.ts";

function copy(value: unknown): unknown {
  const encoded = encode(value);
  assert.doesNotMatch(encoded.text, /\n/);
  return decode(encoded);
}

describe("a value that is sent to another process", () => {
  const values: readonly [string, unknown][] = [
    ["nothing", undefined],
    ["null", null],
    ["text", "zwei\nZeilen \u2028"],
    ["numbers", [0, -0, 1.5, NaN, Infinity, -Infinity]],
    ["a big number", 12345678901234567890n],
    ["what JSON knows", { a: [1, "b", null, { c: true }], "": {} }],
    ["what JSON does not know", { at: new Date(0), none: undefined, pattern: /a+/giu }],
    ["maps and sets", new Map<unknown, unknown>([[{ a: 1 }, new Set([1, "2"])]])],
    ["bytes", {
      bytes: new Uint8Array([0, 1, 255]),
      floats: new Float64Array([0.1]),
      buffer: new Uint8Array([7]).buffer,
    }],
    ["gaps", [1, , 3]], // deno-lint-ignore no-sparse-arrays
  ];
  for (const [name, value] of values) it(`arrives as it was: ${name}`, () => assert.deepEqual(copy(value), value));

  it("is told by JSON where that tells all of it", () => {
    assert.deepEqual(encode({ a: [1, { b: "c" }] }), { text: 'j{"a":[1,{"b":"c"}]}', blobs: [] });
  });

  it("has many bytes beside its text, as they are now", () => {
    const value = { bytes: new Uint8Array(1000).fill(7), floats: new Float64Array(200).fill(0.1), end: 1n };
    const encoded = encode(value);
    assert.deepEqual(encoded.blobs.map(({ length }) => length), [1000, 1600]);
    value.bytes.fill(8);
    assert.deepEqual(decode(encoded), { ...value, bytes: new Uint8Array(1000).fill(7) });
    const { buffer } = new Uint16Array(500).fill(3);
    assert.deepEqual(copy([buffer, new DataView(buffer, 100)]), [buffer, new DataView(buffer.slice(100))]);
  });

  it("has of views what they show, and what kind they are, however large", () => {
    const big = new Uint8Array(1000).map((_, index) => index);
    class Own extends Float64Array {}
    for (const size of [0, 3, 100]) {
      const values = [
        big.subarray(5, 5 + size),
        new DataView(big.buffer, 5, size),
        new Uint8ClampedArray(size).fill(9),
      ];
      assert.deepEqual(copy(values), values);
      assert.deepEqual(copy(new Own(size).fill(0.5)), new Float64Array(size).fill(0.5));
      assert.deepEqual(copy(new Uint8Array(size).buffer), new Uint8Array(size).buffer);
    }
    assert.equal(encode(big.subarray(5, 8)).blobs[0]?.length, 3);
  });

  it("keeps what stands in it twice, and circles", () => {
    const inner = { a: 1 };
    const [first, second] = copy([inner, inner]) as [object, object];
    assert.equal(first, second);
    const circle: { self?: unknown } = {};
    circle.self = circle;
    const arrived = copy(circle) as typeof circle;
    assert.equal(arrived.self, arrived);
  });

  it("keeps errors with their kind, their cause and where they come from", () => {
    const error = new RangeError("too far", { cause: new Error("for this") });
    error.name = "TooFarError";
    const arrived = copy(error);
    assert.ok(arrived instanceof Error);
    assert.deepEqual([arrived.name, arrived.message, arrived.stack], [error.name, error.message, error.stack]);
    assert.ok(arrived.cause instanceof Error && arrived.cause.message === "for this");
    assert.ok(copy(new TypeError("wrong")) instanceof TypeError);
  });

  it("keeps what an error of many is made of, and the code of one of the system", () => {
    const many = copy(new AggregateError([new TypeError("a"), "b"], "", { cause: 1 }));
    assert.ok(many instanceof AggregateError);
    assert.deepEqual([many.name, many.message, many.cause], ["AggregateError", "", 1]);
    assert.ok(many.errors[0] instanceof TypeError && many.errors[1] === "b");
    const none = copy(Object.assign(new Error("none"), { code: "ENOENT", file() {} }));
    assert.deepEqual(none, Object.assign(new Error("none"), { code: "ENOENT" }));
  });

  it("is what was thrown, as much of it as can be sent", () => {
    const thrown = (value: unknown) => decode(encodeThrown(value));
    assert.deepEqual(thrown({ a: 1 }), { a: 1 });
    const error = new RangeError("too far", { cause: { call() {} } });
    const arrived = thrown(error);
    assert.ok(arrived instanceof RangeError);
    assert.deepEqual([arrived.message, arrived.stack, arrived.cause], ["too far", error.stack, undefined]);
    assert.equal(thrown(Symbol("no good")), "Symbol(no good)");
    assert.equal(thrown(Object.assign(Object.create(null), { call() {} })), "an object of class null");
  });

  it("has of objects of a class their properties, as by structuredClone", () => {
    class Point {
      readonly x = 1;
      readonly y = 2;
    }
    assert.deepEqual(copy({ at: new Point() }), { at: { x: 1, y: 2 } });
  });

  it("is refused in words if it cannot be sent", () => {
    assert.throws(() => encode({ call() {} }), {
      name: "TypeError",
      message: "Cannot send this value to another process: Cannot stringify a function (at .call)",
    });
  });
});
