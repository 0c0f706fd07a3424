/**
 * Time that is not what it seems: a manager that stands still for longer than each of its deadlines, alone or with all its
 * workers, and a clock that is set. With real processes.
 */
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { begin, get } from "./support/client.ts";
import { eventsOfType, liveWorkers, portOf, runPool, stopPool, waitForReady } from "./support/pool.ts";
import { isAlive, type Program, signalProcess, tempDir, waitFor } from "./support/run.ts";

const LONG = { timeout: 180_000 };
const SERVING = { ...LONG, skip: process.platform !== "linux" };
const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/serve/${name}.ts`, import.meta.url));

/** All deadlines of these pools are shorter. */
const STANDSTILL_MS = 3500;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Stops processes for a while. */
async function standStill(pids: readonly number[], meanwhile: () => Promise<unknown> = async () => {}): Promise<void> {
  for (const pid of pids) signalProcess(pid, "SIGSTOP");
  await Promise.all([sleep(STANDSTILL_MS), meanwhile()]);
  for (const pid of pids) signalProcess(pid, "SIGCONT");
}

function expectNobodyKilled(program: Program): void {
  const killings = ["bootTimeout", "stopTimeout", "hang", "reloadFailed", "backoff"] as const;
  for (const type of killings) assert.deepEqual(eventsOfType(program, type), [], program.report());
  for (const { killed } of eventsOfType(program, "stopped")) assert.deepEqual(killed, []);
  for (const { expected, status } of eventsOfType(program, "reap")) {
    assert.deepEqual([expected, status], [true, { type: "exited", code: 0 }], program.report());
  }
}

describe("nobody is killed because the manager stood still", () => {
  it("while workers were made, answered their last request, or were replaced", SERVING, async () => {
    await Promise.all([
      ...WHO.flatMap((who) => [whileMade(who), whileAnswering(who)]),
      whileReplaced(),
    ]);
  });
});

/** Who stands still: the manager alone, as when somebody stops it, or all with it, as when their machine sleeps. */
const WHO = ["the manager", "everybody"] as const;

function among(who: typeof WHO[number], program: Program): readonly number[] {
  return who === "everybody" ? program.processes() : [program.pid];
}

async function whileMade(who: typeof WHO[number]): Promise<void> {
  await using program = runPool({ options: { maxWorkers: 2, bootTimeoutMs: 2000 } });
  await program.waitForLine('"type":"spawn"', { count: 2 });
  await standStill(among(who, program));
  await waitForReady(program, 2);
  await stopPool(program);
  expectNobodyKilled(program);
}

async function whileAnswering(who: typeof WHO[number]): Promise<void> {
  const options = { maxWorkers: 1, listen: "127.0.0.1:0", stopTimeoutMs: 2000, hangTimeoutMs: 2000 };
  await using program = runPool({ module: fixture("app"), options });
  await waitForReady(program, 1);
  using client = await begin({ port: await portOf(program) });
  program.kill("SIGTERM");
  await program.waitForLine(/^told /);
  const answer = async () => {
    client.send("whole");
    await client.waitFor(/half-whole/);
  };
  await standStill(among(who, program), who === "everybody" ? undefined : answer);
  if (who === "everybody") await answer();
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  expectNobodyKilled(program);
}

async function whileReplaced(): Promise<void> {
  await using dir = await tempDir();
  const build = dir.file("build");
  writeFileSync(build, "good");
  await using program = runPool({
    module: fixture("build"),
    options: {
      maxWorkers: 2,
      listen: "127.0.0.1:0",
      bootTimeoutMs: 2000,
      hangTimeoutMs: 2000,
      reloadTimeoutMs: 2000,
      trapSignals: { SIGTERM: "SIGTERM", SIGHUP: { signal: "SIGTERM", replace: "before" } },
    },
  }, { env: { TEST_BUILD: build } });
  await waitForReady(program, 2);
  program.kill("SIGHUP");
  await program.waitForLine('"type":"spawn"', { count: 3 });
  await standStill([program.pid]);
  await program.waitForLine('"type":"reloaded"');
  await stopPool(program);
  expectNobodyKilled(program);
}

/** Where Debian's package `faketime` has its library. */
const FAKETIME = ["x86_64", "aarch64"].map((arch) => `/usr/lib/${arch}-linux-gnu/faketime/libfaketime.so.1`)
  .find(existsSync);

const DAY_S = 86_400;

/**
 * At exit the library takes its tables away while threads of Deno still ask it for the time, which kills the process then
 * and when, after all is done.
 */
async function expectEndUnderFakedClock(program: Program): Promise<void> {
  const { code, signal } = await program.waitForEnd();
  assert.ok(code === 0 || signal === "SIGSEGV", program.report());
  assert.ok(program.lines.includes("left 0"), program.report());
}

/** Sets the wall clock of a program and of all it starts, as `offset` of the file says. */
function faked(file: string): Readonly<Record<string, string>> {
  return {
    LD_PRELOAD: FAKETIME ?? "",
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
    FAKETIME_NO_CACHE: "1",
  };
}

describe("a wall clock that is set back and forth", () => {
  const options = { ...LONG, skip: FAKETIME === undefined };
  const trapSignals = { SIGTERM: "SIGTERM", SIGHUP: null } as const;

  /** What the program takes for the time, less what it is. */
  const offsetOf = async (program: Program, signals: number): Promise<number> => {
    program.kill("SIGHUP");
    const line = await program.waitForLine(/^returned SIGHUP/, { count: signals });
    return Number(line.split(" ")[3]) - Date.now();
  };

  it("moves no deadline and no wait", options, async () => {
    await using dir = await tempDir();
    const file = dir.file("offset");
    const setClock = (days: number) => writeFileSync(file, `${days < 0 ? "" : "+"}${days * DAY_S}\n`);
    setClock(0);
    await using program = runPool({
      worker: "ignore",
      options: {
        maxWorkers: 2,
        errRespawnIntervalMs: 1500,
        stopTimeoutMs: 1500,
        hangTimeoutMs: 2000,
        trapSignals,
      },
    }, { env: faked(file) });
    const [{ pid } = { pid: 0 }] = await waitForReady(program, 2);
    setClock(10);
    const killedAt = performance.now();
    signalProcess(pid, "SIGKILL");
    await program.waitForLine('"type":"backoff"');
    setClock(-10);
    await waitFor(() => eventsOfType(program, "spawn").length === 3, { what: "the next worker" });
    const waited = performance.now() - killedAt;
    assert.ok(waited >= 1490 && waited < 10_000, `it waited ${waited} ms`);
    await waitForReady(program, 2);
    for (const [count, days] of [[1, 10], [2, -10], [3, 10]] as const) {
      setClock(days);
      const offset = await offsetOf(program, count);
      assert.ok(Math.abs(offset - days * DAY_S * 1000) < 60_000, `the clock is off by ${offset} ms`);
      await sleep(1200); // longer than a worker may be silent
      assert.deepEqual(eventsOfType(program, "hang"), []);
    }
    setClock(-10);
    const toldAt = performance.now();
    program.kill("SIGTERM");
    await program.waitForLine(/^returned SIGTERM/);
    setClock(10);
    await expectEndUnderFakedClock(program);
    const took = performance.now() - toldAt;
    assert.ok(took >= 1490 && took < 10_000, `it took ${took} ms to stop`);
    assert.equal(eventsOfType(program, "stopTimeout").length, 2, program.report());
    assert.equal(isAlive(pid), false);
  });

  it("does not keep a server from answering, draining and stopping", { ...options, ...SERVING }, async () => {
    if (FAKETIME === undefined) return;
    await using dir = await tempDir();
    const file = dir.file("offset");
    writeFileSync(file, "+0\n");
    await using program = runPool({
      module: fixture("app"),
      options: { maxWorkers: 1, listen: "127.0.0.1:0", hangTimeoutMs: 1000 },
    }, { env: faked(file) });
    await waitForReady(program, 1);
    const port = await portOf(program);
    for (const offset of [`+${10 * DAY_S}`, `-${10 * DAY_S}`]) {
      writeFileSync(file, `${offset}\n`);
      assert.equal(await get(port, "/pid"), String(liveWorkers(program)[0]?.pid));
    }
    using client = await begin({ port });
    program.kill("SIGTERM");
    await program.waitForLine(/^told /);
    writeFileSync(file, `+${10 * DAY_S}\n`);
    await sleep(200);
    client.send("whole");
    await client.waitFor(/half-whole/);
    await expectEndUnderFakedClock(program);
    expectNobodyKilled(program);
  });
});
