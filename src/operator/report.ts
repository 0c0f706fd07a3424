/**
 * The state of a pool as it is told to operators: `prefork status --json`. Its shape is a promise: fields are added, and
 * {@linkcode STATUS_SCHEMA} is raised if one goes or changes its meaning.
 *
 * @module
 */

import type { WorkerFigures } from "../figures.ts";
import type { Latency } from "../latency.ts";
import type { Prefork } from "../prefork.ts";
import type { ProcessHost, ProcessUsage, WorkerInfo, WorkerState } from "../types.ts";
import { VERSION } from "../version.ts";
import type { Ledger } from "./ledger.ts";

/** The version of the shape of a {@linkcode StatusReport}. */
export const STATUS_SCHEMA = 1;

/** What a manager is about. */
export type ManagerState = "starting" | "running" | "reloading" | "upgrading" | "stopping";

/** What a process uses; null where that cannot be read. */
export interface UsageReport {
  readonly memoryBytes: number | null;
  /** CPU time used so far. */
  readonly cpuMs: number | null;
}

/** One worker. */
export interface WorkerReport extends UsageReport {
  /** Its place in the pool; -1 while it stands by. */
  readonly slot: number;
  readonly pid: number;
  readonly generation: number;
  readonly state: WorkerState;
  /** What it last gave to `setStatus`. */
  readonly status: string;
  readonly uptimeMs: number;
  /** How many requests it has begun to serve; null if it serves none by this library. */
  readonly requests: number | null;
  /** Half of these took no longer, in milliseconds; null if there were none. */
  readonly p50Ms: number | null;
  /** 99 of 100 took no longer. */
  readonly p99Ms: number | null;
  /** How long its event loop took to answer, in milliseconds; null if it cannot be asked. */
  readonly lagMs: number | null;
  /** How many workers before it have ended in its slot; replacements that were refused are none of them. */
  readonly restarts: number;
  /** How the last of them ended. */
  readonly lastReason: string | null;
}

/** A pool and its manager. */
export interface StatusReport extends UsageReport {
  readonly schema: typeof STATUS_SCHEMA;
  readonly name: string;
  readonly pid: number;
  readonly state: ManagerState;
  /** Whether workers are missing after failures. */
  readonly degraded: boolean;
  /** The runtime of the manager, with its version. */
  readonly runtime: string;
  /** The version of prefork. */
  readonly version: string;
  /** What the workers run. */
  readonly work: string;
  /** The file of the log; null if that goes to standard error. */
  readonly logFile: string | null;
  readonly uptimeMs: number;
  readonly generation: number;
  readonly maxWorkers: number;
  /** How many workers are ready. */
  readonly ready: number;
  /** How many workers have ended so far. */
  readonly restarts: number;
  /** How many requests all workers have begun to serve, those that are gone among them. */
  readonly requests: number;
  /** How long these took. */
  readonly latency: Latency;
  readonly listeners: readonly { readonly name: string | null; readonly address: string }[];
  /** Lowest slot first. */
  readonly workers: readonly WorkerReport[];
  readonly standbys: readonly WorkerReport[];
}

/** What there is to be told of a manager itself. */
export interface ManagerFacts {
  readonly name: string;
  readonly runtime: string;
  readonly work: string;
  readonly logFile: string | null;
  readonly startedAt: number;
  readonly state: ManagerState;
}

/** Reports on a pool as it is now. Workers that are busy are waited for a little. */
export async function report(
  pool: Prefork,
  ledger: Ledger,
  host: ProcessHost,
  manager: ManagerFacts,
): Promise<StatusReport> {
  const { name, runtime, work, logFile, startedAt, state } = manager;
  const { requests, latency, workers: told } = await pool.figures();
  const figures = new Map(told.map((each) => [each.pid, each]));
  const now = host.now();
  const reportEach = (worker: WorkerInfo): WorkerReport => {
    return reportWorker(worker, figures.get(worker.pid), ledger, host, now);
  };
  const workers = pool.workers.map(reportEach);
  return {
    schema: STATUS_SCHEMA,
    name,
    pid: host.pid,
    state,
    degraded: pool.degraded,
    runtime,
    version: VERSION,
    work,
    logFile,
    uptimeMs: Math.round(now - startedAt),
    generation: Math.max(0, ...workers.filter((worker) => worker.state === "ready").map((worker) => worker.generation)),
    maxWorkers: pool.maxWorkers,
    ready: workers.filter((worker) => worker.state === "ready").length,
    restarts: ledger.restarts,
    requests,
    latency,
    ...reportUsage(host.usage(host.pid)),
    listeners: pool.listeners.map((listener) => ({ name: listener.name ?? null, address: listener.text })),
    workers,
    standbys: pool.standbys.map(reportEach),
  };
}

function reportWorker(
  worker: WorkerInfo,
  figures: WorkerFigures | undefined,
  ledger: Ledger,
  host: ProcessHost,
  now: number,
): WorkerReport {
  const { slot, pid, generation, state, status } = worker;
  return {
    slot,
    pid,
    generation,
    state,
    status,
    uptimeMs: Math.round(now - (ledger.since(pid) ?? now)),
    requests: figures?.requests ?? null,
    p50Ms: figures?.latency?.p50Ms ?? null,
    p99Ms: figures?.latency?.p99Ms ?? null,
    lagMs: figures?.lagMs === undefined || figures.lagMs === null ? null : Math.round(figures.lagMs * 10) / 10,
    ...(slot < 0 ? { restarts: 0, lastReason: null } : ledger.lossesOf(slot)),
    ...reportUsage(host.usage(pid)),
  };
}

function reportUsage(usage: ProcessUsage | undefined): UsageReport {
  return { memoryBytes: usage?.memoryBytes ?? null, cpuMs: usage?.cpuMs ?? null };
}
