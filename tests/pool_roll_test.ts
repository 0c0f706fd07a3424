import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Manners, PoolSim } from "./support/pool_sim.ts";

type Config = ConstructorParameters<typeof PoolSim>[0];

/** A pool whose first generation is ready. From then on a new worker does what the test makes it do. */
function poolAtRest(config: Config = {}, manners: Partial<Manners> = {}): PoolSim {
  const sim = new PoolSim(config, { ...manners, eager: false });
  sim.start();
  allReady(sim);
  return sim;
}

function becomeReady(sim: PoolSim, id: number): void {
  for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
}

function allReady(sim: PoolSim): void {
  for (const { id } of [...sim.workers.values()]) becomeReady(sim, id);
}

/** Lets every new worker become ready, one after the other, until there are no new ones. */
function goOn(sim: PoolSim): void {
  for (let seen = -1; seen !== sim.of("spawn").length;) {
    seen = sim.of("spawn").length;
    allReady(sim);
  }
}

function generations(sim: PoolSim): readonly number[] {
  return [...sim.state.workers.entries()].map(([, { generation }]) => generation);
}

/** The worker that was made last. */
function newest(sim: PoolSim) {
  const worker = [...sim.workers.values()].at(-1);
  assert.ok(worker);
  return worker;
}

/** The worker that was made last does what it was made for, and ends before a second is over. */
function doShortJob(sim: PoolSim): void {
  const { id } = newest(sim);
  for (const what of ["connected", "begun"] as const) sim.tell(id, what);
  sim.exit(id);
}

/** The workers none of whose code runs yet, the oldest first. */
function booting(sim: PoolSim) {
  return [...sim.workers.values()].filter(({ welcomed }) => !welcomed);
}

const FAILED = { type: "exited", code: 1 } as const;

describe("pool: reload", () => {
  it("makes one new worker, and no other before that one is ready", () => {
    const sim = poolAtRest();
    sim.reload();
    sim.advance(20_000);
    assert.deepEqual([sim.size, generations(sim), sim.kills], [4, [1, 1, 1], []]);
    assert.deepEqual(sim.of("reload").map(({ generation, serving }) => [generation, serving]), [[2, 1]]);
  });

  it("tells an old worker to stop when the one that takes its slot is ready, and then goes on", () => {
    const sim = poolAtRest();
    const old = [...sim.workers.values()];
    sim.reload();
    const canary = newest(sim);
    becomeReady(sim, canary.id);
    assert.deepEqual(old.map(({ signals }) => signals), [["SIGTERM"], [], []]);
    assert.deepEqual([canary.slot, generations(sim), sim.size], [0, [2, 1, 1], 4]);
    assert.deepEqual(sim.of("replace").map(({ worker, by }) => [worker.pid, by.pid]), [[old[0]?.pid, canary.pid]]);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.size], [[2, 2, 2], 3]);
    assert.deepEqual(sim.of("reloaded").map(({ generation }) => generation), [2]);
    assert.deepEqual([sim.state.roll, sim.timers], [null, []]);
  });

  it("never has fewer ready workers than before, and at most maxSurge more", () => {
    const sim = poolAtRest({ maxWorkers: 6, maxSurge: 2 });
    sim.reload();
    while (sim.state.roll !== null) {
      const [next, ...others] = booting(sim);
      assert.ok(next !== undefined && others.length <= 1);
      becomeReady(sim, next.id);
      assert.equal(sim.state.ready.size, 6);
    }
    assert.deepEqual(generations(sim), [2, 2, 2, 2, 2, 2]);
  });

  it("takes old workers away first, up to maxUnavailable, where none may be added", () => {
    const sim = poolAtRest({ maxSurge: 0, maxUnavailable: 2, maxWorkers: 5 });
    sim.reload();
    assert.deepEqual([sim.size, sim.of("relay").length], [5, 1]); // the canary stands in the place of an old one
    becomeReady(sim, newest(sim).id);
    while (sim.state.roll !== null) {
      const [next] = booting(sim);
      assert.ok(next !== undefined && sim.state.ready.size >= 3 && sim.size <= 5);
      becomeReady(sim, next.id);
    }
    assert.deepEqual(generations(sim), [2, 2, 2, 2, 2]);
  });

  it("takes no second worker away for a reload that gives up one before it", () => {
    const sim = poolAtRest({ maxSurge: 0, maxUnavailable: 1, maxWorkers: 2 }, { obedient: false });
    sim.reload();
    sim.reload();
    assert.deepEqual([...sim.workers.values()].map(({ signals }) => signals), [["SIGTERM"], []]);
    sim.exit(1);
    goOn(sim);
    assert.deepEqual([...sim.workers.values()].map(({ id, signals }) => [id, signals]), [[2, ["SIGTERM"]], [3, []]]);
    sim.exit(2);
    sim.reload();
    assert.deepEqual([...sim.workers.keys()], [3, 5]); // the one that boots made room, not the one that serves
  });

  it("does not wait for the back-off of the worker that made room for it", () => {
    const sim = poolAtRest({ maxSurge: 0, maxUnavailable: 1, maxWorkers: 1, hangTimeoutMs: 4000 }, { obedient: false });
    sim.reload();
    sim.advance(5100);
    assert.match(sim.of("reap")[0]?.reason ?? "", /hung/);
    assert.deepEqual([generations(sim), sim.timers], [[2], [`boot 0 ${newest(sim).id}`]]);
  });

  it("keeps the old generation when the canary dies, and says why", () => {
    const sim = poolAtRest();
    sim.reload();
    const canary = newest(sim);
    for (const what of ["connected", "begun"] as const) sim.tell(canary.id, what);
    sim.exit(canary.id, FAILED);
    assert.deepEqual([generations(sim), sim.size, sim.kills], [[1, 1, 1], 3, []]);
    const [{ generation, serving, reason } = {}] = sim.of("reloadFailed");
    assert.deepEqual([generation, serving], [2, 1]);
    assert.match(reason ?? "", /^worker=0 gen=2 pid=103 exited with status 1$/);
    assert.deepEqual([sim.of("backoff"), sim.timers], [[], []]);
    sim.exit(sim.inSlot(1).id);
    assert.equal(newest(sim).slot, 1);
    assert.deepEqual(generations(sim), [1, 1, 1]);
  });

  it("is not proved by a canary that was killed by hand before it was ready, and tries another", () => {
    const sim = poolAtRest({ settles: true });
    sim.reload();
    const canary = newest(sim);
    for (const what of ["connected", "begun"] as const) sim.tell(canary.id, what);
    sim.send({ type: "signalAll", signal: "SIGKILL", slot: canary.slot });
    sim.exit(canary.id, { type: "signaled", signal: "SIGKILL" });
    assert.deepEqual([sim.state.current.number, sim.state.roll?.phase], [1, "canary"]);
    assert.notEqual(newest(sim).id, canary.id);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.state.roll], [[2, 2, 2], null]);
  });

  it("keeps the old generation when the canary is not ready in time", () => {
    const sim = poolAtRest({ settles: false, bootTimeoutMs: 5000 });
    sim.reload();
    for (const what of ["connected", "begun"] as const) sim.tell(newest(sim).id, what);
    sim.advance(4999);
    assert.equal(sim.of("reloadFailed").length, 0);
    sim.advance(1);
    assert.match(sim.of("reloadFailed")[0]?.reason ?? "", /was killed: it was not ready within 5000 ms/);
    assert.deepEqual([generations(sim), sim.size], [[1, 1, 1], 3]);
  });

  it("keeps the old generation when the canary cannot be started", () => {
    const sim = poolAtRest();
    sim.failSpawns = true;
    sim.reload();
    assert.match(sim.of("reloadFailed")[0]?.reason ?? "", /could not be started: no more processes/);
    assert.deepEqual([generations(sim), sim.size], [[1, 1, 1], 3]);
  });

  it("counts an end before it was ready as a failure where a worker has to say that it is ready, whatever its status", () => {
    const sim = poolAtRest({ settles: false });
    sim.reload();
    const { id } = newest(sim);
    for (const what of ["connected", "begun"] as const) sim.tell(id, what);
    sim.exit(id);
    assert.match(
      sim.of("reloadFailed")[0]?.reason ?? "",
      /exited with status 0 before it was ready: it has neither begun to serve nor called ready\(\)$/,
    );
  });

  it("looks for no reason where a worker has failed by itself before it was ready", () => {
    const sim = poolAtRest({ settles: false });
    sim.reload();
    const { id } = newest(sim);
    for (const what of ["connected", "begun"] as const) sim.tell(id, what);
    sim.exit(id, { type: "exited", code: 1 });
    assert.match(sim.of("reloadFailed")[0]?.reason ?? "", /exited with status 1 before it was ready$/);
  });

  it("counts a worker that did its work and ended before a second was over as ready, where others did so", () => {
    const sim = poolAtRest({ maxWorkers: 2 });
    sim.exit(newest(sim).id);
    doShortJob(sim);
    sim.reload();
    for (let i = 0; i < 4 && sim.state.roll; i++) doShortJob(sim);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.of("reloaded").length, sim.of("reloadFailed")], [[2, 2], 1, []]);
  });

  it("ends in a pool of short jobs, which are never ready", () => {
    const sim = new PoolSim({ maxWorkers: 2 }, { eager: false });
    sim.start();
    for (let i = 0; i < 3; i++) doShortJob(sim);
    sim.reload();
    for (let i = 0; i < 6 && sim.state.roll; i++) doShortJob(sim);
    assert.deepEqual([generations(sim), sim.of("reloaded").length, sim.state.everReady], [[2, 2], 1, false]);
  });

  it("fails by a worker that ends at once, however well, where none did before", () => {
    for (const config of [{ maxWorkers: 2 }, { maxWorkers: 1, maxSurge: 0, maxUnavailable: 1 }]) {
      const sim = poolAtRest(config);
      sim.reload();
      doShortJob(sim);
      assert.deepEqual(sim.of("reloadFailed").map(({ cause, serving, reason }) => [cause, serving, reason]), [[
        "failed",
        1,
        `worker=0 gen=2 pid=${100 + config.maxWorkers} exited with status 0 before it was ready, though those of the ` +
        "generation before it stay",
      ]]);
      goOn(sim);
      assert.deepEqual([new Set(generations(sim)), sim.state.ready.size], [new Set([1]), config.maxWorkers]);
    }
  });

  it("fails by a later worker that ends at once, too", () => {
    const sim = poolAtRest({ maxWorkers: 2 });
    sim.reload();
    becomeReady(sim, newest(sim).id);
    doShortJob(sim);
    assert.equal(sim.of("reloadFailed").length, 1);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.state.ready.size], [[1, 1], 2]);
  });

  it("fails so again once all workers stay, though one has ended early before", () => {
    for (const reloads of [0, 1]) {
      const sim = poolAtRest({ maxWorkers: 2 });
      sim.exit(newest(sim).id);
      doShortJob(sim);
      if (reloads > 0) sim.reload(); // while one is not ready
      goOn(sim);
      assert.equal(sim.of("reloaded").length, reloads);
      sim.reload();
      doShortJob(sim);
      assert.match(sim.of("reloadFailed")[0]?.reason ?? "", /before it was ready, though those of the generation/);
      goOn(sim);
      assert.deepEqual([new Set(generations(sim)).size, sim.state.current.number], [1, 1 + reloads]);
    }
  });

  it("is judged by what was so when it began: no worker that does a long job makes it fail by a short one", () => {
    const sim = poolAtRest({ maxWorkers: 2 });
    sim.exit(newest(sim).id);
    doShortJob(sim);
    sim.reload();
    allReady(sim);
    assert.equal(sim.state.ready.size, 2);
    doShortJob(sim);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.of("reloaded").length, sim.of("reloadFailed")], [[2, 2], 1, []]);
  });

  it("counts one as ready that stands where an old worker stood, too", () => {
    const sim = poolAtRest({ maxWorkers: 1, maxSurge: 0, maxUnavailable: 1 });
    sim.exit(newest(sim).id);
    doShortJob(sim);
    sim.reload();
    doShortJob(sim);
    assert.equal(sim.state.current.number, 2);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.of("reloaded").length], [[2], 1]);
  });

  it("brings the old generation back, ready first, when a later worker fails", () => {
    const sim = poolAtRest();
    sim.reload();
    becomeReady(sim, newest(sim).id);
    sim.exit(newest(sim).id, FAILED);
    assert.equal(sim.of("reloadFailed").length, 1);
    assert.deepEqual([generations(sim), sim.size, sim.state.ready.size], [[2, 1, 1], 4, 3]);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.size], [[1, 1, 1], 3]);
    assert.deepEqual([sim.state.roll, sim.timers], [null, []]);
    assert.deepEqual(sim.of("reloaded").map(({ generation }) => generation), [1]);
  });

  it("keeps those of a failed generation that serve while the one before it fails too, and tries again, later each time", () => {
    const sim = poolAtRest({ maxWorkers: 4, maxSurge: 2 });
    sim.reload();
    becomeReady(sim, newest(sim).id);
    becomeReady(sim, newest(sim).id);
    sim.exit(newest(sim).id, FAILED);
    assert.deepEqual([generations(sim), sim.size], [[2, 1, 2, 1], 6]);
    const before = sim.of("spawn").length;
    for (let tries = 0; tries < 2; tries++) {
      for (const { id } of booting(sim)) sim.exit(id, FAILED);
      assert.deepEqual([generations(sim), sim.size], [[2, 1, 2, 1], 4]);
      sim.advance(tries === 0 ? 1999 : 7999); // half of that, and the jitter
    }
    const times = sim.of("spawn").slice(before).map(({ at, worker }) => [worker.slot, at >= 1000]);
    assert.deepEqual(times, [[0, true], [2, true], [0, true], [2, true]]);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.state.roll, sim.timers], [[1, 1, 1, 1], null, []]);
  });

  it("comes back as a whole, though one of the old generation dies meanwhile", () => {
    const sim = poolAtRest({ maxWorkers: 4 });
    sim.reload();
    becomeReady(sim, newest(sim).id);
    becomeReady(sim, newest(sim).id);
    sim.exit(newest(sim).id, FAILED);
    sim.exit(sim.inSlot(3).id, { type: "signaled", signal: "SIGSEGV" });
    sim.advance(1000);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.state.roll, sim.timers], [[1, 1, 1, 1], null, []]);
  });

  it("takes none of a failed generation away, without surge, while one of the generation before it fails", () => {
    const sim = poolAtRest({ maxWorkers: 4, maxSurge: 0, maxUnavailable: 1 });
    sim.reload();
    for (let i = 0; i < 3; i++) becomeReady(sim, newest(sim).id);
    sim.exit(newest(sim).id, FAILED);
    for (let i = 0; i < 6; i++) {
      sim.exit(sim.inSlot(3).id, FAILED);
      assert.deepEqual([generations(sim), sim.state.ready.size], [[2, 2, 2], 3]);
      sim.advance(30_000);
    }
    goOn(sim);
    assert.deepEqual([generations(sim), sim.state.roll, sim.timers], [[1, 1, 1, 1], null, []]);
  });

  it("goes on with a change that it took the place of half way, if it fails itself", () => {
    const sim = poolAtRest({ maxWorkers: 4 });
    sim.reload();
    becomeReady(sim, newest(sim).id);
    sim.reload();
    sim.exit(newest(sim).id, FAILED);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.state.roll, sim.timers], [[2, 2, 2, 2], null, []]);
    assert.deepEqual(sim.of("reloadFailed").map(({ generation, cause, serving }) => [generation, cause, serving]), [
      [2, "superseded", 2],
      [3, "failed", 2],
    ]);
  });

  it("goes on with the way back from a change before it, if it fails itself", () => {
    const sim = poolAtRest({ maxWorkers: 4 });
    sim.reload();
    becomeReady(sim, newest(sim).id);
    sim.exit(newest(sim).id, FAILED);
    sim.reload();
    sim.exit(newest(sim).id, FAILED);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.state.roll, sim.timers], [[1, 1, 1, 1], null, []]);
  });

  it("leaves no worker of what failed behind when start() is called on the way back", () => {
    const sim = poolAtRest({ maxWorkers: 3, trapSignals: { SIGUSR2: null } });
    sim.reload();
    becomeReady(sim, newest(sim).id);
    becomeReady(sim, newest(sim).id);
    sim.exit(newest(sim).id, FAILED);
    sim.send({ type: "signal", signal: "SIGUSR2" });
    sim.start();
    assert.deepEqual(generations(sim), [2, 2, 1]);
    goOn(sim);
    sim.advance(20_000);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.state.roll, sim.state.isMixed], [[3, 3, 3], null, false]);
  });

  it("leaves alone, if it fails, whom a start let stay", () => {
    const sim = poolAtRest({ maxWorkers: 2, trapSignals: { SIGUSR2: null } });
    sim.reload();
    becomeReady(sim, newest(sim).id);
    sim.send({ type: "wait" });
    sim.send({ type: "unwait" });
    sim.start();
    sim.reload();
    sim.exit(newest(sim).id, FAILED);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.state.current.number], [[2, 1], 3]);
  });

  it("has its canary stand where the one stood whose place it takes, without surge", () => {
    const sim = poolAtRest({ maxWorkers: 3, maxSurge: 0, maxUnavailable: 1 }, { obedient: false });
    sim.exit(sim.inSlot(2).id, FAILED);
    sim.reload();
    const old = [sim.inSlot(0), sim.inSlot(1)];
    sim.exit(old[0]?.id ?? 0);
    sim.advance(1000);
    assert.deepEqual(generations(sim), [2, 1, 1]);
    sim.reload();
    sim.exit(newest(sim).id, FAILED);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.state.roll], [[1, 1, 1], null]);
  });

  it("fails too when a new worker dies that was ready", () => {
    const sim = poolAtRest();
    sim.reload();
    const canary = newest(sim);
    becomeReady(sim, canary.id);
    sim.exit(canary.id, { type: "signaled", signal: "SIGSEGV" });
    assert.match(sim.of("reloadFailed")[0]?.reason ?? "", /gen=2 pid=103 was killed by SIGSEGV/);
    goOn(sim);
    assert.deepEqual(generations(sim), [1, 1, 1]);
    assert.deepEqual(sim.of("backoff"), []);
  });

  it("replaces an old worker that dies meanwhile by one of the generation that has proved itself", () => {
    const sim = poolAtRest();
    sim.reload();
    sim.exit(sim.inSlot(2).id);
    assert.deepEqual(generations(sim), [1, 1, 1]);
    becomeReady(sim, [...sim.workers.values()].at(-2)?.id ?? 0);
    sim.exit(sim.inSlot(2).id);
    assert.deepEqual(generations(sim), [2, 1, 2]);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.of("reloaded").length], [[2, 2, 2], 1]);
  });

  it("gives the slot at once to whoever is to take it when the old worker dies", () => {
    const sim = poolAtRest();
    sim.reload();
    becomeReady(sim, newest(sim).id);
    const heir = newest(sim);
    sim.exit([...sim.workers.values()].find(({ slot, id }) => slot === heir.slot && id !== heir.id)?.id ?? 0);
    assert.equal(sim.state.workers.get(heir.slot)?.id, heir.id);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.size], [[2, 2, 2], 3]);
  });

  it("heals a pool that fails again and again, without waiting for its back-off", () => {
    const sim = poolAtRest({ maxWorkers: 2 });
    for (const { id } of [...sim.workers.values()]) sim.exit(id, FAILED);
    assert.equal(sim.size, 0);
    sim.reload();
    goOn(sim);
    assert.deepEqual([generations(sim), sim.of("reloaded").length], [[2, 2], 1]);
  });

  it("gives a reload up for the next one, which goes back to what had proved itself", () => {
    const sim = poolAtRest();
    sim.reload();
    sim.reload();
    assert.match(sim.of("reloadFailed")[0]?.reason ?? "", /generation 3 took its place/);
    assert.equal(sim.size, 4);
    becomeReady(sim, newest(sim).id);
    sim.reload();
    sim.exit(newest(sim).id, FAILED);
    assert.deepEqual(sim.of("reloadFailed").map(({ generation, serving }) => [generation, serving]), [
      [2, 1],
      [3, 3],
      [4, 3],
    ]);
    goOn(sim);
    assert.deepEqual(generations(sim), [3, 3, 3]);
  });

  it("ends for a stop, which reaches every worker", () => {
    const sim = poolAtRest();
    sim.reload();
    sim.send({ type: "signal", signal: "SIGTERM" });
    assert.match(sim.of("reloadFailed")[0]?.reason ?? "", /told to stop by SIGTERM/);
    sim.send({ type: "wait" });
    assert.deepEqual([sim.size, sim.waited, sim.timers], [0, true, []]);
  });

  it("ends when start() returned and all workers are waited for: the old ones stay as long as they like", () => {
    const sim = poolAtRest({ trapSignals: { SIGUSR2: null } });
    sim.reload();
    const canary = newest(sim);
    sim.send({ type: "signal", signal: "SIGUSR2" });
    sim.send({ type: "wait" });
    assert.deepEqual([canary.signals, generations(sim), sim.size], [["SIGKILL"], [1, 1, 1], 3]);
    assert.deepEqual(sim.of("reloadFailed").map(({ cause }) => cause), ["stopped"]);
  });

  it("is over at once for a pool of no workers", () => {
    const sim = poolAtRest({ maxWorkers: 0 });
    sim.reload();
    assert.equal(sim.of("reloaded").length, 1);
  });

  it("makes way for a pool that is made smaller, down to nothing", () => {
    const sim = poolAtRest();
    sim.reload();
    sim.send({ type: "setMaxWorkers", maxWorkers: 1 });
    assert.deepEqual([sim.size, generations(sim)], [2, [1]]);
    sim.send({ type: "setMaxWorkers", maxWorkers: 0 });
    assert.deepEqual([sim.size, sim.of("reloaded").length], [0, 1]);
  });

  it("leaves no canary behind in a pool that is made smaller than its slot, when nobody stands there", () => {
    const sim = poolAtRest({ maxWorkers: 1 });
    sim.reload();
    const canary = newest(sim);
    sim.exit(1, FAILED);
    sim.send({ type: "setMaxWorkers", maxWorkers: 0 });
    assert.deepEqual([canary.signals, sim.size, sim.of("reloaded").length], [["SIGKILL"], 0, 1]);
  });

  it("goes on when a pool without surge is made smaller while its canary waits for room", () => {
    const sim = poolAtRest({ maxSurge: 0, maxUnavailable: 1, maxWorkers: 2 }, { obedient: false });
    sim.reload();
    sim.send({ type: "setMaxWorkers", maxWorkers: 1 });
    sim.exit(1);
    const [left] = [...sim.workers.values()];
    assert.deepEqual([left?.slot, left?.signals], [1, ["SIGTERM"]]);
    sim.exit(left?.id ?? 0);
    goOn(sim);
    assert.deepEqual([generations(sim), newest(sim).slot, sim.of("reloaded").length], [[2], 0, 1]);
  });

  it("has its canary take a slot that is free, without surge, and nobody of the old generation be made for it", () => {
    const trapSignals = { SIGHUP: { signal: "SIGTERM", replace: "before" } } as const;
    const sim = poolAtRest({ maxSurge: 0, maxUnavailable: 1, maxWorkers: 2, trapSignals }, { obedient: false });
    sim.send({ type: "signal", signal: "SIGHUP" });
    sim.exit(sim.inSlot(1).id, FAILED); // between two starts
    sim.start();
    assert.deepEqual([generations(sim), sim.kills, sim.of("spawn").length], [[1, 2], [], 3]);
    goOn(sim);
    sim.exit(sim.inSlot(0).id);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.of("reloaded").length], [[2, 2], 1]);
  });

  it("takes one worker for its canary of a smaller pool that has none in its own slots, and makes none in vain", () => {
    const sim = poolAtRest({ maxSurge: 0, maxUnavailable: 1, maxWorkers: 4 }, { obedient: false });
    for (const slot of [0, 1]) sim.exit(sim.inSlot(slot).id, FAILED);
    sim.send({ type: "setMaxWorkers", maxWorkers: 2 });
    sim.advance(1000); // their back-offs are over: the pool is full without them
    sim.reload();
    sim.send({ type: "adjust" });
    assert.deepEqual([sim.inSlot(2).signals, sim.inSlot(3).signals], [["SIGTERM"], []]);
    sim.exit(sim.inSlot(2).id);
    assert.deepEqual(sim.of("spawn").slice(4).map(({ worker }) => [worker.slot, worker.generation]), [[0, 2]]);
    becomeReady(sim, sim.inSlot(0).id);
    sim.exit(sim.inSlot(3).id);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.of("reloaded").length], [[2, 2], 1]);
  });

  it("lets an old worker finish, as long as reloadTimeoutMs allows", () => {
    const sim = poolAtRest({ maxWorkers: 1, reloadTimeoutMs: 7000 }, { obedient: false });
    const [old] = [...sim.workers.values()];
    sim.reload();
    becomeReady(sim, newest(sim).id);
    assert.equal(sim.of("reloaded").length, 1);
    sim.advance(6999);
    assert.deepEqual(old?.signals, ["SIGTERM"]);
    sim.advance(1);
    assert.deepEqual(old?.signals, ["SIGTERM", "SIGKILL"]);
  });

  it("gives an old worker the time that it was made with, to finish and to stop", () => {
    const times = { reloadTimeoutMs: 7000, stopTimeoutMs: 9000 };
    const changed = { reloadTimeoutMs: 2000, stopTimeoutMs: 3000 };
    const reloaded = () => {
      const sim = poolAtRest({ maxWorkers: 1, ...times }, { obedient: false });
      const [old] = [...sim.workers.values()];
      sim.reload(changed);
      return { sim, old };
    };
    const { sim, old } = reloaded();
    becomeReady(sim, newest(sim).id);
    sim.advance(6999);
    assert.deepEqual(old?.signals, ["SIGTERM"]);
    sim.advance(1);
    assert.deepEqual(old?.signals, ["SIGTERM", "SIGKILL"]);

    const { sim: stopped, old: last } = reloaded();
    becomeReady(stopped, newest(stopped).id);
    stopped.send({ type: "stopAll" });
    stopped.advance(8999);
    assert.deepEqual(last?.signals, ["SIGTERM"]);
    stopped.advance(1);
    assert.deepEqual(last?.signals, ["SIGTERM", "SIGKILL"]);
  });

  it("keeps to the pace of spawnIntervalMs", () => {
    const sim = poolAtRest({ maxWorkers: 3, spawnIntervalMs: 400 });
    sim.advance(400);
    allReady(sim);
    sim.advance(400);
    allReady(sim);
    sim.advance(5000);
    sim.reload();
    for (let i = 0; i < 3; i++) {
      allReady(sim);
      sim.advance(400);
    }
    const times = sim.of("spawn").slice(3).map(({ at }) => at);
    assert.equal(times.length, 3);
    assert.ok(times.every((at, i) => i === 0 || at - (times[i - 1] ?? 0) >= 400));
    assert.deepEqual([generations(sim), sim.of("reloaded").length], [[2, 2, 2], 1]);
  });
});

describe("pool: a reload that changes the rules", () => {
  it("has the pool follow them once the first new worker is ready, and its own workers before", () => {
    const sim = poolAtRest({ maxWorkers: 2 });
    sim.reload({ maxWorkers: 4, bootTimeoutMs: 5000, stopTimeoutMs: 700 });
    assert.deepEqual([sim.state.maxWorkers, sim.state.config.stopTimeoutMs], [2, 30_000]);
    becomeReady(sim, newest(sim).id);
    assert.deepEqual([sim.state.maxWorkers, sim.state.config.stopTimeoutMs], [4, 700]);
    goOn(sim);
    assert.equal(sim.of("reloaded").length, 1);
    assert.equal(sim.state.ready.size, 4);
    sim.reload({ bootTimeoutMs: 100 });
    sim.advance(100);
    assert.match(sim.of("reloadFailed").at(-1)?.reason ?? "", /did not begin within 100 ms$/);
    assert.equal(sim.state.config.bootTimeoutMs, 5000);
  });

  it("goes back to the rules before it when a later worker fails, but not to a size that was changed since", () => {
    for (const resized of [false, true]) {
      const sim = poolAtRest({ maxWorkers: 2 });
      sim.reload({ maxWorkers: 3, stopTimeoutMs: 700 });
      becomeReady(sim, newest(sim).id);
      if (resized) sim.send({ type: "setMaxWorkers", maxWorkers: 5 });
      sim.exit(newest(sim).id, FAILED);
      assert.equal(sim.of("reloadFailed").length, 1);
      assert.deepEqual([sim.state.maxWorkers, sim.state.config.stopTimeoutMs], [resized ? 5 : 2, 30_000]);
    }
  });

  it("has a pool follow them that was made empty meanwhile, and leaves it so", () => {
    const sim = poolAtRest({ maxWorkers: 2 });
    sim.reload({ maxWorkers: 4, stopTimeoutMs: 700, maxSurge: 2 });
    sim.send({ type: "setMaxWorkers", maxWorkers: 0 });
    assert.equal(sim.of("reloaded").length, 1);
    const { maxWorkers, config } = sim.state;
    assert.deepEqual([maxWorkers, config.stopTimeoutMs, config.maxSurge, sim.size], [0, 700, 2, 0]);
  });

  it("is done with a pool that was empty once all are ready that it asks for, and back at nothing if one fails", () => {
    for (const fails of [false, true]) {
      const sim = poolAtRest({ maxWorkers: 0 });
      sim.reload({ maxWorkers: 3 });
      assert.deepEqual([generations(sim), sim.of("reloaded").length], [[2, 2, 2], 0]);
      becomeReady(sim, newest(sim).id);
      if (fails) sim.exit(sim.inSlot(0).id, FAILED);
      goOn(sim);
      assert.deepEqual([generations(sim), sim.state.roll, sim.timers], [fails ? [] : [2, 2, 2], null, []]);
      assert.deepEqual(
        sim.of("reloadFailed").map(({ cause, serving }) => [cause, serving]),
        fails ? [["failed", 1]] : [],
      );
      assert.deepEqual(sim.of("reloaded").map(({ generation }) => generation), [fails ? 1 : 2]);
    }
  });

  it("is not done while those it asks for wait for the slots of others who leave", () => {
    for (const left of [0, 1]) {
      const sim = poolAtRest({ maxWorkers: 2 }, { obedient: false });
      sim.send({ type: "setMaxWorkers", maxWorkers: left });
      sim.reload({ maxWorkers: 2 });
      allReady(sim);
      assert.deepEqual(sim.of("reloaded"), []);
      for (const { id, signals } of [...sim.workers.values()]) if (signals.length > 0) sim.exit(id);
      if (left === 0) sim.exit(newest(sim).id, FAILED);
      goOn(sim);
      const [reloaded, failed] = [sim.of("reloaded"), sim.of("reloadFailed")];
      assert.deepEqual([reloaded.map(({ generation }) => generation), failed.length], left === 0 ? [[1], 1] : [[2], 0]);
      assert.deepEqual(generations(sim), left === 0 ? [] : [2, 2]);
    }
  });

  it("is not done while a policy has yet to ask for those that it wants", () => {
    const decide = ({ workers, maxWorkers }: { readonly workers: number; readonly maxWorkers: number }) =>
      Math.max(0, maxWorkers - workers);
    const sim = poolAtRest({ maxWorkers: 2, policy: { intervalMs: 1000, decide } });
    sim.send({ type: "setMaxWorkers", maxWorkers: 0 });
    sim.advance(100);
    sim.reload({ maxWorkers: 2 });
    assert.deepEqual([sim.size, sim.of("reloaded").length], [0, 0]);
    sim.advance(1000);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.of("reloaded").length], [[2, 2], 1]);
  });

  it("is done though workers have yet to go that a policy has retired", () => {
    let wanted = 3;
    const decide = ({ serving }: { readonly serving: number }) => wanted - serving;
    const sim = poolAtRest({ maxWorkers: 4, policy: { intervalMs: 0, decide } }, { obedient: false });
    wanted = 1;
    sim.send({ type: "adjust" });
    assert.equal(sim.of("retire").length, 2);
    const retired = sim.of("retire").map(({ worker: { slot } }) => slot);
    sim.reload();
    becomeReady(sim, newest(sim).id);
    assert.deepEqual(sim.of("reloaded").map(({ generation }) => generation), [2]);
    assert.deepEqual(retired.map((slot) => sim.inSlot(slot).signals), [["SIGTERM"], ["SIGTERM"]]);
  });

  it("counts failures to boot for itself alone", () => {
    const sim = poolAtRest({ maxWorkers: 0, maxBootFailures: 3 });
    for (let time = 0; time < 5; time++) {
      sim.reload({ maxWorkers: 1 });
      sim.exit(newest(sim).id, FAILED);
    }
    assert.deepEqual([sim.of("reloadFailed").map(({ cause }) => cause), sim.gaveUp], [
      Array(5).fill("failed"),
      undefined,
    ]);
  });

  it("is not done with a pool whose processes cannot be made before some were", () => {
    const sim = new PoolSim({ maxWorkers: 1 }, { eager: false });
    sim.failSpawns = true;
    sim.start();
    sim.reload();
    assert.deepEqual(sim.of("reloaded"), []);
    sim.failSpawns = false;
    sim.advance(1000);
    goOn(sim);
    assert.deepEqual([generations(sim), sim.of("reloaded").length], [[2], 1]);
  });

  it("leaves the workers before it to the rules they were made under", () => {
    const sim = poolAtRest({ maxWorkers: 1, hangTimeoutMs: 10_000 });
    const old = newest(sim).id;
    sim.reload({ hangTimeoutMs: 200 });
    becomeReady(sim, newest(sim).id);
    sim.send({ type: "beat", slot: 0, id: old, lagMs: 0 });
    sim.advance(250);
    assert.ok(sim.of("hang").every(({ worker }) => worker.generation === 2));
  });
});

describe("pool: a trapped signal that replaces", () => {
  const trapSignals = { SIGTERM: "SIGTERM", SIGHUP: { signal: "SIGQUIT", replace: "before" } } as const;

  it("makes start() return with nobody signalled; the next one replaces, behind a canary", () => {
    const sim = poolAtRest({ trapSignals, maxWorkers: 2 });
    sim.send({ type: "signal", signal: "SIGHUP" });
    assert.deepEqual([sim.returned.length, sim.kills], [1, []]);
    sim.start();
    assert.deepEqual(generations(sim), [1, 1]);
    const old = sim.inSlot(0);
    becomeReady(sim, newest(sim).id);
    assert.deepEqual(old.signals, ["SIGQUIT"]);
    sim.exit(old.id);
    goOn(sim);
    sim.exit([...sim.workers.values()][0]?.id ?? 0);
    assert.deepEqual([generations(sim), sim.of("reloaded").length], [[2, 2], 1]);
  });

  it("goes on with what start() returned from by another signal, for the generation that is new then", () => {
    const sim = poolAtRest({ trapSignals: { ...trapSignals, SIGUSR2: null }, maxWorkers: 2 });
    sim.reload();
    sim.send({ type: "signal", signal: "SIGUSR2" });
    sim.start();
    assert.deepEqual(sim.of("reloadFailed").map(({ generation, cause }) => [generation, cause]), [[2, "superseded"]]);
    sim.send({ type: "signal", signal: "SIGHUP" });
    sim.send({ type: "signal", signal: "SIGUSR2" });
    sim.start();
    sim.start();
    goOn(sim);
    assert.deepEqual([generations(sim), sim.of("reloaded").map(({ generation }) => generation)], [[5, 5], [5]]);
  });

  it("replaces nobody before there is anybody", () => {
    const sim = new PoolSim({ trapSignals });
    sim.send({ type: "signal", signal: "SIGHUP" });
    sim.start();
    sim.start();
    assert.deepEqual(generations(sim), [2, 2, 2]);
  });

  it("replaces nobody, and holds nobody back, once all are gone", () => {
    const sim = new PoolSim({ trapSignals, maxWorkers: 3 }, { letsGo: true });
    sim.start();
    sim.exit(sim.inSlot(2).id, FAILED);
    sim.send({ type: "signal", signal: "SIGHUP" });
    sim.send({ type: "wait" });
    for (const { id } of [...sim.workers.values()]) sim.exit(id);
    sim.start();
    assert.deepEqual([sim.waited, generations(sim), sim.of("reload")], [true, [2, 2, 2], []]);
  });
});
