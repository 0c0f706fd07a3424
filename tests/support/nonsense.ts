/**
 * What may be said on a socket that takes a JSON message a line: right and wrong, whole and cut.
 *
 * @module
 */
import process from "node:process";
import fc from "fast-check";
import { concat } from "../../src/cli/lines.ts";

/** What properties are tried with: so often, and with a seed if it is to be the same as before. A failure tells its own. */
export const TRIES: { readonly numRuns: number; readonly seed?: number } = {
  numRuns: Number(process.env["PREFORK_TEST_RUNS"] ?? 1000),
  ...(process.env["PREFORK_TEST_SEED"] === undefined ? {} : { seed: Number(process.env["PREFORK_TEST_SEED"]) }),
};

/** Names that every object knows already. */
const INHERITED = ["__proto__", "constructor", "toString", "hasOwnProperty"];

/** Numbers that JSON can say and programs stumble over. */
const NUMBERS = ["1e999", "-1e999", "-0", "-1", "0.5", "1e9", "9007199254740993", "1e-400", "123456789012345678901234"];

/** Any characters, and halves of such. */
function text(maxLength: number): fc.Arbitrary<string> {
  return fc.array(fc.nat(0x10ffff), { maxLength }).map((codes) => String.fromCodePoint(...codes));
}

function fieldOf(names: readonly string[], values: readonly string[]): fc.Arbitrary<string> {
  const value = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...values) },
    fc.constantFrom(...NUMBERS, "null", "true", "false", '""', "[]", "{}", '{"__proto__":{"isIdle":true}}'),
    fc.json({ maxDepth: 2 }),
  );
  return fc.tuple(fc.constantFrom(...names, ...INHERITED), value).map(([name, text]) =>
    `${JSON.stringify(name)}:${text}`
  );
}

/** A message with a hole in it, or something that should not be there. */
function spoilt(message: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.tuple(message, fc.nat(200), fc.nat(5), text(5)).map(
    ([line, at, left, extra]) => `${line.slice(0, at)}${extra}${line.slice(at + left)}`,
  );
}

/** Deeper than any message is, as one whole line, whichever way it goes down. */
const DEEP: fc.Arbitrary<string> = fc.tuple(fc.nat(2000), fc.constantFrom("version", "type", "status")).map(
  ([depth, name]) => `{"version":1,"do":"status","${name}":${"[".repeat(depth)}${"]".repeat(depth)}}`,
);

/**
 * Lines of all kinds, without their ends.
 *
 * @param good Messages that make sense.
 */
export function nonsense(good: readonly object[]): fc.Arbitrary<string> {
  const names = [...new Set(good.flatMap((message) => Object.keys(message)))];
  const values = [...new Set(good.flatMap((message) => Object.values(message)).map((value) => JSON.stringify(value)))];
  const whole = fc.constantFrom(...good).map((message) => JSON.stringify(message));
  const made = fc.array(fieldOf(names, values), { maxLength: 6 }).map((fields) => `{${fields.join(",")}}`);
  const added = fc.tuple(whole, fieldOf(names, values)).map(([text, field]) => `${text.slice(0, -1)},${field}}`);
  const long = fc.tuple(whole, fc.nat(80_000)).map(([text, length]) => text.slice(0, -1) + " ".repeat(length) + "}");
  return fc.oneof(
    { weight: 3, arbitrary: whole },
    { weight: 4, arbitrary: made },
    { weight: 4, arbitrary: added },
    { weight: 3, arbitrary: spoilt(whole) },
    fc.json(),
    text(50),
    DEEP,
    { weight: 1, arbitrary: long },
  ).map((line) => line.replaceAll("\n", " "));
}

/** Lines as bytes, in pieces that end anywhere, and now and then with bytes that are no text. */
export function pieces(line: fc.Arbitrary<string>): fc.Arbitrary<readonly Uint8Array[]> {
  const encoder = new TextEncoder();
  const block = fc.oneof(
    { weight: 6, arbitrary: line.map((text) => encoder.encode(`${text}\n`)) },
    fc.uint8Array({ maxLength: 50 }),
  );
  return fc.tuple(fc.array(block, { maxLength: 8 }), fc.infiniteStream(fc.integer({ min: 1, max: 60 }))).map(
    ([blocks, sizes]) => {
      const bytes = concat(blocks);
      const cut: Uint8Array[] = [];
      // Long ones in larger pieces: they are many already.
      const scale = 1 + Math.floor(bytes.length / 1000);
      for (let at = 0; at < bytes.length;) {
        const size = (sizes.next().value ?? 1) * scale;
        cut.push(bytes.slice(at, at + size));
        at += size;
      }
      return cut;
    },
  );
}
