/**
 * What the runtime that reads a configuration file needs for that.
 *
 * @module
 */

/** Has what is imported from then on find this package by its name. On Deno it does so by itself. */
export const offerPackage: (directory: string) => void = "Bun" in globalThis
  ? (await import("./bun_config_cli.ts")).offerPackage
  : () => {};
