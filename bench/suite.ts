/**
 * Runs the measurements, and writes what they found into `bench/README.md`: each table between the two marks of its name,
 * with the plots beside it. `bench/run` installs what it takes, and runs this.
 *
 *     bench/run [NAME...]
 *
 * @module
 */
import { spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism, cpus, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { versions } from "./peers/peers.ts";
import { plotsOf } from "./plots.ts";
import { formatTable, print, type Table } from "./table.ts";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const installed = (name: string): string => here(`../node_modules/.bin/${name}`);

const RUNTIMES = {
  deno: [installed("deno"), "run", "-A", "--no-check"],
  bun: [installed("bun"), "run"],
} as const;
type Runtime = keyof typeof RUNTIMES;

/** Something that is measured. */
interface Measurement {
  readonly name: string;
  /** By which runtimes. */
  readonly by: readonly Runtime[];
  /** Whether it is left out unless it is asked for by its name. */
  readonly isLong?: true;
}

/** In the order in which the report has them. */
const MEASUREMENTS: readonly Measurement[] = [
  { name: "throughput", by: ["deno"] },
  { name: "adoption", by: ["deno"] },
  { name: "losses", by: ["deno"] },
  { name: "respawn", by: ["deno", "bun"] },
  { name: "start", by: ["deno", "bun"] },
  { name: "many", by: ["deno", "bun"] },
  { name: "manager", by: ["deno", "bun"] },
  { name: "growth", by: ["deno"], isLong: true }, // which starts a manager on each
  { name: "command_line", by: ["deno", "bun"] },
  { name: "pool", by: ["deno", "bun"] },
  { name: "month", by: ["deno", "bun"] },
  { name: "jobs", by: ["deno"] }, // which starts programs on each
];

/** A table as a measurement left it. */
export interface Found extends Table {
  readonly runtime: string;
}

const out = mkdtempSync(join(tmpdir(), "prefork-bench-"));
const json = join(out, "ten-kilobytes.json");
writeFileSync(json, tenKilobytes());
chmodSync(out, 0o755); // nginx reads it as somebody else
const env = { ...process.env, BENCH_JSON: json, BENCH_BROKEN: join(out, "broken") };

function tenKilobytes(): string {
  const items = Array.from(
    { length: 150 },
    (_, id) => ({ id, name: `item ${id}`, price: id * 1.25, tags: ["a", "b"] }),
  );
  const left = 10_240 - JSON.stringify({ items, rest: "" }).length;
  return JSON.stringify({ items, rest: "x".repeat(left) });
}

async function measure(name: string, by: Runtime): Promise<readonly Found[]> {
  const dir = join(out, `${by}-${name}`);
  mkdirSync(dir);
  const [command, ...args] = RUNTIMES[by];
  const begun = performance.now();
  const child = spawn(command, [...args, here(`./${name}.ts`)], {
    env: { ...env, BENCH_OUT: dir },
    stdio: ["ignore", "inherit", "inherit"],
  });
  const status = await new Promise((resolve) => child.once("exit", (code, signal) => resolve(signal ?? code)));
  print(`${name} by ${by}: ${Math.round((performance.now() - begun) / 1000)} s\n`);
  if (status !== 0) throw new Error(`Cannot report: bench/${name}.ts on ${by} ended with ${status}`);
  return readdirSync(dir).map((file): Found => JSON.parse(readFileSync(join(dir, file), "utf8")));
}

/** Puts a text between the marks of a name, if they are there. */
function fill(report: string, name: string, text: string): string {
  const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [from, to] = [report.indexOf(begin), report.indexOf(end)];
  if (from < 0 || to < 0) throw new Error(`Cannot report ${name}: bench/README.md has no place for it`);
  return `${report.slice(0, from + begin.length)}\n\n${text}\n\n${report.slice(to)}`;
}

function machine(): string {
  const [{ model } = { model: "a processor" }] = cpus();
  const gib = Math.round(totalmem() / 2 ** 30);
  return `Measured on ${
    new Date().toISOString().slice(0, 10)
  }: ${availableParallelism()} cores of ${model.trim()}, ${gib} GiB, ` +
    `Linux ${release().split("-")[0]}, with nothing beside. ${versions().join("; ")}.`;
}

async function main(names: readonly string[]): Promise<void> {
  const wrong = names.find((name) => !MEASUREMENTS.some((one) => one.name === name));
  if (wrong !== undefined) {
    const all = MEASUREMENTS.map(({ name }) => name).join(", ");
    throw new Error(`Cannot measure '${wrong}': there is ${all}`);
  }
  const chosen = MEASUREMENTS.filter(({ name, isLong }) => names.length === 0 ? !isLong : names.includes(name));
  const path = here("./README.md");
  for (const { name, by } of chosen) {
    const found: Found[] = [];
    for (const runtime of by) found.push(...await measure(name, runtime));
    let report = readFileSync(path, "utf8");
    for (const key of new Set(found.map((table) => table.key))) {
      const tables = found.filter((table) => table.key === key);
      const texts = tables.map(({ runtime, title, head, rows }) =>
        `${by.length > 1 ? `${runtime}: ` : ""}${title}\n\n${formatTable(head, rows)}`
      );
      report = fill(report, key, texts.join("\n\n"));
    }
    writeFileSync(path, fill(report, "machine", machine()));
    for (const [file, svg] of await plotsOf(found)) {
      mkdirSync(here("./plots"), { recursive: true });
      writeFileSync(here(`./plots/${file}`), svg);
    }
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  print(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
} finally {
  if (existsSync(out)) rmSync(out, { recursive: true, force: true });
}
