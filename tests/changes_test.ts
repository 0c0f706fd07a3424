/** Changes of a pool that meet each other, on the fake host. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakePool, outcome, rest as settle } from "./support/pool_on_fake.ts";

describe("changes of a pool", () => {
  it("exclude each other, also while a reload is about to begin", async () => {
    const pool = new FakePool();
    const started = pool.pm.start();
    await settle();
    const reloading = pool.pm.reload();
    await assert.rejects(pool.pm.upgrade(), /^Error: Cannot upgrade: a reload is under way; await its end first$/);
    await reloading;
    const upgrading = pool.pm.upgrade();
    await assert.rejects(pool.pm.reload(), /^Error: Cannot reload: an upgrade is under way/);
    pool.host.processes.find(({ command }) => command.command === "/fake/manager")?.exit(1);
    await assert.rejects(upgrading, { name: "UpgradeError" });
    await pool.stop(started);
    await assert.rejects(
      pool.pm.upgrade(),
      /^Error: Cannot upgrade: this pool has no workers any more; call start\(\) first$/,
    );
    await pool.pm[Symbol.asyncDispose]();
  });

  it("do not wait for the way back from a reload that failed, which may take long", async () => {
    const pool = new FakePool({ maxWorkers: 2, stopTimeoutMs: 100 }, false);
    const started = pool.pm.start();
    await settle();
    const worker = (index: number) => pool.workers[index] ?? assert.fail(`no worker ${index}`);
    await pool.boot(worker(0));
    await pool.boot(worker(1));
    const reloading = assert.rejects(pool.pm.reload(), { name: "ReloadError" });
    await settle();
    await pool.boot(worker(2)); // the canary
    for (const index of [3, 4]) { // the other one, and the one that is to replace the canary
      worker(index).process.exit(1);
      await settle();
    }
    await reloading;
    const upgrading = pool.pm.upgrade();
    await settle();
    pool.host.processes.find(({ command }) => command.command === "/fake/manager")?.exit(1);
    await assert.rejects(upgrading, { name: "UpgradeError" });
    await pool.stop(started);
    await pool.pm[Symbol.asyncDispose]();
  });

  it("leave the size that was asked for last", async () => {
    const pool = new FakePool({ maxWorkers: 1 }, false);
    const started = pool.pm.start();
    await settle();
    const boot = async (index: number) => await pool.boot(pool.workers[index] ?? assert.fail(`no worker ${index}`));
    await boot(0);
    const reloading = pool.pm.reload({ options: { maxWorkers: 3 } });
    await settle();
    assert.equal(pool.pm.maxWorkers, 1, "as long as nothing is proved");
    await boot(1); // the canary
    assert.equal(pool.pm.maxWorkers, 3);
    pool.pm.maxWorkers = 5;
    assert.equal(pool.pm.maxWorkers, 5);
    await settle();
    for (let index = 2; index < 6; index++) await boot(index);
    pool.workers[0]?.process.exit(0);
    await reloading;
    assert.deepEqual([pool.pm.maxWorkers, pool.pm.numWorkers], [5, 5]);
    await pool.stop(started);
    await pool.pm[Symbol.asyncDispose]();
  });

  it("bring variables, and leave those of the workers before as they were", async () => {
    const pool = new FakePool({ maxWorkers: 1, errRespawnIntervalMs: 0 }, false);
    const started = pool.pm.startModule("app.ts", { env: { MODE: "good" } });
    await settle();
    const modes = () => pool.workers.map(({ process }) => process.env["MODE"]);
    const worker = (index: number) => pool.workers[index] ?? assert.fail(`no worker ${index}`);
    await pool.boot(worker(0));
    const reloading = assert.rejects(pool.pm.reload({ env: { MODE: "bad" } }), { name: "ReloadError" });
    await settle();
    worker(1).process.exit(1);
    await reloading;
    worker(0).process.exit(1);
    await settle();
    assert.deepEqual(modes(), ["good", "bad", "good"]);
    await pool.boot(worker(2));
    const again = pool.pm.reload({ env: { MODE: "better" } });
    await settle();
    await pool.boot(worker(3));
    worker(2).process.exit(0);
    await again;
    worker(3).process.exit(0);
    await settle();
    assert.deepEqual(modes(), ["good", "bad", "good", "better", "better"]);
    await pool.stop(started);
    await pool.pm[Symbol.asyncDispose]();
  });

  it("do not bring variables to workers that have the manager's, nor what is none", async () => {
    const pool = new FakePool({ maxWorkers: 1 });
    const started = pool.pm.start();
    await settle();
    await assert.rejects(pool.pm.reload({ env: { A: "1" } }), {
      name: "TypeError",
      message: "Cannot reload with 'env': these workers have the manager's; startModule() and startCommand() take it",
    });
    // @ts-expect-error not a string
    await assert.rejects(pool.pm.reload({ env: { A: 1 } }), /^TypeError: Cannot use 'env': the value of A must be/);
    await pool.stop(started);
    await pool.pm[Symbol.asyncDispose]();
  });

  it("that a stop ends do not say that something goes on", async () => {
    const pool = new FakePool({ maxWorkers: 1 }, false);
    const started = pool.pm.start();
    await settle();
    const first = pool.workers[0] ?? assert.fail("no worker");
    await pool.boot(first);
    const reloading = pool.pm.reload();
    await settle();
    pool.host.raise("SIGTERM");
    await assert.rejects(reloading, {
      name: "ReloadError",
      message: "Cannot reload: the pool was told to stop by SIGTERM",
    });
    await started;
    const gone = pool.pm.waitAllChildren();
    for (const { process } of pool.workers) process.exit(0);
    await gone;
    await pool.pm[Symbol.asyncDispose]();
  });
});

describe("a hook that never settles", () => {
  it("costs a worker its value, and the time of a boot", async () => {
    const pool = new FakePool({ maxWorkers: 1, bootTimeoutMs: 3000, beforeFork: () => new Promise(() => {}) });
    const started = pool.pm.start();
    await settle();
    await pool.host.advance(2999);
    assert.equal(pool.workers.length, 0);
    await pool.host.advance(1);
    await settle();
    assert.equal(pool.workers[0]?.welcome?.["forkValue"], null);
    const [{ hook, error } = {}] = pool.ofType("hookError");
    assert.deepEqual([hook, String(error)], [
      "beforeFork",
      "Error: it has not settled within 3000 ms; the worker is made without it",
    ]);
    await pool.stop(started);
    await pool.pm[Symbol.asyncDispose]();
  });

  it("is one to be waited for, and keeps nobody from the end", async () => {
    const pool = new FakePool({ maxWorkers: 1, stopTimeoutMs: 2000, beforeFork: () => new Promise(() => {}) });
    const started = pool.pm.start();
    await settle();
    pool.host.raise("SIGTERM");
    await started;
    const waited = pool.pm.waitAllChildren({ timeoutMs: 500 });
    await pool.host.advance(500);
    assert.equal(await waited, 1, "the worker that is to be made");
    const disposed = pool.pm[Symbol.asyncDispose]();
    await pool.host.advance(30_000);
    assert.equal(await outcome(disposed), undefined);
    assert.equal(pool.workers.length, 0);
  });
});
