/**
 * Runs a configuration file in a process of its own, and prints what it exports by default as JSON, or why it cannot.
 *
 * @module
 */
// deno-lint-ignore-file no-console

import process from "node:process";

try {
  const { default: config }: { readonly default?: unknown } = await import(process.argv[2] ?? "");
  console.log(JSON.stringify(config) ?? "null");
} catch (error) {
  console.log(error instanceof Error ? error.message.split("\n")[0] : String(error));
  process.exit(1);
}
