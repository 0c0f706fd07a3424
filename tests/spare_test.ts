/** Spare workers under load, on the virtual clock: the pool follows the load, and does not flap. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { spareWorkers, type SpareWorkersOptions } from "../src/policy.ts";
import { PoolSim } from "./support/pool_sim.ts";
import { type Demand, Traffic } from "./support/traffic.ts";

const LONG = { timeout: 180_000 };
const HALF_A_MINUTE = 30_000;

class World {
  readonly sim: PoolSim;
  readonly traffic: Traffic;

  constructor(demand: Demand, spare: SpareWorkersOptions = { minSpare: 5, maxSpare: 10 }) {
    this.sim = new PoolSim({ maxWorkers: 100, policy: spareWorkers(spare) }, { obedient: false });
    this.sim.check = () => {}; // it would be most of the time these tests take, and is for others
    this.sim.start();
    this.traffic = new Traffic(this.sim, { bootMs: 150, ...demand });
  }

  /** What the pool does in a time. */
  run(ms: number): { readonly spawned: number; readonly retired: number; readonly longestWaitMs: number } {
    const before = { spawned: this.sim.of("spawn").length, retired: this.sim.of("retire").length };
    const since = this.sim.now;
    this.traffic.run(ms);
    return {
      spawned: this.sim.of("spawn").length - before.spawned,
      retired: this.sim.of("retire").length - before.retired,
      longestWaitMs: Math.max(0, ...this.traffic.waits.filter(({ at }) => at > since).map(({ ms }) => ms)),
    };
  }
}

/** One rate, then another, each for half a minute. */
function square(low: number, high: number): (now: number) => number {
  return (now) => Math.floor(now / HALF_A_MINUTE) % 2 === 0 ? low : high;
}

describe("spare workers", () => {
  it("rest under a steady load, with as many idle as there should be", LONG, () => {
    for (const [minSpare, maxSpare] of [[3, 5], [5, 10], [10, 10]] as const) {
      const world = new World({ rate: () => 100, workMs: 200 }, { minSpare, maxSpare });
      world.run(HALF_A_MINUTE);
      assert.deepEqual(world.run(2 * HALF_A_MINUTE), { spawned: 0, retired: 0, longestWaitMs: 0 });
      assert.equal(world.traffic.busy, 20);
      assert.ok(world.sim.size >= 20 + minSpare && world.sim.size <= 20 + maxSpare, `${world.sim.size}`);
    }
  });

  it("nearly rest under a load that varies by itself, which they would follow all the time if they could", LONG, () => {
    for (const workMs of [50, 200, 2000]) {
      const demand = { rate: () => 20_000 / workMs, workMs, isNoisy: true };
      const changes = [0, 5000].map((retireAfterMs) => {
        const world = new World(demand, { minSpare: 5, maxSpare: 10, retireAfterMs });
        world.run(HALF_A_MINUTE);
        const { spawned, retired } = world.run(2 * HALF_A_MINUTE);
        return spawned + retired;
      });
      const [hasty = 0, patient = 0] = changes;
      assert.ok(hasty > 100 && patient < 45 && patient < hasty / 3, `${workMs} ms: ${changes.join(", ")}`);
    }
  });

  it("change by what the load has changed, once", LONG, () => {
    const world = new World({ rate: square(50, 150), workMs: 200 });
    world.run(HALF_A_MINUTE);
    for (let round = 0; round < 3; round++) {
      const up = world.run(HALF_A_MINUTE);
      assert.equal(world.traffic.busy, 30);
      // Those that come late find a queue, and more come for that.
      assert.ok(up.spawned >= 15 && up.spawned <= 40, JSON.stringify(up));
      assert.ok(up.retired <= up.spawned - 15 && up.longestWaitMs < 1000, JSON.stringify(up));
      const settled = world.sim.size;
      assert.ok(settled >= 30 + 5 && settled <= 31 + 10, `${settled}`); // at times one request overlaps the next
      const down = world.run(HALF_A_MINUTE);
      assert.deepEqual([down.spawned, down.longestWaitMs], [0, 0]);
      assert.ok(down.retired >= 15 && down.retired <= 25, JSON.stringify(down));
    }
  });

  it("only grow while the load does, and only shrink while it shrinks", LONG, () => {
    const rate = (now: number) => Math.max(10, 110 - Math.abs(now - 2 * HALF_A_MINUTE) / 300);
    const world = new World({ rate, workMs: 200 });
    world.run(HALF_A_MINUTE);
    const up = world.run(HALF_A_MINUTE);
    assert.ok(up.spawned >= 18 && up.spawned <= 25, JSON.stringify(up));
    assert.deepEqual([up.retired, up.longestWaitMs], [0, 0]);
    const down = world.run(2 * HALF_A_MINUTE);
    assert.ok(down.retired >= 15 && down.retired <= 25, JSON.stringify(down));
    assert.deepEqual([down.spawned, down.longestWaitMs], [0, 0]);
  });

  it("come for one burst, and go after it, each once", LONG, () => {
    const isBurst = (now: number) => now >= HALF_A_MINUTE && now < HALF_A_MINUTE + 1000;
    const world = new World({ rate: (now) => isBurst(now) ? 200 : 10, workMs: 200 });
    world.run(HALF_A_MINUTE);
    const before = world.sim.size;
    const { spawned, retired } = world.run(2 * HALF_A_MINUTE);
    assert.ok(spawned >= 20 && spawned <= 50, `${spawned}`);
    assert.ok(world.sim.size <= 2 + 10 && before + spawned - retired === world.sim.size, `${world.sim.size}`);
    const lastSpawn = world.sim.of("spawn").at(-1)?.at ?? 0;
    const firstRetired = world.sim.of("retire").find(({ at }) => at > HALF_A_MINUTE)?.at ?? 0;
    assert.ok(lastSpawn < HALF_A_MINUTE + 3000 && firstRetired >= lastSpawn + 5000, `${lastSpawn}, ${firstRetired}`);
  });

  it("that came for one burst are there for the next", LONG, () => {
    const world = new World({ rate: (now) => now % 3000 < 500 ? 200 : 10, workMs: 200 });
    world.run(HALF_A_MINUTE);
    assert.deepEqual(world.run(HALF_A_MINUTE), { spawned: 0, retired: 0, longestWaitMs: 0 });
  });
});
