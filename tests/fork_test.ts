/** The fork that is none: programs that run again in their workers, with real processes. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Program, runProgram, waitFor } from "./support/run.ts";

const LONG = { timeout: 180_000 };

function run(name: string, ...args: string[]): Program {
  return runProgram(new URL(`./fixtures/fork/${name}.ts`, import.meta.url), args);
}

async function stop(program: Program): Promise<void> {
  program.kill("SIGTERM");
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  await waitFor(() => program.processes().length === 0, { what: "every process to be gone" });
}

describe("workers find their place", () => {
  it("in one of two pools side by side", LONG, async () => {
    await using program = run("two_pools");
    await program.waitForLine(/^worker /, { count: 3 });
    assert.deepEqual(program.matching(/^worker /).toSorted(), [
      "worker a0 data=of a",
      "worker a1 data=of a",
      "worker b0 data=of b",
    ]);
    await stop(program);
    assert.equal(program.matching(/^stopped/).length, 3);
    assert.equal(program.lines.at(-1), "manager done SIGTERM SIGTERM");
  });

  it("in the second of two pools, with the first as it was", LONG, async () => {
    await using program = run("sequence");
    await program.waitForLine("worker of first");
    program.kill("SIGHUP");
    await program.waitForLine("worker of second sees SIGHUP");
    // Once by the manager, once by the worker that went past the first pool on its way.
    assert.deepEqual(program.matching(/^after/), Array(2).fill("after first: SIGHUP left=0 workers=0"));
    await stop(program);
    assert.equal(program.matching("worker of first").length, 1);
  });

  it("in the second of two pools, the first of which was disposed of", LONG, async () => {
    await using program = run("disposed");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    for (const name of ["first", "second"]) {
      await program.waitForLine(`worker of ${name}`);
      await program.waitForLine(`reaped ${name} {"type":"exited","code":0}`);
    }
  });

  it("below a worker that is itself a manager, with what both were given", LONG, async () => {
    await using program = run("nested");
    await program.waitForLine(/^leaf \{/, { count: 4 });
    assert.deepEqual(
      program.matching(/^leaf \{/).toSorted(),
      [0, 0, 1, 1].map((inner, i) => `leaf {"outer":true} {"inner":${inner}} slot=${i % 2}`),
    );
    await stop(program);
    assert.equal(program.matching("leaf stopped").length, 4);
    assert.equal(program.matching("middle done").length, 2);
  });

  it("or are a boot failure that says so", LONG, async () => {
    await using program = run("missed");
    const { code } = await program.waitForEnd();
    assert.equal(code, 0, program.report());
    await program.waitForLine(
      /BootFailureError: Cannot keep this pool: 2 workers failed.*without reaching the start\(\)/,
    );
    assert.equal(program.matching("never").length, 0);
  });

  it("at most eight managers deep", LONG, async () => {
    await using program = run("bomb");
    await program.waitForErrorLine(/9 managers deep/);
    assert.ok(program.processes().length <= 20, program.report());
    await stop(program);
  });
});

describe("a worker", () => {
  const WORKER = 'worker {"pid":true,"managerPid":true,"slot":0,"generation":1,"data":{"list":[1,"two",null],' +
    '"deep":{"umlaut":"ä","quote":"\\"\\n"}},"forkValue":{"hook":"beforeFork","generation":1},"signal":{},"listeners":[]}';

  const ENDS: readonly (readonly [how: string, code: number, error?: RegExp])[] = [
    ["return", 0],
    ["await", 0],
    ["exit", 7],
    ["fall", 3],
    ["throw", 1, /Error: as told/],
    ["again", 1, /Cannot start another worker from within a worker/],
  ];
  for (const [how, code, error] of ENDS) {
    it(`knows what it is, and ends with status ${code} by '${how}'`, LONG, async () => {
      await using program = run("forms", how);
      assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
      assert.ok(program.lines.includes("program isWorker=true"), program.report());
      assert.ok(program.lines.includes(WORKER), program.report());
      assert.ok(program.lines.includes("pm true 1 0 "), program.report());
      assert.ok(program.lines.includes(`reaped {"type":"exited","code":${code}} left=0 pid=true`), program.report());
      assert.equal(program.lines.at(-1), "manager SIGTERM 0");
      if (error) await program.waitForErrorLine(error);
    });
  }
});
