/**
 * What a manager reports, for tests of what is made of it.
 *
 * @module
 */
import type { StatusReport, WorkerReport } from "../../src/operator/report.ts";

const WORKER: WorkerReport = {
  slot: 0,
  pid: 100,
  generation: 1,
  state: "ready",
  status: "_",
  uptimeMs: 1500,
  requests: 0,
  p50Ms: 2,
  p99Ms: 20,
  lagMs: 0.5,
  restarts: 0,
  lastReason: null,
  memoryBytes: 2 ** 20,
  cpuMs: 250,
};

/** A pool of workers that have served so many requests; those with null boot still. */
export function statusOf(requests: readonly (number | null)[], more: Partial<StatusReport> = {}): StatusReport {
  const workers = requests.map((count, slot): WorkerReport => {
    const own = { ...WORKER, slot, pid: 100 + slot, requests: count };
    return count === null ? { ...own, state: "booting", lagMs: null } : own;
  });
  return {
    schema: 1,
    name: "web",
    pid: 41,
    state: "running",
    degraded: false,
    runtime: "deno 2.9.6",
    version: "0.1.0",
    work: "app.ts",
    logFile: null,
    uptimeMs: 2500,
    memoryBytes: 2 ** 20,
    cpuMs: 10,
    generation: 3,
    maxWorkers: requests.length,
    ready: workers.filter(({ state }) => state === "ready").length,
    restarts: 5,
    requests: requests.reduce<number>((sum, count) => sum + (count ?? 0), 0),
    latency: { count: 7, sumMs: 60, p50Ms: 2, p99Ms: 20, buckets: [[2, 4], [16, 2], [null, 1]] },
    listeners: [],
    workers,
    standbys: [],
    ...more,
  };
}
