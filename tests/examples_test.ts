import assert from "node:assert/strict";
import { it } from "node:test";
import { runProgram } from "./support/run.ts";

it("the example of jobs gives what they give, in their order", { timeout: 180_000 }, async () => {
  await using program = runProgram(new URL("../examples/jobs.ts", import.meta.url), ["91", "97", "1000000007"]);
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  assert.deepEqual(program.lines, ["91 = 7 * 13", "97 = 97", "1000000007 = 1000000007"]);
});

it("the synopsis of Parallel::Prefork runs: work, respawn, reconfiguration, stop", { timeout: 180_000 }, async () => {
  await using program = runProgram(new URL("../examples/synopsis.ts", import.meta.url));
  await program.waitForLine("works with configuration 1", { count: 3 });
  await program.waitForLine(/ends$/);
  await program.waitForLine("works with configuration 1", { count: 4 });
  program.kill("SIGHUP");
  await program.waitForLine("works with configuration 2", { count: 3 });
  program.kill("SIGUSR2");
  await program.waitForLine("manager: configuration 3 is loaded");
  program.kill("SIGTERM");
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  assert.equal(program.lines.at(-1), "manager: all workers are gone");
  assert.equal(program.matching("works with").length, program.matching(/: ends/).length, program.report());
});
