/**
 * What all measurements share: medians, and a table of ratios.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

/** The middle of some figures. */
export function median(figures: readonly number[]): number {
  return quantile(figures, 0.5);
}

/** The figure below which a share `q` of them lies. */
export function quantile(figures: readonly number[], q: number): number {
  const sorted = figures.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? NaN;
}

/** Figures that stand in the report under a name of their own. */
export interface Table {
  readonly key: string;
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** What a plot is made of, if there is one. */
  readonly figures?: readonly Readonly<Record<string, string | number | null>>[];
}

/** Prints a table, and leaves it to the suite that runs this, if one does. */
export function report(table: Table): void {
  print(`${runtimeVersion()}: ${table.title}\n\n${formatTable(table.head, table.rows)}\n`);
  const { BENCH_OUT: dir } = process.env;
  if (dir === undefined) return;
  writeFileSync(join(dir, `${table.key}.json`), JSON.stringify({ ...table, runtime: runtimeVersion() }));
}

/** A Markdown table: the first column left, all others right. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, column) => Math.max(3, ...[head, ...rows].map((row) => row[column]?.length ?? 0)));
  const cells = (row: readonly string[]) =>
    widths.map((width, column) => column === 0 ? row[0]?.padEnd(width) : row[column]?.padStart(width));
  const rule = widths.map((width, column) => column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`);
  return [cells(head), rule, ...rows.map(cells)].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

/** Prints a line. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** The runtime that runs this, with its version. */
export function runtimeVersion(): string {
  const { bun, deno } = process.versions;
  return deno === undefined ? `Bun ${bun}` : `Deno ${deno}`;
}
