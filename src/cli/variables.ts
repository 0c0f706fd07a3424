/**
 * The variables that a command line goes by: those of the environment, and those of the `--env-file`.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { describeError } from "../events.ts";
import type { ProcessHost } from "../types.ts";
import { parseEnvFile } from "./env_file.ts";
import { requireFile } from "./files.ts";
import { UsageError } from "./usage_error.ts";

/** A variable, in the environment of the manager or in the `--env-file`. */
export type Lookup = (name: string) => string | undefined;

/** Where variables are looked up. */
export interface Variables {
  /** Those of the file that the environment lacks. */
  readonly filed: Readonly<Record<string, string>>;
  readonly lookup: Lookup;
}

/**
 * Reads them.
 *
 * @param here The directory that the name of the file counts from.
 * @throws {UsageError} If the file is not there, or makes no sense.
 */
export function readVariables(envFile: string | undefined, here: string, host: ProcessHost): Variables {
  const filed = envFile === undefined ? {} : readEnvFile(envFile, here, host);
  return { filed, lookup: (name) => host.getEnv(name) ?? filed[name] };
}

/** What the environment has already wins, so that a file holds defaults and a shell can overrule them. */
function readEnvFile(file: string, here: string, host: ProcessHost): Variables["filed"] {
  const path = requireFile("the --env-file", file, here);
  const lines = [...parseEnvFile(file, readText(file, path))];
  return Object.fromEntries(lines.filter(([name]) => host.getEnv(name) === undefined));
}

function readText(file: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new UsageError(`Cannot read ${file}: ${describeError(error)}`);
  }
}
