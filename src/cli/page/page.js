/** The page: what the manager tells, shown. */

import { formatTime } from "./format.js";
import { Plots } from "./plots.js";
import { watch } from "./stream.js";
import { ratesOf, setText, WorkerTable } from "./table.js";

/** @import { Sample } from "../../operator/history.ts" */
/** @import { StatusReport } from "../../operator/report.ts" */
/** @import { EventLine } from "../../operator/history.ts" */

/** What the stream tells. @typedef {{ status: StatusReport, samples: Sample[], events: EventLine[] }} News */

const SAMPLES = 720;
const EVENTS = 200;
const TOKEN = "prefork-status-token";

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
function find(id, kind) {
  const element = document.getElementById(id);
  if (element instanceof kind) return element;
  throw new TypeError(`There is no ${kind.name} called ${id}`);
}

const connection = find("connection", HTMLElement);
const announce = find("announce", HTMLElement);
const content = find("content", HTMLElement);
const form = find("token-form", HTMLFormElement);
const field = find("token", HTMLInputElement);
const list = find("events", HTMLOListElement);
const table = new WorkerTable(find("workers", HTMLTableElement));
const plots = new Plots(find("back", HTMLInputElement), find("moment", HTMLElement));

/** @type {Sample[]} */
let samples = [];
/** @type {StatusReport | undefined} */
let before;

/** What is told may be told of aloud, so only what changes is. @param {string} text */
function say(text) {
  setText(announce, text);
}

/** @param {unknown} told */
function take(told) {
  const { status, samples: more, events } = /** @type {News} */ (told);
  samples = [...samples, ...more].slice(-SAMPLES);
  showStatus(status);
  table.show(status, ratesOf(before, status));
  if (more.length > 0) plots.show(samples);
  if (events.length > 0) showEvents(events);
  before = status;
}

/** @param {StatusReport} status */
function showStatus(status) {
  const { name, state, degraded, ready, maxWorkers, work, pid, runtime, uptimeMs, listeners, workers, version } =
    status;
  const words = degraded ? `${state}, degraded` : state;
  const where = listeners.map(({ address }) => address).join(", ");
  document.title = `${name}: ${words}`;
  setText(find("name", HTMLElement), name);
  const pill = find("state", HTMLElement);
  setText(pill, words);
  pill.dataset["tone"] = degraded || state === "stopping" ? "bad" : state === "running" ? "good" : "busy";
  const facts = [work, where, runtime, `process ${pid}`, `up ${formatTime(uptimeMs)}`];
  setText(find("facts", HTMLElement), facts.filter((fact) => fact !== "").join(" · "));
  setText(
    find("workers-note", HTMLElement),
    `${ready} of ${maxWorkers} ready · generation ${status.generation} · ` +
      `${status.requests.toLocaleString("en")} requests · ${status.restarts} ended`,
  );
  setText(find("version", HTMLElement), `prefork ${version}`);
  say(`${name} is ${words}, ${workers.length === 0 ? "without workers" : "live"}`);
}

/** @param {readonly EventLine[]} events */
function showEvents(events) {
  list.prepend(...events.map(showEvent).reverse());
  while (list.children.length > EVENTS) list.lastElementChild?.remove();
  find("no-events", HTMLElement).hidden = true;
}

/** @param {EventLine} event */
function showEvent({ at, level, text }) {
  const item = document.createElement("li");
  const [time, name, what] = [
    document.createElement("time"),
    document.createElement("span"),
    document.createElement("span"),
  ];
  const date = new Date(at);
  time.dateTime = date.toISOString();
  time.title = date.toLocaleString();
  const day = date.toDateString() === new Date().toDateString() ? "" : `${date.toLocaleDateString("en-CA").slice(5)} `;
  time.textContent = day + date.toLocaleTimeString("en-GB");
  name.textContent = level;
  name.className = "level";
  name.dataset["tone"] = level === "error" ? "bad" : level === "warn" ? "busy" : "calm";
  what.textContent = text;
  item.append(time, name, what);
  return item;
}

/** All that was shown is of a stream that is over. */
function begin() {
  samples = [];
  before = undefined;
  list.replaceChildren();
  find("no-events", HTMLElement).hidden = false;
  form.hidden = true;
  connection.hidden = true;
  content.hidden = false;
  document.body.classList.remove("stale");
}

/**
 * Counts the time down, and ends it when the network is back.
 *
 * @param {string} reason
 * @param {number} pauseMs
 * @param {AbortSignal} signal
 */
async function lost(reason, pauseMs, signal) {
  document.body.classList.add("stale");
  connection.hidden = false;
  setText(find("state", HTMLElement), "not connected");
  find("state", HTMLElement).dataset["tone"] = "bad";
  document.title = "not connected";
  say("Not connected to the manager; it is tried again");
  const end = performance.now() + pauseMs;
  for (let left = pauseMs; left > 0 && !signal.aborted; left = end - performance.now()) {
    setText(connection, `Not connected: ${reason}. Next try in ${Math.ceil(left / 1000)} s.`);
    await new Promise((resolve) => setTimeout(resolve, Math.min(left, 1000)));
  }
}

/**
 * Resolves when somebody has given a token.
 *
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function needToken(signal) {
  const isWrong = readToken() !== null;
  content.hidden = true;
  connection.hidden = true;
  form.hidden = false;
  find("links", HTMLElement).hidden = true; // a link cannot tell a token
  setText(find("state", HTMLElement), "locked");
  find("state", HTMLElement).dataset["tone"] = "calm";
  setText(find("token-note", HTMLElement), isWrong ? "That is not its token. Try another one." : "");
  field.value = "";
  field.focus();
  return new Promise((resolve) => {
    form.addEventListener("submit", () => {
      keepToken(field.value.trim());
      resolve();
    }, { once: true, signal });
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Where storage is switched off, the token is asked for after each reload. @type {string | null} */
let token = null;

function readToken() {
  try {
    return token ?? sessionStorage.getItem(TOKEN);
  } catch {
    return token;
  }
}

/** @param {string} given */
function keepToken(given) {
  token = given;
  try {
    sessionStorage.setItem(TOKEN, given);
  } catch {
    // It is known until the page is left.
  }
}

/** Nobody looks at a page that cannot be seen, so the manager is not asked for it. */
function watchWhileVisible() {
  let stop = new AbortController();
  const turn = () => {
    stop.abort();
    if (document.hidden) return;
    stop = new AbortController();
    const { signal } = stop;
    const watcher = {
      token: readToken,
      begin,
      take,
      needToken: () => needToken(signal),
      /** @type {(reason: string, pauseMs: number) => Promise<void>} */
      lost: (reason, pauseMs) => lost(reason, pauseMs, signal),
    };
    void watch("events", watcher, signal);
  };
  document.addEventListener("visibilitychange", turn);
  turn();
}

form.addEventListener("submit", (event) => event.preventDefault()); // a token must not get into an address
watchWhileVisible();
