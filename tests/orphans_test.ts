/** A manager that dies leaves nothing behind: no worker, no guard, no socket. With real processes. */
import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { PoolSpec } from "./fixtures/lifecycle/pool.ts";
import { begin, type Client } from "./support/client.ts";
import { eventsOfType, liveWorkers, portOf, runPool, waitForNobody, waitForReady } from "./support/pool.ts";
import { isAlive, type Program, runtimeCommand, type TempDir, tempDir, waitFor } from "./support/run.ts";

const LONG = { timeout: 180_000 };

/** Runs a pool whose sockets stand in `dir`. Whoever runs tests in the background makes them ignore INT and QUIT. */
function runIn(dir: TempDir, spec: PoolSpec): Program {
  const { command, args } = runtimeCommand();
  const on = { command: "env", args: ["--default-signal=HUP,INT,QUIT", command, ...args] };
  return runPool(spec, { env: { TMPDIR: dir.path }, on });
}

/** The same, with its two workers ready. */
async function poolIn(dir: TempDir, spec: PoolSpec): Promise<Program> {
  const options = { maxWorkers: 2, drainTimeoutMs: 1000, ...spec.options };
  const program = runIn(dir, { ...spec, options });
  await waitForReady(program, 2);
  return program;
}

/** Kills the manager, and tells how long its workers stayed. */
async function bereave(program: Program): Promise<number> {
  const began = performance.now();
  program.kill("SIGKILL");
  const pids = liveWorkers(program).map(({ pid }) => pid);
  await waitFor(() => !pids.some(isAlive), { what: `the workers to be gone\n${program.report()}` });
  return performance.now() - began;
}

async function expectNothingLeft(program: Program, dir: TempDir): Promise<void> {
  await waitForNobody(program);
  // A process that is just being made is none yet to those who look for it, and may be the one that cleans up.
  const sockets = (): string[] => readdirSync(dir.path).filter((name) => name.startsWith("prefork-"));
  await waitFor(() => sockets().length === 0, { what: `no ${sockets()} to be left` });
  await waitForNobody(program);
}

describe("a manager killed with SIGKILL leaves nothing of", () => {
  it("workers that wait: they are told, drain, and exit at once", LONG, async () => {
    await using dir = await tempDir();
    await using program = await poolIn(dir, { options: { drainTimeoutMs: 30_000 } });
    assert.ok(readdirSync(dir.path).some((name) => name.startsWith("prefork-")), "no control directory was seen");
    await bereave(program);
    await expectNothingLeft(program, dir);
    for (const slot of [0, 1]) await program.waitForLine(`told ${slot} the manager is gone`);
    await program.waitForLine(/^finished/, { count: 2 });
  });

  it("workers that finish something first", LONG, async () => {
    await using dir = await tempDir();
    await using program = await poolIn(dir, { worker: "slow", options: { drainTimeoutMs: 30_000 } });
    const took = await bereave(program);
    assert.ok(took >= 290, `they were gone after ${took} ms`);
    await program.waitForLine(/^finished/, { count: 2 });
    await expectNothingLeft(program, dir);
  });

  it("workers that never look at worker.signal: they die of SIGTERM", LONG, async () => {
    await using dir = await tempDir();
    await using program = await poolIn(dir, { worker: "plain", options: { drainTimeoutMs: 30_000 } });
    await bereave(program);
    await expectNothingLeft(program, dir);
  });

  for (const worker of ["ignore", "spin"] as const) {
    it(`workers that ${worker === "ignore" ? "ignore it" : "hang in a loop"}, after drainTimeoutMs`, LONG, async () => {
      await using dir = await tempDir();
      await using program = await poolIn(dir, { worker });
      if (worker === "spin") await program.waitForLine("spins", { count: 2 });
      const took = await bereave(program);
      assert.ok(took >= 900, `they were gone after ${took} ms`);
      await expectNothingLeft(program, dir);
    });
  }

  it("commands", LONG, async () => {
    await using dir = await tempDir();
    await using program = await poolIn(dir, { command: ["sleep", "1000"], options: { drainTimeoutMs: 30_000 } });
    await bereave(program);
    await expectNothingLeft(program, dir);
  });

  it("commands that ignore SIGTERM, and of their children", LONG, async () => {
    await using dir = await tempDir();
    const script = 'trap "" TERM; sleep 1000 & sleep 1000';
    await using program = await poolIn(dir, { command: ["/bin/sh", "-c", script] });
    const took = await bereave(program);
    assert.ok(took >= 900, `they were gone after ${took} ms`);
    await expectNothingLeft(program, dir);
  });

  it("workers that are still being made", LONG, async () => {
    await using dir = await tempDir();
    const spec: PoolSpec = { options: { maxWorkers: 4, drainTimeoutMs: 1000 } };
    await using program = runIn(dir, spec);
    await program.waitForLine(/"spawn"/);
    program.kill("SIGKILL");
    await expectNothingLeft(program, dir);
  });

  it("commands that are still being made", { ...LONG, skip: process.platform !== "linux" }, async () => {
    for (let time = 1; time <= 3; time++) {
      await using dir = await tempDir();
      const spec: PoolSpec = { command: ["sleep", "1000"], options: { maxWorkers: 60, drainTimeoutMs: 500 } };
      await using program = runIn(dir, spec);
      await program.waitForLine('"type":"spawn"', { count: 5 * time });
      program.kill("SIGKILL");
      await expectNothingLeft(program, dir);
    }
  });

  it("children that a command left behind when it ended", LONG, async () => {
    await using dir = await tempDir();
    const script = "(trap '' HUP; sleep 1000) & sleep 1000";
    await using program = await poolIn(dir, { command: ["/bin/sh", "-c", script] });
    await bereave(program);
    await expectNothingLeft(program, dir);
  });
});

describe("a manager killed with SIGKILL leaves nothing within five seconds", () => {
  const options = { ...LONG, skip: process.platform !== "linux" };
  const PHASES = ["its canary hangs", "it replaces workers", "its workers answer their last requests"] as const;
  for (const phase of PHASES) {
    it(`while ${phase}`, options, async () => {
      await using dir = await tempDir();
      const build = dir.file("build");
      writeFileSync(build, "good");
      await using program = runPool({
        module: fileURLToPath(new URL("./fixtures/serve/build.ts", import.meta.url)),
        options: {
          maxWorkers: 3,
          listen: "127.0.0.1:0",
          drainTimeoutMs: 1000,
          trapSignals: { SIGTERM: "SIGTERM", SIGHUP: { signal: "SIGTERM", replace: "before" } },
        },
      }, { env: { TEST_BUILD: build, TMPDIR: dir.path } });
      await waitForReady(program, 3);
      using client = await reach(phase, program, build);
      program.kill("SIGKILL");
      await waitForNobody(program, 5000);
      await waitFor(() => readdirSync(dir.path).length === 1, { what: "the control socket to be removed" });
      await client?.waitForEnd();
    });
  }

  async function reach(phase: typeof PHASES[number], program: Program, build: string): Promise<Client | undefined> {
    if (phase === "its workers answer their last requests") {
      const client = await begin({ port: await portOf(program) });
      program.kill("SIGTERM");
      await waitFor(() => eventsOfType(program, "relay").length === 3, { what: "all workers to be told" });
      return client;
    }
    if (phase === "its canary hangs") writeFileSync(build, "hangs");
    program.kill("SIGHUP");
    if (phase === "its canary hangs") await program.waitForLine('"type":"spawn"', { count: 4 });
    else await program.waitForLine('"type":"replace"');
    return undefined;
  }
});

describe("a manager that gets a fatal signal it does not trap", () => {
  for (const signal of ["SIGINT", "SIGQUIT", "SIGHUP"] as const) {
    it(`dies of ${signal} itself, and so do its workers`, LONG, async () => {
      await using dir = await tempDir();
      await using program = await poolIn(dir, { worker: "plain" });
      program.kill(signal);
      assert.deepEqual(await program.waitForEnd(), { code: null, signal }, program.report());
      await expectNothingLeft(program, dir);
    });
  }

  it("passes it on to the groups of commands", LONG, async () => {
    await using dir = await tempDir();
    const script = 'trap "echo group got it; exit" INT; echo up; while :; do sleep 0.1; done';
    await using program = await poolIn(dir, { command: ["/bin/sh", "-c", script] });
    await program.waitForLine("up", { count: 2 });
    program.kill("SIGINT");
    assert.deepEqual(await program.waitForEnd(), { code: null, signal: "SIGINT" }, program.report());
    assert.equal(program.matching("group got it").length, 2);
    await expectNothingLeft(program, dir);
  });

  it("leaves no command behind that ignores it", LONG, async () => {
    await using dir = await tempDir();
    await using program = await poolIn(dir, {
      command: ["/bin/sh", "-c", 'trap "" INT TERM; sleep 1000 & sleep 1000'],
    });
    program.kill("SIGINT");
    assert.deepEqual(await program.status, { code: null, signal: "SIGINT" }, program.report());
    await expectNothingLeft(program, dir);
  });

  it("leaves no worker behind that hangs", LONG, async () => {
    await using dir = await tempDir();
    await using program = await poolIn(dir, { worker: "spin", options: { trapSignals: { SIGTERM: "SIGHUP" } } });
    await program.waitForLine("spins", { count: 2 });
    program.kill("SIGHUP");
    assert.deepEqual(await program.status, { code: null, signal: "SIGHUP" }, program.report());
    await expectNothingLeft(program, dir);
  });

  it("leaves no worker behind that ignores it", LONG, async () => {
    await using dir = await tempDir();
    await using program = await poolIn(dir, { worker: "ignore" });
    program.kill("SIGINT");
    assert.deepEqual(await program.status, { code: null, signal: "SIGINT" }, program.report());
    await expectNothingLeft(program, dir);
  });

  it("leaves no worker behind that is still being made", LONG, async () => {
    await using dir = await tempDir();
    const spec: PoolSpec = { options: { maxWorkers: 4, drainTimeoutMs: 1000 } };
    await using program = runIn(dir, spec);
    await program.waitForLine(/"spawn"/);
    program.kill("SIGQUIT");
    assert.deepEqual(await program.waitForEnd(), { code: null, signal: "SIGQUIT" }, program.report());
    await expectNothingLeft(program, dir);
  });
});
