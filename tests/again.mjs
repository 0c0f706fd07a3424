// deno-lint-ignore-file no-console
/**
 * Runs test files again and again on both runtimes, several at once, so that they compete for the machine: a test that
 * passes only where nothing else runs is found by that. Tells in the end how often each passed in a row, and keeps what
 * those printed that did not.
 *
 *     node tests/again.mjs [--rounds 50] [--jobs 4] [--minutes 60] tests/reload_test.ts ...
 */
import { mkdtempSync, rmdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { inTurn, runFile, RUNTIMES } from "./support/runtimes.mjs";

const { values, positionals: files } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "50" },
    jobs: { type: "string", default: "4" },
    minutes: { type: "string", default: "60" },
  },
});
if (files.length === 0) {
  console.error("Cannot tell what to run: name test files, as in node tests/again.mjs tests/reload_test.ts");
  process.exit(2);
}

const kept = mkdtempSync(join(tmpdir(), "prefork-again-"));
const end = Date.now() + Number(values.minutes) * 60_000;

/** By round, so that all have run as often when the time is up. */
const queue = Array.from({ length: Number(values.rounds) }, (_, round) => {
  return files.flatMap((file) => Object.keys(RUNTIMES).map((runtime) => ({ round: round + 1, runtime, file })));
}).flat();

const tally = new Map();
let latest = 0;

async function run({ round, runtime, file }) {
  const begun = performance.now();
  if (round > latest) console.log(`${new Date().toISOString()} round ${latest = round}`);
  const { status, output } = await runFile(runtime, file);
  const key = `${runtime} ${file}`;
  const { row = 0, failed = [], ms = 0 } = tally.get(key) ?? {};
  const sum = ms + performance.now() - begun;
  if (status === 0) return tally.set(key, { row: row + 1, failed, ms: sum });
  tally.set(key, { row: 0, failed: [...failed, round], ms: sum });
  const name = join(kept, `${runtime}-${file.replaceAll("/", "-")}-${round}.log`);
  writeFileSync(name, output);
  console.log(`${key}: round ${round} ended with ${status}: ${name}`);
}

await inTurn(queue, Number(values.jobs), run, () => Date.now() >= end);
for (const [key, { row, failed, ms }] of [...tally].sort()) {
  const failures = failed.length === 0 ? "" : `; failed in round ${failed.join(", ")}`;
  console.log(`${key}: ${row} in a row, ${Math.round(ms / 1000)} s in all${failures}`);
}
if (queue.length > 0) console.log(`the time was up: ${queue.length} runs were left`);
if ([...tally.values()].every(({ failed }) => failed.length === 0)) rmdirSync(kept);
process.exitCode = [...tally.values()].every(({ failed }) => failed.length === 0) ? 0 : 1;
