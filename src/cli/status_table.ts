/**
 * Status for people: tables of plain text. Pure.
 *
 * @module
 */

import type { StatusReport, WorkerReport } from "../operator/report.ts";

type Row = readonly string[];

/** All there is to know of one manager. */
export function formatStatus(status: StatusReport): string {
  const { name, pid, state, degraded, work, runtime, uptimeMs, generation, ready, maxWorkers, restarts, requests } =
    status;
  const lines = [
    `${name}: ${state}${
      degraded ? ", degraded" : ""
    }, ${ready} of ${maxWorkers} workers ready, generation ${generation}`,
    `  ${work}`,
    `  manager pid=${pid}, ${runtime}, up ${formatTime(uptimeMs)}, ${formatSize(status.memoryBytes)}, ${restarts} ` +
    `worker${restarts === 1 ? " has" : "s have"} ended, ${requests} requests`,
    ...status.listeners.map(({ name, address }) => `  listens on ${address}${name === null ? "" : ` (${name})`}`),
  ];
  const workers = [...status.workers, ...status.standbys];
  if (workers.length === 0) return `${lines.join("\n")}\n`;
  const head = [
    "SLOT",
    "PID",
    "GEN",
    "STATE",
    "UPTIME",
    "REQUESTS",
    "LAG",
    "MEMORY",
    "CPU",
    "RESTARTS",
    "STATUS",
    "LAST END",
  ];
  return `${lines.join("\n")}\n\n${formatTable([head, ...workers.map(toRow)], NUMBERS)}`;
}

/** The columns that are aligned to the right. */
const NUMBERS = ["SLOT", "PID", "GEN", "UPTIME", "REQUESTS", "LAG", "MEMORY", "CPU", "RESTARTS", "WORKERS"];

function toRow(worker: WorkerReport): Row {
  const { slot, pid, generation, state, uptimeMs, requests, lagMs, memoryBytes, cpuMs, restarts, status, lastReason } =
    worker;
  return [
    slot < 0 ? "-" : String(slot),
    String(pid),
    String(generation),
    state,
    formatTime(uptimeMs),
    requests === null ? "-" : String(requests),
    lagMs === null ? "-" : `${lagMs.toFixed(1)}ms`,
    formatSize(memoryBytes),
    cpuMs === null ? "?" : formatTime(cpuMs),
    String(restarts),
    printable(status),
    lastReason ?? "",
  ];
}

/** All managers of a user, a line each. */
export function formatList(all: readonly StatusReport[]): string {
  const rows = all.map(({ name, pid, state, degraded, ready, maxWorkers, uptimeMs, listeners, work }) => [
    name,
    String(pid),
    degraded ? `${state}, degraded` : state,
    `${ready}/${maxWorkers}`,
    formatTime(uptimeMs),
    listeners.map(({ address }) => address).join(" "),
    work,
  ]);
  return formatTable([["NAME", "PID", "STATE", "WORKERS", "UPTIME", "LISTENS", "RUNS"], ...rows], NUMBERS);
}

function formatTable(rows: readonly Row[], right: readonly string[]): string {
  const [head = []] = rows;
  const widths = head.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const format = (row: Row) => {
    const cells = row.map((cell, column) => {
      const width = widths[column] ?? 0;
      return right.includes(head[column] ?? "") ? cell.padStart(width) : cell.padEnd(width);
    });
    return cells.join("  ").trimEnd();
  };
  return rows.map((row) => `${format(row)}\n`).join("");
}

const STEPS = [[86_400_000, "d"], [3_600_000, "h"], [60_000, "m"], [1000, "s"]] as const;

/** The two largest units of a time: `3d4h`, `5m2s`, `0.3s`. */
export function formatTime(ms: number): string {
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)}s`;
  const at = STEPS.findIndex(([unit]) => ms >= unit);
  let rest = ms;
  return STEPS.slice(at, at + 2).map(([unit, name]) => {
    const count = Math.floor(rest / unit);
    rest -= count * unit;
    return count === 0 && rest < ms ? "" : `${count}${name}`;
  }).join("");
}

function formatSize(bytes: number | null): string {
  return bytes === null ? "?" : `${(bytes / 2 ** 20).toFixed(1)}M`;
}

/** What a worker says of itself must not move the cursor. */
function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x1f\x7f-\x9f]+/g, " ").slice(0, 40);
}
