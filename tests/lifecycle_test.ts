/** The forms of a worker, and all the ways in which a pool is stopped, with real processes. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { eventsOfType, expectEnd, runFixture, runPool, stopPool, waitForNobody, waitForReady } from "./support/pool.ts";
import { isAlive, otherRuntimeCommand, type Program, runtime, signalProcess, waitFor } from "./support/run.ts";

const LONG = { timeout: 180_000 };
const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/lifecycle/${name}`, import.meta.url));

describe("the worker is", () => {
  for (const form of ["callback", "fall-through"]) {
    it(`this program, in the ${form} form`, LONG, async () => {
      await using program = runPool({ options: { maxWorkers: 2 }, fallThrough: form === "fall-through" });
      const workers = await waitForReady(program, 2);
      assert.deepEqual(workers.map(({ slot }) => slot), [0, 1]);
      assert.equal(program.matching(/^begun [01] 1 \d+ \{"starts":1\}$/).length, 2, program.report());
      await stopPool(program);
      assert.equal(program.matching(/^told [01] received SIGTERM/).length, 2);
      assert.equal(program.matching(/^finished/).length, 2);
    });
  }

  it("a command", LONG, async () => {
    const script = 'echo "$PREFORK_SLOT $PREFORK_GENERATION $PREFORK_MANAGER_PID $0${PREFORK_TOKEN-}"; exec sleep 1000';
    await using program = runPool({ options: { maxWorkers: 2 }, command: ["/bin/sh", "-c", script, "arg"] });
    await program.waitForLine(`0 1 ${program.pid} arg`);
    await program.waitForLine(`1 1 ${program.pid} arg`);
    await stopPool(program);
  });

  const other = otherRuntimeCommand();
  const runtimes = [
    ["the same runtime", {}, runtime],
    ["the other runtime", { runtime: other.name, executable: other.command }, other.name],
  ] as const;
  for (const [where, choice, name] of runtimes) {
    it(`a module on ${where}, whose default export is called`, LONG, async () => {
      await using program = runPool({ options: { maxWorkers: 2 }, module: fixture("module.ts"), ...choice });
      await waitForReady(program, 2);
      await program.waitForLine(`module on ${name} main=true isWorker=true args=one --two`, { count: 2 });
      await program.waitForLine('data {"starts":1}', { count: 2 });
      await program.waitForLine("called true slot=0");
      await program.waitForLine("called true slot=1");
      await stopPool(program);
      assert.equal(program.matching("module stopped").length, 2, program.report());
    });

    it(`a program on ${where} that knows nothing of prefork`, LONG, async () => {
      await using program = runPool({ options: { maxWorkers: 2 }, module: fixture("plain.ts"), ...choice });
      await program.waitForLine("plain main=true", { count: 2 });
      // It says nothing, so it counts as ready after a second; a signal before that is held, not lost.
      await stopPool(program);
      assert.equal(program.matching("plain stopped").length, 2, program.report());
    });
  }
});

/** A pool of two workers that ends itself once they are ready. */
function ending(how: string): Program {
  return runFixture("endings", [how]);
}

describe("a pool is stopped", () => {
  it("with SIGKILL after stopTimeoutMs", LONG, async () => {
    await using program = runPool({ options: { maxWorkers: 2, stopTimeoutMs: 300 }, worker: "ignore" });
    const workers = await waitForReady(program, 2);
    await stopPool(program);
    const late = eventsOfType(program, "stopTimeout").map(({ worker }) => worker.pid);
    assert.deepEqual(late.toSorted(), workers.map(({ pid }) => pid).toSorted());
    for (const { status, expected } of eventsOfType(program, "reap")) {
      assert.deepEqual({ status, expected }, { status: { type: "signaled", signal: "SIGKILL" }, expected: true });
    }
  });

  it("with SIGKILL for what a stubborn worker started, too", LONG, async () => {
    const script = 'trap "" TERM; sleep 1000 & echo child $!; sleep 1000';
    await using program = runPool({
      options: { maxWorkers: 2, stopTimeoutMs: 300 },
      command: ["/bin/sh", "-c", script],
    });
    await program.waitForLine(/^child/, { count: 2 });
    await waitForReady(program, 2);
    await stopPool(program);
    const children = program.matching(/^child/).map((line) => Number(line.slice(6)));
    await waitFor(() => !children.some(isAlive), { what: "what the workers started to be gone" });
  });

  it("with what its workers left behind, whether that obeys or not", LONG, async () => {
    const script =
      'sleep 1000 & (trap "" TERM; echo stubborn; while :; do sleep 1; done) & trap "exit 0" TERM; wait; wait';
    await using program = runPool({
      options: { maxWorkers: 2, stopTimeoutMs: 500 },
      command: ["/bin/sh", "-c", script],
    });
    await waitForReady(program, 2);
    await program.waitForLine("stubborn", { count: 2 });
    await stopPool(program);
    assert.equal(eventsOfType(program, "leftover").length, 2, program.report());
    for (const { expected } of eventsOfType(program, "reap")) assert.equal(expected, true);
  });

  it("with what a worker left behind that somebody killed, while the pool goes on", LONG, async () => {
    await using program = runPool({
      options: { maxWorkers: 1, errRespawnIntervalMs: 0 },
      command: ["/bin/sh", "-c", "sleep 1000 & echo child $!; wait"],
    });
    const child = Number((await program.waitForLine(/^child/)).slice(6));
    signalProcess((await waitForReady(program, 1))[0]?.pid ?? 0, "SIGKILL");
    await waitFor(() => !isAlive(child), { what: "the child of the worker to be told to stop" });
    await program.waitForLine('"type":"leftover"');
    assert.equal(eventsOfType(program, "leftover").length, 1);
    await stopPool(program);
  });

  it("by the `signal` option", LONG, async () => {
    await using program = ending("abort");
    await program.waitForLine("returned SIGTERM");
    await expectEnd(program);
  });

  it("before it began, by a `signal` that was aborted already", LONG, async () => {
    await using program = ending("aborted");
    await program.waitForLine("returned SIGTERM");
    await expectEnd(program);
    assert.equal(eventsOfType(program, "spawn").length, 0);
  });

  for (const how of ["scope", "throw"]) {
    it(`at the end of its scope (${how})`, LONG, async () => {
      await using program = ending(how);
      const { code } = await program.waitForEnd();
      assert.equal(code, 0, program.report());
      assert.equal(program.matching("worker stopped").length, 2, program.report());
      assert.equal(program.lines.at(-1), how === "throw" ? "caught as told, workers 0" : "after the scope, workers 0");
      await waitForNobody(program);
    });
  }
});

describe("waitAllChildren()", () => {
  it("gives up after timeoutMs, with the number of workers left", LONG, async () => {
    await using program = ending("timeout");
    assert.match(await program.waitForLine(/^gave up/), /^gave up 2 after (1[5-9]\d|[2-9]\d\d|\d{4,})$/);
    assert.equal((await program.waitForEnd()).code, 0, program.report());
    assert.equal(program.lines.at(-1), "left 0");
  });

  it("throws the reason of its signal", LONG, async () => {
    await using program = ending("waitAbort");
    await program.waitForLine("rejected true 2");
    await program.waitForLine("rejected at once true");
    assert.equal((await program.waitForEnd()).code, 0, program.report());
    assert.equal(program.lines.at(-1), "left 0");
  });

  it("relays a stop that comes meanwhile", LONG, async () => {
    await using program = ending("waitTerm");
    await program.waitForLine("waiting");
    program.kill("SIGTERM");
    await expectEnd(program);
  });
});

describe("the pool goes on", () => {
  it("when hooks and logger throw", LONG, async () => {
    await using program = runFixture("hooks");
    await program.waitForLine(/"ready"/, { count: 4 });
    const thrown = (): string[] => eventsOfType(program, "hookError").map(({ hook }) => hook);
    for (const hook of ["beforeFork", "afterFork", "onChildReap", "logger"]) {
      await waitFor(() => thrown().includes(hook), { what: `the ${hook} to have thrown\n${program.report()}` });
    }
    await waitForReady(program, 2);
    await stopPool(program);
  });

  it("when a command is missing, and tries again and again until it is stopped", LONG, async () => {
    await using program = runPool({
      options: { maxWorkers: 2, errRespawnIntervalMs: 50, maxRespawnIntervalMs: 100 },
      command: ["/no/such/command"],
    });
    await program.waitForLine(/"spawnError"/, { count: 6 });
    const errors = eventsOfType(program, "spawnError");
    for (const { delayMs } of errors) assert.ok(delayMs >= 0 && delayMs <= 100, program.report());
    assert.deepEqual(new Set(errors.map(({ slot }) => slot)), new Set([0, 1]));
    await stopPool(program);
    assert.equal(eventsOfType(program, "spawn").length, 0);
  });

  it("when its first command is missing and the next one is not", LONG, async () => {
    await using program = runFixture("mended");
    await program.waitForLine(/"spawnError"/);
    program.kill("SIGHUP");
    await waitForReady(program, 2);
    await stopPool(program);
  });
});
