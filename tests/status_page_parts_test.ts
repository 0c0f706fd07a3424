/** What the status page reckons, without a browser. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { formatAgo, formatMs, formatNumber, formatSize, formatTime } from "../src/cli/page/format.js";
import { areaPath, barPath, linePath, nearest, pointsOf, spanOf, topOf } from "../src/cli/page/plot.js";
import { COLUMNS, ratesOf } from "../src/cli/page/table.js";
import type { Sample } from "../src/operator/history.ts";
import { statusOf } from "./support/status_report.ts";

const MINUTE = 60_000;

/** A sample of so many requests a second, every five seconds unless it says when. */
function sample(requestsPerSecond: number, at: number, p99Ms: number | null = null): Sample {
  return { at, requestsPerSecond, p50Ms: p99Ms, p99Ms, memoryBytes: null, ready: 1, restarts: 0 };
}

const frame = { left: 0, right: 300, above: 10, below: 110, span: 5 * MINUTE, top: 100 };

describe("numbers on the status page", () => {
  it("are as short as they may be", () => {
    const cases: readonly [string, string][] = [
      [formatTime(0), "0s"],
      [formatTime(59_999), "59s"],
      [formatTime(5 * MINUTE + 2000), "5m 2s"],
      [formatTime(60 * MINUTE), "1h"],
      [formatTime(76 * 60 * MINUTE), "3d 4h"],
      [formatNumber(0), "0"],
      [formatNumber(0.256), "0.26"],
      [formatNumber(12.345), "12.3"],
      [formatNumber(1234.5), "1,235"],
      [formatMs(null), "–"],
      [formatMs(0.4), "0.4 ms"],
      [formatMs(1250), "1.25 s"],
      [formatSize(null), "–"],
      [formatSize(90 * 2 ** 20), "90 MiB"],
      [formatSize(3 * 2 ** 29), "1.5 GiB"],
      [formatAgo(0), "now"],
      [formatAgo(65_000), "1m 5s ago"],
    ];
    for (const [told, expected] of cases) assert.equal(told, expected);
  });
});

describe("a plot", () => {
  it("shows as much of the past as there is, an hour at most", () => {
    const spans = [0, 4, 6, 29, 31, 60, 90].map((minutes) =>
      spanOf([sample(0, 0), sample(0, minutes * MINUTE)]) / MINUTE
    );
    assert.deepEqual(spans, [5, 5, 15, 30, 60, 60, 60]);
    assert.equal(spanOf([]), 5 * MINUTE);
  });

  it("has a round top, not far above the highest value", () => {
    const tops = [0, 1, 1.2, 7, 99, 101, 2544, 0.003].map((value) => topOf([null, value]));
    assert.deepEqual(tops.map((top) => Number(top.toPrecision(6))), [1, 1, 1.5, 8, 100, 150, 3000, 0.003]);
    assert.equal(topOf([450 * 2 ** 20], 2 ** 20), 500 * 2 ** 20);
    assert.equal(topOf([1], 1, 2), 2);
    fc.assert(fc.property(fc.double({ min: 1e-6, max: 1e12, noNaN: true }), (value) => {
      const top = topOf([value]);
      assert.ok(top >= value * 0.999 && top <= value * 2, `${top} for ${value}`);
    }));
  });

  it("goes from the past at the left to now at the right, and never out of its frame", () => {
    const points = pointsOf(
      [sample(0, 0), sample(50, 15_000), sample(500, 30_000)],
      (each) => each.requestsPerSecond,
      frame,
    );
    assert.deepEqual(points, [{ x: 270, y: 110 }, { x: 285, y: 60 }, { x: 300, y: 10 }]);
    assert.equal(linePath(points), "M270.0 110.0L285.0 60.0L300.0 10.0");
    assert.equal(areaPath(points, 110), "M270.0 110L270.0 110.0L285.0 60.0L300.0 10.0L300.0 110Z");
    assert.equal(barPath(points, 110), "M285.0 110V60.0M300.0 110V10.0");
  });

  it("has nothing where there was nothing, and a dot for what stands alone", () => {
    const samples = [sample(1, 0, 10), sample(1, 5000, null), sample(1, 10_000, 20), sample(1, 60_000, 20)];
    const points = pointsOf(samples, (each) => each.p99Ms, frame);
    assert.equal(linePath(points), "M240.0 100.0h0M250.0 90.0h0M300.0 90.0h0");
    assert.equal(linePath([]), "");
    assert.equal(areaPath([{ x: 1, y: null }], 110), "");
  });

  it("finds the moment that somebody points at", () => {
    const samples = [sample(0, 0), sample(0, 5000), sample(0, 10_000)];
    assert.deepEqual([-99, 2400, 2600, 7600, 99_999].map((at) => nearest(samples, at)), [0, 0, 1, 2, 2]);
  });
});

describe("the table of workers", () => {
  it("has the rate of each process since the look before", () => {
    const before = statusOf([100, 7, null], { uptimeMs: 1000 });
    const now = statusOf([150, 3, 5, 9], { uptimeMs: 3000 });
    assert.deepEqual([...ratesOf(before, now)], [[100, 25], [101, 0]]);
    assert.equal(ratesOf(undefined, now).size, 0);
    assert.equal(ratesOf({ ...before, pid: 1 }, now).size, 0, "another manager");
    assert.equal(ratesOf(now, now).size, 0, "no time has passed");
  });

  it("tells all there is to tell of a worker", () => {
    const [ready, booting] = statusOf([1234, null]).workers;
    assert.ok(ready !== undefined && booting !== undefined);
    const told = Object.fromEntries(COLUMNS.map(({ title, tell }) => [title, tell(ready, 12.34)]));
    assert.deepEqual(told, {
      "Slot": "0",
      "State": "ready",
      "PID": "100",
      "Gen": "1",
      "Up": "1s",
      "Requests": "1,234",
      "Per second": "12.3",
      "p50": "2 ms",
      "p99": "20 ms",
      "Lag": "0.5 ms",
      "Memory": "1 MiB",
      "CPU": "0s",
      "Restarts": "0",
      "Status": "_",
      "Last end": "",
    });
    assert.equal(COLUMNS.find(({ name }) => name === "requests")?.tell(booting, undefined), "–");
  });
});
