/**
 * How much memory a manager has at rest after so many respawns of a command that ends at once. A manager on each runtime
 * does it, side by side; what counts is what is added after the first thousands. Linux only.
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
/** How long it rests before it is looked at: garbage is collected meanwhile. */
const REST_MS = 10_000;

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const RUNTIMES = [
  { name: "Deno", command: here("../node_modules/.bin/deno"), args: ["run", "-A", "--no-check"] },
  { name: "Bun", command: here("../node_modules/.bin/bun"), args: ["run"] },
] as const;

function residentMb(pid: number | undefined): number {
  const found = /^Rss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
  return Number(found?.[1]) / 1024;
}

/** The figures of a manager, at each of the marks. */
async function measure({ command, args }: typeof RUNTIMES[number]): Promise<readonly number[]> {
  const words = [...args, here("./programs/respawning.ts"), JSON.stringify(MARKS)];
  const child = spawn(command, words, { stdio: ["pipe", "pipe", "inherit"] });
  const figures: number[] = [];
  for await (const _mark of createInterface(child.stdout)) {
    await new Promise((resolve) => setTimeout(resolve, REST_MS));
    figures.push(residentMb(child.pid));
    child.stdin.write("on\n");
  }
  if (figures.length < MARKS.length) throw new Error(`Cannot report: ${command} ended after ${figures.length} marks`);
  return figures;
}

const found = await Promise.all(RUNTIMES.map(measure));

report({
  key: "growth",
  title: `resident MB of a manager, ${REST_MS / 1000} s after so many respawns of /bin/true (and what was added)`,
  head: ["a manager on", ...MARKS.map(String)],
  rows: RUNTIMES.map(({ name }, at) => {
    const figures = found[at] ?? [];
    return [name, ...figures.map((mb, mark) => added(mb, figures[mark - 1]))];
  }),
});

function added(mb: number, before: number | undefined): string {
  if (before === undefined) return mb.toFixed(1);
  return `${mb.toFixed(1)} (${mb < before ? "" : "+"}${(mb - before).toFixed(1)})`;
}
