/**
 * What serving asks of the runtime this program runs on. Loaded by workers that serve.
 *
 * @module
 */

import type { ServingHost } from "../src/serving.ts";

/** Only the file of the running runtime is loaded. */
export const currentServing: ServingHost = "Deno" in globalThis
  ? (await import("./deno_serving.ts")).denoServing
  : (await import("./bun_serving.ts")).bunServing;
