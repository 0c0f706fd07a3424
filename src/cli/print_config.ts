/**
 * `--print-config`: what each option is, and who says so.
 *
 * @module
 */

import type { RunRequest } from "./parse.ts";

/** A line for each option that is given. */
export function formatConfig({ target, options, trapSignals, denoArgs, origins }: RunRequest): string {
  const { config: _, printConfig: __, ...given } = options;
  const what = target.type === "module" ? target.module : target.command;
  const rows: readonly (readonly [string, unknown, string])[] = [
    [target.type === "module" ? "worker" : "command", [what, ...target.args].join(" "), ""],
    ...Object.entries(given).map(([name, value]) => [name, value, origins[name] ?? ""] as const),
    ...Object.entries(trapSignals).map(([signal, relay]) => [`trap ${signal}`, relay, ""] as const),
    ...denoArgs.length === 0 ? [] : [["permissions", denoArgs.join(" "), ""] as const],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const lines = rows.map(([name, value, origin]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return `${name.padEnd(width)}  ${text}${origin === "" ? "" : `  (${origin})`}`;
  });
  return `${lines.join("\n")}\nAll else is as --help says.\n`;
}
