/** The table of workers. */

import { formatMs, formatNumber, formatSize, formatTime } from "./format.js";

/** @import { StatusReport, WorkerReport } from "../../operator/report.ts" */

/**
 * @typedef {object} Column
 * @property {string} title
 * @property {string} name
 * @property {boolean} isNumber
 * @property {(worker: WorkerReport, rate: number | undefined) => string} tell
 */

/**
 * @param {string} name
 * @param {string} title
 * @param {Column["tell"]} tell
 * @returns {Column}
 */
const number = (name, title, tell) => ({ name, title, isNumber: true, tell });

/**
 * @param {string} name
 * @param {string} title
 * @param {Column["tell"]} tell
 * @returns {Column}
 */
const text = (name, title, tell) => ({ name, title, isNumber: false, tell });

/** What is told of a worker. @type {readonly Column[]} */
export const COLUMNS = [
  number("slot", "Slot", ({ slot }) => slot < 0 ? "standby" : String(slot)),
  text("state", "State", ({ state }) => state),
  number("pid", "PID", ({ pid }) => String(pid)),
  number("generation", "Gen", ({ generation }) => String(generation)),
  number("uptime", "Up", ({ uptimeMs }) => formatTime(uptimeMs)),
  number("requests", "Requests", ({ requests }) => requests === null ? "–" : requests.toLocaleString("en")),
  number("rate", "Per second", (_, rate) => rate === undefined ? "–" : formatNumber(rate)),
  number("p50", "p50", ({ p50Ms }) => formatMs(p50Ms)),
  number("p99", "p99", ({ p99Ms }) => formatMs(p99Ms)),
  number("lag", "Lag", ({ lagMs }) => formatMs(lagMs)),
  number("memory", "Memory", ({ memoryBytes }) => formatSize(memoryBytes)),
  number("cpu", "CPU", ({ cpuMs }) => cpuMs === null ? "–" : formatTime(cpuMs)),
  number("restarts", "Restarts", ({ restarts }) => String(restarts)),
  text("status text", "Status", ({ status }) => status),
  text("last text", "Last end", ({ lastReason }) => lastReason ?? ""),
];

/** How a worker's state looks. @type {Readonly<Record<WorkerReport["state"], string>>} */
const TONES = { booting: "busy", standby: "calm", starting: "busy", ready: "good", stopping: "bad" };

/**
 * How many requests a second each process has begun since an earlier look.
 *
 * @param {StatusReport | undefined} before
 * @param {StatusReport} now
 * @returns {ReadonlyMap<number, number>}
 */
export function ratesOf(before, now) {
  const ms = before?.pid === now.pid ? now.uptimeMs - before.uptimeMs : 0;
  if (before === undefined || ms <= 0) return new Map();
  const old = new Map(before.workers.map(({ pid, requests }) => [pid, requests]));
  return new Map(now.workers.flatMap(({ pid, requests }) => {
    const earlier = old.get(pid);
    if (requests === null || earlier === null || earlier === undefined) return [];
    return [/** @type {const} */ ([pid, Math.max(0, requests - earlier) * 1000 / ms])];
  }));
}

/** Shows the workers, a row each; rows stay for as long as their processes do. */
export class WorkerTable {
  #body;
  /** By process id. @type {Map<number, HTMLTableRowElement>} */
  #rows = new Map();
  #isFirst = true;

  /** @param {HTMLTableElement} table */
  constructor(table) {
    const [head, body] = [table.tHead?.rows[0], table.tBodies[0]];
    if (head === undefined || body === undefined) throw new TypeError("The table has no head, or no body");
    this.#body = body;
    head.replaceChildren(...COLUMNS.map(({ title, isNumber }) => {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = title;
      cell.className = isNumber ? "number" : "";
      return cell;
    }));
  }

  /**
   * @param {StatusReport} status
   * @param {ReadonlyMap<number, number>} rates
   */
  show({ workers, standbys }, rates) {
    const rows = [...workers, ...standbys].map((worker) => {
      const row = this.#rows.get(worker.pid) ?? this.#add();
      COLUMNS.forEach(({ tell }, index) => setText(row.cells[index], tell(worker, rates.get(worker.pid))));
      row.cells[1]?.setAttribute("data-tone", TONES[worker.state]);
      return /** @type {const} */ ([worker.pid, row]);
    });
    this.#rows = new Map(rows);
    this.#isFirst = false;
    const wanted = rows.map(([, row]) => row);
    const isSame = wanted.length === this.#body.rows.length && wanted.every((row, at) => this.#body.rows[at] === row);
    if (!isSame) this.#body.replaceChildren(...wanted);
  }

  /** What is new after the first look is shown as new. */
  #add() {
    const row = document.createElement("tr");
    row.className = this.#isFirst ? "" : "fresh";
    row.append(...COLUMNS.map(({ name, isNumber }, index) => {
      const cell = document.createElement(index === 0 ? "th" : "td");
      if (index === 0) cell.setAttribute("scope", "row");
      cell.className = isNumber ? `number ${name}` : name;
      return cell;
    }));
    return row;
  }
}

/**
 * Touches nothing that is as it should be: whoever has marked a text keeps it marked.
 *
 * @param {Element | undefined} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element !== undefined && element.textContent !== text) element.textContent = text;
}
