/**
 * Runs a configuration file in a process of its own, and prints what it exports by default as JSON, or why it cannot.
 *
 * @module
 */

import { writeSync } from "node:fs";
import process from "node:process";

try {
  const { default: config }: { readonly default?: unknown } = await import(process.argv[2] ?? "");
  writeSync(1, `\n${JSON.stringify(await config) ?? "null"}\n`);
  process.exit(0); // whatever it left open is not waited for
} catch (error) {
  writeSync(1, `\n${error instanceof Error ? error.message.split("\n")[0] : String(error)}\n`);
  process.exit(1);
}
