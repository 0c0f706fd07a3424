/** Which files are watched, when they count as changed, and how long after. */
import assert from "node:assert/strict";
import { mkdirSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { describe, it, test } from "node:test";
import { pathToFileURL } from "node:url";
import { currentHost } from "../runtimes/current.ts";
import { Directories } from "../src/cli/directories.ts";
import { FileStates } from "../src/cli/file_states.ts";
import { Lull, LULL_MS } from "../src/cli/lull.ts";
import { findModules, type ModuleGraph } from "../src/cli/module_graph.ts";
import { FakeHost } from "./fake_host.ts";
import { otherRuntimeCommand, runtime, type TempDir, tempDir, waitFor } from "./support/run.ts";

function save(dir: TempDir, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(dir.file(name)), { recursive: true });
    writeFileSync(dir.file(name), text);
  }
}

function modulesOf(dir: TempDir, name: string, on: "deno" | "bun"): Promise<ModuleGraph> {
  const { command: executable } = otherRuntimeCommand();
  const options = on === runtime ? {} : { runtime: on, executable };
  const work = { type: "module", module: pathToFileURL(dir.file(name)).href, options } as const;
  return findModules(work, currentHost, new AbortController().signal);
}

async function filesOf(dir: TempDir, name: string, on: "deno" | "bun"): Promise<readonly string[]> {
  const { files } = await modulesOf(dir, name, on);
  const inside = files.filter((file) => file.startsWith(`${dir.path}/`));
  return inside.map((file) => file.slice(dir.path.length + 1)).sort();
}

describe("a lull", () => {
  it("comes once for a row of events, when the last of them is over", async () => {
    const host = new FakeHost();
    using lull = new Lull(host);
    let lulls = 0;
    const next = async (): Promise<void> => {
      await lull.next();
      lulls++;
    };
    void next();
    await host.advance(10 * LULL_MS);
    assert.equal(lulls, 0, "nothing has happened");
    for (let event = 0; event < 5; event++) {
      lull.note();
      await host.advance(LULL_MS - 1);
    }
    assert.equal(lulls, 0);
    await host.advance(1);
    assert.equal(lulls, 1);
    void next();
    await host.advance(10 * LULL_MS);
    assert.equal(lulls, 1);
  });

  it("that came while nobody waited is not lost", async () => {
    const host = new FakeHost();
    using lull = new Lull(host);
    lull.note();
    await host.advance(LULL_MS);
    await lull.next();
  });

  it("is not waited for after the end", async () => {
    const host = new FakeHost();
    const lull = new Lull(host);
    lull.note();
    const waiting = lull.next();
    lull[Symbol.dispose]();
    await waiting;
    await lull.next();
    await host.advance(LULL_MS);
  });
});

describe("the state of files", () => {
  const states = () => new FileStates((path, error) => assert.fail(`${path}: ${error}`));

  it("is what they hold, not when it was written", async () => {
    await using dir = await tempDir();
    save(dir, { a: "1", b: "1" });
    const paths = [dir.file("a"), dir.file("b"), dir.file("none")];
    const known = states();
    assert.deepEqual(await known.look(paths, Infinity), []);
    utimesSync(dir.file("a"), 1, 1);
    assert.deepEqual(await known.look(paths, 0), []);
    save(dir, { b: "2" });
    assert.deepEqual(await known.look(paths, 0), [dir.file("b")]);
    assert.deepEqual(await known.look(paths, 0), []);
    save(dir, { none: "" });
    rmSync(dir.file("a"));
    assert.deepEqual(await known.look(paths, 0), [dir.file("a"), dir.file("none")]);
  });

  it("of files not seen before is compared with when workers began", async () => {
    await using dir = await tempDir();
    save(dir, { a: "1", b: "1" });
    utimesSync(dir.file("a"), 100, 100);
    utimesSync(dir.file("b"), 200, 200);
    assert.deepEqual(await states().look([dir.file("a"), dir.file("b")], 150_000), [dir.file("b")]);
  });
});

describe("a file that is saved while it is looked at for the first time", () => {
  it("counts as changed, then or at the next look", async () => {
    await using dir = await tempDir();
    const path = dir.file("a");
    for (let round = 0; round < 300; round++) {
      save(dir, { a: "1" });
      utimesSync(path, 100, 100);
      const states = new FileStates((where, error) => assert.fail(`${where}: ${error}`));
      const first = states.look([path], 150_000);
      for (let turn = 0; turn < round % 6; turn++) await new Promise((resolve) => setImmediate(resolve));
      save(dir, { a: "2" });
      assert.deepEqual([...await first, ...await states.look([path], 150_000)], [path], `in round ${round}`);
    }
  });
});

describe("the directories of files", () => {
  it("are watched for these files alone, and as they come and go", async () => {
    await using dir = await tempDir();
    let changes = 0;
    const failed = (path: string, error: unknown) => assert.fail(`${path}: ${error}`);
    using directories = new Directories({ changed: () => changes++, failed });
    const files = [dir.file("a/b/c.ts")];
    directories.watch(files);
    save(dir, { "a/b/c.ts": "" });
    await waitFor(() => changes > 0, { what: "the directory to be seen" });
    directories.watch(files);
    changes = 0;
    save(dir, { "a/b/d.ts": "", "a/e.ts": "", "f.ts": "" });
    save(dir, { "a/b/c.ts": "1" });
    await waitFor(() => changes > 0, { what: "the file to be seen" });
    renameSync(dir.file("a"), dir.file("x"));
    directories.watch(files);
    changes = 0;
    mkdirSync(dir.file("a"));
    await waitFor(() => changes > 0, { what: "the new directory to be seen" });
  });
});

for (const on of ["deno", "bun"] as const) {
  describe(`the files of a worker on ${on}`, () => {
    it("are all that it imports but packages, and what says how", async () => {
      await using dir = await tempDir();
      const settings = on === "deno" ? "deno.json" : "tsconfig.json";
      save(dir, {
        "app/main.ts": `import { a } from "./a.ts";
import data from "./data.json" with { type: "json" };
import { b } from "lib/b.ts";
import pack from "pack";
import process from "node:process";
console.log(a, b, data, pack, process.pid, await import("./late.ts"));
`,
        "app/a.ts": `export * as a from "../c.ts";\n`,
        "app/data.json": "{}",
        "app/late.ts": "export {};\n",
        "app/strange.ts": "export {};\n",
        "c.ts": `export const c: number = 1;\n`,
        "lib/b.ts": "export const b = 1;\n",
        "package.json": JSON.stringify({ name: "x", dependencies: { pack: "1.0.0" } }),
        [`app/${settings}`]: on === "deno"
          ? JSON.stringify({ imports: { "lib/": "../lib/" } })
          : JSON.stringify({ compilerOptions: { paths: { "lib/*": ["../lib/*"] } } }),
        "node_modules/pack/package.json": JSON.stringify({ name: "pack", version: "1.0.0", main: "./i.js" }),
        "node_modules/pack/i.js": "module.exports = 1;\n",
      });
      assert.deepEqual(
        await filesOf(dir, "app/main.ts", on),
        [
          "app/a.ts",
          "app/data.json",
          `app/${settings}`,
          "app/late.ts",
          "app/main.ts",
          "c.ts",
          "lib/b.ts",
          "package.json",
        ]
          .sort(),
      );
      assert.equal((await modulesOf(dir, "app/main.ts", on)).isWhole, true);
    });

    it("are not all known where one cannot be read or is not there, but these are", async () => {
      await using dir = await tempDir();
      save(dir, {
        "main.ts": `import "./broken.ts";\nimport "./missing.ts";\nimport "./whole.ts";\n`,
        "broken.ts": `import "./whole.ts";\nconst = ;\n`,
        "whole.ts": "export {};\n",
      });
      const graph = await modulesOf(dir, "main.ts", on);
      assert.equal(graph.isWhole, false);
      for (const name of ["main.ts", "broken.ts", "missing.ts", "whole.ts"]) {
        assert.ok(graph.files.includes(dir.file(name)), name);
      }
    });
  });
}

test("the files of a worker may be a thousand", async () => {
  await using dir = await tempDir();
  const names = Array.from({ length: 1000 }, (_, index) => `d${index % 50}/m${index}.ts`);
  save(dir, {
    "main.ts": names.map((name) => `import "./${name}";\n`).join(""),
    ...Object.fromEntries(names.map((name) => [name, "export {};\n"])),
  });
  const inside = ({ files }: ModuleGraph) => files.filter((file) => file.startsWith(`${dir.path}/`)).sort();
  const files = inside(await modulesOf(dir, "main.ts", "deno"));
  assert.equal(files.length, 1001);
  assert.deepEqual(inside(await modulesOf(dir, "main.ts", "bun")), files);

  const states = new FileStates((path, error) => assert.fail(`${path}: ${error}`));
  assert.deepEqual(await states.look(files, Infinity), []);
  let changes = 0;
  using directories = new Directories({ changed: () => changes++, failed: (path) => assert.fail(path) });
  directories.watch(files);
  save(dir, { "d7/m7.ts": "export const seven = 7;\n" });
  await waitFor(() => changes > 0, { what: "the change to be seen" });
  assert.deepEqual(await states.look(files, 0), [dir.file("d7/m7.ts")]);
});

test("a search for files that is given up, or fails, finds the worker itself, and what it is set up by", async () => {
  await using dir = await tempDir();
  save(dir, { "main.ts": `import "./more.ts";\n`, "more.ts": "", "deno.json": "{ broken", "tsconfig.json": "{}" });
  const work = { type: "module", module: pathToFileURL(dir.file("main.ts")).href, options: {} } as const;
  const own = [dir.file("main.ts"), dir.file(runtime === "deno" ? "deno.json" : "tsconfig.json")];
  const givenUp = await findModules(work, currentHost, AbortSignal.abort());
  assert.deepEqual([givenUp.files.slice(0, 2), givenUp.isWhole], [own, false]);
  const failed = await modulesOf(dir, "main.ts", "deno");
  assert.deepEqual([failed.files.slice(0, 2), failed.isWhole], [[dir.file("main.ts"), dir.file("deno.json")], false]);
});
