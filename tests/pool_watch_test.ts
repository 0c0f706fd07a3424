import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Recycling } from "../src/pool_state.ts";
import { jittered } from "../src/pool_watch.ts";
import { PoolSim } from "./support/pool_sim.ts";

const FOREVER: Recycling = {
  maxRequests: undefined,
  maxLifetimeMs: undefined,
  maxMemoryBytes: undefined,
  maxLagMs: undefined,
  jitter: 0,
};

/** A beat of each worker but those that hang. */
function beats(sim: PoolSim, silent: readonly number[] = [], lagMs = 0): void {
  for (const { slot, id } of sim.workers.values()) {
    if (!silent.includes(id)) sim.send({ type: "beat", slot, id, lagMs });
  }
}

describe("pool: hangs", () => {
  const config = { maxWorkers: 2, hangTimeoutMs: 4000 };

  it("leaves workers alone whose heart beats", () => {
    const sim = new PoolSim(config);
    sim.start();
    for (let i = 0; i < 60; i++) {
      sim.advance(1000);
      beats(sim);
    }
    assert.deepEqual(sim.kills, []);
  });

  it("tells a worker to stop that is silent, and kills it a second later; its slot waits as after any failure", () => {
    const sim = new PoolSim(config, { obedient: false });
    sim.start();
    const [silent, lively] = [sim.inSlot(0), sim.inSlot(1)];
    for (let i = 0; i < 6; i++) {
      sim.advance(1000);
      beats(sim, [silent.id]);
    }
    const killed = sim.kills.map(({ at, pid, signal }) => [at, pid, signal]);
    assert.deepEqual(killed, [[4100, silent.pid, "SIGTERM"], [5100, silent.pid, "SIGKILL"]]);
    assert.deepEqual(sim.of("hang").map(({ at, silentMs, ageMs }) => [at, silentMs, ageMs]), [[4100, 4000, 4100]]);
    const [{ expected, reason } = {}] = sim.of("reap");
    assert.deepEqual([expected, reason], [false, "was killed: it hung: its event loop did not turn for 4000 ms"]);
    assert.deepEqual(sim.of("backoff").map(({ slot, delayMs }) => [slot, delayMs]), [[0, 1000]]);
    assert.deepEqual(lively.signals, []);
  });

  it("kills nobody for the time that the manager itself stood still", () => {
    const sim = new PoolSim(config, { obedient: false });
    sim.start();
    sim.advance(2000);
    beats(sim);
    sim.sleep(3_600_000);
    assert.deepEqual([sim.kills, sim.of("hang")], [[], []]);
    sim.advance(3999);
    assert.deepEqual(sim.kills, []);
    sim.advance(101);
    assert.equal(sim.kills.length, 2);
  });

  it("hears a beat at the last look, which may have waited to be read", () => {
    const sim = new PoolSim(config);
    sim.start();
    sim.advance(4050);
    beats(sim);
    sim.advance(200);
    assert.deepEqual(sim.kills, []);
  });

  it("leaves a worker alone whose output nobody reads", () => {
    const sim = new PoolSim({ ...config, maxWorkers: 1 });
    sim.start();
    sim.heldBack.set(sim.inSlot(0).id, 60_000);
    sim.advance(63_999);
    assert.deepEqual(sim.kills, [], "it has its time from the end of that on");
    sim.advance(201);
    assert.equal(sim.kills.length, 1);
  });

  it("gives a worker the time it asks for, at work, at boot and at its stop", () => {
    const sim = new PoolSim({ ...config, maxWorkers: 1, settles: false, bootTimeoutMs: 3000, stopTimeoutMs: 2000 }, {
      eager: false,
      obedient: false,
    });
    sim.start();
    const { id, slot, signals } = sim.inSlot(0);
    for (const what of ["connected", "begun"] as const) sim.tell(id, what);
    sim.send({ type: "extend", slot, id, delayMs: 9000 });
    sim.advance(8999);
    assert.deepEqual(signals, []);
    sim.tell(id, "ready");
    sim.send({ type: "extend", slot, id, delayMs: 20_000 });
    sim.advance(19_999);
    assert.deepEqual(signals, []);
    beats(sim);
    sim.send({ type: "signal", signal: "SIGTERM" });
    sim.send({ type: "extend", slot, id, delayMs: 3500 });
    sim.advance(3499);
    assert.deepEqual(signals, ["SIGTERM"]);
    sim.advance(1);
    assert.deepEqual(signals, ["SIGTERM", "SIGKILL"]);
  });

  it("gives a worker that is being replaced the time it asks for", () => {
    const sim = new PoolSim({ maxWorkers: 1, reloadTimeoutMs: 2000 }, { obedient: false });
    sim.start();
    const { id, slot, signals } = sim.inSlot(0);
    sim.send({ type: "extend", slot, id, delayMs: 10 });
    sim.reload();
    sim.send({ type: "extend", slot, id, delayMs: 5000 });
    sim.advance(4999);
    assert.deepEqual(signals, ["SIGTERM"]);
    sim.advance(1);
    assert.deepEqual(signals, ["SIGTERM", "SIGKILL"]);
  });

  it("gives a worker the time it asks for, whatever its heart does meanwhile", () => {
    const sim = new PoolSim({ maxWorkers: 1, hangTimeoutMs: 1000 }, { obedient: false });
    sim.start();
    const { id, slot, signals } = sim.inSlot(0);
    sim.send({ type: "extend", slot, id, delayMs: 6000 });
    sim.advance(600);
    sim.send({ type: "beat", slot, id, lagMs: 0 });
    sim.advance(5399);
    assert.deepEqual(signals, []);
    sim.send({ type: "beat", slot, id, lagMs: 0 });
    sim.advance(1000);
    assert.deepEqual(signals, [], "a beat after that counts again");
    sim.advance(1000);
    assert.deepEqual(signals, ["SIGTERM"]);
  });

  it("keeps the time that a worker asked for before it was ready", () => {
    const sim = new PoolSim({ maxWorkers: 1, hangTimeoutMs: 1000 }, { eager: false, obedient: false });
    sim.start();
    const { id, slot, signals } = sim.inSlot(0);
    for (const what of ["connected", "begun"] as const) sim.tell(id, what);
    sim.send({ type: "extend", slot, id, delayMs: 20_000 });
    sim.advance(1000); // it has settled
    assert.equal(sim.of("ready").length, 1);
    sim.advance(19_000);
    assert.deepEqual(signals, []);
    sim.advance(100);
    assert.deepEqual(signals, ["SIGTERM"]);
  });

  it("brings no deadline nearer for a worker that asks for less time than it has", () => {
    const rules = { settles: false, hangTimeoutMs: 4000, bootTimeoutMs: 3000, stopTimeoutMs: 2000 };
    const sim = new PoolSim({ ...rules, maxWorkers: 1 }, { eager: false, obedient: false });
    sim.start();
    const { id, slot, signals } = sim.inSlot(0);
    const extend = (delayMs: number) => sim.send({ type: "extend", slot, id, delayMs });
    for (const what of ["connected", "begun"] as const) sim.tell(id, what);
    extend(100);
    sim.advance(2999);
    sim.tell(id, "ready");
    extend(9000);
    extend(100);
    sim.advance(8999);
    extend(100); // a sign of life, as any word
    sim.advance(4000);
    assert.deepEqual(signals, []);
    sim.send({ type: "beat", slot, id, lagMs: 0 });
    sim.send({ type: "signal", signal: "SIGTERM" });
    extend(100);
    sim.advance(1999);
    assert.deepEqual(signals, ["SIGTERM"]);
    sim.advance(1);
    assert.deepEqual(signals, ["SIGTERM", "SIGKILL"]);
  });

  it("gives a worker no longer to stop because it asked for time before it was told", () => {
    const sim = new PoolSim({ maxWorkers: 1, stopTimeoutMs: 2000 }, { obedient: false });
    sim.start();
    const { id, slot, signals } = sim.inSlot(0);
    sim.send({ type: "extend", slot, id, delayMs: 60_000 });
    sim.send({ type: "signal", signal: "SIGTERM" });
    sim.advance(2000);
    assert.deepEqual(signals, ["SIGTERM", "SIGKILL"]);
  });

  it("sets no deadline for a stop that has none", () => {
    const sim = new PoolSim({ maxWorkers: 1 }, { obedient: false });
    sim.start();
    const { id, slot, signals } = sim.inSlot(0);
    sim.reload();
    sim.send({ type: "extend", slot, id, delayMs: 5000 });
    sim.advance(60_000);
    assert.deepEqual(signals, ["SIGTERM"]);
  });

  it("kills a worker that hangs by the first of its deadlines, whatever it is told meanwhile", () => {
    const sim = new PoolSim({ maxWorkers: 1, hangTimeoutMs: 4000, stopTimeoutMs: 4000, reloadTimeoutMs: 60_000 }, {
      obedient: false,
      eager: false,
    });
    sim.start();
    const ready = (id: number) => {
      for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
    };
    ready(1);
    sim.reload();
    sim.advance(4500); // it hangs from 4100 on
    ready(2);
    sim.advance(599);
    assert.deepEqual(sim.kills.map(({ at, signal }) => [at, signal]), [[4100, "SIGTERM"]]);
    sim.advance(1);
    assert.deepEqual(sim.kills.map(({ at, signal }) => [at, signal]), [[4100, "SIGTERM"], [5100, "SIGKILL"]]);
    sim.send({ type: "signal", signal: "SIGTERM" });
    sim.advance(3999);
    assert.equal(sim.size, 1);
    sim.advance(1);
    assert.equal(sim.size, 0);
  });

  it("does not watch commands, nor workers that are not ready", () => {
    const sim = new PoolSim(config);
    sim.start(false);
    sim.advance(60_000);
    assert.deepEqual(sim.kills, []);
    const booting = new PoolSim(config, { eager: false });
    booting.start();
    booting.advance(20_000);
    assert.deepEqual(booting.kills, []);
  });

  it("ends a reload when a new worker hangs that was ready", () => {
    const sim = new PoolSim({ ...config, maxWorkers: 3 }, { eager: false, obedient: false });
    sim.start();
    const ready = () => {
      for (const { id } of [...sim.workers.values()].slice(0, 4)) {
        for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
      }
    };
    ready();
    sim.reload();
    ready();
    const canary = [...sim.workers.values()][3];
    for (let i = 0; i < 5; i++) {
      sim.advance(1000);
      beats(sim, [canary?.id ?? 0]);
    }
    assert.deepEqual(sim.of("hang").map(({ worker }) => worker.pid), [canary?.pid]);
    assert.match(
      sim.of("reloadFailed")[0]?.reason ?? "",
      /gen=2 pid=103 hung: its event loop did not turn for 4000 ms/,
    );
  });

  it("retires who is too many once the replacement of one that hung is ready, in a pool that was made smaller", () => {
    const sim = new PoolSim(config, { eager: false, obedient: false });
    sim.start();
    const [hung, other] = [sim.inSlot(0), sim.inSlot(1)];
    const ready = (id: number) => {
      for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
    };
    ready(hung.id);
    sim.send({ type: "due", slot: 0, id: hung.id, reason: "asked for it" });
    sim.advance(4100);
    assert.deepEqual(hung.signals, ["SIGTERM"]);
    sim.send({ type: "setMaxWorkers", maxWorkers: 1 });
    assert.deepEqual(other.signals, []); // it alone serves
    ready([...sim.workers.keys()].at(-1) ?? 0);
    assert.deepEqual([other.signals, sim.state.serving.size], [["SIGKILL"], 1]);
  });

  it("brings the generation before it back at once", () => {
    const sim = new PoolSim({ ...config, maxWorkers: 3 }, { eager: false, obedient: false });
    sim.start();
    const ready = (...ids: number[]) => {
      for (const id of ids) for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
    };
    ready(1, 2, 3);
    sim.reload();
    ready(4, 5);
    sim.tell(6, "connected"); // which is told to stop, and goes later
    for (let i = 0; i < 4; i++) {
      sim.advance(1000);
      beats(sim, [5]);
    }
    sim.advance(100);
    assert.deepEqual(sim.of("hang").map(({ worker }) => worker.slot), [1]);
    assert.deepEqual([...sim.state.successors.entries()], [[0, 7]]);
  });
});

describe("pool: recycling", () => {
  const due = (sim: PoolSim, slot: number) =>
    sim.send({ type: "due", slot, id: sim.inSlot(slot).id, reason: "asked for it" });

  it("replaces a worker by one that is ready", () => {
    const sim = new PoolSim({ maxWorkers: 2 }, { eager: false });
    sim.start();
    for (const { id } of [...sim.workers.values()]) {
      for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
    }
    const old = sim.inSlot(1);
    due(sim, 1);
    due(sim, 1);
    assert.deepEqual([sim.size, old.signals], [3, []]);
    const heir = [...sim.workers.values()].at(-1);
    for (const what of ["connected", "begun", "ready"] as const) sim.tell(heir?.id ?? 0, what);
    assert.deepEqual([old.signals, heir?.slot, sim.size], [["SIGTERM"], 1, 2]);
    assert.deepEqual(sim.of("recycle").map(({ worker, reason }) => [worker.pid, reason]), [[old.pid, "asked for it"]]);
    assert.deepEqual([sim.state.due, sim.timers], [[], []]);
  });

  it("replaces no more at a time than the limits allow, and all in the end", () => {
    const sim = new PoolSim({ maxWorkers: 6, maxSurge: 2 }, { eager: false });
    sim.start();
    const ready = (id: number) => {
      for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
    };
    for (const { id } of [...sim.workers.values()]) ready(id);
    for (let slot = 0; slot < 6; slot++) due(sim, slot);
    let rounds = 0;
    while (sim.state.successors.size > 0) {
      assert.ok(sim.state.ready.size === 6 && sim.size <= 8);
      ready([...sim.workers.values()].find(({ welcomed }) => !welcomed)?.id ?? 0);
      rounds++;
    }
    assert.deepEqual([rounds, sim.of("replace").length, sim.size], [6, 6, 6]);
  });

  it("keeps a worker that is due while its replacement fails, and tries again, later each time", () => {
    const sim = new PoolSim({ maxWorkers: 1 }, { eager: false });
    sim.start();
    const old = sim.inSlot(0);
    for (const what of ["connected", "begun", "ready"] as const) sim.tell(old.id, what);
    due(sim, 0);
    for (let tries = 0; tries < 3; tries++) {
      sim.exit([...sim.workers.values()].at(-1)?.id ?? 0, { type: "exited", code: 1 });
      assert.deepEqual([sim.size, old.signals], [1, []]);
      sim.advance(30_000);
      assert.equal(sim.size, 2);
    }
    const times = sim.of("spawn").map(({ at }) => at).slice(1);
    assert.equal(times.length, 4);
    assert.equal((times[1] ?? 0) - (times[0] ?? 0), 1000);
    assert.deepEqual(sim.of("degraded"), []);
  });

  it("comes back to those who are due after a reload that failed", () => {
    const sim = new PoolSim({ maxWorkers: 1 }, { eager: false });
    sim.start();
    const old = sim.inSlot(0);
    for (const what of ["connected", "begun", "ready"] as const) sim.tell(old.id, what);
    due(sim, 0);
    sim.reload();
    sim.exit([...sim.workers.values()].find(({ id }) => id === 3)?.id ?? 0, { type: "exited", code: 1 });
    assert.deepEqual(sim.of("reloadFailed").length, 1);
    assert.equal(sim.state.successors.size, 1);
  });

  it("tries again when the replacement of a worker that is due could not be made", () => {
    const sim = new PoolSim({ maxWorkers: 1 });
    sim.start();
    sim.failSpawns = true;
    due(sim, 0);
    sim.failSpawns = false;
    sim.advance(1000);
    assert.deepEqual([sim.of("replace").length, sim.size], [1, 1]);
  });

  it("comes to a worker that was due before it took its slot", () => {
    const sim = new PoolSim({ maxWorkers: 1 }, { eager: false });
    sim.start();
    const ready = (id: number) => {
      for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
    };
    ready(1);
    for (const id of [1, 2]) sim.send({ type: "due", slot: 0, id, reason: "asked for it" });
    ready(2);
    assert.deepEqual([...sim.workers.keys()], [2, 3]);
  });

  it("replaces those first that were due first, whatever failed in between", () => {
    const sim = new PoolSim({ maxWorkers: 2 }, { eager: false, obedient: false });
    sim.start();
    const ready = (id: number) => {
      for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
    };
    for (const id of [1, 2]) ready(id);
    sim.reload();
    for (const slot of [1, 0]) due(sim, slot);
    sim.exit(3, { type: "exited", code: 1 });
    sim.advance(1000);
    assert.deepEqual([...sim.state.successors.entries()], [[1, 4]]);
  });

  it("comes to those of the new generation who became due during a reload, once that is over", () => {
    const sim = new PoolSim({ maxWorkers: 2 }, { eager: false, obedient: false });
    sim.start();
    const ready = () => {
      for (const { id } of [...sim.workers.values()]) {
        for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
      }
    };
    ready();
    sim.reload();
    ready();
    sim.send({ type: "due", slot: 0, id: 3, reason: "asked for it" });
    ready();
    assert.deepEqual([sim.of("reloaded").length, [...sim.state.successors.entries()]], [1, [[0, 5]]]);
  });

  it("replaces workers of one age at different times", () => {
    const recycle = { ...FOREVER, maxLifetimeMs: 100_000, jitter: 0.2 };
    const sim = new PoolSim({ maxWorkers: 8, recycle });
    sim.start();
    sim.advance(79_999);
    assert.deepEqual(sim.of("recycle"), []);
    sim.advance(20_001);
    const times = sim.of("recycle").map(({ at }) => at);
    assert.equal(times.length, 8);
    assert.equal(new Set(times).size, 8);
    assert.ok(times.every((at) => at >= 80_000 && at <= 100_000));
    assert.equal(sim.of("replace").length, 8);
  });

  it("replaces a worker whose beats come late three times in a row", () => {
    const sim = new PoolSim({ maxWorkers: 1, recycle: { ...FOREVER, maxLagMs: 50 } });
    sim.start();
    for (const lagMs of [60, 70, 10, 60, 60]) beats(sim, [], lagMs);
    assert.deepEqual(sim.of("recycle"), []);
    beats(sim, [], 80);
    assert.deepEqual(sim.of("recycle").map(({ reason }) => reason), ["is late by 80 ms, again and again"]);
    assert.equal(sim.of("replace").length, 1);
  });
});

describe("a limit with jitter", () => {
  it("is a little other for each worker, and never more than it says", () => {
    const limits = Array.from({ length: 100 }, (_, id) => jittered(1000, 0.2, { slot: 0, id }));
    for (const limit of limits) assert.ok(limit > 800 && limit <= 1000, `${limit}`);
    const sorted = limits.toSorted((a, b) => a - b);
    for (const [index, limit] of sorted.slice(1).entries()) assert.ok(limit - (sorted[index] ?? 0) > 0.5);
    assert.equal(jittered(1000, 0, { slot: 0, id: 7 }), 1000);
  });
});
