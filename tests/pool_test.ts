import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { spareWorkers } from "../src/policy.ts";
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

  it("gives up after maxBootFailures when nothing ever became ready, and stops the rest", () => {
    const sim = new PoolSim({ maxWorkers: 2, maxBootFailures: 3 }, { eager: false });
    sim.start();
    for (let i = 0; i < 3; i++) {
      sim.exit(sim.inSlot(0).id, FAILED);
      sim.advance(3000);
    }
    assert.match(sim.gaveUp ?? "", /exited with status 3/);
    assert.equal(sim.size, 0);
    sim.advance(60_000);
    assert.equal(sim.size, 0);
  });

  it("never gives up once something was ready", () => {
    const sim = new PoolSim({ maxWorkers: 1, maxBootFailures: 2 });
    sim.start();
    for (let i = 0; i < 9; i++) {
      sim.exit(sim.inSlot(0).id, FAILED);
      sim.advance(30_000);
    }
    assert.equal(sim.gaveUp, undefined);
    assert.equal(sim.size, 1);
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

describe("pool: readiness", () => {
  it("counts a command as ready one second after its spawn", () => {
    const sim = new PoolSim({ maxWorkers: 1 }, { eager: false });
    sim.start(false);
    sim.advance(999);
    assert.deepEqual(sim.of("ready"), []);
    sim.advance(1);
    assert.equal(sim.of("ready").length, 1);
  });

  it("counts a worker that says nothing as ready one second after it began", () => {
    const sim = new PoolSim({ maxWorkers: 1 }, { eager: false });
    sim.start();
    sim.advance(500);
    sim.tell(sim.inSlot(0).id, "connected");
    sim.advance(700);
    sim.tell(sim.inSlot(0).id, "begun");
    sim.advance(1000);
    assert.deepEqual(sim.of("ready").map(({ at }) => at), [2200]);
  });

  it("holds a relay until the worker is ready, and sends it then, once", () => {
    const sim = new PoolSim({ maxWorkers: 1, trapSignals: { SIGHUP: "SIGUSR2" } }, { eager: false });
    sim.start();
    const { id, signals } = sim.inSlot(0);
    sim.tell(id, "connected");
    for (let i = 0; i < 3; i++) {
      sim.send({ type: "signal", signal: "SIGHUP" });
      sim.start();
    }
    assert.deepEqual(signals, []);
    sim.tell(id, "ready");
    assert.deepEqual(signals, ["SIGUSR2"]);
  });

  it("holds a stop for a worker whose code runs, and ends at once one whose code has not begun", () => {
    const sim = new PoolSim({ maxWorkers: 2 }, { eager: false });
    sim.start();
    const [running, booting] = [sim.inSlot(0), sim.inSlot(1)];
    sim.tell(running.id, "connected");
    sim.send({ type: "signal", signal: "SIGTERM" });
    assert.deepEqual([running.signals, booting.signals], [[], ["SIGKILL"]]);
    sim.tell(running.id, "begun");
    sim.advance(1000);
    assert.deepEqual(running.signals, ["SIGTERM"]);
  });

  it("welcomes nobody who is to stop", () => {
    const sim = new PoolSim({ maxWorkers: 1 }, { eager: false, obedient: false });
    sim.start();
    const { slot, id } = sim.inSlot(0);
    sim.send({ type: "signal", signal: "SIGTERM" });
    sim.send({ type: "connected", slot, id });
    assert.equal(sim.state.workers.size, 0);
  });
});

describe("pool: signals", () => {
  it("keeps signals that come between two starts, each once, stops first", () => {
    const sim = new PoolSim({ trapSignals: { SIGTERM: "SIGTERM", SIGHUP: null, SIGUSR2: null } });
    for (const signal of ["SIGHUP", "SIGUSR2", "SIGHUP", "SIGTERM"] as const) sim.send({ type: "signal", signal });
    for (let i = 0; i < 3; i++) sim.start();
    assert.deepEqual(sim.returned.map(({ signal }) => signal), ["SIGTERM", "SIGHUP", "SIGUSR2"]);
  });

  it("relays one worker at a time, oldest first, the first at once", () => {
    const sim = new PoolSim({ trapSignals: { SIGUSR2: { signal: "SIGALRM", intervalMs: 2000 } } }, { obedient: false });
    sim.start();
    const pids = [0, 1, 2].map((slot) => sim.inSlot(slot).pid);
    sim.advance(100);
    sim.send({ type: "signal", signal: "SIGUSR2" });
    sim.start();
    sim.advance(10_000);
    assert.deepEqual(sim.kills.map(({ at, pid }) => [at, pid]), pids.map((pid, i) => [100 + 2000 * i, pid]));
  });

  it("does not spend an interval on a worker that is gone, and leaves new ones alone", () => {
    const sim = new PoolSim({ trapSignals: { SIGUSR2: { signal: "SIGALRM", intervalMs: 1000 } } });
    sim.start();
    const last = sim.inSlot(2);
    sim.send({ type: "signal", signal: "SIGUSR2" });
    sim.start();
    sim.exit(sim.inSlot(1).id);
    sim.advance(5000);
    assert.deepEqual(sim.kills.map(({ at, pid }) => [at, pid]).at(-1), [1000, last.pid]);
    assert.equal(sim.kills.length, 2);
  });

  it("begins a staggered relay anew when its signal comes again", () => {
    const sim = new PoolSim({ trapSignals: { SIGHUP: { signal: "SIGALRM", intervalMs: 1000 } } });
    sim.start();
    for (const wait of [500, 10_000]) {
      sim.send({ type: "signal", signal: "SIGHUP" });
      sim.start();
      sim.advance(wait);
    }
    assert.deepEqual(sim.kills.map(({ at }) => at), [0, 500, 1500, 2500]);
  });

  it("kills what has not stopped by stopTimeoutMs, counted from the stop", () => {
    const sim = new PoolSim({ stopTimeoutMs: 7000 }, { obedient: false });
    sim.start();
    sim.send({ type: "signal", signal: "SIGTERM" });
    sim.send({ type: "wait" });
    sim.advance(6999);
    assert.equal(sim.size, 3);
    sim.advance(1);
    assert.deepEqual([sim.size, sim.waited], [0, true]);
    assert.equal(sim.of("stopTimeout").length, 3);
  });

  it("sets no deadline for other relays, unless reloadTimeoutMs is set", () => {
    for (const [reloadTimeoutMs, left] of [[undefined, 3], [5000, 0]] as const) {
      const sim = new PoolSim({ trapSignals: { SIGHUP: "SIGTERM" }, reloadTimeoutMs }, { obedient: false });
      sim.start();
      const old = [...sim.workers.keys()];
      sim.send({ type: "signal", signal: "SIGHUP" });
      sim.start();
      sim.advance(100_000);
      assert.equal(old.filter((id) => sim.workers.has(id)).length, left);
    }
  });

  it("relays a stop that comes while all are waited for", () => {
    const sim = new PoolSim();
    sim.start();
    sim.send({ type: "signal", signal: "SIGTERM" });
    const waiting = new PoolSim();
    waiting.start();
    waiting.send({ type: "wait" });
    waiting.send({ type: "signal", signal: "SIGTERM" });
    assert.deepEqual([waiting.size, waiting.waited], [0, true]);
  });

  it("sends SIGKILL to those too that are not ready", () => {
    const sim = new PoolSim({}, { eager: false });
    sim.start();
    sim.send({ type: "wait" });
    sim.send({ type: "signalAll", signal: "SIGKILL" });
    assert.deepEqual([sim.size, sim.waited], [0, true]);
    assert.ok(sim.of("reap").every(({ expected }) => expected));
  });
});

describe("pool: spare workers", () => {
  const policy = spareWorkers({ minSpare: 3, maxSpare: 5, heartbeatMs: 250 });
  const busy = (sim: PoolSim, status: string) => {
    for (const { slot, id } of [...sim.workers.values()]) sim.send({ type: "status", slot, id, status });
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
    sim.advance(3000);
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
    for (const { slot, id } of idle) sim.send({ type: "status", slot, id, status: "_" });
    sim.advance(5000);
    assert.deepEqual(sim.of("retire").map(({ worker }) => worker.slot), [7, 5]);
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
