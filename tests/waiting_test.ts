import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakePool, outcome, rest as settle } from "./support/pool_on_fake.ts";

describe("waitAllChildren()", () => {
  it("gives up at its time, to the millisecond, with the number left", async () => {
    const pool = new FakePool();
    const started = pool.pm.start();
    await settle();
    for (const { process } of pool.workers) process.ignored.add("SIGTERM");
    pool.host.raise("SIGTERM");
    await started;
    const waited = pool.pm.waitAllChildren({ timeoutMs: 300 });
    await pool.host.advance(299);
    assert.equal(await outcome(waited), "pending");
    await pool.host.advance(1);
    assert.equal(await outcome(waited), 2);
    const rest = pool.pm.waitAllChildren();
    await pool.host.advance(29_700);
    assert.equal(await outcome(rest), 0);
    assert.equal(pool.ofType("stopTimeout").length, 2);
  });

  it("makes no worker whose beforeFork took longer than the stop", async () => {
    const hook = Promise.withResolvers<null>();
    const pool = new FakePool({ maxWorkers: 1, beforeFork: () => hook.promise });
    const started = pool.pm.start();
    await settle();
    pool.host.raise("SIGTERM");
    await started;
    const waited = pool.pm.waitAllChildren();
    hook.resolve(null);
    assert.equal(await outcome(waited), 0);
    assert.deepEqual(pool.workers, []);
  });

  it("is given up by an AbortSignal, with its reason", async () => {
    const pool = new FakePool();
    const started = pool.pm.start();
    await settle();
    for (const { process } of pool.workers) process.ignored.add("SIGTERM");
    pool.host.raise("SIGTERM");
    await started;
    const controller = new AbortController();
    const waited = pool.pm.waitAllChildren({ signal: controller.signal });
    controller.abort(new Error("enough"));
    assert.match(String(await outcome(waited)), /enough/);
    pool.pm.signalAllChildren("SIGKILL");
    assert.equal(await pool.pm.waitAllChildren(), 0);
  });

  it("ends everything when the pool is disposed of meanwhile, whatever limit the wait has", async () => {
    const pool = new FakePool({ stopTimeoutMs: 5000 });
    const started = pool.pm.start();
    await settle();
    for (const { process } of pool.workers) process.ignored.add("SIGTERM");
    pool.host.raise("SIGTERM");
    await started;
    const waited = pool.pm.waitAllChildren({ timeoutMs: 300 });
    const disposed = pool.pm[Symbol.asyncDispose]();
    await pool.host.advance(300);
    assert.deepEqual([await outcome(waited), await outcome(disposed)], [2, "pending"]);
    await pool.host.advance(4700);
    assert.equal(await outcome(disposed), undefined);
    assert.deepEqual([pool.host.alive, pool.host.files.size], [[], 0]);
  });

  it("ends though beforeFork never does", async () => {
    const pool = new FakePool({ maxWorkers: 1, stopTimeoutMs: 500, beforeFork: () => new Promise<null>(() => {}) });
    const started = pool.pm.start();
    await settle();
    pool.host.raise("SIGTERM");
    await started;
    const waited = pool.pm.waitAllChildren();
    await pool.host.advance(500);
    assert.equal(await outcome(waited), 0);
  });

  it("is what start() and another wait have to wait for, also while only leftovers are waited for", async () => {
    const pool = new FakePool({ maxWorkers: 1, stopTimeoutMs: 1000 });
    const started = pool.pm.start();
    await settle();
    for (const { process } of pool.workers) pool.host.fork(process).ignored.add("SIGTERM");
    pool.host.raise("SIGTERM");
    await started;
    const waited = pool.pm.waitAllChildren();
    assert.equal(await outcome(waited), "pending");
    assert.equal(pool.pm.numWorkers, 0);
    await assert.rejects(
      pool.pm.start(),
      /^Error: Cannot start.*: waitAllChildren\(\) of this pool has not returned yet/,
    );
    await assert.rejects(pool.pm.waitAllChildren(), /waitAllChildren\(\) of this pool has not returned yet/);
    const disposed = pool.pm[Symbol.asyncDispose]();
    await pool.host.advance(2000);
    assert.deepEqual([await outcome(waited), await outcome(disposed)], [0, undefined]);
    assert.deepEqual([pool.host.alive, pool.host.timerCount()], [[], 0]);
  });

  it("has its guard back when that is killed, with all it watched", async () => {
    const pool = new FakePool({ maxWorkers: 1 });
    const started = pool.pm.start();
    await settle();
    const guards = () => pool.host.processes.filter(({ command }) => command.command === "/bin/sh");
    await pool.host.advance(1000);
    guards()[0]?.signal("SIGKILL");
    await settle();
    assert.equal(guards().length, 2);
    assert.deepEqual(guards()[1]?.command.args, guards()[0]?.command.args);
    assert.match(guards()[1]?.stdin ?? "", new RegExp(`^w ${pool.workers[0]?.process.pid}\n$`));
    await pool.stop(started);
    assert.deepEqual(pool.host.alive, []);
  });

  it("has its guard back a while later when that was killed again and again, or no process was to be had", async () => {
    const pool = new FakePool({ maxWorkers: 1 });
    const started = pool.pm.start();
    await settle();
    const guards = () => pool.host.processes.filter(({ command }) => command.command === "/bin/sh");
    const killGuard = async (): Promise<void> => {
      guards().at(-1)?.signal("SIGKILL");
      await settle();
    };
    await killGuard();
    await pool.host.advance(999);
    assert.equal(guards().length, 1);
    await pool.host.advance(1);
    assert.equal(guards().length, 2);

    await pool.host.advance(1000);
    pool.host.spawnFailure = () => new Error("no process to be had");
    await killGuard();
    await pool.host.advance(1500);
    assert.equal(guards().length, 2);
    pool.host.spawnFailure = () => undefined;
    await pool.host.advance(500);
    assert.equal(guards().length, 3);
    assert.match(guards()[2]?.stdin ?? "", new RegExp(`^w ${pool.workers[0]?.process.pid}\n$`));

    await killGuard();
    await pool.stop(started);
    assert.deepEqual([pool.host.alive, pool.host.timerCount()], [[], 0]);
  });

  it("takes a worker that is gone out of the guard, and closes its connection", async () => {
    const pool = new FakePool({ maxWorkers: 1, trapSignals: { SIGTERM: "SIGTERM", SIGHUP: null } });
    const started = pool.pm.start();
    await settle();
    const [worker] = pool.workers;
    pool.host.raise("SIGHUP");
    await started;
    worker?.process.exit(0);
    await settle();
    const [guard] = pool.host.processes.filter(({ command }) => command.command === "/bin/sh");
    assert.match(guard?.stdin ?? "", new RegExp(`^w ${worker?.process.pid}\n- ${worker?.process.pid}\n$`));
    assert.equal(worker?.closed, true);
    await pool.pm.waitAllChildren();
  });

  it("lets go of sockets, guard, timers and fatal signals when nobody is left", async () => {
    const pool = new FakePool();
    const started = pool.pm.start();
    await settle();
    assert.ok(pool.host.listensFor("SIGINT"));
    assert.equal(pool.host.files.size, 2);
    await pool.stop(started);
    assert.deepEqual([pool.host.files.size, pool.host.alive, pool.host.timerCount()], [0, [], 0]);
    assert.ok(!pool.host.listensFor("SIGINT") && pool.host.listensFor("SIGTERM"));
    await pool.pm[Symbol.asyncDispose]();
    assert.ok(!pool.host.listensFor("SIGTERM"));
  });
});
