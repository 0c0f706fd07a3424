/**
 * The state of a pool for Prometheus, in its text format (version 0.0.4). Pure.
 *
 * @module
 */

import { cumulate } from "../latency.ts";
import type { StatusReport, WorkerReport } from "./report.ts";

type Labels = Readonly<Record<string, string | number>>;

interface Sample {
  /** What is added to the name of the metric. */
  readonly suffix?: "_bucket" | "_sum" | "_count";
  readonly labels?: Labels;
  readonly value: number;
}

interface Metric {
  readonly name: string;
  readonly type: "gauge" | "counter" | "histogram";
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** All there is to be measured. */
export function formatMetrics(status: StatusReport): string {
  return metricsOf(status).filter(({ samples }) => samples.length > 0).map(formatMetric).join("");
}

function metricsOf(status: StatusReport): readonly Metric[] {
  const { name, version, runtime, workers, standbys } = status;
  const gauge = (suffix: string, help: string, ...samples: readonly Sample[]): Metric => {
    return { name: `prefork_${suffix}`, type: "gauge", help, samples };
  };
  const counter = (suffix: string, help: string, ...samples: readonly Sample[]): Metric => {
    return { name: `prefork_${suffix}`, type: "counter", help, samples };
  };
  const one = (value: number | null): readonly Sample[] => value === null ? [] : [{ value }];
  const each = (measure: (worker: WorkerReport) => number | null): readonly Sample[] => {
    return workers.flatMap((worker) => {
      const value = measure(worker);
      return value === null ? [] : [{ labels: { slot: worker.slot, pid: worker.pid }, value }];
    });
  };
  return [
    gauge("info", "The manager.", { labels: { name, version, runtime }, value: 1 }),
    gauge("uptime_seconds", "How long the manager has run.", { value: status.uptimeMs / 1000 }),
    gauge("state", "What the manager is about.", { labels: { state: status.state }, value: 1 }),
    gauge("degraded", "Whether workers are missing after failures.", { value: status.degraded ? 1 : 0 }),
    gauge("generation", "The newest generation that has ready workers.", { value: status.generation }),
    gauge("workers_max", "How many workers there are to be at most.", { value: status.maxWorkers }),
    gauge("workers", "Live workers by their state.", ...countStates([...workers, ...standbys])),
    counter("worker_exits_total", "Workers that have ended.", { value: status.restarts }),
    counter("requests_total", "Requests that workers have begun to serve.", { value: status.requests }),
    {
      name: "prefork_request_duration_seconds",
      type: "histogram",
      help: "How long workers took to answer requests.",
      samples: durations(status),
    },
    gauge("manager_memory_bytes", "Resident memory of the manager.", ...one(status.memoryBytes)),
    counter("manager_cpu_seconds_total", "CPU time of the manager.", ...one(seconds(status.cpuMs))),
    gauge("worker_memory_bytes", "Resident memory of a worker.", ...each(({ memoryBytes }) => memoryBytes)),
    counter("worker_cpu_seconds_total", "CPU time of a worker.", ...each(({ cpuMs }) => seconds(cpuMs))),
    counter("worker_requests_total", "Requests that a worker has begun to serve.", ...each(({ requests }) => requests)),
    gauge("worker_lag_seconds", "How long a worker took to answer.", ...each(({ lagMs }) => seconds(lagMs))),
    gauge("worker_uptime_seconds", "How long a worker has run.", ...each(({ uptimeMs }) => seconds(uptimeMs))),
  ];
}

function durations({ latency }: StatusReport): readonly Sample[] {
  const { count, sumMs } = latency;
  const buckets = cumulate(latency).map(({ leMs, count }): Sample => {
    return { suffix: "_bucket", labels: { le: leMs / 1000 }, value: count };
  });
  return [
    ...buckets,
    { suffix: "_bucket", labels: { le: "+Inf" }, value: count },
    { suffix: "_sum", value: sumMs / 1000 },
    { suffix: "_count", value: count },
  ];
}

function seconds(ms: number | null): number | null {
  return ms === null ? null : ms / 1000;
}

function countStates(workers: readonly WorkerReport[]): readonly Sample[] {
  const states = ["booting", "standby", "starting", "ready", "stopping"] as const;
  return states.map((state) => {
    return { labels: { state }, value: workers.filter((worker) => worker.state === state).length };
  });
}

function formatMetric({ name, type, help, samples }: Metric): string {
  const lines = samples.map(({ suffix = "", labels, value }) => `${name}${suffix}${formatLabels(labels)} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join("")}`;
}

function formatLabels(labels: Labels = {}): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(String(value))}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escapeLabel(text: string): string {
  return text.replace(/[\\"\n]/g, (char) => char === "\n" ? "\\n" : `\\${char}`);
}
