import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  descendants,
  isAlive,
  otherRuntimeCommand,
  processesWith,
  processState,
  type Program,
  runCommand,
  runProgram,
  runtime,
  tempDir,
  waitFor,
} from "./support/run.ts";

test("tempDir() is gone after its block", async () => {
  let path: string;
  {
    await using dir = await tempDir();
    await writeFile(dir.file("a"), "b");
    path = dir.path;
  }
  assert.equal(existsSync(path), false);
});

test("runProgram() runs a file on both runtimes", { timeout: 180_000 }, async () => {
  await using dir = await tempDir();
  const file = dir.file("hello.ts");
  await writeFile(file, `const who: string = "Deno" in globalThis ? "deno" : "bun"; console.log("on", who);`);
  await using here = runProgram(file);
  assert.match(await here.waitForLine(/^on/), "Deno" in globalThis ? /deno/ : /bun/);
  await using there = runProgram(file, [], { on: otherRuntimeCommand() });
  assert.equal(await there.waitForLine("on"), `on ${otherRuntimeCommand().name}`);
  assert.deepEqual(await there.waitForEnd(), { code: 0, signal: null });
});

test("Program tells what was printed when a line does not come", { timeout: 180_000 }, async () => {
  await using program = runCommand("/bin/sh", ["-c", "echo out; echo err >&2; exit 3"]);
  await assert.rejects(program.waitForLine("never"), /without printing a line that fits never[^]*out[^]*err/);
  assert.deepEqual(await program.status, { code: 3, signal: null });
});

test("Program leaves nothing behind, orphans included", { timeout: 180_000 }, async () => {
  let pid: number;
  {
    await using program = runCommand("/bin/sh", ["-c", "setsid sh -c 'echo $$; sleep 1000; :' & read never"]);
    pid = Number(await program.waitForLine(/^\d+$/));
    assert.ok(isAlive(pid));
    assert.ok(program.processes().includes(pid));
  }
  assert.equal(isAlive(pid), false);
});

test("processState() and descendants() read /proc", { timeout: 180_000 }, async () => {
  await using program = runCommand("/bin/sh", ["-c", "sleep 1000 & echo $!; wait"]);
  const child = Number(await program.waitForLine(/^\d+$/));
  assert.deepEqual(descendants(program.pid), [child]);
  assert.ok(descendants(process.pid).includes(child));
  await waitFor(() => processState(child) === "S", { what: "the child to sleep" });
  program.kill("SIGKILL");
  await program.status;
  assert.equal(processState(program.pid), "gone");
});

/** Runs a file of tests with the runner that runs these. */
function runSuite(kind: "hangs" | "forgets" | "cleans"): Program {
  const file = fileURLToPath(new URL("./fixtures/suite.ts", import.meta.url));
  return runCommand(process.execPath, ["test", ...runtime === "deno" ? ["-A", "--no-check"] : [], file], {
    env: { SUITE: kind },
  });
}

/** The suite of a test process that runs, its programs running. */
async function suiteOf(program: Program): Promise<{ mark: string; directory: string; pids: number[] }> {
  const line = await program.waitForLine(/^suite /);
  const { env, directory, pids } = JSON.parse(line.slice("suite ".length));
  return { mark: `TEST_SUITE=${env.TEST_SUITE}`, directory, pids };
}

for (const signal of ["SIGKILL", "SIGTERM"] as const) {
  test(`A test process ended by ${signal} leaves nothing behind`, { timeout: 180_000 }, async () => {
    await using program = runSuite("hangs");
    const { mark, directory, pids } = await suiteOf(program);
    assert.ok(existsSync(directory));
    for (const pid of pids) assert.ok(processesWith(mark).includes(pid), `${pid} has the mark`);
    program.kill(signal);
    await program.status;
    await waitFor(() => !existsSync(directory), { what: "the janitor to be done" });
    assert.deepEqual(processesWith(mark), []);
    await waitFor(() => !pids.some(isAlive), { what: "those who were killed to be gone" });
  });
}

for (const kind of ["forgets", "cleans"] as const) {
  test(`The janitor does not hold up a test process that ${kind}`, { timeout: 180_000 }, async () => {
    await using program = runSuite(kind);
    const { directory, pids } = await suiteOf(program);
    // The programs that were forgotten hold nothing of it, and the janitor ends them.
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null });
    await waitFor(() => !existsSync(directory), { what: "the janitor to be done" });
    assert.deepEqual(pids.filter(isAlive), []);
  });
}
