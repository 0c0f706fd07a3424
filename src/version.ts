/**
 * The version of this release. A test compares it with `deno.json` and `package.json`.
 *
 * @module
 */

/** The version of this release. */
export const VERSION = "0.1.0";
