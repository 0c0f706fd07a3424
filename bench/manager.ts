/**
 * What a manager costs over the bare runtime: memory, how often it wakes and what it takes of a processor while nothing
 * happens, all side by side in one run, where the difference counts; and what of a processor while its workers answer.
 * Linux only.
 *
 *     bench/run manager
 *
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { currentHost } from "../runtimes/current.ts";
import { findPeer } from "./peers/peers.ts";
import { meterProcessor } from "./processor.ts";
import { loadServer, startServer } from "./servers.ts";
import { median, report } from "./table.ts";

const COPIES = 3;
const SETTLE_MS = 3_000;
const SECONDS = Number(process.argv[2] ?? 10);
const FLAGS = currentHost.name === "deno" ? ["run", "-A", "--no-prompt"] : ["run"];

const PROGRAMS = [
  { name: "bare runtime", file: "idle", workers: 0 },
  { name: "one child and one handler, by hand", file: "child", workers: 0 },
  { name: "manager of 1 command", file: "manager", workers: 1 },
  { name: "manager of 101 commands", file: "manager", workers: 101 },
] as const;

/** Starts a program and waits until it is up. */
async function start(file: string, workers: number) {
  const up = Promise.withResolvers<void>();
  const child = currentHost.spawn({
    command: process.execPath,
    args: [...FLAGS, fileURLToPath(new URL(`./programs/${file}.ts`, import.meta.url))],
    env: { WORKERS: String(workers) },
    stdout: () => up.resolve(),
  });
  await up.promise;
  return child;
}

/** A figure from a file of `/proc` that has one a line, such as `Rss: 1234 kB`. */
function figure(path: string, name: string): number {
  const line = readFileSync(path, "utf8").split("\n").find((each) => each.startsWith(`${name}:`));
  if (line === undefined) throw new Error(`Cannot read ${name} in ${path}: it is not there`);
  return Number(/\d+/.exec(line)?.[0]);
}

/** How often each thread of a process went to sleep so far, which it does once for each time it wakes. */
function sleeps(pid: number): ReadonlyMap<string, number> {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return new Map(tasks.map((task) => [task, figure(`/proc/${pid}/task/${task}/status`, "voluntary_ctxt_switches")]));
}

/** How often a process woke since `before`. Threads that have ended meanwhile are not counted. */
function wakesSince(before: ReadonlyMap<string, number> | undefined, pid: number): number {
  return [...sleeps(pid)].reduce((sum, [task, count]) => sum + count - (before?.get(task) ?? 0), 0);
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const running: { readonly name: string; readonly child: Awaited<ReturnType<typeof start>> }[] = [];
for (let copy = 0; copy < COPIES; copy++) {
  for (const { name, file, workers } of PROGRAMS) running.push({ name, child: await start(file, workers) });
}
await wait(SETTLE_MS);
const before = running.map(({ child }) => sleeps(child.pid));
const meters = running.map(({ child }) => meterProcessor([child.pid]));
await wait(SECONDS * 1000);
const seen = running.map(({ name, child: { pid } }, at) => ({
  name,
  wakes: wakesSince(before[at], pid) / SECONDS,
  busyMs: (meters[at]?.() ?? NaN) / 1000,
  rssMb: figure(`/proc/${pid}/smaps_rollup`, "Rss") / 1024,
  ownMb: figure(`/proc/${pid}/smaps_rollup`, "Anonymous") / 1024,
  pssMb: figure(`/proc/${pid}/smaps_rollup`, "Pss") / 1024,
}));
for (const { child } of running) currentHost.kill(child.pid, "SIGTERM");
await Promise.all(running.map(({ child }) => child.exited));

const rows = PROGRAMS.map(({ name }) => {
  const own = seen.filter((each) => each.name === name);
  const of = (key: Exclude<keyof (typeof own)[number], "name">) => median(own.map((each) => each[key]));
  return { name, rssMb: of("rssMb"), ownMb: of("ownMb"), pssMb: of("pssMb"), wakes: of("wakes"), busyMs: of("busyMs") };
});
const [bare, , one, many] = rows;
if (bare === undefined || one === undefined || many === undefined) throw new Error("Cannot compare: a row is missing");
const over = (value: number, least: number) =>
  `${value.toFixed(1)} (${value < least ? "" : "+"}${(value - least).toFixed(1)})`;
report({
  key: "manager",
  title: `medians of ${COPIES} processes each, side by side, ${SECONDS} s at rest (difference to the bare runtime)`,
  head: ["", "resident MB", "of that its own MB", "proportional MB", "wakes a second", "processor ms"],
  rows: rows.map(({ name, rssMb, ownMb, pssMb, wakes, busyMs }) => [
    name,
    over(rssMb, bare.rssMb),
    over(ownMb, bare.ownMb),
    over(pssMb, bare.pssMb),
    over(wakes, bare.wakes),
    over(busyMs, bare.busyMs),
  ]),
});
const perWorker = (many.rssMb - one.rssMb) / 100 * 1024;
report({
  key: "manager-worker",
  title: "what one more command costs its manager",
  head: ["", "resident kB"],
  rows: [["a worker", perWorker.toFixed(0)]],
});

/** What the manager of two workers takes of a processor, in milliseconds: at rest, and while they answer. */
async function measureServing() {
  await using server = await startServer(findPeer(currentHost.name === "deno" ? "Deno, prefork" : "Bun, prefork"), 2);
  await loadServer(server, "/", "keep-alive", 1); // to warm up
  const atRest = meterProcessor(server.pids);
  await wait(SECONDS * 1000);
  const restingMs = atRest() / 1000 / SECONDS;
  const underLoad = meterProcessor(server.pids);
  const { requests, seconds } = await loadServer(server, "/", "keep-alive", SECONDS);
  return { restingMs, busyMs: underLoad() / 1000 / seconds, rate: requests / seconds };
}

const { restingMs, busyMs, rate } = await measureServing();
report({
  key: "manager-requests",
  title: `what a manager takes of a processor, ${SECONDS} s each`,
  head: ["", "ms a second, at rest", "while they answer", "requests/s", "ms for 10 000 requests"],
  rows: [[
    "2 workers that serve",
    restingMs.toFixed(2),
    busyMs.toFixed(2),
    rate.toFixed(0),
    ((busyMs - restingMs) / rate * 10_000).toFixed(3),
  ]],
});
