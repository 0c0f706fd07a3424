/**
 * The runtime this program runs on.
 *
 * @module
 */

import type { ProcessHost } from "../src/types.ts";

/** The host of the running runtime. Only its own file is loaded. */
export const currentHost: ProcessHost = "Deno" in globalThis
  ? (await import("./deno.ts")).denoHost
  : (await import("./bun.ts")).bunHost;
