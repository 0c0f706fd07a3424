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

/** Prints rows as a Markdown table: the first column left, all others right. */
export function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = head.map((title, column) => Math.max(...[head, ...rows].map((row) => (row[column] ?? "").length), 3));
  const line = (row: readonly string[]) =>
    `| ${widths.map((width, at) => at === 0 ? pad(row[at], width) : (row[at] ?? "").padStart(width)).join(" | ")} |`;
  const rule = `| ${
    widths.map((width, at) => at === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`).join(" | ")
  } |`;
  console.log([line(head), rule, ...rows.map(line)].join("\n"));
}

function pad(text: string | undefined, width: number): string {
  return (text ?? "").padEnd(width);
}

/** The runtime that runs this, with its version. */
export function runtimeVersion(): string {
  const versions: Readonly<Record<string, string | undefined>> = process.versions;
  return "Deno" in globalThis ? `Deno ${versions.deno}` : `Bun ${versions.bun}`;
}
