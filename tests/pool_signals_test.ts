import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { PoolSim } from "./support/pool_sim.ts";

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

  it("tells a worker once to stop, however often a relay says so", () => {
    const traps = { SIGHUP: "SIGTERM", SIGUSR2: "SIGUSR2", SIGTERM: "SIGTERM" } as const;
    const sim = new PoolSim({ maxWorkers: 1, trapSignals: traps }, { obedient: false });
    sim.start();
    sim.advance(2000);
    const { signals } = sim.inSlot(0);
    for (const signal of ["SIGHUP", "SIGHUP", "SIGUSR2", "SIGUSR2", "SIGTERM"] as const) {
      sim.send({ type: "signal", signal });
      sim.start();
    }
    assert.deepEqual(signals, ["SIGTERM", "SIGUSR2", "SIGUSR2"]);
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

  it("tells the lowest slot first, whoever is older, so that of those killed at once it is filled first", () => {
    const config = { maxWorkers: 2, spawnIntervalMs: 300, errRespawnIntervalMs: 100, reloadTimeoutMs: 7000 };
    const sim = new PoolSim({ ...config, trapSignals: { SIGHUP: "SIGTERM" } }, { obedient: false });
    sim.start();
    sim.advance(300);
    sim.exit(sim.inSlot(0).id, { type: "exited", code: 1 });
    sim.advance(2000);
    assert.ok(sim.inSlot(0).id > sim.inSlot(1).id);
    sim.send({ type: "signal", signal: "SIGHUP" });
    sim.start();
    const made = sim.of("spawn").length;
    sim.advance(8000);
    assert.deepEqual(sim.of("spawn").slice(made).map(({ at, worker }) => [at, worker.slot]), [[9300, 0], [9600, 1]]);
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

  it("does not tell a worker twice to stop when one stop is staggered and the pool shrinks", () => {
    const sim = new PoolSim({ trapSignals: { SIGTERM: { signal: "SIGALRM", intervalMs: 1000 } } }, { obedient: false });
    sim.start();
    sim.send({ type: "setMaxWorkers", maxWorkers: 2 });
    sim.send({ type: "signal", signal: "SIGTERM" });
    sim.advance(5000);
    assert.equal(new Set(sim.kills.map(({ pid }) => pid)).size, sim.kills.length);
    assert.equal(sim.kills.length, 3);
  });

  it("kills it then, too, when it is replaced after that stop", () => {
    const sim = new PoolSim({
      maxWorkers: 2,
      trapSignals: { SIGTERM: { signal: "SIGTERM", intervalMs: 3000 } },
      stopTimeoutMs: 7000,
      reloadTimeoutMs: 60_000,
    }, { eager: false, obedient: false });
    const ready = (id: number) => {
      for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
    };
    sim.start();
    for (const id of [1, 2]) ready(id);
    sim.reload();
    sim.send({ type: "signal", signal: "SIGTERM" });
    sim.advance(2000);
    ready(3);
    sim.advance(5000);
    assert.deepEqual(sim.kills.filter(({ signal }) => signal === "SIGKILL").map(({ at, pid }) => [at, pid]), [[
      7000,
      100,
    ]]);
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

  it("gives workers their time anew when the manager itself stood still, and perhaps they with it", () => {
    const sim = new PoolSim({ maxWorkers: 2, stopTimeoutMs: 7000 }, { obedient: false });
    sim.start();
    const first = sim.inSlot(0);
    sim.send({ type: "signal", signal: "SIGTERM" });
    sim.send({ type: "wait" });
    sim.sleep(60_000);
    assert.deepEqual([sim.size, sim.of("stopTimeout").length], [2, 0]);
    sim.exit(first.id);
    sim.advance(6999);
    assert.equal(sim.size, 1);
    sim.advance(1);
    assert.deepEqual([sim.size, sim.of("stopTimeout").length], [0, 1]);
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
