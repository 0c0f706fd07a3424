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
    `${printable(name, 100)}: ${state}${
      degraded ? ", degraded" : ""
    }, ${ready} of ${maxWorkers} workers ready, generation ${generation}`,
    `  ${printable(work, 300)}`,
    `  manager pid=${pid}, ${runtime}, up ${formatTime(uptimeMs)}, ${formatSize(status.memoryBytes)}, ${restarts} ` +
    `worker${restarts === 1 ? " has" : "s have"} ended, ${requests} requests`,
    ...status.listeners.map(({ name, address }) => `  listens on ${address}${name === null ? "" : ` (${name})`}`),
  ];
  const rows = workerRows(status);
  if (rows.length === 1) return `${lines.join("\n")}\n`;
  return `${lines.join("\n")}\n\n${rows.map((row) => `${row}\n`).join("")}`;
}

/** The columns that are aligned to the right. */
const NUMBERS = [
  "SLOT",
  "PID",
  "GEN",
  "UPTIME",
  "REQUESTS",
  "/S",
  "P50",
  "P99",
  "LAG",
  "MEMORY",
  "CPU",
  "RESTARTS",
  "WORKERS",
];

/** What is told of a worker, by column. */
const COLUMNS: Readonly<Record<string, (worker: WorkerReport) => string>> = {
  SLOT: ({ slot }) => slot < 0 ? "-" : String(slot),
  PID: ({ pid }) => String(pid),
  GEN: ({ generation }) => String(generation),
  STATE: ({ state }) => state,
  UPTIME: ({ uptimeMs }) => formatTime(uptimeMs),
  REQUESTS: ({ requests }) => requests === null ? "-" : String(requests),
  P50: ({ p50Ms }) => formatMs(p50Ms),
  P99: ({ p99Ms }) => formatMs(p99Ms),
  LAG: ({ lagMs }) => formatMs(lagMs),
  MEMORY: ({ memoryBytes }) => formatSize(memoryBytes),
  CPU: ({ cpuMs }) => cpuMs === null ? "?" : formatTime(cpuMs),
  RESTARTS: ({ restarts }) => String(restarts),
  STATUS: ({ status }) => printable(status, 40),
  "LAST END": ({ lastReason }) => printable(lastReason ?? "", 60),
};

/**
 * The workers as lines, below the names of the columns.
 *
 * @param rateOf How many requests a second a process serves, if that is known.
 */
export function workerRows(
  { workers, standbys }: StatusReport,
  rateOf?: (pid: number) => number | undefined,
): readonly string[] {
  const rate = ({ pid }: WorkerReport): string => rateOf?.(pid)?.toFixed(0) ?? "-";
  const columns = Object.entries(COLUMNS).flatMap((column) => {
    return rateOf !== undefined && column[0] === "REQUESTS" ? [column, ["/S", rate] as const] : [column];
  });
  const rows = [...workers, ...standbys].map((worker) => columns.map(([, tell]) => tell(worker)));
  return formatTable([columns.map(([name]) => name), ...rows], NUMBERS);
}

/**
 * All managers of a user, a line each.
 *
 * @param silent The names of those that do not answer.
 */
export function formatList(all: readonly StatusReport[], silent: readonly string[]): string {
  const told = all.map(({ name, pid, state, degraded, ready, maxWorkers, uptimeMs, listeners, work }) => [
    printable(name, 100),
    String(pid),
    degraded ? `${state}, degraded` : state,
    `${ready}/${maxWorkers}`,
    formatTime(uptimeMs),
    listeners.map(({ address }) => address).join(" "),
    printable(work, 300),
  ]);
  const untold = silent.map((name) => [printable(name, 100), "?", "does not answer", "?", "?", "", ""]);
  const head = ["NAME", "PID", "STATE", "WORKERS", "UPTIME", "LISTENS", "RUNS"];
  const table = formatTable([head, ...told, ...untold], NUMBERS);
  return table.map((line) => `${line}\n`).join("");
}

function formatTable(rows: readonly Row[], right: readonly string[]): readonly string[] {
  const [head = []] = rows;
  const widths = head.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const format = (row: Row) => {
    const cells = row.map((cell, column) => {
      const width = widths[column] ?? 0;
      return right.includes(head[column] ?? "") ? cell.padStart(width) : cell.padEnd(width);
    });
    return cells.join("  ").trimEnd();
  };
  return rows.map(format);
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

function formatMs(ms: number | null): string {
  return ms === null ? "-" : `${ms.toFixed(1)}ms`;
}

/** Bytes, in MiB. */
export function formatSize(bytes: number | null): string {
  return bytes === null ? "?" : `${(bytes / 2 ** 20).toFixed(1)}M`;
}

/** What others say must not move the cursor. */
export function printable(text: string, length: number): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x1f\x7f-\x9f]+/g, " ").slice(0, length);
}
