/** Standbys: made when all is well, activated when somebody is missing, thrown away when they are out of date. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { spareWorkers } from "../src/policy.ts";
import type { PoolConfig } from "../src/pool_state.ts";
import type { Signal } from "../src/types.ts";
import { type Manners, PoolSim } from "./support/pool_sim.ts";

const CRASH = { type: "signaled", signal: "SIGSEGV" } as const;

function standing(
  config: Partial<PoolConfig> & { readonly maxWorkers?: number } = {},
  manners: Partial<Manners> = {},
): PoolSim {
  const sim = new PoolSim({ maxWorkers: 2, standby: 1, ...config }, manners);
  sim.start();
  return sim;
}

/** Who stands by, by id. */
function parked({ state }: PoolSim): number[] {
  return state.standbys.filter((id) => state.others.get(id)?.phase === "standby");
}

function standbyOf(sim: PoolSim): number {
  return parked(sim)[0] ?? assert.fail("nobody stands by");
}

describe("standbys", () => {
  it("are made when all workers are ready, and not before", () => {
    const sim = standing({ standby: 2 }, { eager: false });
    for (const [index, id] of [...sim.workers.keys()].entries()) {
      assert.equal(sim.size, 2);
      for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
      assert.equal(sim.size, index === 0 ? 2 : 4);
    }
    assert.deepEqual(sim.of("spawn").map(({ worker }) => worker.slot), [0, 1, -1, -1]);
  });

  it("take the place of one that was killed in the same instant, and are replaced themselves", () => {
    const sim = standing();
    const standby = standbyOf(sim);
    sim.advance(5000);
    sim.exit(sim.inSlot(1).id, CRASH);
    assert.equal(sim.state.workers.get(1)?.id, standby);
    assert.equal(sim.state.workers.get(1)?.phase, "ready");
    assert.deepEqual(sim.of("activate").map(({ worker, at }) => [worker.slot, at]), [[1, 5000]]);
    assert.deepEqual(sim.of("backoff"), []);
    assert.equal(sim.state.serving.size, 2);
    assert.notEqual(standbyOf(sim), standby);
    assert.deepEqual(sim.timers, []);
  });

  it("are not wasted on a slot whose workers fail again and again", () => {
    const sim = standing();
    sim.exit(sim.inSlot(0).id, CRASH);
    sim.exit(sim.inSlot(0).id, CRASH);
    assert.deepEqual(sim.of("backoff").map(({ slot, failures }) => [slot, failures]), [[0, 2]]);
    assert.equal(sim.state.workers.get(0), undefined);
    assert.equal(parked(sim).length, 1);
    sim.advance(2000);
    assert.equal(sim.of("activate").length, 2);
  });

  it("are not given to one that never was ready: its slot waits", () => {
    const sim = standing({ maxWorkers: 1 }, { eager: false });
    const [first = 0] = sim.workers.keys();
    for (const what of ["connected", "begun", "ready"] as const) sim.tell(first, what);
    const standby = sim.state.standbys[0] ?? 0;
    for (const what of ["connected", "parked"] as const) sim.tell(standby, what);
    sim.send({ type: "setMaxWorkers", maxWorkers: 2 });
    sim.tell(standby, "begun");
    sim.exit(standby, CRASH);
    assert.deepEqual(sim.of("backoff").map(({ slot, delayMs }) => [slot, delayMs]), [[1, 1000]]);
  });

  it("are used when the pool grows, and when a worker is due", () => {
    const sim = standing({ standby: 2 });
    sim.send({ type: "setMaxWorkers", maxWorkers: 3 });
    assert.deepEqual(sim.of("activate").map(({ worker }) => worker.slot), [2]);
    assert.equal(parked(sim).length, 2);
    sim.send({ type: "due", slot: 0, id: sim.inSlot(0).id, reason: "is old" });
    assert.deepEqual(sim.of("activate").map(({ worker }) => worker.slot), [2, 0]);
    assert.deepEqual(sim.of("replace").map(({ worker, by }) => [worker.slot, by.slot]), [[0, 0]]);
    assert.equal(sim.state.serving.size, 3);
  });

  it("serve a policy's growth, too", () => {
    const policy = spareWorkers({ minSpare: 1, maxSpare: 2, heartbeatMs: 0 });
    const sim = standing({ maxWorkers: 4, policy });
    const busy = sim.inSlot(0).id;
    sim.send({ type: "status", slot: 0, id: busy, status: "A", isIdle: false });
    assert.equal(sim.of("activate").length, 1);
    assert.equal(parked(sim).length, 1);
  });

  it("may be activated while the pool waits to make processes", () => {
    const sim = standing();
    sim.failSpawns = true;
    sim.exit(sim.inSlot(0).id); // the standby goes in, and none can be made in its place
    assert.equal(sim.state.serving.size, 2);
    const sim2 = standing({ standby: 2 });
    sim2.failSpawns = true;
    sim2.exit(sim2.inSlot(0).id);
    sim2.exit(sim2.inSlot(1).id);
    assert.equal(sim2.state.serving.size, 2);
    assert.equal(sim2.of("activate").length, 2);
  });

  it("are of the generation that serves: a reload throws the old ones away once its canary is ready", () => {
    const sim = standing({}, { eager: false });
    const boot = (id: number) => (["connected", "begun", "ready"] as const).forEach((what) => sim.tell(id, what));
    for (const id of [...sim.workers.keys()]) boot(id);
    const old = sim.state.standbys[0] ?? 0;
    for (const what of ["connected", "parked"] as const) sim.tell(old, what);
    sim.reload();
    assert.deepEqual(parked(sim), [old], "until then it may be needed");
    const [canary = 0] = [...sim.workers.keys()].slice(-1);
    boot(canary);
    assert.deepEqual(sim.kills.filter(({ pid }) => pid === 102).map(({ signal }) => signal), ["SIGTERM"]);
    assert.equal(sim.state.standbys.length, 0, "none boots beside those that replace");
    for (const id of [...sim.workers.keys()]) boot(id);
    assert.equal(sim.of("reloaded").length, 1);
    const next = sim.state.standbys[0] ?? 0;
    assert.equal(sim.state.others.get(next)?.generation, 2);
  });

  it("stay when a reload fails", () => {
    const sim = standing({}, { eager: false });
    for (const id of [...sim.workers.keys()]) {
      for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
    }
    const standby = sim.state.standbys[0] ?? 0;
    for (const what of ["connected", "parked"] as const) sim.tell(standby, what);
    sim.reload();
    const [canary = 0] = [...sim.workers.keys()].slice(-1);
    sim.exit(canary, CRASH);
    assert.equal(sim.of("reloadFailed").length, 1);
    assert.deepEqual(parked(sim), [standby]);
    sim.exit(sim.inSlot(0).id, CRASH);
    assert.equal(sim.state.workers.get(0)?.id, standby);
  });

  it("hear nothing of relays, and end with the pool", () => {
    const traps = { SIGTERM: "SIGTERM", SIGUSR2: "SIGUSR2" } as const;
    for (const stop of ["SIGTERM", "wait"] as const) {
      const sim = standing({ trapSignals: traps, standby: 2 }, { obedient: true });
      const told = (signal: Signal) => sim.kills.filter((kill) => kill.signal === signal).length;
      sim.send({ type: "signalAll", signal: "SIGUSR2" });
      assert.equal(told("SIGUSR2"), 2);
      sim.send({ type: "signal", signal: stop === "wait" ? "SIGUSR2" : "SIGTERM" });
      sim.send({ type: "wait" });
      if (stop === "wait") { for (const id of [...sim.workers.keys()]) sim.exit(id); }
      assert.deepEqual([sim.size, sim.waited, sim.timers], [0, true, []]);
    }
  });

  it("are killed with all others by SIGKILL, which waits for nobody", () => {
    const sim = standing({ standby: 2 });
    const pids = [...sim.workers.values()].map(({ pid }) => pid);
    assert.equal(pids.length, 4);
    sim.send({ type: "signalAll", signal: "SIGKILL" });
    assert.deepEqual(sim.kills.map(({ pid, signal }) => [pid, signal]), pids.map((pid) => [pid, "SIGKILL"]));
    assert.deepEqual(sim.of("reap").map(({ expected }) => expected), [true, true, true, true]);
  });

  it("that fail are made again, each time later", () => {
    const sim = standing({}, { eager: false });
    for (const id of [...sim.workers.keys()]) {
      for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
    }
    for (const [failures, least, most] of [[1, 1000, 1000], [2, 1000, 2000], [3, 2000, 4000]] as const) {
      const failed = sim.state.standbys[0] ?? assert.fail("nobody boots to stand by");
      const at = sim.now;
      sim.exit(failed, { type: "exited", code: failures === 2 ? 0 : 1 });
      assert.equal(sim.of("reap").at(-1)?.expected, false);
      while (sim.state.standbys.length === 0 && sim.now < at + 60_000) sim.advance(100);
      assert.ok(sim.now - at >= least && sim.now - at <= most + 100, `${failures}: ${sim.now - at}`);
    }
    assert.equal(sim.state.serving.size, 2);
    assert.deepEqual(sim.of("backoff"), []);
  });

  it("that come no further within the time for a boot are killed", () => {
    const sim = standing({ bootTimeoutMs: 5000 }, { eager: false });
    for (const id of [...sim.workers.keys()]) {
      for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
    }
    const slow = sim.state.standbys[0] ?? 0;
    sim.tell(slow, "connected");
    sim.tell(slow, "ready"); // out of its turn
    assert.equal(sim.state.others.get(slow)?.phase, "booting");
    sim.advance(5000);
    assert.equal(sim.of("bootTimeout").length, 1);
    assert.equal(sim.workers.has(slow), false);
  });

  it("that are activated and do not begin are killed, as any worker", () => {
    const sim = standing({ maxWorkers: 1, bootTimeoutMs: 5000 }, { eager: false });
    const [first = 0] = sim.workers.keys();
    for (const what of ["connected", "begun", "ready"] as const) sim.tell(first, what);
    const standby = sim.state.standbys[0] ?? 0;
    for (const what of ["connected", "parked"] as const) sim.tell(standby, what);
    sim.advance(60_000);
    sim.exit(first, CRASH);
    sim.advance(4999);
    assert.equal(sim.workers.has(standby), true);
    sim.advance(1);
    assert.equal(sim.workers.has(standby), false);
    assert.match(sim.of("reap").at(-1)?.reason ?? "", /^was killed: it did not begin within 5000 ms$/);
  });
});
