/**
 * How much memory a manager has at rest after so many respawns of a command that ends at once, and how much of that are
 * objects of its program. A manager on each runtime does it, and beside them a program of a few lines that does the same by
 * hand; what counts is what is added after the first thousands. Linux only.
 *
 *     bench/run growth
 *
 * @module
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { report } from "./table.ts";

const MARKS = [4_000, 16_000, 32_000, 64_000, 100_000];

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const RUNTIMES = [
  {
    name: "Deno",
    command: here("../node_modules/.bin/deno"),
    args: ["run", "-A", "--no-check", "--v8-flags=--expose-gc"],
  },
  { name: "Bun", command: here("../node_modules/.bin/bun"), args: ["run"] },
] as const;
const WAYS = ["a manager", "by-hand"] as const;

/** What a program had at one of the marks. */
interface Figures {
  readonly residentMb: number;
  readonly objectsMb: number;
}

function residentMb(pid: number | undefined): number {
  const found = /^Rss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
  return Number(found?.[1]) / 1024;
}

async function measure({ command, args }: typeof RUNTIMES[number], way: string): Promise<readonly Figures[]> {
  const words = [...args, here("./programs/respawning.ts"), JSON.stringify(MARKS), way];
  const child = spawn(command, words, { stdio: ["pipe", "pipe", "inherit"] });
  const figures: Figures[] = [];
  for await (const objectsKb of createInterface(child.stdout)) {
    figures.push({ residentMb: residentMb(child.pid), objectsMb: Number(objectsKb) / 1024 });
    child.stdin.write("on\n");
  }
  if (figures.length < MARKS.length) throw new Error(`Cannot report: ${command} ended after ${figures.length} marks`);
  return figures;
}

const found = await Promise.all(
  RUNTIMES.flatMap((runtime) =>
    WAYS.map(async (way) => ({ name: `${runtime.name}, ${way}`, figures: await measure(runtime, way) }))
  ),
);

report({
  key: "growth",
  title: "MB at rest after so many respawns of /bin/true, garbage collected (and what was added)",
  head: ["", ...MARKS.map(String)],
  rows: found.flatMap(({ name, figures }) => [
    [`${name}: resident`, ...tell(figures.map((one) => one.residentMb))],
    [`${name}: its objects`, ...tell(figures.map((one) => one.objectsMb))],
  ]),
});

function tell(figures: readonly number[]): readonly string[] {
  return figures.map((mb, mark) => {
    const before = figures[mark - 1];
    return before === undefined
      ? mb.toFixed(1)
      : `${mb.toFixed(1)} (${mb < before ? "" : "+"}${(mb - before).toFixed(1)})`;
  });
}
