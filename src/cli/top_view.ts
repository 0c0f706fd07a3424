/**
 * What `prefork top` shows, for a terminal of any size. Pure.
 *
 * @module
 */

import type { StatusReport } from "../operator/report.ts";
import { formatSize, formatTime, printable, workerRows } from "./status_table.ts";

/** How many seconds of the past are kept. */
const HISTORY = 300;

/** What was seen so far. */
export interface TopState {
  readonly status: StatusReport;
  /** When it was seen, in milliseconds. */
  readonly at: number;
  /** Requests a second, the latest last. */
  readonly rates: readonly number[];
  /** Requests a second of each worker, by its process id. */
  readonly workerRates: ReadonlyMap<number, number>;
  /** What has happened, the latest last. */
  readonly events: readonly string[];
  /** What the last key has come to, or what is asked. */
  readonly note: string;
  /** Why nobody answers any more; undefined while somebody does. */
  readonly silence: string | undefined;
}

/** The size of the terminal, in characters. */
export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** The state after one more look. */
export function look(before: TopState | undefined, status: StatusReport, at: number): TopState {
  const { rates = [], events = [] } = before ?? {};
  const note = before?.silence === undefined ? before?.note ?? "" : ""; // it told of the silence
  // Another manager counts anew.
  const isSame = before?.status.pid === status.pid;
  const rate = isSame ? rateOf(status.requests - before.status.requests, at - before.at) : 0;
  const old = new Map(isSame ? before.status.workers.map(({ pid, requests }) => [pid, requests ?? 0] as const) : []);
  const workerRates = status.workers.map(({ pid, requests }) => {
    const since = (requests ?? 0) - (old.get(pid) ?? 0);
    return [pid, isSame ? rateOf(since, at - before.at) : 0] as const;
  });
  return {
    status,
    at,
    rates: [...rates, rate].slice(-HISTORY),
    workerRates: new Map(workerRates),
    events,
    note,
    silence: undefined,
  };
}

/** The state where a look came to nothing. What was seen before is of the past. */
export function miss(before: TopState, reason: string): TopState {
  return { ...before, note: "looked for once a second; q quits", silence: printable(reason, 300) };
}

function rateOf(count: number, ms: number): number {
  return ms <= 0 ? 0 : Math.max(0, count) * 1000 / ms;
}

/** The state after something has happened. */
export function tell(before: TopState, event: string): TopState {
  return { ...before, events: [...before.events, printable(event, 300)].slice(-HISTORY) };
}

const KEYS = "r reload  + - workers  s stop  q quit";
const LEVELS = "▁▂▃▄▅▆▇█";

/** The whole screen: a line each, none longer than the screen is wide, and no more than fit. */
export function render(state: TopState, size: Size): readonly string[] {
  const { status, note, silence } = state;
  const head = renderHead(state, size);
  const foot = note === "" ? KEYS : note;
  const left = Math.max(0, size.rows - head.length - 1);
  const rows = silence === undefined ? workerRows(status, (pid) => state.workerRates.get(pid)) : [];
  const table = rows.slice(0, left);
  const missing = status.workers.length + status.standbys.length + 1 - table.length;
  const workers = missing > 0 && table.length > 1 ? [...table.slice(0, -1), `... and ${missing + 1} more`] : table;
  const room = left - workers.length - 1;
  const events = room > 0 ? ["", ...state.events.slice(-room)] : [];
  const body = [...head, ...workers, ...events].slice(0, Math.max(0, size.rows - 1));
  const filler = Array.from({ length: Math.max(0, size.rows - 1 - body.length) }, () => "");
  return [...body, ...filler, foot].map((line) => line.slice(0, size.columns)).slice(0, size.rows);
}

function renderHead({ status, rates, silence }: TopState, { columns }: Size): readonly string[] {
  const { name, state, degraded, ready, maxWorkers, generation, pid, uptimeMs, work, restarts } = status;
  if (silence !== undefined) {
    return [
      `${printable(name, 100)}  nobody answers any more`,
      `pid=${pid}  was ${state}, with ${ready}/${maxWorkers} ready: ${silence}`,
      "",
    ];
  }
  const memory = [status, ...status.workers, ...status.standbys].reduce(
    (sum, each) => sum + (each.memoryBytes ?? 0),
    0,
  );
  const rate = rates.at(-1) ?? 0;
  const label = `${formatRate(rate)} requests/s  `;
  return [
    `${printable(name, 100)}  ${state}${degraded ? ", DEGRADED" : ""}  ${ready}/${maxWorkers} ready  gen ${generation}`,
    `pid=${pid}  up ${formatTime(uptimeMs)}  ${formatSize(memory)} in all  ${restarts} ended  ${printable(work, 300)}`,
    `${label}${sparkline(rates, columns - label.length)}`,
    "",
  ];
}

/** The latest values, as many as fit; the tallest bar is the greatest of them. */
export function sparkline(values: readonly number[], width: number): string {
  const shown = width <= 0 ? [] : values.slice(-width);
  const most = Math.max(...shown, 0);
  return shown.map((value) => LEVELS[most === 0 ? 0 : Math.round(value / most * (LEVELS.length - 1))] ?? "").join("");
}

function formatRate(rate: number): string {
  return rate >= 100 || Number.isInteger(rate) ? rate.toFixed(0) : rate.toFixed(1);
}
