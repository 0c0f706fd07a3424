/** `prefork stop`: what has come of it when it returns. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { ask, options, prefork, ready, start, statusOf, web } from "./support/operator.ts";
import { processState, runCommand, runProgram, runtime, runtimeCommand, tempDir } from "./support/run.ts";

const lingering = fileURLToPath(new URL("./fixtures/lingering.ts", import.meta.url));

describe(`prefork stop on ${runtime}`, () => {
  it("says at once that a stop is under way", options, async () => {
    const deaf = "trap '' TERM; echo on; sleep 1000 & wait; wait";
    await using program = start(["--name", "deaf", "-w", "1", "--stop-timeout", "1h", "--", "/bin/sh", "-c", deaf]);
    await program.waitForLine("on");
    await ready(program, 1);
    assert.equal((await ask(program, "stop")).out, "the stop has begun; --wait waits for its end");
    const again = await ask(program, "stop");
    assert.deepEqual([again.code, again.out], [0, "the stop is under way already; --wait waits for its end"]);
    assert.equal((await ask(program, "stop", "--now", "--wait")).code, 0);
  });
});

describe(`prefork stop --wait on ${runtime}`, () => {
  it("does not return before the process of the manager is gone", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("control.sock");
    await using manager = runProgram(lingering, [path]);
    await manager.waitForLine("answers");
    await using stop = runProgram(prefork, ["stop", "--wait", "--control", path]);
    await stop.waitForErrorLine(`  waiting for the process of the manager, pid=${manager.pid}, to be gone`);
    assert.deepEqual(stop.lines, []);
    manager.kill("SIGKILL");
    assert.deepEqual(await stop.waitForEnd(), { code: 0, signal: null }, stop.report());
    assert.deepEqual(stop.lines, ["stopped"]);
  });

  it("does not wait for somebody else to ask how the manager has ended", options, async () => {
    const { command, args } = runtimeCommand();
    const line = [command, ...args, prefork, "--log-format", "plain", ...web, "-w", "1"];
    await using program = runCommand("sh", ["-c", '"$@" & exec sleep 1000', "sh", ...line]);
    await ready(program, 1);
    const { pid } = await statusOf(program);
    const { code, out, errors } = await ask(program, "stop", "--wait");
    assert.deepEqual([code, out, processState(pid)], [0, "stopped", "Z"], errors);
  });
});
