/**
 * The seven test files of Parallel::Prefork 0.18 as behaviour. Each has a program in `fixtures/upstream` that prints what
 * happens to it. Where the original sleeps and then looks, these wait for what they look for.
 */
import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { type Program, runProgram, tempDir } from "./support/run.ts";

interface Line {
  readonly event: string;
  readonly pid: number;
  readonly child?: number;
  readonly at?: number;
  readonly left?: number;
  readonly took?: number;
  readonly rounds?: number;
  readonly round?: number;
  readonly forkValue?: number;
  readonly workers?: number;
  readonly active?: number;
  readonly first?: number;
}

function runFixture(name: string, args: readonly string[] = []): Program {
  return runProgram(new URL(`./fixtures/upstream/${name}.ts`, import.meta.url), args);
}

function linesOf(program: Program): Line[] {
  return program.lines.map((line) => JSON.parse(line));
}

function eventsOf(program: Program, event: string): Line[] {
  return linesOf(program).filter((line) => line.event === event);
}

const is = (event: string) => (line: string): boolean => line.startsWith(`{"event":"${event}"`);

/** Waits for the program to stop as asked; its last line must say so. */
async function finished(program: Program): Promise<Line> {
  const status = await program.waitForEnd();
  assert.deepEqual(status, { code: 0, signal: null }, program.report());
  assert.deepEqual(program.errorLines, [], program.report());
  const last = linesOf(program).at(-1);
  assert.equal(last?.event, "done", program.report());
  return last;
}

/** The time between each of these and the next. */
function gaps(lines: readonly Line[]): number[] {
  return lines.slice(1).map(({ at = NaN }, i) => at - (lines[i]?.at ?? NaN));
}

test("01-base: every worker starts once and is told to stop once", { timeout: 180_000 }, async () => {
  await using dir = await tempDir();
  await using program = runFixture("base", [dir.path]);
  assert.equal((await finished(program)).left, 0);
  for (const event of ["begun", "term", "reap"]) assert.equal(eventsOf(program, event).length, 10, program.report());
  assert.equal(new Set(eventsOf(program, "term").map(({ pid }) => pid)).size, 10, program.report());
});

test(
  "02-reconfigure: a HUP from a worker makes a new round, which has the new data",
  { timeout: 180_000 },
  async () => {
    await using program = runFixture("reconfigure");
    assert.equal((await finished(program)).rounds, 2, program.report());
    assert.deepEqual(eventsOf(program, "work").map(({ round }) => round), [1, 2], program.report());
  },
);

test("03-spareworkers: the pool follows its spare workers", { timeout: 180_000 }, async () => {
  await using dir = await tempDir();
  await using program = runFixture("spare_workers", [dir.path]);
  const size = (workers: number, active: number) => `"workers":${workers},"active":${active}}`;

  await program.waitForLine(size(3, 0));
  assert.ok(eventsOf(program, "pool").every(({ workers = NaN }) => workers <= 3), program.report());
  await writeFile(dir.file("active"), "");
  await program.waitForLine(size(10, 10));
  await rm(dir.file("active"));
  await program.waitForLine(size(5, 0));
  await writeFile(dir.file("stop"), "");

  assert.equal((await finished(program)).left, 0);
  assert.ok(eventsOf(program, "pool").every(({ workers = NaN }) => workers <= 10), program.report());
  assert.equal(eventsOf(program, "retire").length, 5, program.report());
});

test("04-interval: workers come and go at their intervals", { timeout: 180_000 }, async () => {
  await using program = runFixture("interval");
  await program.waitForLine(is("ready"), { count: 3 });
  program.kill("SIGTERM");
  assert.equal((await finished(program)).left, 0);

  const spawns = eventsOf(program, "spawn");
  const relays = eventsOf(program, "relay");
  const reaps = eventsOf(program, "reap");
  assert.deepEqual([spawns.length, relays.length, reaps.length], [3, 3, 3], program.report());
  // Times are those at which events were told, which may be late on a busy machine: half an interval is proof enough.
  assert.ok(gaps(spawns).every((gap) => gap > 500), program.report());
  assert.ok(gaps(relays).every((gap) => gap > 1000), program.report());
  assert.deepEqual(reaps.map(({ child }) => child), relays.map(({ child }) => child), program.report());
  const [returned] = eventsOf(program, "returned");
  assert.ok((returned?.at ?? NaN) < (relays[1]?.at ?? NaN), `start waited for its workers\n${program.report()}`);
});

test("05-before-after-fork: hooks run for each fork and reach the worker", { timeout: 180_000 }, async () => {
  await using program = runFixture("before_after_fork");
  assert.equal((await finished(program)).left, 0);
  const [before, after, reap] = ["before", "after", "reap"].map((event) => eventsOf(program, event).length);
  assert.ok(before !== undefined && before >= 10, program.report());
  assert.deepEqual([after, reap], [before, before], program.report());
  const values = eventsOf(program, "work").map(({ forkValue = NaN }) => forkValue);
  assert.equal(new Set(values).size, values.length, program.report());
  assert.ok(values.includes(10) && values.every((value) => value >= 1 && value <= before), program.report());
});

test("06-wait-all-children-with-timeout: a wait ends with its time and tells who is left", {
  timeout: 180_000,
}, async () => {
  await using program = runFixture("wait_timeout");
  await program.waitForLine(is("ready"), { count: 30 });
  program.kill("SIGTERM");
  const { left, workers } = await finished(program);
  assert.deepEqual([left, workers], [0, 0], program.report());
  assert.deepEqual(eventsOf(program, "left").map((line) => line.left), [20, 10], program.report());
  assert.ok(eventsOf(program, "left").every(({ took = NaN }) => took >= 990), program.report());
  assert.equal(eventsOf(program, "reap").length, 30, program.report());
});

test(
  "07-wait-all-children-does-not-block: not even when all ends as the time is up",
  { timeout: 180_000 },
  async () => {
    await using program = runFixture("wait_does_not_block");
    await program.waitForLine(is("ready"), { count: 30 });
    program.kill("SIGTERM");
    const { left, took = NaN } = await finished(program);
    assert.equal(left, 0, program.report());
    // Five seconds in the original; a wait that blocked would take the 30 of `stopTimeoutMs`, or for ever.
    assert.ok(took < 15_000, `it took ${took} ms\n${program.report()}`);
    assert.equal(eventsOf(program, "reap").length, 30, program.report());
  },
);
