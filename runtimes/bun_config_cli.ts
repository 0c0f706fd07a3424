/**
 * Has configuration files on Bun find this package by its name, as those on Deno do, wherever they stand: it may be a
 * clone, which nobody has installed.
 *
 * @module
 */

interface Build {
  module(specifier: string, load: () => Promise<{ readonly loader: "object"; readonly exports: object }>): unknown;
}

declare const Bun: {
  plugin(plugin: { readonly name: string; readonly setup: (build: Build) => void }): unknown;
  resolveSync(specifier: string, directory: string): string;
};

/** Nothing is loaded before it is imported. */
const MODULES: Readonly<Record<string, () => Promise<object>>> = {
  "@prefork/prefork": () => import("../mod.ts"),
  "@prefork/prefork/config": () => import("../src/define_config.ts"),
};

/** Offers this package to what is imported from then on, unless one is installed where `directory` is. */
export function offerPackage(directory: string): void {
  const missing = Object.entries(MODULES).filter(([name]) => !isInstalled(name, directory));
  if (missing.length === 0) return;
  Bun.plugin({
    name: "prefork",
    setup(build) {
      for (const [name, load] of missing) {
        build.module(name, async () => ({ loader: "object", exports: await load() }));
      }
    },
  });
}

function isInstalled(name: string, directory: string): boolean {
  try {
    Bun.resolveSync(name, directory);
    return true;
  } catch {
    return false;
  }
}
