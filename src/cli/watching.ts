/**
 * What `--watch` is to a run. Loads what watches only where something is watched.
 *
 * @module
 */

import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import type { Prefork } from "../prefork.ts";
import { takeoverOn } from "../succession.ts";
import type { Log } from "./log.ts";
import type { ModuleWork } from "./module_graph.ts";
import type { Request, RunRequest } from "./request.ts";
import type { Prepared } from "./prepare.ts";
import type { Watch } from "./watch.ts";

/** What is watched is read again even where there is no configuration file to read. */
export function rereadEnvFile(request: RunRequest): (() => Promise<Request>) | undefined {
  const { watch, envFile } = request.options;
  return watch && envFile !== undefined ? () => Promise.resolve(request) : undefined;
}

/**
 * Makes what watches the files of a pool, if that is asked for.
 *
 * @param hasFile Whether there is a configuration file.
 */
export async function openWatch(
  { options: { watch, config, envFile } }: RunRequest,
  { work }: Prepared,
  log: Log,
  hasFile: boolean,
  reload: () => void,
): Promise<Watch | undefined> {
  if (!watch || work.type !== "module") return undefined;
  const [{ Watch }, { findConfigFile }] = await Promise.all([import("./watch.ts"), import("./config.ts")]);
  const cwd = currentCommandLine.cwd();
  const configFile = hasFile ? config ?? findConfigFile(cwd) : undefined;
  const others = [configFile, envFile].filter((file) => file !== undefined);
  const programs = configFile === undefined || configFile.endsWith(".json") ? [work] : [work, program(configFile, cwd)];
  return new Watch({ host: currentHost, log, programs, others, cwd, reload });
}

/** The configuration file as what it is run as. */
function program(file: string, cwd: string): ModuleWork {
  return { type: "module", module: pathToFileURL(resolve(cwd, file)).href, options: {} };
}

/**
 * Whether to try again: a pool that watches its files does so when one was saved, or to find out that it is to stop.
 *
 * @param stop Tells it to stop, as signals do.
 */
export async function isMended(
  error: unknown,
  watch: Watch | undefined,
  pool: Prefork,
  log: Log,
  stop: AbortSignal,
): Promise<boolean> {
  const isBroken = error instanceof Error && error.name === "BootFailureError";
  if (!isBroken || watch === undefined || takeoverOn(currentHost) !== undefined) return false;
  const saved = watch.nextSave(stop);
  log.tell("warning", "waits for the next save, since no worker came to be ready");
  await pool.waitAllChildren();
  await saved;
  return true;
}
