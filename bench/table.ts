/**
 * What all measurements share: medians, and a table of ratios.
 *
 * @module
 */
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

/** Prints a title and rows as a Markdown table: the first column left, all others right. */
export function printTable(title: string, head: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = head.map((_, column) => Math.max(3, ...[head, ...rows].map((row) => row[column]?.length ?? 0)));
  const cells = (row: readonly string[]) =>
    widths.map((width, column) => column === 0 ? row[0]?.padEnd(width) : row[column]?.padStart(width));
  const rule = widths.map((width, column) => column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`);
  const lines = [cells(head), rule, ...rows.map(cells)].map((row) => `| ${row.join(" | ")} |`);
  print(`${runtimeVersion()}: ${title}\n\n${lines.join("\n")}\n`);
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
