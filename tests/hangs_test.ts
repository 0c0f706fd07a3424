/** Workers whose event loop stands still, and those that only look so. */
import assert from "node:assert/strict";
import process from "node:process";
import { describe, it } from "node:test";
import { eventsOfType, liveWorkers, runFixture, stopPool, waitForReady } from "./support/pool.ts";
import { signalProcess, waitFor } from "./support/run.ts";

const LONG = { timeout: 180_000 };

describe("a worker that hangs is killed and replaced", () => {
  for (const [how, what] of [["loop", "in a loop"], ["block", "in a call that blocks"]] as const) {
    it(`(${what})`, LONG, async () => {
      await using program = runFixture("hangs", [how]);
      await program.waitForLine('"type":"hang"');
      const [{ worker, silentMs, ageMs, usage } = {}] = eventsOfType(program, "hang");
      assert.deepEqual([worker?.status, silentMs], ["at work", 1000]);
      assert.ok(ageMs !== undefined && ageMs >= 1000 && ageMs < 30_000, `${ageMs}`);
      if (process.platform === "linux") {
        assert.ok(usage !== undefined && usage.memoryBytes > 10_000_000, JSON.stringify(usage));
        if (how === "loop") assert.ok(usage.cpuMs > 0, JSON.stringify(usage));
      }
      await waitFor(() => eventsOfType(program, "spawn").length >= 2, { what: "the next worker" });
      const [reaped] = eventsOfType(program, "reap");
      assert.deepEqual([reaped?.worker.pid, reaped?.expected], [worker?.pid, false]);
      assert.match(reaped?.reason ?? "", /hung: its event loop did not turn for 1000 ms/);
      await stopPool(program);
    });
  }

  it("(stopped by a signal)", LONG, async () => {
    await using program = runFixture("hangs", ["idle"]);
    const [{ pid } = { pid: 0 }] = await waitForReady(program, 1);
    signalProcess(pid, "SIGSTOP");
    await program.waitForLine('"type":"hang"');
    await waitFor(() => eventsOfType(program, "reap").length === 1, { what: "it to be reaped" });
    await waitForReady(program, 1);
    assert.notEqual(liveWorkers(program)[0]?.pid, pid);
    await stopPool(program);
  });
});

describe("a worker is not killed for a hang", () => {
  const innocent = [
    ["busy", "that is busy and lets its event loop turn now and then"],
    ["extended", "that asked for time before it blocks"],
    ["early", "that asked for time before it was ready, and blocks"],
    ["brief", "that asks for less time than it has"],
    ["flood", "whose output the manager does not read"],
  ] as const;
  for (const [how, what] of innocent) {
    it(what, LONG, async () => {
      await using program = runFixture("hangs", [how]);
      await program.waitForLine("lived");
      assert.deepEqual(eventsOfType(program, "hang"), [], program.report());
      await stopPool(program);
      assert.equal(eventsOfType(program, "spawn").length, 1);
    });
  }

  it("of its manager", LONG, async () => {
    await using program = runFixture("hangs", ["idle"]);
    const [{ pid } = { pid: 0 }] = await waitForReady(program, 1);
    program.kill("SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, 3000)); // longer than any deadline of this pool
    program.kill("SIGCONT");
    await new Promise((resolve) => setTimeout(resolve, 1500)); // time enough for a kill, if there were one
    assert.deepEqual(eventsOfType(program, "hang"), [], program.report());
    assert.deepEqual(liveWorkers(program).map((worker) => worker.pid), [pid]);
    await stopPool(program);
  });
});
