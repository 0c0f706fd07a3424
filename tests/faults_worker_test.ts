/** Workers that die at a bad moment, or will not: what they had in hand is lost, and nothing else. With real processes. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { PreforkOptions, WorkerInfo } from "../mod.ts";
import type { Fault } from "./fixtures/serve/faulty.ts";
import { freezeForGood, isHeld, type Kill } from "./support/held.ts";
import { keepAlive, type Load, load, oneShot, post, stream } from "./support/load.ts";
import { eventsOfType, liveWorkers, portOf, runFixture, runPool, stopPool, waitForReady } from "./support/pool.ts";
import { isAlive, processState, type Program, signalProcess, type TempDir, tempDir, waitFor } from "./support/run.ts";

const LONG = { timeout: 180_000 };
const SERVING = { ...LONG, skip: process.platform !== "linux" };
const module = fileURLToPath(new URL("./fixtures/serve/faulty.ts", import.meta.url));
/** So many that one worker cannot take all that comes, and each gets some. */
const CROWD = Array.from({ length: 8 }, () => oneShot);
const CLIENTS = [...CROWD, keepAlive(0), keepAlive(100), post, stream, stream, stream];

/** A pool of three workers under load, of which some die as `setFaults` says. */
class Battered implements AsyncDisposable {
  readonly program: Program;
  readonly #file: string;
  readonly #kills: Kill[] = [];
  #clients: Load | undefined;
  #port = 0;

  constructor(dir: TempDir, options: PreforkOptions, faults: Readonly<Record<number, Fault>> = {}) {
    this.#file = dir.file("faults");
    this.setFaults(faults);
    const trapSignals = { SIGTERM: "SIGTERM", SIGHUP: "SIGTERM" } as const;
    this.program = runPool({
      module,
      options: { maxWorkers: 3, listen: "127.0.0.1:0", trapSignals, ...options },
    }, { env: { TEST_FAULT: this.#file } });
  }

  /** From here on, a new worker in a slot dies as this says. */
  setFaults(faults: Readonly<Record<number, Fault>>): void {
    writeFileSync(this.#file, JSON.stringify(faults));
  }

  async begin(): Promise<void> {
    await waitForReady(this.program, 3);
    this.#port = await portOf(this.program);
    this.#clients = load({ port: this.#port }, CLIENTS);
    await this.answers();
  }

  /** Waits until each kind of client was answered once more. */
  async answers(): Promise<void> {
    const { answered } = this.#clients?.tally ?? assert.fail("no clients");
    const before = { ...answered };
    const kinds = ["one shot", "keep-alive, 0 ms between", "keep-alive, 100 ms between", "post", "stream"];
    const isMore = (kind: string) => (answered[kind] ?? 0) >= (before[kind] ?? 0) + 1;
    await waitFor(() => kinds.every(isMore), { what: `answers of each kind\n${this.program.report()}` });
  }

  /** Kills a worker, and keeps account of what it had in hand. */
  async kill(pid: number): Promise<void> {
    this.#kills.push(await freezeForGood(pid, this.#port));
    signalProcess(pid, "SIGKILL");
    await waitFor(() => eventsOfType(this.program, "reap").some(({ worker }) => worker.pid === pid), {
      what: `${pid} to be reaped`,
    });
  }

  /** The worker in a slot. */
  inSlot(slot: number): number {
    return liveWorkers(this.program).find((worker) => worker.slot === slot)?.pid ?? assert.fail(`none in ${slot}`);
  }

  /** Waits for the next worker that dies in a slot. */
  async dying(slot: number): Promise<number> {
    const isDying = (worker: WorkerInfo) => worker.slot === slot && processState(worker.pid) === "T";
    const found = () => liveWorkers(this.program).find(isDying)?.pid;
    return await waitFor(found, { what: `a worker to die in slot ${slot}` })
      .catch((error) => assert.fail(`${error.message}\n${this.program.report()}`));
  }

  /** The same, and completes its death. */
  async death(slot: number): Promise<void> {
    await this.kill(await this.dying(slot));
  }

  /** How a slot was held back so far. */
  backoffs(slot: number) {
    return eventsOfType(this.program, "backoff").filter((event) => event.slot === slot);
  }

  /** Expects that the pool is whole again, and that nothing was lost but what the dead had in hand. */
  async expectRecovery(): Promise<void> {
    await waitForReady(this.program, 3);
    await this.answers();
    const { failures } = await this.#clients?.stop() ?? assert.fail("no clients");
    assert.deepEqual(failures.filter((failure) => !isHeld(failure, this.#kills)).slice(0, 10), []);
    const held = this.#kills.reduce((sum, kill) => sum + (kill.held?.size ?? 0), 0);
    assert.ok(failures.length <= held, `${failures.length} requests failed, and ${held} connections were held`);
    await stopPool(this.program);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]();
    await this.#clients?.stop();
  }
}

describe("a worker that dies costs what it had in hand and nothing else", () => {
  it("when it dies as soon as it is ready, or at its first request, again and again", SERVING, async () => {
    await using dir = await tempDir();
    await using pool = new Battered(dir, { errRespawnIntervalMs: 50 });
    await pool.begin();
    pool.setFaults({ 0: "ready", 1: "request" });
    for (const slot of [0, 1]) await pool.kill(pool.inSlot(slot));
    for (const slot of [0, 1]) await pool.death(slot);
    const last = [await pool.dying(0), await pool.dying(1)];
    pool.setFaults({});
    for (const pid of last) await pool.kill(pid);
    for (const slot of [0, 1]) {
      const failures = pool.backoffs(slot).map(({ failures }) => failures);
      assert.deepEqual(failures, [1, 2, 3], pool.program.report());
    }
    await pool.expectRecovery();
  });

  it("when it dies while it answers what is open, after it was told to stop", SERVING, async () => {
    await using dir = await tempDir();
    await using pool = new Battered(dir, { errRespawnIntervalMs: 50 }, { 0: "drain" });
    await pool.begin();
    const isLeft = (pid: number) => eventsOfType(pool.program, "reap").every(({ worker }) => worker.pid !== pid);
    const old = liveWorkers(pool.program).map(({ pid }) => pid);
    pool.setFaults({});
    pool.program.kill("SIGHUP");
    await pool.death(0);
    await waitFor(() => !old.some(isLeft), { what: "the workers before to be gone" });
    await pool.expectRecovery();
    const ends = eventsOfType(pool.program, "reap").filter(({ worker }) => old.includes(worker.pid));
    // It was told to stop, so however it ended, no slot waits for that.
    assert.deepEqual(ends.map(({ expected }) => expected), [true, true, true]);
    assert.deepEqual(eventsOfType(pool.program, "backoff"), []);
  });

  it("when it dies before it begins, and only its own slot waits longer and longer", SERVING, async () => {
    await using dir = await tempDir();
    await using pool = new Battered(dir, { errRespawnIntervalMs: 100 });
    await pool.begin();
    pool.setFaults({ 0: "import" });
    await pool.kill(pool.inSlot(0));
    await waitFor(() => pool.backoffs(0).length >= 4, { what: "the fourth failure in a row" });
    // The fourth wait is 400 to 800 ms; the next worker in another slot comes after the first wait of its own.
    await pool.kill(pool.inSlot(1));
    const reached = () => eventsOfType(pool.program, "ready").filter(({ worker }) => worker.slot === 1).length === 2;
    await waitFor(reached, { what: "the next worker in slot 1" });
    signalProcess(pool.inSlot(2), "SIGTERM"); // one that ends well is replaced without any wait
    const replaced = () => eventsOfType(pool.program, "ready").filter(({ worker }) => worker.slot === 2).length === 2;
    await waitFor(replaced, { what: "the next worker in slot 2" });
    for (const { failures, delayMs } of pool.backoffs(0)) {
      const fullMs = 100 * 2 ** (failures - 1);
      assert.ok(delayMs >= (failures === 1 ? fullMs : fullMs / 2) && delayMs <= fullMs, `${delayMs} for ${failures}`);
    }
    assert.deepEqual(pool.backoffs(0).map(({ failures }) => failures), pool.backoffs(0).map((_, index) => index + 1));
    assert.deepEqual(pool.backoffs(1).map(({ failures, delayMs }) => [failures, delayMs]), [[1, 100]]);
    assert.deepEqual(pool.backoffs(2), []);
    pool.setFaults({});
    await pool.expectRecovery();
  });
});

describe("a worker of the library that is stopped", () => {
  it("and ignores it is killed with all it started, and named at the end", LONG, async () => {
    await using program = runFixture("stubborn", ["ignore"]);
    const workers = await waitForReady(program, 2);
    const children = await childrenOf(program, 2);
    await stopPool(program);
    const [stopped] = eventsOfType(program, "stopped");
    assert.deepEqual(stopped?.killed.map(({ pid }) => pid).toSorted(), workers.map(({ pid }) => pid).toSorted());
    await waitFor(() => !children.some(isAlive), { what: "the children to be gone" });
  });

  it("and leaves its children behind takes them with it", LONG, async () => {
    await using program = runFixture("stubborn", ["obey"]);
    await waitForReady(program, 2);
    const children = await childrenOf(program, 2);
    await stopPool(program);
    assert.deepEqual(eventsOfType(program, "stopped").map(({ killed }) => killed), [[]]);
    assert.equal(eventsOfType(program, "leftover").length, 2, program.report());
    await waitFor(() => !children.some(isAlive), { what: "the children to be gone" });
  });
});

/** The processes that workers say they have started: a child and a grandchild for each. */
async function childrenOf(program: Program, workers: number): Promise<number[]> {
  await program.waitForLine(/^started \d+ \d+$/, { count: workers });
  return program.matching(/^started /).flatMap((line) => line.split(" ").slice(1).map(Number));
}
