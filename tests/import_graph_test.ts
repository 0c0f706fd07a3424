/**
 * Keeps start-up small: what a worker loads at its start, and who may import what.
 */
import assert from "node:assert/strict";
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { relative } from "node:path";
import { it } from "node:test";
import { fileURLToPath } from "node:url";
import { runProgram, tempDir } from "./support/run.ts";

const ROOT = new URL("../", import.meta.url);

/** `await`: evaluated with the file; `call`: loaded when it is asked for. */
type ImportKind = "static" | "await" | "call";

interface Import {
  readonly kind: ImportKind;
  readonly from: string;
  /** A file of ours as a path from the root, else the specifier. */
  readonly to: string;
}

function read(file: string): string {
  return readFileSync(new URL(file, ROOT), "utf8");
}

/** Source without comments and without what stands in strings, templates and regular expressions, if so wished. */
function strip(source: string, keepStrings: boolean): string {
  const token =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|((?<=[(=,:]\s*)\/(?:[^/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/)/g;
  return source.replace(token, (_, text: string | undefined, pattern: string | undefined) => {
    if (text === undefined && pattern === undefined) return " ";
    return keepStrings ? text ?? '""' : '""';
  });
}

/** All that a file imports at run time; types cost nothing. */
function importsOf(file: string): readonly Import[] {
  const code = strip(read(file), true);
  const resolve = (specifier: string) =>
    specifier.startsWith(".")
      ? relative(fileURLToPath(ROOT), fileURLToPath(new URL(specifier, new URL(file, ROOT))))
      : specifier;
  const statics = [...code.matchAll(/^(?:import|export)\s+(?!type\b)(?:[\w*{}\s,$]+?\sfrom\s+)?["']([^"']+)["']/gm)];
  const dynamics = [...code.matchAll(/(\bawait\s+)?\bimport\(\s*["']([^"']+)["']/g)];
  return [
    ...statics.map(([, to = ""]): Import => ({ kind: "static", from: file, to: resolve(to) })),
    ...dynamics.map((found): Import => {
      // Not inside any braces: the file's own evaluation waits for it. What only a manager or the main module runs is
      // behind a condition, in braces or in a function.
      const kind = found[1] !== undefined && depthAt(code, found.index) === 0 ? "await" : "call";
      return { kind, from: file, to: resolve(found[2] ?? "") };
    }),
  ];
}

function depthAt(code: string, end: number): number {
  const before = code.slice(0, end);
  return before.split("{").length - before.split("}").length;
}

/** What is evaluated with a file, itself included, and all imports on the way. */
function loadedBy(
  ...entries: readonly string[]
): { readonly files: readonly string[]; readonly imports: readonly Import[] } {
  const files = [...entries];
  const imports: Import[] = [];
  for (const file of files) {
    const found = importsOf(file).filter(({ kind }) => kind !== "call");
    imports.push(...found);
    files.push(...new Set(found.map(({ to }) => to).filter((to) => isOurs(to) && !files.includes(to))));
  }
  return { files, imports };
}

function isOurs(path: string): boolean {
  return /^(src|runtimes)\//.test(path) || path === "mod.ts";
}

function filesIn(folder: string): readonly string[] {
  return readdirSync(new URL(folder, ROOT)).filter((name) => name.endsWith(".ts")).map((name) => `${folder}${name}`);
}

function show({ from, to }: Import): string {
  return `${from} imports ${to}`;
}

const CORE = filesIn("src/");
const CLI = filesIn("src/cli/");
const JOBS = filesIn("src/jobs/");
const RUNTIMES = filesIn("runtimes/");
/** Loaded by the command line and by nothing else; these may import what it may. */
const CLI_ONLY = RUNTIMES.filter((file) => file.endsWith("_cli.ts"));

it("finds the imports of each kind", () => {
  const kinds = (file: string) => importsOf(file).map(({ kind, to }) => `${kind} ${to}`);
  assert.deepEqual(kinds("runtimes/current.ts"), ["await runtimes/deno.ts", "await runtimes/bun.ts"]);
  assert.ok(kinds("mod.ts").includes("static src/prefork.ts"));
  assert.ok(kinds("mod.ts").includes("call src/cli/main.ts"));
  assert.ok(!kinds("mod.ts").some((line) => line.includes("types.ts")));
  assert.ok(kinds("src/prefork.ts").includes("call src/manager.ts"));
});

it("loads nothing but its own few files in a worker", () => {
  const { files, imports } = loadedBy("mod.ts", "src/preload.ts");
  assert.deepEqual(imports.filter(({ to }) => !isOurs(to)).map(show), [], "no node:*, no npm, no network");
  const known = new Set([
    "mod.ts",
    "runtimes/bun.ts",
    "runtimes/bun_socket.ts",
    "runtimes/current.ts",
    "runtimes/deno.ts",
    "runtimes/deno_child.ts",
    "runtimes/deno_socket.ts",
    "src/control_client.ts",
    "src/events.ts",
    "src/host_common.ts",
    "src/identity.ts",
    "src/policy.ts",
    "src/prefork.ts",
    "src/preload.ts",
    "src/protocol.ts",
    "src/status.ts",
    "src/worker.ts",
  ]);
  assert.deepEqual(files.filter((file) => !known.has(file)), [], "each file more makes every worker start later");
});

it("loads the manager and the command line only when they are asked for", () => {
  const all = ["mod.ts", ...CORE, ...CLI, ...RUNTIMES].flatMap(importsOf);
  const evaluated = all.filter(({ kind }) => kind !== "call");
  const toManager = evaluated.filter(({ to }) => to === "src/manager.ts");
  assert.deepEqual(toManager.map(show), []);
  const toCli = evaluated.filter(({ from, to }) => CLI.includes(to) && !CLI.includes(from) && !CLI_ONLY.includes(from));
  assert.deepEqual(toCli.map(show), []);
  const toTelemetry = evaluated.filter(({ to }) => to === "src/telemetry.ts");
  assert.deepEqual(toTelemetry.map(show), []);
  const toCliRuntimes = evaluated.filter(({ from, to }) =>
    to.endsWith("_cli.ts") && !CLI.includes(from) && !CLI_ONLY.includes(from)
  );
  assert.deepEqual(toCliRuntimes.map(show), []);
});

it("says how it is used without a parser, a manager, or anything that is not ours", async () => {
  const { files, imports } = loadedBy("mod.ts", "src/cli/main.ts", "src/cli/help.ts");
  assert.deepEqual(imports.filter(({ to }) => !isOurs(to)).map(show), []);
  assert.deepEqual(files.filter((file) => /\/(parse|limit|manager|pool)|libc/.test(file)), []);

  await using dir = await tempDir();
  for (const part of ["mod.ts", "src", "runtimes"]) cpSync(new URL(part, ROOT), dir.file(part), { recursive: true });
  writeFileSync(dir.file("src/manager.ts"), "throw new Error('the manager is loaded')");
  writeFileSync(dir.file("own.ts"), "import './mod.ts'");
  for (
    const [file, args, code] of [
      ["mod.ts", ["--help"], 0],
      ["mod.ts", ["-V"], 0],
      ["mod.ts", ["-w", "many", "app.ts"], 2],
      ["own.ts", [], 1], // a program that is about to make a pool
    ] as const
  ) {
    await using program = runProgram(dir.file(file), args, { cwd: dir.path });
    assert.equal((await program.waitForEnd()).code, code, program.report());
    assert.equal(program.report().includes("the manager is loaded"), file === "own.ts", program.report());
  }
});

it("keeps the core apart from runtimes and packages", () => {
  const current = ["runtimes/current.ts", "runtimes/current_libc.ts", "runtimes/current_serving.ts"];
  const strange = CORE.flatMap(importsOf).filter(({ to }) => !current.includes(to) && !CORE.includes(to));
  assert.deepEqual(strange.map(show), []);
});

it("has jobs stand on the core, on one package, on files, and on what tells who asks", () => {
  const strange = JOBS.flatMap(importsOf)
    .filter(({ to }) =>
      ![...CORE, ...JOBS, "runtimes/current.ts", "devalue", "node:fs", "node:async_hooks"].includes(to)
    );
  assert.deepEqual(strange.map(show), []);
});

it("lets runtimes import nothing but themselves and the core", () => {
  const strange = RUNTIMES.filter((file) => !CLI_ONLY.includes(file)).flatMap(importsOf)
    .filter(({ to }) => !RUNTIMES.includes(to) && !CORE.includes(to));
  assert.deepEqual(strange.map(show), []);
});

it("names no runtime in the core", () => {
  const named = [...CORE, ...CLI, ...JOBS].filter((file) => /\b(Deno|Bun)\b/.test(strip(read(file), false)));
  assert.deepEqual(named, []);
});
