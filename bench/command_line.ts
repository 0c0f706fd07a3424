/**
 * How long the command line takes to say how it is used, and until its first worker runs; beside it the bare runtime, and
 * the same program by hand. All take turns in one run; what counts is the ratio, or the difference.
 *
 *     bench/run command_line
 *
 * @module
 */
import { spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { currentHost } from "../runtimes/current.ts";
import { median, quantile, report } from "./table.ts";

const WARM_UP = 3;
const SAMPLES = Number(process.argv[2] ?? 30);
const FLAGS = currentHost.name === "deno" ? ["run", "-A", "--no-check"] : ["run"];

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const PREFORK = here("../mod.ts");
const HELLO = here("./programs/hello.ts");

/** Something to be started. */
interface Subject {
  readonly name: string;
  readonly args: readonly string[];
}

/** What all are compared with, and they. */
const SUBJECTS: readonly Subject[] = [
  { name: "hello.ts by hand, to its first line", args: [HELLO] },
  { name: "prefork --help", args: [PREFORK, "--help"] },
  {
    name: "prefork hello.ts, to the worker's first line",
    args: [PREFORK, HELLO, "-w", "1", "--output", "inherit"],
  },
];

/** Until it prints to its standard output. */
async function sample({ args }: Subject): Promise<number> {
  const begun = performance.now();
  const child = spawn(process.execPath, [...FLAGS, ...args], { stdio: ["ignore", "pipe", "ignore"], detached: true });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const ms = await new Promise<number>((resolve, reject) => {
    child.stdout.once("data", () => resolve(performance.now() - begun));
    child.once("exit", () => reject(new Error(`Cannot measure: ${args.join(" ")} ended without a word`)));
  });
  child.kill("SIGTERM");
  await ended;
  return ms;
}

const figures = new Map<string, number[]>();
for (let round = 0; round < WARM_UP + SAMPLES; round++) {
  for (const subject of SUBJECTS) {
    const ms = await sample(subject);
    if (round >= WARM_UP) figures.set(subject.name, [...figures.get(subject.name) ?? [], ms]);
  }
}

const rows = SUBJECTS.map(({ name }) => {
  const own = figures.get(name) ?? [];
  return { name, low: quantile(own, 0.25), ms: median(own), high: quantile(own, 0.75) };
});
const base = rows[0]?.ms ?? NaN;
report({
  key: "command-line",
  title: `ms, ${SAMPLES} samples each`,
  head: ["", "quarter", "median", "three quarters", "ratio", "difference"],
  rows: rows.map(({ name, low, ms, high }) => [
    name,
    ...[low, ms, high].map((value) => value.toFixed(1)),
    (ms / base).toFixed(2),
    (ms - base).toFixed(1),
  ]),
  figures: rows,
});
