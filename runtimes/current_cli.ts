/**
 * What the command line asks of the runtime this program runs on.
 *
 * @module
 */

import type { CommandLineHost } from "../src/cli/host.ts";

/** Only the file of the running runtime is loaded. */
export const currentCommandLine: CommandLineHost = "Deno" in globalThis
  ? (await import("./deno_cli.ts")).denoCommandLine
  : (await import("./bun_cli.ts")).bunCommandLine;
