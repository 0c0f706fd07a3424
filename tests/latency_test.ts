/** How long requests take: what is counted of them, and what is read from the counts. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { addDurations, cumulate, type Durations, latencyOf, latencySince, NO_DURATIONS } from "../src/latency.ts";
import { Stopwatch } from "../src/stopwatch.ts";

/** What a stopwatch tells after requests of these durations. */
function measure(all: readonly number[], watch = new Clockwork()): Durations {
  for (const ms of all) watch.serve(ms);
  return watch.read();
}

class Clockwork {
  timed = 0;
  #now = 0;
  readonly #watch = new Stopwatch(() => this.#now);

  serve(ms: number): void {
    if (!this.#watch.isDue()) return;
    this.timed++;
    this.#watch.time(() => this.#now += ms);
  }

  read(): Durations {
    return this.#watch.read();
  }
}

const duration = fc.double({ min: 0.04, max: 60_000, noNaN: true });

describe("latency", () => {
  it("has quantiles within a fifth of the truth", () => {
    fc.assert(fc.property(fc.array(duration, { minLength: 1, maxLength: 400 }), (all) => {
      const { count, p50Ms, p99Ms } = latencyOf(measure(all));
      assert.equal(count, all.length);
      const sorted = [...all].sort((a, b) => a - b);
      for (const [told, part] of [[p50Ms, 0.5], [p99Ms, 0.99]] as const) {
        const truth = sorted[Math.ceil(part * all.length) - 1] ?? NaN;
        assert.ok(told !== null && told / truth < 1.2 && truth / told < 1.2, `${told} for ${truth}`);
      }
    }));
  });

  it("is null where nothing was served", () => {
    assert.deepEqual(latencyOf(NO_DURATIONS), { count: 0, sumMs: 0, p50Ms: null, p99Ms: null, buckets: [] });
  });

  it("counts what is too short or too long to tell", () => {
    const { count, p50Ms, p99Ms, buckets } = latencyOf(measure([0, -1, 1e9]));
    assert.deepEqual([count, p99Ms], [3, 65536]);
    assert.ok(p50Ms !== null && p50Ms <= 0.03125);
    assert.deepEqual(buckets, [[0.03125, 2], [null, 1]]);
  });

  it("of two workers is that of all their requests", () => {
    fc.assert(fc.property(fc.array(duration), fc.array(duration), (a, b) => {
      const both = latencyOf(addDurations(measure(a), measure(b)));
      assert.deepEqual(both.buckets, latencyOf(measure([...a, ...b])).buckets);
    }));
  });

  it("between two looks is that of the requests between", () => {
    fc.assert(fc.property(fc.array(duration), fc.array(duration), (before, since) => {
      const watch = new Clockwork();
      const first = latencyOf(measure(before, watch));
      const second = latencyOf(measure(since, watch));
      const { count, buckets } = latencySince(first, second);
      assert.equal(count, since.length);
      assert.deepEqual(buckets, latencyOf(measure(since)).buckets);
    }));
  });

  it("of a pool that began anew is all there is", () => {
    const first = latencyOf(measure([1, 1, 1]));
    const second = latencyOf(measure([500]));
    assert.deepEqual(latencySince(first, second), second);
  });

  it("is cumulated for Prometheus", () => {
    const all = cumulate(latencyOf(measure([0.9, 1.5, 1.9, 3, 1e9])));
    const at = (ms: number) => all.find(({ leMs }) => leMs === ms)?.count;
    assert.deepEqual([at(0.5), at(1), at(2), at(4), at(65536)], [0, 1, 3, 4, 4]);
  });
});

describe("a stopwatch", () => {
  it("times each request of few, and few of many, and counts all", () => {
    const watch = new Clockwork();
    measure(new Array(500).fill(1), watch);
    assert.equal(watch.timed, 500);
    const { count } = latencyOf(measure(new Array(99_500).fill(1), watch));
    assert.ok(Math.abs(count - 100_000) < 200, `${count}`);
    assert.ok(watch.timed < 5000, `${watch.timed}`);
    const before = watch.timed;
    measure([1, 1, 1], watch);
    assert.equal(watch.timed - before, 3, "it begins anew when somebody has asked");
  });

  it("sees what is rare among many", () => {
    const { p50Ms, p99Ms } = latencyOf(measure(Array.from({ length: 50_000 }, (_, n) => n % 37 === 0 ? 400 : 2)));
    assert.ok(p50Ms !== null && p50Ms > 1.6 && p50Ms < 2.4, `${p50Ms}`);
    assert.ok(p99Ms !== null && p99Ms > 320 && p99Ms < 480, `${p99Ms}`);
  });

  it("is not deceived where requests alternate", () => {
    for (const period of [2, 3, 4, 8]) {
      const all = Array.from({ length: 60_000 }, (_, n) => n % period === 0 ? 400 : 2);
      const { count, sumMs } = latencyOf(measure(all));
      const truth = all.reduce((sum, ms) => sum + ms, 0) / all.length;
      assert.ok(Math.abs(sumMs / count - truth) < truth / 5, `${sumMs / count} for ${truth}, by ${period}`);
    }
  });

  it("times what is answered later, and what fails", async () => {
    let now = 0;
    const watch = new Stopwatch(() => now);
    const slow = Promise.withResolvers<string>();
    const bad = Promise.withResolvers<string>();
    const answers = [slow, bad].map(({ promise }) => watch.time(() => promise));
    assert.throws(() => watch.time(() => assert.fail("at once")), /at once/);
    assert.equal(latencyOf(watch.read()).count, 1);
    now = 100;
    slow.resolve("slow");
    bad.reject(new Error("later"));
    assert.deepEqual((await Promise.allSettled(answers)).map(({ status }) => status), ["fulfilled", "rejected"]);
    const { count, sumMs } = latencyOf(watch.read());
    assert.deepEqual([count, sumMs], [3, 200]);
  });
});
