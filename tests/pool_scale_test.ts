/** Pools that are made larger and smaller while they run, as TTIN and TTOU do. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { listenToOperator } from "../src/cli/operator.ts";
import { spareWorkers } from "../src/policy.ts";
import type { Signal } from "../src/types.ts";
import { FakeHost } from "./fake_host.ts";
import { type Manners, PoolSim } from "./support/pool_sim.ts";

type Config = ConstructorParameters<typeof PoolSim>[0];

function running(config: Config = {}, manners: Partial<Manners> = {}): PoolSim {
  const sim = new PoolSim(config, manners);
  sim.start();
  return sim;
}

function resize(sim: PoolSim, ...sizes: readonly number[]): void {
  for (const maxWorkers of sizes) sim.send({ type: "setMaxWorkers", maxWorkers });
}

/** The slots of the workers that were not told to stop. */
function slots(sim: PoolSim): readonly number[] {
  return [...sim.state.workers.entries()].filter(([, { stopping }]) => !stopping).map(([slot]) => slot);
}

function generations(sim: PoolSim): readonly number[] {
  return [...sim.state.workers.entries()].map(([, { generation }]) => generation);
}

/** Has all workers that boot become ready, until there are no new ones. */
function allReady(sim: PoolSim): void {
  for (let seen = -1; seen !== sim.of("spawn").length;) {
    seen = sim.of("spawn").length;
    for (const { id } of [...sim.workers.values()]) {
      for (const what of ["connected", "begun", "ready"] as const) sim.tell(id, what);
    }
  }
}

describe("pool: scale", () => {
  it("goes down to nothing and stays there, and comes back from it", () => {
    const sim = running({ maxWorkers: 2 });
    resize(sim, 1, 0, 0, 0);
    sim.advance(60_000);
    assert.deepEqual([sim.size, sim.of("spawn").length, sim.timers], [0, 2, []]);
    resize(sim, 1);
    assert.deepEqual(slots(sim), [0]);
  });

  it("goes up by any number, and down again to the lowest slots", () => {
    const sim = running();
    resize(sim, 4, 100);
    assert.deepEqual([sim.size, slots(sim).at(-1)], [100, 99]);
    resize(sim, 2);
    assert.deepEqual(slots(sim), [0, 1]);
    assert.deepEqual(sim.of("reap").filter(({ expected }) => !expected), []);
  });

  it("waits for those that were told to stop before others take their slots", () => {
    const sim = running({}, { obedient: false });
    const [, second, third] = [...sim.workers.values()];
    resize(sim, 1, 3);
    assert.deepEqual([sim.size, sim.of("spawn").length], [3, 3]);
    sim.exit(third?.id ?? 0);
    assert.deepEqual(slots(sim), [0, 2]);
    sim.exit(second?.id ?? 0);
    assert.deepEqual([slots(sim), sim.of("spawn").length], [[0, 1, 2], 5]);
  });

  it("tells each worker once to stop, however often the pool shrinks meanwhile", () => {
    const sim = running({ maxWorkers: 4 }, { obedient: false });
    resize(sim, 3, 2, 3, 2, 1, 2, 1);
    assert.deepEqual(sim.kills.map(({ signal }) => signal), ["SIGTERM", "SIGTERM", "SIGTERM"]);
  });

  it("is well as soon as a slot that was held back is not wanted any more", () => {
    const sim = running({ maxRespawnIntervalMs: 60_000, errRespawnIntervalMs: 30_000 });
    sim.exit(sim.inSlot(2).id, { type: "exited", code: 1 });
    assert.equal(sim.of("degraded").length, 1);
    resize(sim, 2);
    assert.deepEqual([sim.of("recovered").length, sim.timers], [1, []]);
    resize(sim, 3);
    assert.deepEqual(slots(sim), [0, 1, 2]);
  });

  it("makes nobody while the pool stops, nor after it", () => {
    const sim = running({}, { obedient: false });
    sim.send({ type: "signal", signal: "SIGTERM" });
    resize(sim, 5, 1, 7);
    sim.send({ type: "wait" });
    resize(sim, 8, 0, 9);
    for (const { id } of [...sim.workers.values()]) sim.exit(id);
    resize(sim, 10);
    sim.advance(60_000);
    assert.deepEqual([sim.of("spawn").length, sim.size, sim.waited, sim.timers], [3, 0, true, []]);
    sim.start();
    assert.equal(sim.size, 10);
  });

  it("leaves to the policy whether there are more", () => {
    const sim = running({ maxWorkers: 5, policy: spareWorkers({ minSpare: 2, maxSpare: 3 }) });
    resize(sim, 50);
    sim.advance(10_000);
    assert.equal(sim.size, 2);
    for (const { slot, id } of [...sim.workers.values()]) {
      sim.send({ type: "status", slot, id, status: "A", isIdle: false });
    }
    sim.advance(10_000);
    assert.equal(sim.size, 5);
    resize(sim, 1);
    assert.deepEqual(slots(sim), [0]);
    sim.advance(10_000);
    assert.equal(sim.size, 1);
  });
});

describe("pool: scale during a reload", () => {
  /** A pool of three in which a reload waits for its canary. */
  function reloading(config: Config = {}): PoolSim {
    const sim = running(config, { eager: false });
    allReady(sim);
    sim.reload();
    return sim;
  }

  it("adds workers of the old generation before the canary is ready, and has all replaced after it", () => {
    const sim = reloading();
    resize(sim, 5);
    assert.deepEqual(generations(sim), [1, 1, 1, 1, 1]);
    allReady(sim);
    assert.deepEqual([generations(sim), sim.of("reloaded").length, sim.state.roll], [[2, 2, 2, 2, 2], 1, null]);
  });

  it("keeps the size that is asked for before the canary is ready, whatever the new generation was to bring", () => {
    const sim = running({}, { eager: false });
    allReady(sim);
    sim.reload({ maxWorkers: 8 });
    resize(sim, 2);
    allReady(sim);
    assert.deepEqual([generations(sim), sim.state.maxWorkers, sim.of("reloaded").length], [[2, 2], 2, 1]);
  });

  it("adds workers of the new generation after it", () => {
    const sim = reloading();
    const canary = [...sim.workers.values()].at(-1)?.id ?? 0;
    for (const what of ["connected", "begun", "ready"] as const) sim.tell(canary, what);
    resize(sim, 4);
    assert.deepEqual(generations(sim), [2, 1, 1, 2]);
    allReady(sim);
    assert.deepEqual([generations(sim), sim.of("reloaded").length], [[2, 2, 2, 2], 1]);
  });

  it("goes on with fewer, whether or not those that come have a slot any more", () => {
    for (const limits of [{}, { maxSurge: 0, maxUnavailable: 1 }, { maxSurge: 3 }]) {
      for (const sizes of [[1], [2, 1], [1, 3], [0, 2], [2, 4, 2]]) {
        const sim = reloading(limits);
        for (const size of sizes) {
          resize(sim, size);
          for (const { id, welcomed } of [...sim.workers.values()]) if (!welcomed) sim.tell(id, "connected");
        }
        allReady(sim);
        const what = JSON.stringify([limits, sizes]);
        assert.deepEqual(generations(sim), Array(sizes.at(-1)).fill(2), what);
        assert.deepEqual([sim.of("reloaded").length, sim.of("reloadFailed"), sim.timers], [1, [], []], what);
      }
    }
  });
});

describe("the command line's TTIN and TTOU", () => {
  it("resize the pool until it is told to stop, and not where they are trapped", () => {
    const host = new FakeHost();
    const resized: number[] = [];
    const operations = {
      kill() {},
      reload() {},
      hangUp() {},
      upgrade() {},
      resize: (_: Signal, by: number) => void resized.push(by),
    };
    const listening = listenToOperator(host, { SIGTTOU: null }, () => false, operations);
    for (const signal of ["SIGTTIN", "SIGTTIN"] as const) host.raise(signal);
    assert.deepEqual([resized, host.listensFor("SIGTTOU")], [[1, 1], false]);
    host.raise("SIGTERM");
    host.raise("SIGTTIN");
    assert.deepEqual(resized, [1, 1]);
    listening[Symbol.dispose]();
    assert.equal(host.listensFor("SIGTTIN"), false);
  });
});
