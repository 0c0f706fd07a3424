import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { spareWorkers } from "../src/policy.ts";
import { step } from "../src/pool.ts";
import { PoolSim } from "./support/pool_sim.ts";

const FAILED = { type: "exited", code: 3 } as const;

describe("pool: size", () => {
  it("fills all slots at once and stays at rest, with no timer left", () => {
    const sim = new PoolSim({ maxWorkers: 4 });
    sim.start();
    assert.deepEqual([...sim.workers.values()].map(({ slot }) => slot), [0, 1, 2, 3]);
    assert.deepEqual(sim.timers, []);
  });

  it("keeps spawnIntervalMs between spawns", () => {
    const sim = new PoolSim({ maxWorkers: 3, spawnIntervalMs: 1000 });
    sim.start();
    sim.advance(5000);
    assert.deepEqual(sim.of("spawn").map(({ at }) => at), [0, 1000, 2000]);
  });

  it("replaces a worker that returned 0 at once and in its slot", () => {
    const sim = new PoolSim();
    sim.start();
    sim.advance(50);
    const { id } = sim.inSlot(1);
    sim.exit(id);
    assert.notEqual(sim.inSlot(1).id, id);
    assert.equal(sim.of("spawn").at(-1)?.at, 50);
  });

  it("spawns nothing outside start, and everything missing in the next one", () => {
    const sim = new PoolSim({ trapSignals: { SIGHUP: null } });
    sim.start();
    sim.send({ type: "signal", signal: "SIGHUP" });
    sim.exit(sim.inSlot(0).id);
    assert.equal(sim.size, 2);
    sim.start();
    assert.equal(sim.size, 3);
  });

  it("takes more workers at once when maxWorkers is raised", () => {
    const sim = new PoolSim({ maxWorkers: 1 });
    sim.start();
    sim.send({ type: "setMaxWorkers", maxWorkers: 3 });
    assert.equal(sim.size, 3);
  });

  it("retires the highest slots when maxWorkers is lowered", () => {
    const sim = new PoolSim({ maxWorkers: 4 });
    sim.start();
    sim.send({ type: "setMaxWorkers", maxWorkers: 2 });
    assert.deepEqual([...sim.workers.values()].map(({ slot }) => slot), [0, 1]);
    assert.deepEqual(sim.of("retire").map(({ worker }) => worker.slot), [3, 2]);
  });

  it("waits without a timer when maxWorkers is 0, and still hears signals", () => {
    const sim = new PoolSim({ maxWorkers: 0 });
    sim.start();
    assert.deepEqual([sim.size, sim.timers], [0, []]);
    sim.send({ type: "signal", signal: "SIGTERM" });
    assert.deepEqual(sim.returned, [{ at: 0, signal: "SIGTERM" }]);
  });
});

describe("pool: a policy of one's own", () => {
  it("never makes more workers than allowed, those included that are still stopping", () => {
    const policy = { intervalMs: 0, decide: () => 100 };
    const sim = new PoolSim({ maxWorkers: 4, policy, stopTimeoutMs: 60_000 }, { obedient: false });
    sim.start();
    assert.equal(sim.size, 4);
    sim.send({ type: "setMaxWorkers", maxWorkers: 2 });
    sim.exit(sim.inSlot(0).id);
    sim.exit(sim.inSlot(1).id);
    assert.deepEqual([...sim.workers.values()].map(({ slot }) => slot), [2, 3]);
    sim.exit(sim.inSlot(3).id);
    assert.equal(sim.size, 2);
  });

  it("changes nothing while it throws or gives no number, and is told of", () => {
    for (const decide of [() => NaN, () => JSON.parse("no JSON")]) {
      const sim = new PoolSim({ maxWorkers: 2, policy: { intervalMs: 0, decide } });
      sim.start();
      assert.equal(sim.size, 0);
      assert.equal(sim.of("hookError")[0]?.hook, "policy.decide");
      sim.send({ type: "signal", signal: "SIGTERM" });
      assert.equal(sim.returned.length, 1);
    }
  });

  it("retires idle workers only, however many it wants gone", () => {
    let change = 4;
    const sim = new PoolSim({ maxWorkers: 4, policy: { intervalMs: 0, decide: () => change } });
    sim.start();
    change = 0;
    for (const slot of [0, 2, 3]) {
      sim.send({ type: "status", slot, id: sim.inSlot(slot).id, status: "A", isIdle: false });
    }
    change = -100;
    sim.send({ type: "adjust" });
    assert.deepEqual(sim.of("retire").map(({ worker }) => worker.slot), [1]);
  });
});

describe("pool: failures", () => {
  it("holds the slot of a failed worker back for errRespawnIntervalMs, and no other slot", () => {
    const sim = new PoolSim();
    sim.start();
    sim.exit(sim.inSlot(0).id, FAILED);
    sim.exit(sim.inSlot(1).id);
    assert.deepEqual([...sim.workers.values()].map(({ slot }) => slot).sort(), [1, 2]);
    sim.advance(999);
    assert.equal(sim.size, 2);
    sim.advance(1);
    assert.equal(sim.size, 3);
  });

  it("doubles the wait with jitter, up to maxRespawnIntervalMs", () => {
    const sim = new PoolSim({ maxWorkers: 1, maxRespawnIntervalMs: 10_000 });
    sim.start();
    for (let i = 0; i < 8; i++) {
      sim.exit(sim.inSlot(0).id, FAILED);
      sim.advance(10_000);
    }
    const delays = sim.of("backoff").map(({ delayMs }) => delayMs);
    assert.equal(delays[0], 1000);
    for (const [index, delay] of delays.slice(1).entries()) {
      const full = Math.min(1000 * 2 ** (index + 1), 10_000);
      assert.ok(delay >= full / 2 && delay <= full, `failure ${index + 2}: ${delay} of ${full}`);
    }
    assert.equal(new Set(delays).size, delays.length);
  });

  it("comes back at once without errRespawnIntervalMs, however often its workers failed", () => {
    const sim = new PoolSim({ maxWorkers: 1, errRespawnIntervalMs: 0 });
    sim.start();
    for (let i = 0; i < 1100; i++) sim.exit(sim.inSlot(0).id, FAILED);
    assert.equal(sim.of("backoff").at(-1)?.delayMs, 0);
  });

  it("forgets failures after a life longer than maxRespawnIntervalMs", () => {
    const sim = new PoolSim({ maxWorkers: 1, maxRespawnIntervalMs: 5000 });
    sim.start();
    for (const life of [0, 10, 5000]) {
      sim.advance(life);
      sim.exit(sim.inSlot(0).id, FAILED);
      sim.advance(2000);
    }
    assert.deepEqual(sim.of("backoff").map(({ failures }) => failures), [1, 2, 1]);
  });

  it("does not slow a new generation down for the failures of an old one", () => {
    const sim = new PoolSim({ trapSignals: { SIGHUP: "SIGUSR2" } });
    sim.start();
    sim.send({ type: "signal", signal: "SIGHUP" });
    sim.start();
    sim.exit(sim.inSlot(0).id, FAILED);
    assert.equal(sim.size, 3);
  });

  it("tries a slot that is held back at once when start is called again", () => {
    const sim = new PoolSim({ trapSignals: { SIGHUP: null } });
    sim.start();
    sim.exit(sim.inSlot(0).id, FAILED);
    sim.send({ type: "signal", signal: "SIGHUP" });
    sim.start();
    assert.equal(sim.size, 3);
    sim.advance(5000);
    assert.equal(sim.size, 3);
  });

  it("counts failures anew from each start on", () => {
    const sim = new PoolSim({ maxWorkers: 1, trapSignals: { SIGHUP: null } });
    sim.start();
    for (const delay of [1000, 2000]) {
      sim.exit(sim.inSlot(0).id, FAILED);
      sim.advance(delay);
    }
    sim.send({ type: "signal", signal: "SIGHUP" });
    sim.start();
    sim.exit(sim.inSlot(0).id);
    sim.exit(sim.inSlot(0).id, FAILED);
    assert.deepEqual(sim.of("backoff").map(({ failures }) => failures), [1, 2, 1]);
  });

  it("does not count what a worker that was told to end exits with", () => {
    const sim = new PoolSim({ maxWorkers: 1, trapSignals: { SIGHUP: "SIGTERM" } }, { obedient: false });
    sim.start();
    sim.send({ type: "signal", signal: "SIGHUP" });
    sim.exit(sim.inSlot(0).id, FAILED);
    assert.deepEqual([sim.of("reap")[0]?.expected, sim.of("backoff").length], [true, 0]);
  });

  it("does not count the death by a signal that was relayed as a failure", () => {
    const sim = new PoolSim({ trapSignals: { SIGHUP: "SIGUSR2" } }, { obedient: false });
    sim.start();
    sim.send({ type: "signal", signal: "SIGHUP" });
    sim.exit(sim.inSlot(0).id, { type: "signaled", signal: "SIGUSR2" });
    assert.equal(sim.of("reap")[0]?.expected, true);
    assert.deepEqual(sim.of("backoff"), []);
  });

  it("pauses the whole pool when a process cannot be made, once for all that failed together", () => {
    const sim = new PoolSim({ maxWorkers: 50 });
    sim.failSpawns = true;
    sim.start();
    sim.advance(999);
    const first = sim.of("spawnError").length;
    assert.ok(first <= 50, String(first));
    sim.failSpawns = false;
    sim.advance(1);
    assert.equal(sim.size, 50);
  });

  it("waits longer for each further try to make a process, with a pace of its own, too", () => {
    const sim = new PoolSim({ maxWorkers: 2, spawnIntervalMs: 5 });
    sim.failSpawns = true;
    sim.start();
    sim.advance(20_000);
    const times = sim.of("spawnError").map(({ at }) => at);
    assert.deepEqual([times[0], times[1]], [0, 1000]);
    assert.ok((times[2] ?? 0) >= 2000 && (times[3] ?? 0) - (times[2] ?? 0) >= 2000, `${times.slice(0, 4)}`);
  });

  it("keeps the pace when a process cannot be made, however short the wait for that", () => {
    const sim = new PoolSim({ maxWorkers: 1, spawnIntervalMs: 5000 });
    sim.failSpawns = true;
    sim.start();
    sim.advance(5000);
    assert.deepEqual(sim.of("spawnError").map(({ at }) => at), [0, 5000]);
  });

  it("tells of no wait that is over, however late it hears of those that failed together", () => {
    const sim = new PoolSim({ maxWorkers: 2 });
    const error = new Error("no more processes");
    const [pool] = step(sim.state, { type: "start", generation: { number: 1, channel: true } }, 0);
    const [later] = step(pool, { type: "spawnFailed", slot: 0, id: 1, error }, 0);
    const [, effects] = step(later, { type: "spawnFailed", slot: 1, id: 2, error }, 60_000);
    const told = effects.flatMap((effect) =>
      effect.type === "event" && effect.event.type === "spawnError" ? effect : []
    );
    assert.deepEqual(told.map(({ event }) => "delayMs" in event && event.delayMs), [0]);
  });

  it("takes the deadline of a worker that never was back", () => {
    const sim = new PoolSim({ maxWorkers: 1 });
    const [pool, effects] = step(sim.state, { type: "start", generation: { number: 1, channel: true } }, 0);
    assert.deepEqual(effects.map(({ type }) => type), ["spawn"]);
    const [stopping] = step(pool, { type: "stopAll" }, 0);
    const [, last] = step(stopping, { type: "spawnFailed", slot: 0, id: 1, error: new Error("no more processes") }, 0);
    assert.ok(last.some((effect) => effect.type === "clearTimer" && effect.key === "stop 0 1"));
  });

  it("gives up after maxBootFailures when nothing ever became ready, and stops the rest", () => {
    const sim = new PoolSim({ maxWorkers: 2, maxBootFailures: 3 }, { eager: false });
    sim.start();
    sim.exit(sim.inSlot(1).id, FAILED);
    sim.advance(1000);
    for (let i = 0; i < 2; i++) {
      sim.exit(sim.inSlot(0).id, FAILED);
      sim.advance(3000);
    }
    assert.match(sim.gaveUp ?? "", /exited with status 3/);
    assert.equal(sim.events.at(-1)?.type, "reap", "nothing is said of another try");
    assert.equal(sim.size, 0);
    sim.advance(60_000);
    assert.equal(sim.size, 0);
  });

  it("does not give up while one is on its way whose slot has not failed", () => {
    const sim = new PoolSim({ maxWorkers: 6, maxBootFailures: 5 }, { eager: false });
    sim.start();
    const good = sim.inSlot(5).id;
    for (let slot = 0; slot < 5; slot++) sim.exit(sim.inSlot(slot).id, FAILED);
    assert.equal(sim.gaveUp, undefined);
    for (const what of ["connected", "begun", "ready"] as const) sim.tell(good, what);
    sim.advance(1000);
    for (let slot = 0; slot < 5; slot++) sim.exit(sim.inSlot(slot).id, FAILED);
    assert.deepEqual([sim.gaveUp, sim.state.mode, sim.workers.has(good)], [undefined, "running", true]);
  });

  it("gives up when that one has failed, too", () => {
    const sim = new PoolSim({ maxWorkers: 3, maxBootFailures: 2, bootTimeoutMs: 5000 }, { eager: false });
    sim.start();
    for (const slot of [0, 1]) sim.exit(sim.inSlot(slot).id, FAILED);
    sim.advance(4999);
    assert.equal(sim.gaveUp, undefined);
    sim.advance(1);
    assert.match(sim.gaveUp ?? "", /did not begin within 5000 ms/);
  });

  it("counts those that could not be made together as one failure", () => {
    const sim = new PoolSim({ maxWorkers: 6, maxBootFailures: 2 }, { eager: false });
    const error = new Error("no more processes");
    let [pool] = step(sim.state, { type: "start", generation: { number: 1, channel: true } }, 0);
    for (let id = 1; id <= 6; id++) [pool] = step(pool, { type: "spawnFailed", slot: id - 1, id, error }, 0);
    assert.deepEqual([pool.mode, pool.bootFailures], ["running", 1]);
  });

  it("counts maxBootFailures anew in each start", () => {
    const sim = new PoolSim({ maxWorkers: 1, maxBootFailures: 2, trapSignals: { SIGHUP: null } }, { eager: false });
    for (let i = 0; i < 3; i++) {
      sim.start();
      sim.exit(sim.inSlot(0).id, FAILED);
      sim.advance(1000);
      sim.exit(sim.inSlot(0).id);
      sim.advance(5000);
      assert.match(sim.gaveUp ?? "", /without reaching/);
      sim.gaveUp = undefined;
    }
  });

  it("gives a worker a second chance when its deadline is noticed late: the manager itself stood still", () => {
    const sim = new PoolSim({ maxWorkers: 2, bootTimeoutMs: 1000 }, { eager: false });
    sim.start();
    const [first, second] = [sim.inSlot(0), sim.inSlot(1)];
    sim.now = 60_000;
    sim.advance(0);
    assert.deepEqual(sim.kills, []);
    sim.tell(first.id, "connected");
    sim.tell(first.id, "begun");
    sim.advance(1000);
    assert.deepEqual(sim.kills.map(({ pid }) => pid), [second.pid]);
  });

  it("gives a worker that was told to stop before it was ready all the time it has for that", () => {
    const sim = new PoolSim({ maxWorkers: 1, bootTimeoutMs: 3000, stopTimeoutMs: 6000, settles: false }, {
      eager: false,
      obedient: false,
    });
    sim.start();
    const { id, pid, slot } = sim.inSlot(0);
    for (const what of ["connected", "begun"] as const) sim.tell(id, what);
    sim.send({ type: "settled", slot, id });
    sim.advance(500);
    sim.send({ type: "signal", signal: "SIGTERM" });
    sim.send({ type: "wait" });
    sim.advance(20_000);
    assert.deepEqual(sim.kills.map(({ at, signal }) => [at, signal]), [[500, "SIGTERM"], [6500, "SIGKILL"]]);
    assert.deepEqual(sim.of("stopped").map(({ killed }) => killed.map((worker) => worker.pid)), [[pid]]);
  });

  it("never gives up once something was ready", () => {
    const sim = new PoolSim({ maxWorkers: 1, maxBootFailures: 2 }, { eager: false });
    sim.start();
    sim.tell(sim.inSlot(0).id, "connected");
    sim.tell(sim.inSlot(0).id, "ready");
    for (let i = 0; i < 9; i++) {
      sim.exit(sim.inSlot(0).id, FAILED);
      sim.advance(30_000);
    }
    assert.equal(sim.gaveUp, undefined);
    assert.equal(sim.size, 1);
  });

  it("never gives up once a worker did its work, though none that is so short is ever ready", () => {
    const sim = new PoolSim({ maxWorkers: 1, maxBootFailures: 2, errRespawnIntervalMs: 0 }, { eager: false });
    sim.start(false);
    for (const code of [1, 0, 1, 0, 1, 1, 1]) {
      sim.advance(900);
      sim.exit(sim.inSlot(0).id, { type: "exited", code });
    }
    assert.deepEqual([sim.gaveUp, sim.state.everReady, sim.size], [undefined, false, 1]);
  });

  it("calls a worker that returned 0 before its start a failure that says so", () => {
    const sim = new PoolSim({ maxWorkers: 1 }, { eager: false });
    sim.start();
    sim.tell(sim.inSlot(0).id, "connected");
    sim.exit(sim.inSlot(0).id);
    assert.equal(sim.of("reap")[0]?.expected, false);
    assert.match(sim.of("reap")[0]?.reason ?? "", /without reaching the start\(\)/);
    assert.equal(sim.of("backoff").length, 1);
  });

  it("kills a worker that has not begun by bootTimeoutMs", () => {
    const sim = new PoolSim({ maxWorkers: 1, bootTimeoutMs: 4000 }, { eager: false });
    sim.start();
    sim.advance(3999);
    assert.deepEqual(sim.kills, []);
    sim.advance(1);
    assert.deepEqual(sim.kills.map(({ signal }) => signal), ["SIGKILL"]);
    assert.match(sim.of("reap")[0]?.reason ?? "", /did not begin within 4000 ms/);
  });
});

describe("pool: health", () => {
  it("is degraded from the first slot held back to the day all are ready again", () => {
    const sim = new PoolSim({ maxWorkers: 2 });
    sim.start();
    sim.exit(sim.inSlot(0).id, { type: "exited", code: 1 });
    sim.exit(sim.inSlot(1).id, { type: "exited", code: 1 });
    assert.deepEqual(sim.of("degraded").map(({ ready, wanted }) => [ready, wanted]), [[1, 2]]);
    assert.equal(sim.state.degraded, true);
    sim.advance(1000);
    assert.deepEqual(sim.of("recovered").map(({ at, ready }) => [at, ready]), [[1000, 2]]);
    assert.equal(sim.state.degraded, false);
  });

  it("is degraded for as long as workers cannot be made", () => {
    const sim = new PoolSim({ maxWorkers: 2 });
    sim.start();
    sim.failSpawns = true;
    sim.exit(sim.inSlot(0).id); // it ended well: no slot is held back
    assert.deepEqual(sim.of("degraded").map(({ ready, wanted }) => [ready, wanted]), [[1, 2]]);
    sim.exit(sim.inSlot(1).id, { type: "exited", code: 1 });
    sim.advance(30_000);
    assert.ok(sim.of("spawnError").length > 2);
    assert.deepEqual(sim.of("recovered"), []);
    sim.failSpawns = false;
    sim.advance(30_000);
    assert.deepEqual(sim.of("recovered").map(({ ready }) => ready), [2]);
    assert.equal(sim.of("degraded").length, 1);
  });

  it("is not called degraded before anything was ready, nor for workers that ended well", () => {
    const sim = new PoolSim({ maxWorkers: 2 }, { eager: false });
    sim.start();
    sim.exit(sim.inSlot(0).id, { type: "exited", code: 1 });
    sim.advance(1000);
    for (const what of ["connected", "begun", "ready"] as const) sim.tell(sim.inSlot(0).id, what);
    sim.exit(sim.inSlot(0).id);
    assert.deepEqual(sim.of("degraded"), []);
  });

  it("does not miss the worker of a slot that the pool is too small for by now", () => {
    const sim = new PoolSim({ maxWorkers: 2 });
    sim.start();
    sim.exit(sim.inSlot(1).id, FAILED);
    assert.equal(sim.state.degraded, true);
    sim.send({ type: "setMaxWorkers", maxWorkers: 1 });
    assert.deepEqual(sim.of("recovered").map(({ at, ready }) => [at, ready]), [[0, 1]]);
  });

  it("is degraded while no process can be made, and not called well for having nobody", () => {
    const sim = new PoolSim({ maxWorkers: 2 });
    sim.start();
    sim.failSpawns = true;
    sim.exit(sim.inSlot(0).id);
    assert.deepEqual(sim.of("degraded").map(({ ready, wanted }) => [ready, wanted]), [[1, 2]]);
    sim.exit(sim.inSlot(1).id, FAILED);
    sim.advance(60_000);
    assert.deepEqual([sim.size, sim.of("degraded").length, sim.of("recovered")], [0, 1, []]);
    sim.failSpawns = false;
    sim.advance(30_000);
    assert.deepEqual(sim.of("recovered").map(({ ready }) => ready), [2]);
  });

  it("tells at the end who had to be killed, once", () => {
    const sim = new PoolSim({ maxWorkers: 2 }, { obedient: false });
    sim.start();
    sim.send({ type: "signal", signal: "SIGTERM" });
    sim.exit(sim.inSlot(0).id);
    const { pid } = sim.inSlot(1);
    sim.send({ type: "wait" });
    sim.advance(30_000);
    sim.send({ type: "wait" });
    assert.deepEqual(sim.of("stopped").map(({ at, killed }) => [at, killed.map((worker) => worker.pid)]), [
      [30_000, [pid]],
    ]);
  });
});

describe("pool: killed at the end", () => {
  it("names a worker once, however often it was killed, and none that never was", () => {
    const sim = new PoolSim({ maxWorkers: 1 });
    let [pool] = step(sim.state, { type: "start", generation: { number: 1, channel: true } }, 0);
    const inputs = [
      { type: "spawned", slot: 0, id: 1, pid: 7 },
      { type: "setMaxWorkers", maxWorkers: 2 },
      { type: "stopAll" },
      { type: "wait" },
      { type: "signalAll", signal: "SIGKILL" },
      { type: "signalAll", signal: "SIGKILL" },
      { type: "stopDeadline", slot: 0, id: 1, due: 0, delayMs: 30_000 },
    ] as const;
    for (const input of inputs) [pool] = step(pool, input, 0);
    assert.deepEqual(pool.killed.map(({ pid }) => pid), [7]);
  });
});

describe("pool: spare workers", () => {
  const policy = spareWorkers({ minSpare: 3, maxSpare: 5, heartbeatMs: 250 });
  const busy = (sim: PoolSim, status: string) => {
    for (const { slot, id } of [...sim.workers.values()]) {
      sim.send({ type: "status", slot, id, status, isIdle: status === "_" });
    }
  };

  it("begins with minSpare workers, and is at rest", () => {
    const sim = new PoolSim({ maxWorkers: 10, policy });
    sim.start();
    sim.advance(10_000);
    assert.deepEqual([sim.size, sim.timers], [3, []]);
  });

  it("grows to maxWorkers while all are busy, and shrinks to maxSpare when all are idle", () => {
    const sim = new PoolSim({ maxWorkers: 10, policy });
    sim.start();
    for (let i = 0; i < 20; i++) {
      busy(sim, "A");
      sim.advance(100);
    }
    assert.equal(sim.size, 10);
    busy(sim, "_");
    sim.advance(10_000);
    assert.equal(sim.size, 5);
  });

  it("doubles its steps", () => {
    const sim = new PoolSim({ maxWorkers: 1000, policy: spareWorkers({ minSpare: 1, maxSpare: 200 }) });
    sim.start();
    const sizes = [];
    for (let i = 0; i < 6; i++) {
      busy(sim, "A");
      sim.advance(250);
      sizes.push(sim.size);
    }
    assert.deepEqual(sizes, [3, 7, 15, 31, 63, 127]);
  });

  it("never retires a busy worker", () => {
    const sim = new PoolSim({ maxWorkers: 10, policy: spareWorkers({ minSpare: 1, maxSpare: 1 }) });
    sim.start();
    for (let i = 0; i < 20; i++) {
      busy(sim, "A");
      sim.advance(250);
    }
    const idle = [7, 2, 5].map((slot) => sim.inSlot(slot));
    for (const { slot, id } of idle) sim.send({ type: "status", slot, id, status: "_", isIdle: true });
    sim.advance(10_000);
    assert.deepEqual(sim.of("retire").map(({ worker }) => worker.slot), [7, 5]);
  });

  it("takes for busy who tells what it does and then no more, and not who tells more in no time", () => {
    const sim = new PoolSim({ maxWorkers: 10, policy: spareWorkers({ minSpare: 1 }) });
    sim.start();
    const { slot, id } = sim.inSlot(0);
    sim.send({ type: "status", slot, id, status: "A" });
    sim.advance(150);
    sim.send({ type: "status", slot, id, status: "B", isIdle: true });
    sim.advance(5000);
    assert.deepEqual([sim.size, sim.state.workers.get(slot)?.status], [1, "B"]);
    sim.send({ type: "status", slot, id, status: "A" });
    sim.advance(249);
    assert.equal(sim.size, 1);
    sim.advance(1);
    assert.equal(sim.size, 2);
    sim.send({ type: "status", slot, id, status: "_" });
    sim.exit(id);
    assert.ok(!sim.timers.some((key) => key.startsWith("busy")));
  });

  it("changes nothing more often than each heartbeat", () => {
    const sim = new PoolSim({ maxWorkers: 100, policy: spareWorkers({ minSpare: 1, maxSpare: 2, heartbeatMs: 1000 }) });
    sim.start();
    for (let i = 0; i < 100; i++) {
      busy(sim, i % 2 ? "A" : "_");
      sim.advance(50);
    }
    const times = [...new Set([...sim.of("spawn"), ...sim.of("retire")].map(({ at }) => at))].sort((a, b) => a - b);
    assert.ok(times.every((at, i) => i === 0 || at - (times[i - 1] ?? 0) >= 1000), times.join(" "));
  });
});
