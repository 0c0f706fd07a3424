/** No pool ever opens an inspector's port, and what SIGUSR1 may be used for, with real processes. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { eventsOfType, listening, liveWorkers, runFixture, runPool, stopPool, waitForReady } from "./support/pool.ts";
import { otherRuntimeCommand, type Program, runProgram, runtime, signalProcess, waitFor } from "./support/run.ts";

const LONG = { timeout: 180_000 };
const other = otherRuntimeCommand();
const module = fileURLToPath(new URL("./fixtures/lifecycle/module.ts", import.meta.url));
const REFUSED = /TypeError: Cannot send SIGUSR1 to workers on Deno: it opens the inspector .*; use SIGUSR2/;

/** What the processes of a run listen at, looked up again and again until the block ends. */
function watchPorts(program: Program): AsyncDisposable & { readonly seen: Set<string> } {
  const seen = new Set<string>();
  let watching = true;
  const watched = (async () => {
    while (watching) {
      for (const address of listening(program.processes())) seen.add(address);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  return {
    seen,
    async [Symbol.asyncDispose]() {
      watching = false;
      await watched;
    },
  };
}

describe("no port is opened", () => {
  it("which these tests would see", LONG, async () => {
    const inspect = "--inspect=127.0.0.1:0";
    const runtimeArgs = runtime === "deno" ? ["run", "-A", inspect] : [inspect, "run"];
    await using program = runProgram(new URL("./fixtures/lifecycle/plain.ts", import.meta.url), [], { runtimeArgs });
    await using ports = watchPorts(program);
    await waitFor(() => ports.seen.size > 0, { what: "the inspector to open its port" });
  });

  it("by relays, kills and ends", LONG, async () => {
    await using program = runPool({
      options: {
        maxWorkers: 2,
        errRespawnIntervalMs: 0,
        trapSignals: { SIGTERM: "SIGTERM", SIGHUP: "SIGTERM", SIGUSR2: "SIGUSR2", SIGWINCH: null },
      },
    });
    await using ports = watchPorts(program);
    const replaced = async (count: number): Promise<void> => {
      await waitFor(() => eventsOfType(program, "reap").length === count, { what: `${count} workers to have ended` });
      await waitForReady(program, 2);
    };
    await replaced(0);
    program.kill("SIGWINCH");
    await program.waitForLine("returned SIGWINCH");
    program.kill("SIGHUP");
    await replaced(2);
    program.kill("SIGUSR2");
    await replaced(4);
    for (const { pid } of liveWorkers(program)) signalProcess(pid, "SIGKILL");
    await replaced(6);
    await stopPool(program);
    assert.deepEqual([...ports.seen], []);
  });
});

describe("SIGUSR1 for workers on Deno is refused", () => {
  it("as a relay, before any worker is made", LONG, async () => {
    const onDeno = runtime === "deno" ? {} : { runtime: other.name, executable: other.command, module };
    await using program = runPool({
      options: { maxWorkers: 2, trapSignals: { SIGTERM: "SIGTERM", SIGHUP: "SIGUSR1" } },
      ...onDeno,
    });
    assert.notEqual((await program.waitForEnd()).code, 0);
    await program.waitForErrorLine(REFUSED);
    assert.equal(eventsOfType(program, "spawn").length, 0);
  });

  it("by signalAllChildren()", LONG, async () => {
    await using program = runFixture("usr1", runtime === "deno" ? [] : [module, other.name, other.command]);
    assert.match(await program.waitForLine(/^thrown/), REFUSED);
    assert.equal((await program.waitForEnd()).code, 0, program.report());
  });
});

describe("SIGUSR1 for the manager", () => {
  const trapSignals = { SIGTERM: "SIGTERM", SIGUSR1: "SIGUSR1" } as const;
  const script = 'trap "echo got it" USR1; trap exit TERM; echo up; while :; do sleep 0.1; done';

  if (runtime === "deno") {
    it("warns on Deno", LONG, async () => {
      await using program = runPool({ options: { trapSignals }, command: ["/bin/sh", "-c", script] });
      await program.waitForErrorLine(/^prefork: trapping SIGUSR1: on Deno it also opens the inspector/);
      await program.waitForLine("up");
      await stopPool(program);
    });
  } else {
    it("is relayed to commands by Bun", LONG, async () => {
      await using program = runPool({ options: { maxWorkers: 2, trapSignals }, command: ["/bin/sh", "-c", script] });
      await using ports = watchPorts(program);
      await waitForReady(program, 2);
      program.kill("SIGUSR1");
      await program.waitForLine("got it", { count: 2 });
      await stopPool(program);
      assert.deepEqual(program.errorLines, []);
      assert.deepEqual([...ports.seen], []);
    });

    it("is relayed to library workers by Bun", LONG, async () => {
      await using program = runPool({ options: { maxWorkers: 2, trapSignals } });
      await waitForReady(program, 2);
      program.kill("SIGUSR1");
      await program.waitForLine("returned SIGUSR1");
      await waitFor(() => eventsOfType(program, "reap").length === 2, { what: "both workers to die of it" });
      const ends = eventsOfType(program, "reap").map(({ status, expected }) => ({ status, expected }));
      assert.deepEqual(ends, Array(2).fill({ status: { type: "signaled", signal: "SIGUSR1" }, expected: true }));
      await waitForReady(program, 2);
      await stopPool(program);
    });
  }
});
