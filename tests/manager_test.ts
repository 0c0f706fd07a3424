/** The manager on the fake host: the virtual clock drives every rule of timing, end to end. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Signal } from "../mod.ts";
import { FakePool, FakeWorker, outcome, rest as settle } from "./support/pool_on_fake.ts";

describe("start()", () => {
  it("returns true by a trapped signal, with the workers told and nobody waited for", async () => {
    const pool = new FakePool({ trapSignals: { SIGTERM: "SIGTERM", SIGHUP: "SIGUSR2" } });
    for (const process of pool.host.processes) process.ignored.add("SIGUSR2");
    const started = pool.pm.start({ data: [1] });
    assert.equal(await outcome(started), "pending");
    for (const { process } of pool.workers) process.ignored.add("SIGUSR2");
    pool.host.raise("SIGHUP");
    assert.equal(await outcome(started), true);
    assert.equal(pool.pm.signalReceived, "SIGHUP");
    assert.deepEqual(pool.workers.map(({ process }) => process.received), [["SIGUSR2"], ["SIGUSR2"]]);
    assert.equal(pool.pm.numWorkers, 2);
    await pool.pm[Symbol.asyncDispose]();
  });

  it("gives each worker its place, its generation, data and forkValue", async () => {
    const pool = new FakePool({ beforeFork: () => Promise.resolve({ of: "hook" }) });
    const started = pool.pm.start({ data: { list: [1, null] } });
    await outcome(started);
    const [first, second] = pool.workers;
    assert.deepEqual([first?.welcome?.["slot"], second?.welcome?.["slot"]], [0, 1]);
    assert.deepEqual(first?.welcome?.["data"], { list: [1, null] });
    assert.deepEqual(first?.welcome?.["forkValue"], { of: "hook" });
    assert.equal(first?.welcome?.["generation"], 1);
    assert.equal(first?.process.env["PREFORK_SLOT"], "0");
    assert.ok(!JSON.stringify(first?.process.env).includes("list"), "data is not in the environment");
    assert.ok(!JSON.stringify(first?.process.command.args).includes("list"), "nor on the command line");
    await pool.stop(started);
  });

  it("answers a signal that came between two calls, and only the one", async () => {
    const pool = new FakePool({ trapSignals: { SIGTERM: "SIGTERM", SIGHUP: null } });
    pool.host.raise("SIGHUP");
    pool.host.raise("SIGHUP");
    assert.equal(await outcome(pool.pm.start()), true);
    const second = pool.pm.start();
    assert.equal(await outcome(second), "pending");
    pool.host.raise("SIGTERM");
    await second;
    assert.equal(await pool.pm.waitAllChildren(), 0);
  });

  it("makes those whose turn comes when their generation is gone of the one that serves, and takes it for no failure", async () => {
    const pool = new FakePool({
      maxWorkers: 5,
      trapSignals: { SIGTERM: "SIGTERM", SIGUSR1: null },
      maxBootFailures: 1,
    });
    pool.host.spawnTakesMs = 25; // so that the event loop has its turn after each of them
    for (let round = 0; round < 2; round++) {
      const started = pool.pm.start();
      await settle();
      pool.host.raise("SIGUSR1");
      while (await outcome(started) === "pending") await pool.host.advance(1);
    }
    const last = pool.pm.start();
    while (pool.workers.length < 5) await pool.host.advance(1);
    await pool.host.advance(100);
    assert.deepEqual(pool.ofType("spawnError"), []);
    assert.equal(await outcome(last), "pending");
    assert.deepEqual([pool.alive.length, pool.ofType("giveUp")], [5, []]);
    await pool.stop(last);
  });

  it("returns by signalReceived being set, as by the signal", async () => {
    const pool = new FakePool();
    const started = pool.pm.start();
    await settle();
    pool.pm.signalReceived = "SIGTERM";
    assert.equal(await outcome(started), true);
    assert.equal(await pool.pm.waitAllChildren(), 0);
    assert.deepEqual(pool.workers.map(({ process }) => process.received), [["SIGTERM"], ["SIGTERM"]]);
  });

  it("refuses to run twice at once, and data that JSON would lose", async () => {
    const pool = new FakePool();
    const started = pool.pm.start();
    await assert.rejects(pool.pm.start(), /Cannot start workers: start\(\) of this pool has not returned yet/);
    await assert.rejects(pool.pm.waitAllChildren(), /Cannot wait for workers: start\(\)/);
    pool.host.raise("SIGTERM");
    await started;
    const unsendable = { list: [1, { when: new Date(0) }] };
    await assert.rejects(pool.pm.start({ data: unsendable }), { name: "TypeError", message: /data\.list\[1\]\.when/ });
    await pool.pm.waitAllChildren();
  });

  it("rejects after maxBootFailures when nothing was ever ready", async () => {
    const pool = new FakePool({ maxWorkers: 1, maxBootFailures: 2 }, false);
    const started = pool.pm.start();
    const failed = assert.rejects(started, { name: "BootFailureError" });
    await settle();
    pool.workers[0]?.process.exit(5);
    await pool.host.advance(1000);
    pool.workers[1]?.process.exit(5);
    await failed;
    const error = await outcome(started);
    assert.ok(error instanceof Error && error.name === "BootFailureError");
    assert.match(error.message, /2 workers failed and none ever became ready; the last one exited with status 5/);
    assert.equal(await pool.pm.waitAllChildren(), 0);
  });

  it("stops by an AbortSignal, whatever is trapped", async () => {
    const controller = new AbortController();
    const pool = new FakePool({ signal: controller.signal, trapSignals: {} });
    const started = pool.pm.start();
    await settle();
    controller.abort();
    assert.equal(await outcome(started), true);
    assert.equal(pool.pm.signalReceived, "SIGTERM");
    assert.equal(await pool.pm.waitAllChildren(), 0);
  });

  it("is given up when the pool is disposed of, at its very beginning too", async () => {
    const pool = new FakePool();
    const started = pool.pm.start();
    await pool.pm[Symbol.asyncDispose]();
    assert.match(String(await outcome(started)), /the pool was disposed of/);
    assert.deepEqual([pool.workers.length, pool.host.files.size], [0, 0]);
  });

  it("knows a new maxWorkers at once", async () => {
    const pool = new FakePool();
    pool.pm.maxWorkers += 1;
    pool.pm.maxWorkers += 1;
    assert.equal(pool.pm.maxWorkers, 4);
    await pool.pm[Symbol.asyncDispose]();
  });

  it("hears signals while it makes many processes, and makes no more of them after a stop", async () => {
    const pool = new FakePool({ maxWorkers: 1000 });
    pool.host.spawnTakesMs = 5;
    const started = pool.pm.start();
    await settle();
    const made = pool.workers.length;
    assert.ok(made > 0 && made <= 5, `${made} in the first 20 ms`);
    pool.host.raise("SIGTERM");
    await pool.host.advance(0);
    assert.equal(await outcome(started), true);
    assert.equal(await pool.pm.waitAllChildren(), 0);
    assert.equal(pool.workers.length, made);
    assert.equal(pool.ofType("spawn").length, pool.ofType("reap").length);
  });

  it("makes all of many processes, some at a time", async () => {
    const pool = new FakePool({ maxWorkers: 100 });
    pool.host.spawnTakesMs = 5;
    const started = pool.pm.start();
    await pool.host.advance(1000);
    assert.equal(pool.alive.length, 100);
    pool.host.raise("SIGTERM");
    await pool.host.advance(0);
    await started;
    await pool.pm.waitAllChildren();
  });

  it("tries again when a process cannot be made", async () => {
    const pool = new FakePool({ maxWorkers: 1 });
    pool.host.spawnFailure = () => new Error("no more processes");
    const started = pool.pm.start();
    await pool.host.advance(999);
    assert.equal(pool.ofType("spawnError").length, 1);
    pool.host.spawnFailure = () => undefined;
    await pool.host.advance(1);
    assert.equal(pool.alive.length, 1);
    await pool.stop(started);
  });
});

describe("a process that is there already", () => {
  it("is a worker, though its guard could not be told of it", async () => {
    const pool = new FakePool({ maxWorkers: 1 });
    const started = pool.pm.start();
    await settle();
    const guard = pool.host.processes.find(({ command }) => command.command === "/bin/sh") ?? assert.fail("no guard");
    guard.writeStdin = () => {
      Reflect.deleteProperty(guard, "writeStdin");
      throw new Error("broken pipe");
    };
    pool.pm.maxWorkers = 2;
    await settle();
    await pool.host.advance(0);
    assert.deepEqual(pool.pm.workers.map(({ state, pid }) => [state, pid > 0]), Array(2).fill(["ready", true]));
    assert.match(pool.ofType("hookError").map(({ error }) => String(error)).join(), /broken pipe/);
    await pool.stop(started);
    assert.deepEqual(pool.alive, []);
  });
});

describe("a worker's word", () => {
  it("that makes no sense ends it, and tells why", async () => {
    const pool = new FakePool({ maxWorkers: 1 });
    const started = pool.pm.start();
    await settle();
    pool.workers[0]?.say("rubbish\n");
    await settle();
    assert.deepEqual(pool.ofType("protocolError").map(({ reason }) => reason), [
      'sent a line that is no JSON: "rubbish"',
    ]);
    assert.deepEqual(pool.workers[0]?.process.received, ["SIGKILL"]);
    await pool.host.advance(1000);
    assert.equal(pool.workers.length, 2);
    await pool.stop(started);
  });

  it("without its token is not heard", async () => {
    const pool = new FakePool({ maxWorkers: 1 }, false);
    const started = pool.pm.start();
    await settle();
    const [worker] = pool.workers;
    await worker?.connect(pool.host);
    worker?.say({ type: "hello", version: 1, token: "guessed" });
    await settle();
    assert.deepEqual([worker?.closed, worker?.welcome], [true, undefined]);
    await pool.stop(started);
  });

  it("before it said hello is its last", async () => {
    const pool = new FakePool({ maxWorkers: 1 }, false);
    const started = pool.pm.start();
    await settle();
    const [worker] = pool.workers;
    await worker?.connect(pool.host);
    const hello = JSON.stringify({ type: "hello", version: 1, token: worker?.process.env["PREFORK_TOKEN"] });
    worker?.say(`{"type":"ready"}\n${hello}\n`);
    await settle();
    assert.equal(worker?.closed, true);
    assert.deepEqual(pool.pm.workers.map(({ state }) => state), ["booting"]);
    await pool.stop(started);
  });

  it("has to come in time", async () => {
    const pool = new FakePool({ maxWorkers: 1, bootTimeoutMs: 1000 });
    const started = pool.pm.start();
    await settle();
    const stranger = new FakeWorker(pool.workers[0]?.process ?? assert.fail("no worker"));
    await stranger.connect(pool.host);
    stranger.say("hel");
    await pool.host.advance(1000);
    assert.equal(stranger.closed, false); // there may be something still to be read
    await pool.host.advance(100);
    assert.equal(stranger.closed, true);
    assert.deepEqual([pool.workers[0]?.closed, pool.alive.length], [false, 1]);
    await pool.stop(started);
  });

  it("of hello is said once", async () => {
    const pool = new FakePool({ maxWorkers: 1 });
    const started = pool.pm.start();
    await settle();
    const [worker] = pool.workers;
    worker?.say({ type: "hello", version: 1, token: worker.process.env["PREFORK_TOKEN"] });
    await settle();
    assert.deepEqual(pool.ofType("protocolError").map(({ reason }) => reason), ["said hello twice"]);
    assert.deepEqual(worker?.process.received, ["SIGKILL"]);
    await pool.stop(started);
  });

  it("that is too long ends it, and what it said before is heard", async () => {
    const pool = new FakePool({ maxWorkers: 1 }, false);
    const started = pool.pm.start();
    await settle();
    const [worker] = pool.workers;
    await worker?.connect(pool.host);
    const hello = JSON.stringify({ type: "hello", version: 1, token: worker?.process.env["PREFORK_TOKEN"] });
    worker?.say(`${hello}\n${"x".repeat(70_000)}`);
    await settle();
    assert.deepEqual(pool.ofType("protocolError").map(({ reason }) => reason), [
      "sent a line of more than 65536 characters",
    ]);
    await pool.stop(started);
  });

  it("is read no faster than the manager can stand", async () => {
    const pool = new FakePool({ maxWorkers: 1 });
    const started = pool.pm.start();
    await settle();
    const [worker] = pool.workers;
    for (let word = 1; word <= 200; word++) worker?.say({ type: "status", status: String(word).padStart(974, ".") });
    const heard = () => Number(pool.pm.workers[0]?.status.replaceAll(".", ""));
    await pool.host.advance(0);
    assert.ok(heard() > 50 && heard() < 70, `${heard()} of 200 kB at once`);
    await pool.host.advance(1000);
    assert.ok(heard() > 110 && heard() < 140, `${heard()} of 200 kB after a second`);
    await pool.host.advance(2000);
    assert.equal(heard(), 200);
    await pool.stop(started);
  });

  it("opens one connection only", async () => {
    const pool = new FakePool({ maxWorkers: 1 });
    const started = pool.pm.start();
    await settle();
    const [worker] = pool.workers;
    assert.ok(worker?.welcome);
    await worker.hello(pool.host);
    assert.equal(worker.closed, true);
    assert.equal(pool.alive.length, 1);
    await pool.stop(started);
  });

  it("of another version is an end that says so", async () => {
    const pool = new FakePool({ maxWorkers: 1 }, false);
    const started = pool.pm.start();
    await settle();
    const [worker] = pool.workers;
    await worker?.connect(pool.host);
    worker?.say({ type: "hello", version: 2, token: worker.process.env["PREFORK_TOKEN"] });
    await settle();
    assert.match(pool.ofType("protocolError")[0]?.reason ?? "", /speaks version 2 of the control protocol/);
    await pool.stop(started);
  });
});

describe("hooks and loggers that throw", () => {
  it("are events, and the pool goes on", async () => {
    const thrown = (): never => {
      throw new Error("oops");
    };
    const logger = { debug: thrown, info: thrown, warn: thrown, error: thrown };
    const pool = new FakePool({ beforeFork: thrown, afterFork: thrown, onChildReap: thrown, logger });
    const started = pool.pm.start();
    await settle();
    assert.equal(pool.alive.length, 2);
    await pool.stop(started);
    const hooks = new Set(pool.ofType("hookError").map(({ hook }) => hook));
    assert.deepEqual([...hooks].sort(), ["afterFork", "beforeFork", "logger", "onChildReap"]);
  });

  it("are events when they reject, too", async () => {
    const rejected = () => Promise.reject(new Error("oops"));
    const logger = { debug: rejected, info: rejected, warn: rejected, error: rejected };
    const pool = new FakePool({ beforeFork: rejected, afterFork: rejected, onChildReap: rejected, logger });
    const started = pool.pm.start();
    await settle();
    assert.equal(pool.alive.length, 2);
    await pool.stop(started);
    await settle();
    const hooks = new Set(pool.ofType("hookError").map(({ hook }) => hook));
    assert.deepEqual([...hooks].sort(), ["afterFork", "beforeFork", "logger", "onChildReap"]);
  });

  it("are events when beforeFork returns what JSON cannot say, and the worker is made without it", async () => {
    const own: { self?: object } = {};
    own.self = own;
    for (const value of [own, 1n, new Date(0)]) {
      for (const given of [value, Promise.resolve(value)]) {
        // @ts-expect-error no JSON
        const pool = new FakePool({ maxWorkers: 1, beforeFork: () => given });
        const started = pool.pm.start();
        await settle();
        assert.equal(pool.workers[0]?.welcome?.["forkValue"], null);
        const [{ hook, error } = {}, ...more] = pool.ofType("hookError");
        assert.equal(hook, "beforeFork");
        assert.match(String(error), /^TypeError: Cannot send what it returns(\.self)? to workers: /);
        assert.deepEqual(more, []);
        await pool.stop(started);
        await pool.pm[Symbol.asyncDispose]();
      }
    }
  });

  it("see a count without the worker that is being made, and without the one that is gone", async () => {
    const counts: string[] = [];
    const pool = new FakePool({
      beforeFork: ({ numWorkers }) => void counts.push(`before ${numWorkers}`),
      afterFork: ({ numWorkers }) => void counts.push(`after ${numWorkers}`),
      onChildReap: ({ numWorkers }, _pid, status) => void counts.push(`reap ${numWorkers} ${status.type}`),
    });
    const started = pool.pm.start();
    await settle();
    await pool.stop(started);
    assert.deepEqual(counts, ["before 0", "after 0", "before 1", "after 1", "reap 1 signaled", "reap 0 signaled"]);
  });
});

describe("an untrapped fatal signal", () => {
  for (const signal of ["SIGHUP", "SIGINT", "SIGQUIT"] satisfies Signal[]) {
    it(`reaches the workers' groups before the manager dies of it: ${signal}`, async () => {
      const pool = new FakePool();
      pool.pm.start().catch(() => {}); // it goes with the pool
      await settle();
      pool.host.raise(signal);
      await settle();
      const groups = pool.workers.map(({ process }) => ({ pid: -process.pid, signal }));
      assert.deepEqual(pool.host.sent.filter((sent) => sent.signal === signal), [
        ...groups,
        { pid: pool.host.pid, signal },
      ]);
      assert.equal(pool.host.diedOf, signal);
      for (const process of pool.alive) process.exit(0);
      await pool.pm[Symbol.asyncDispose]();
    });
  }
});

describe("events", () => {
  it("reach each reader from its beginning on, and end with the pool", async () => {
    const pool = new FakePool({ maxWorkers: 1 });
    const started = pool.pm.start();
    await settle();
    await pool.stop(started);
    const late = pool.pm[Symbol.asyncIterator]().next();
    await pool.pm[Symbol.asyncDispose]();
    assert.equal((await late).done, true);
    assert.deepEqual(pool.events.map(({ type }) => type), ["spawn", "ready", "signal", "relay", "reap", "stopped"]);
  });

  it("tell a reader that was too slow how many it missed", { timeout: 180_000 }, async () => {
    const pool = new FakePool({ maxWorkers: 1 });
    const slow = pool.pm[Symbol.asyncIterator]();
    const started = pool.pm.start();
    await settle();
    for (let i = 0; i < 4000; i++) {
      pool.workers.at(-1)?.process.exit(0);
      await settle();
    }
    await pool.stop(started);
    await pool.pm[Symbol.asyncDispose]();
    let read = 0;
    let dropped = 0;
    for (let next = await slow.next(); !next.done; next = await slow.next()) {
      if (next.value.type === "dropped") dropped += next.value.count;
      else read++;
    }
    assert.equal(read, 10_000);
    assert.equal(read + dropped, pool.events.length);
  });
});
