/** No signal is lost and no worker forgotten, with real processes. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { describe, it } from "node:test";
import type { TrapSignals } from "../mod.ts";
import {
  descriptors,
  eventsOfType,
  expectEnd,
  liveWorkers,
  runFixture,
  runPool,
  stopPool,
  strangers,
  waitForReady,
  zombies,
} from "./support/pool.ts";
import { type Program, signalProcess, tempDir, waitFor } from "./support/run.ts";

const LONG = { timeout: 180_000 };
const RELOAD: TrapSignals = { SIGTERM: "SIGTERM", SIGHUP: "SIGTERM" };

/** Calls `action` until it is `count` in the end, a few calls a turn so that others get to run. */
async function often(count: number, action: (index: number) => void | Promise<void>): Promise<void> {
  for (let index = 0; index < count; index++) {
    await action(index);
    if (index % 10 === 9) await sleep(10);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The generation of the last `start` that the program went into. */
function lastGeneration(program: Program): number {
  return 1 + program.matching(/^returned/).length;
}

/** Waits until a `start` has returned by SIGHUP after `sent`. */
async function waitForAnswer(program: Program, sent: number): Promise<void> {
  const returned = (): number => Number(program.matching(/^returned SIGHUP/).at(-1)?.split(" ")[3] ?? 0);
  await waitFor(() => returned() >= sent, { what: "the last HUP to be answered" });
}

/** Waits until the pool is full of workers of the last generation, and they have its data. */
async function waitForLastGeneration(program: Program, count: number): Promise<void> {
  const settled = (): boolean => {
    const workers = liveWorkers(program);
    const last = lastGeneration(program);
    return workers.length === count && workers.every((each) => each.generation === last && each.state === "ready");
  };
  await waitFor(settled, { what: "the last generation to be complete" }).catch((error) => {
    throw new Error(`${error.message}\n${program.report()}`);
  });
  for (const { slot, generation, pid } of liveWorkers(program)) {
    await program.waitForLine(`begun ${slot} ${generation} ${pid} {"starts":${generation}}`);
  }
}

describe("a signal is not lost", () => {
  it("if it is a TERM that comes while the program reads its configuration", LONG, async () => {
    await using dir = await tempDir();
    await using program = runPool({ options: { maxWorkers: 2, trapSignals: RELOAD }, gate: dir.file("config") });
    await waitForReady(program, 2);
    program.kill("SIGHUP");
    await program.waitForLine("loading");
    program.kill("SIGTERM");
    await writeFile(dir.file("config"), "");
    await expectEnd(program);
    assert.deepEqual(program.matching(/^returned/).map((line) => line.split(" ")[1]), ["SIGHUP", "SIGTERM"]);
  });

  it("if it is a HUP that comes between two starts", LONG, async () => {
    await using dir = await tempDir();
    await using program = runPool({ options: { maxWorkers: 2, trapSignals: RELOAD }, gate: dir.file("config") });
    await waitForReady(program, 2);
    program.kill("SIGHUP");
    await program.waitForLine("loading");
    program.kill("SIGHUP");
    program.kill("SIGHUP");
    await writeFile(dir.file("config"), "");
    await program.waitForLine(/^returned SIGHUP 2/);
    await waitForLastGeneration(program, 2);
    await stopPool(program);
  });

  it("if it comes before the first start", LONG, async () => {
    await using dir = await tempDir();
    await using program = runPool({ options: { trapSignals: RELOAD }, gate: dir.file("config"), gateFirst: true });
    await program.waitForLine("loading");
    program.kill("SIGTERM");
    await writeFile(dir.file("config"), "");
    await expectEnd(program);
    assert.equal(program.matching(/^returned/).length, 1, program.report());
  });

  it("if a worker says it is ready just before it looks at its signal", LONG, async () => {
    await using program = runFixture("early");
    await program.waitForLine("said", { count: 2 });
    await stopPool(program);
    assert.equal(program.matching("told").length, 2, program.report());
  });

  for (const order of [["SIGTERM", "SIGHUP"], ["SIGHUP", "SIGTERM"]] as const) {
    it(`if ${order.join(" and ")} come together`, LONG, async () => {
      for (let round = 0; round < 3; round++) {
        await using program = runPool({ options: { maxWorkers: 2, trapSignals: RELOAD } });
        await waitForReady(program, 2);
        for (const signal of order) program.kill(signal);
        await expectEnd(program);
        assert.match(program.matching(/^returned/).at(-1) ?? "", /^returned SIGTERM/);
      }
    });
  }

  it("that is left to the program: start() goes on, and nobody dies of it", LONG, async () => {
    const trapSignals = { SIGTERM: "SIGTERM", SIGHUP: false, SIGINT: false } as const;
    await using program = runPool({ options: { maxWorkers: 2, trapSignals } });
    await waitForReady(program, 2);
    program.kill("SIGHUP");
    program.kill("SIGINT");
    await stopPool(program);
    assert.deepEqual(program.matching(/^returned/).map((line) => line.split(" ")[1]), ["SIGTERM"]);
    assert.equal(program.matching(/^told/).length, 2, program.report());
  });

  it("of a thousand HUPs in a second, the last of which is answered", LONG, async () => {
    await using program = runPool({ options: { maxWorkers: 2, trapSignals: RELOAD } });
    await waitForReady(program, 2);
    let sent = 0;
    await often(1000, () => {
      sent = Date.now();
      program.kill("SIGHUP");
    });
    await waitForAnswer(program, sent);
    await waitForLastGeneration(program, 2);
    assert.deepEqual(zombies(program.pid), []);
    await stopPool(program);
  });
});

describe("a pool comes back to its size", () => {
  it("when workers are killed at any instant while it reloads", { timeout: 180_000 }, async () => {
    const COUNT = 4;
    await using program = runPool({ options: { maxWorkers: COUNT, trapSignals: RELOAD, errRespawnIntervalMs: 0 } });
    await waitForReady(program, COUNT);
    program.kill("SIGHUP");
    await program.waitForLine(/^returned/);
    await waitForLastGeneration(program, COUNT);
    const before = descriptors(program.pid);

    const random = seededRandom(20);
    for (let i = 0; i < 60; i++) {
      const workers = liveWorkers(program);
      const victim = workers[Math.floor(random() * workers.length)];
      if (victim) signalProcess(victim.pid, "SIGKILL");
      if (random() < 0.2) program.kill("SIGHUP");
      await sleep(random() * 50);
    }
    const last = Date.now();
    program.kill("SIGHUP");
    await waitForAnswer(program, last);
    await waitForLastGeneration(program, COUNT);
    await waitFor(() => zombies(program.pid).length === 0, { what: "all dead to be reaped" });
    assert.deepEqual(strangers(program), [], program.report());
    await waitFor(() => descriptors(program.pid).length <= before.length, { what: "spare descriptors to be closed" })
      .catch((error) => {
        throw new Error(`${error.message}\n${before.join("\n")}\nnow:\n${descriptors(program.pid).join("\n")}`);
      });
    await stopPool(program);
    assert.equal(eventsOfType(program, "protocolError").length, 0);
  });
});

/** Mulberry32: the same numbers in [0, 1) for the same seed. */
function seededRandom(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
