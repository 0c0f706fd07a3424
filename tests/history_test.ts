/** The last hour of a pool. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { bucketOf, latencyOf, NO_DURATIONS } from "../src/latency.ts";
import { History } from "../src/operator/history.ts";
import { Ring } from "../src/operator/ring.ts";
import { statusOf } from "./support/status_report.ts";

/** The latency of so many requests of the same duration. */
const latency = (count: number, ms: number) =>
  latencyOf({ sumMs: count * ms, counts: NO_DURATIONS.counts.map((_, at) => at === bucketOf(ms) ? count : 0) });

describe("a ring", () => {
  it("gives the latest since any look, and forgets the oldest", () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 7 }), fc.array(fc.nat(6)), (capacity, steps) => {
      const ring = new Ring<number>(capacity);
      const all: number[] = [];
      for (const step of steps) {
        const seen = ring.count;
        for (let n = 0; n < step; n++) {
          all.push(all.length);
          ring.push(all.length - 1);
        }
        assert.deepEqual(ring.since(seen), all.slice(seen).slice(-capacity));
        assert.deepEqual(ring.since(0), all.slice(-capacity));
        assert.deepEqual(ring.since(ring.count), []);
      }
    }));
  });
});

describe("the history of a pool", () => {
  it("has rates between looks, the first of them since the beginning", () => {
    const history = new History();
    history.look(statusOf([30, 20], { uptimeMs: 5000, restarts: 0, latency: latency(50, 4) }));
    history.look(statusOf([31, 20], { uptimeMs: 7500, restarts: 2, latency: latency(50, 4) }));
    const [first, second] = history.samples.since(0);
    assert.deepEqual(first, {
      at: 5000,
      requestsPerSecond: 10,
      p50Ms: latency(50, 4).p50Ms,
      p99Ms: latency(50, 4).p99Ms,
      memoryBytes: 3 * 2 ** 20,
      ready: 2,
      restarts: 0,
    });
    assert.deepEqual([second?.requestsPerSecond, second?.p50Ms, second?.restarts], [0.4, null, 2]);
  });

  it("has no rate below nothing, and no look at a clock that stands", () => {
    const history = new History();
    history.look(statusOf([100], { uptimeMs: 1000 }));
    history.look(statusOf([100], { uptimeMs: 1000 }));
    history.look(statusOf([40], { uptimeMs: 2000 }));
    assert.deepEqual(history.samples.since(0).map(({ requestsPerSecond }) => requestsPerSecond), [100, 0]);
  });

  it("has memory as far as it can be read", () => {
    const history = new History();
    const unknown = statusOf([1], { uptimeMs: 1, memoryBytes: null });
    history.look(unknown);
    history.look({ ...unknown, uptimeMs: 2, workers: unknown.workers.map((each) => ({ ...each, memoryBytes: null })) });
    assert.deepEqual(history.samples.since(0).map(({ memoryBytes }) => memoryBytes), [2 ** 20, null]);
  });

  it("is of an hour", () => {
    const history = new History();
    for (let at = 5000; at <= 10_000_000; at += 5000) history.look(statusOf([0], { uptimeMs: at }));
    const samples = history.samples.since(0);
    assert.deepEqual([samples.length, samples.at(0)?.at, samples.at(-1)?.at], [
      720,
      10_000_000 - 719 * 5000,
      10_000_000,
    ]);
  });
});
