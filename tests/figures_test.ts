/** What workers have done, as they tell when they are asked. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Figures } from "../src/figures.ts";
import { bucketOf, type Durations, latencyOf, NO_DURATIONS } from "../src/latency.ts";
import { FakeHost } from "./fake_host.ts";
import { outcome } from "./support/pool_on_fake.ts";

const ref = (id: number) => ({ slot: id, id });
const durations = (...all: readonly number[]): Durations => ({
  sumMs: all.reduce((sum, ms) => sum + ms, 0),
  counts: NO_DURATIONS.counts.map((_, bucket) => all.filter((ms) => bucketOf(ms) === bucket).length),
});
const figures = (requests: number | null, ...all: readonly number[]) =>
  ({ type: "figures", requests, durations: requests === null ? null : durations(...all) }) as const;
const latency = (...all: readonly number[]) => latencyOf(durations(...all));

describe("figures", () => {
  it("are asked of all, and given when all have told", async () => {
    const host = new FakeHost({ name: "bun" });
    const pool = new Figures(host);
    for (const id of [1, 2]) pool.add(ref(id), 100 + id);
    const asked: number[] = [];
    const asking = pool.ask((id, line) => {
      assert.deepEqual(JSON.parse(line), { type: "ask", version: 1 });
      asked.push(id);
    }, 200);
    assert.deepEqual(asked, [1, 2]);
    pool.heard(ref(1), figures(7, 1, 2, 400));
    assert.equal(await outcome(asking), "pending");
    await host.advance(30);
    pool.heard(ref(2), figures(null));
    pool.heard(ref(3), figures(99)); // a stranger
    assert.deepEqual(await asking, {
      requests: 7,
      latency: latency(1, 2, 400),
      workers: [
        { pid: 101, requests: 7, latency: latency(1, 2, 400), lagMs: 0 },
        { pid: 102, requests: null, latency: null, lagMs: 30 },
      ],
    });
    assert.equal(host.timerCount(), 0);
  });

  it("are given without those who do not answer, and with those who are gone", async () => {
    const host = new FakeHost({ name: "bun" });
    const pool = new Figures(host);
    for (const id of [1, 2, 3]) pool.add(ref(id), 100 + id);
    pool.heard(ref(2), figures(5, 10)); // its last word
    pool.remove(2);
    pool.remove(2);
    const first = pool.ask(() => {}, 200);
    pool.heard(ref(1), figures(1));
    await host.advance(100);
    const second = pool.ask(() => {}, 200);
    pool.heard(ref(1), figures(2, 30));
    await host.advance(100);
    assert.deepEqual(await first, {
      requests: 7,
      latency: latency(10, 30),
      workers: [
        { pid: 101, requests: 2, latency: latency(30), lagMs: 0 },
        { pid: 103, requests: null, latency: null, lagMs: 200 },
      ],
    });
    pool.remove(3);
    assert.deepEqual(await second, {
      requests: 7,
      latency: latency(10, 30),
      workers: [{ pid: 101, requests: 2, latency: latency(30), lagMs: 0 }],
    });
  });

  it("have no durations where these make no sense", async () => {
    const pool = new Figures(new FakeHost({ name: "bun" }));
    pool.add(ref(1), 101);
    const asking = pool.ask(() => {}, 200);
    pool.heard(ref(1), { type: "figures", requests: 7, durations: { sumMs: 1, counts: [1, 2, 3] } });
    assert.deepEqual(await asking, {
      requests: 7,
      latency: latency(),
      workers: [{ pid: 101, requests: 7, latency: null, lagMs: 0 }],
    });
  });

  it("are given at once where nobody can be asked", async () => {
    const pool = new Figures(new FakeHost({ name: "bun" }));
    assert.deepEqual(await pool.ask(() => assert.fail("nobody"), 200), {
      requests: 0,
      latency: latency(),
      workers: [],
    });
  });
});
