/**
 * The C library by way of the runtime this program runs on. Loaded by managers, and by workers that serve.
 *
 * @module
 */

import type { Libc } from "../src/libc.ts";

const { openLibc } = "Deno" in globalThis ? await import("./deno_libc.ts") : await import("./bun_libc.ts");
let libc: Libc | undefined;

/**
 * The C library, opened at the first call.
 *
 * @throws {NoLibcError} Says why it cannot be used.
 */
export function currentLibc(): Libc {
  return libc ??= openLibc();
}
