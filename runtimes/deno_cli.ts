/**
 * What the command line asks of Deno. Its twin is `bun_cli.ts`.
 *
 * @module
 */

import type { CommandLineHost } from "../src/cli/host.ts";

/** The {@linkcode CommandLineHost} of Deno. */
export const denoCommandLine: CommandLineHost = {
  args: Deno.args,
  version: `deno ${Deno.version.deno}`,
  cwd: () => Deno.cwd(),
  isTerminal: (stream) => Deno[stream].isTerminal(),
  // Runs on a thread of its own. `node:fs` and `console` wait on the main thread for a pipe or terminal that is full.
  write: (stream, bytes) => Deno[stream].write(bytes),
  setEnv: (name, value) => Deno.env.set(name, value),
};
