/**
 * Finds the files that a program on Bun is made of, and prints them as JSON. Run by Bun in a process of its own, since
 * it keeps in mind what it has resolved.
 *
 * @module
 */

import { readFileSync, writeSync } from "node:fs";
import { dirname, extname, resolve } from "node:path";
import process from "node:process";

declare const Bun: {
  readonly Transpiler: new (options: { readonly loader: string }) => {
    scanImports(code: string): readonly { readonly path: string }[];
  };
  resolveSync(specifier: string, directory: string): string;
};

const LOADERS: Readonly<Record<string, string>> = {
  ".ts": "ts",
  ".mts": "ts",
  ".cts": "ts",
  ".tsx": "tsx",
  ".js": "jsx",
  ".mjs": "jsx",
  ".cjs": "jsx",
  ".jsx": "jsx",
};

/** What a module that is not there may come to be called. */
const ENDINGS = ["", ".ts", ".tsx", ".js", ".jsx", ".mjs", ".json", "/index.ts", "/index.tsx", "/index.js"];

const files = new Set([resolve(process.argv[2] ?? "")]);
let isWhole = true;

for (const file of files) { // those that it leads to are added meanwhile
  for (const specifier of importsOf(file)) {
    for (const found of filesOf(specifier, dirname(file))) files.add(found);
  }
}
writeSync(1, `\n${JSON.stringify({ files: [...files], isWhole })}\n`);

function importsOf(file: string): readonly string[] {
  const loader = LOADERS[extname(file)];
  if (loader === undefined) return [];
  try {
    return new Bun.Transpiler({ loader }).scanImports(readFileSync(file, "utf8")).map(({ path }) => path);
  } catch {
    isWhole = false;
    return [];
  }
}

/** Packages are left out. */
function filesOf(specifier: string, directory: string): readonly string[] {
  try {
    const path = Bun.resolveSync(specifier, directory);
    return path.startsWith("/") && !path.includes("/node_modules/") ? [path] : [];
  } catch {
    if (!/^\.{0,2}\//.test(specifier)) return [];
    isWhole = false;
    return ENDINGS.map((ending) => resolve(directory, specifier) + ending);
  }
}
