/** `--watch`: what is saved is what serves, unless it is broken. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { get } from "./support/client.ts";
import { load, oneShot } from "./support/load.ts";
import { options, portOf, prefork } from "./support/operator.ts";
import { waitForNobody } from "./support/pool.ts";
import {
  type Program,
  runCommand,
  type RunOptions,
  runProgram,
  runtime,
  runtimeCommand,
  signalProcess,
  type TempDir,
  tempDir,
  waitFor,
} from "./support/run.ts";

const APP = `import { hello } from "./lib/hello.ts";
import process from "node:process";
const { WORD = "" } = process.env;
export default {
  fetch({ url }: Request): Response {
    const { pathname } = new URL(url);
    return new Response(pathname.startsWith("/word/") ? pathname.slice("/word/".length) : hello + WORD);
  },
};
`;
const SAYS_WORD = `import process from "node:process";
export default { fetch: () => new Response(process.env.WORD) };
`;
const hello = (text: string) => `export const hello: string = "${text}";\n`;
const BROKEN = "export const hello = ;\n";

const WATCHING = ["--log-format", "plain", "-w", "1", "--watch"];

/** In a name space of its own, so that nobody else has to do with one. */
const WITH_ONE_WATCH = 'echo 1 > /proc/sys/user/max_inotify_watches && exec "$@"';
const mayLimit = process.platform === "linux" &&
  spawnSync("unshare", ["-Ur", "sh", "-c", WITH_ONE_WATCH, "sh", "true"]).status === 0;

/** A program of several files, and the manager that watches it. */
class Project implements AsyncDisposable {
  readonly #dir: TempDir;
  #program: Program | undefined;

  constructor(dir: TempDir) {
    this.#dir = dir;
  }

  get program(): Program {
    return this.#program ?? assert.fail("not started");
  }

  path(name: string): string {
    return this.#dir.file(name);
  }

  save(name: string, text: string): void {
    mkdirSync(dirname(this.path(name)), { recursive: true });
    writeFileSync(this.path(name), text);
  }

  start(args: readonly string[], more: RunOptions = {}): void {
    this.#program = runProgram(prefork, [...WATCHING, ...args], { cwd: this.#dir.path, ...more });
  }

  /** The same by a command that runs it. */
  startBy(command: string, words: readonly string[], args: readonly string[]): void {
    this.#program = runCommand(command, [...words, ...WATCHING, ...args], { cwd: this.#dir.path });
  }

  /** Waits until its files are watched. */
  async isWatched(): Promise<void> {
    await this.program.waitForErrorLine(/watches \d+ files?/);
    await this.program.waitForErrorLine(/ is ready$/);
  }

  /** Waits until a generation serves alone, and says this: one that was just told to stop may have a request in hand. */
  async serves(generation: number, text: string): Promise<void> {
    await this.program.waitForErrorLine(`generation ${generation} serves, and no other`);
    await this.willSay(text);
  }

  async willSay(text: string): Promise<void> {
    await waitFor(async () => await this.says() === text, { what: `the answer ${text}` });
  }

  async says(): Promise<string> {
    return await get(await portOf(this.program), "/");
  }

  /** What was told to have changed. */
  get changes(): readonly string[] {
    return this.program.errorLines.flatMap((line) => / (\S.*) changed: workers are replaced$/.exec(line)?.[1] ?? [])
      .map((line) => line.replace(/^.* prefork: /, ""));
  }

  /** Stops it, and nothing is left. */
  async ends(): Promise<void> {
    this.program.kill("SIGTERM");
    assert.deepEqual(await this.program.waitForEnd(), { code: 0, signal: null }, this.program.report());
    await waitForNobody(this.program);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program?.[Symbol.asyncDispose]();
    await this.#dir[Symbol.asyncDispose]();
  }
}

async function project(files: Readonly<Record<string, string>> = {}): Promise<Project> {
  const project = new Project(await tempDir());
  for (const [name, text] of Object.entries({ "app.ts": APP, "lib/hello.ts": hello("one"), ...files })) {
    project.save(name, text);
  }
  return project;
}

const serving = ["app.ts", "-l", "127.0.0.1:0"];

describe("a pool that watches its files", () => {
  for (const on of ["deno", "bun"]) {
    it(`replaces its workers on ${on} by what was saved, and keeps them if that is broken`, options, async () => {
      await using watched = await project();
      watched.start([...serving, "--runtime", on]);
      await watched.isWatched();
      assert.equal(await watched.says(), "one");
      const clients = load({ port: await portOf(watched.program) }, [oneShot]);

      watched.save("lib/hello.ts", hello("two"));
      await watched.serves(2, "two");
      watched.save("lib/hello.ts", BROKEN);
      await watched.program.waitForErrorLine(/the reload failed, generation 2 goes on serving: .*exited with status 1/);
      assert.equal(await watched.says(), "two");
      watched.save("lib/hello.ts", hello("three"));
      await watched.serves(4, "three");
      assert.deepEqual(watched.changes, Array(3).fill("lib/hello.ts"));
      assert.deepEqual((await clients.stop()).failures, []);
      await watched.ends();
    });
  }

  it("watches what is imported from now on, and waits for what is missing yet", options, async () => {
    await using watched = await project();
    watched.start(serving);
    await watched.isWatched();
    watched.save("lib/hello.ts", `export { hello } from "../more/other.ts";\n`);
    await watched.program.waitForErrorLine("the reload failed, generation 1 goes on serving");
    watched.save("store/hello.ts", hello("other"));
    mkdirSync(watched.path("more"));
    symlinkSync("../store/hello.ts", watched.path("more/other.ts"));
    await watched.serves(3, "other");
    watched.save("store/hello.ts", hello("another"));
    await watched.serves(4, "another");
    const named = runtime === "deno" ? "more/other.ts" : "store/hello.ts";
    assert.deepEqual(watched.changes, ["lib/hello.ts", "more/other.ts", named]);
    await watched.ends();
  });

  it("forgets no save that came while others had yet to fail", options, async () => {
    await using watched = await project();
    const broken = `import { existsSync } from "node:fs";
      const pause = () => new Promise((resolve) => setTimeout(resolve, 20));
      while (process.env.PREFORK_SLOT === "1" && !existsSync("go")) await pause();
      throw new Error("broken");\n`;
    watched.save("app.ts", broken);
    watched.start([...serving, "-w", "2"]);
    await watched.program.waitForErrorLine(/watches \d+ files?/);
    watched.save("app.ts", `await new Promise((resolve) => setTimeout(resolve, 1000));\n${APP}`);
    await watched.program.waitForErrorLine("app.ts changed: workers are replaced");
    await watched.program.waitForErrorLine("generation 2 has to prove itself");
    watched.save("go", "");
    await watched.program.waitForErrorLine(/ is ready$/, { count: 2 });
    await watched.willSay("one");
    await watched.ends();
  });

  it("waits for the next save where no worker ever came to be ready, or for its end", options, async () => {
    await using watched = await project({ "lib/hello.ts": BROKEN });
    watched.start(serving);
    await watched.program.waitForErrorLine("waits for the next save, since no worker came to be ready");
    watched.save("lib/hello.ts", BROKEN.repeat(2));
    await watched.program.waitForErrorLine("waits for the next save", { count: 2 });
    watched.save("lib/hello.ts", hello("mended"));
    await watched.program.waitForErrorLine(/ is ready$/);
    assert.equal(await watched.says(), "mended");
    watched.save("lib/hello.ts", hello("more"));
    await watched.willSay("more");
    await watched.ends();
  });

  it("stops while it waits for a save", options, async () => {
    await using watched = await project({ "lib/hello.ts": BROKEN });
    watched.start(serving);
    await watched.program.waitForErrorLine("waits for the next save");
    await watched.ends();
  });

  it("sees files that take the place of others, and directories that do", options, async () => {
    await using watched = await project({ "new/hello.ts": hello("new") });
    watched.start(serving);
    await watched.isWatched();
    watched.save("lib/.hello.ts.swp", hello("two"));
    renameSync(watched.path("lib/.hello.ts.swp"), watched.path("lib/hello.ts"));
    await watched.serves(2, "two");
    renameSync(watched.path("lib"), watched.path("old"));
    renameSync(watched.path("new"), watched.path("lib"));
    await watched.serves(3, "new");
    watched.save("lib/hello.ts", hello("newer"));
    await watched.serves(4, "newer");
    rmSync(watched.path("lib"), { recursive: true });
    await watched.program.waitForErrorLine("the reload failed, generation 4 goes on serving");
    watched.save("lib/hello.ts", hello("again"));
    await watched.serves(6, "again");
    await watched.ends();
  });

  it(
    "does nothing for files that hold what they did, and for those that workers are not made of",
    options,
    async () => {
      await using watched = await project({ "lib/notes.txt": "1", "node_modules/pack/index.js": "" });
      watched.start(serving);
      await watched.isWatched();
      utimesSync(watched.path("lib/hello.ts"), new Date(), new Date());
      watched.save("app.ts", APP);
      watched.save("lib/notes.txt", "2");
      watched.save("lib/strange.ts", hello("strange"));
      watched.save("lib/hello.ts", hello("two"));
      await watched.serves(2, "two");
      assert.deepEqual(watched.changes, ["lib/hello.ts"]);
      await watched.ends();
    },
  );

  it("gives up a generation that was not ready yet when there was another save", options, async () => {
    await using watched = await project();
    watched.start(serving);
    await watched.isWatched();
    watched.save("lib/hello.ts", `${hello("stuck")}await new Promise((resolve) => setTimeout(resolve, 60_000));\n`);
    await watched.program.waitForErrorLine("generation 2 has to prove itself");
    watched.save("lib/hello.ts", hello("loose"));
    await watched.serves(3, "loose");
    await watched.ends();
  });

  it("watches its configuration file and its environment file, too", options, async () => {
    await using watched = await project({
      "app.ts": SAYS_WORD,
      "prefork.config.json": JSON.stringify({
        worker: "app.ts",
        listen: "127.0.0.1:0",
        workers: 1,
        envFile: "app.env",
      }),
      "app.env": "WORD=one\n",
    });
    watched.start([]);
    await watched.isWatched();
    assert.equal(await watched.says(), "one");
    watched.save("app.env", "WORD=two\n");
    await watched.serves(2, "two");
    const config = JSON.parse(readFileSync(watched.path("prefork.config.json"), "utf8"));
    watched.save("prefork.config.json", JSON.stringify({ ...config, envFile: "other.env" }));
    await watched.program.waitForErrorLine("Cannot change 'envFile' by a reload");
    watched.save("prefork.config.json", JSON.stringify({ ...config, drainTimeout: "1s" }));
    await watched.serves(3, "two");
    // A save that is seen while it is written is seen twice.
    assert.deepEqual([...new Set(watched.changes)], ["app.env", "prefork.config.json"]);
    await watched.ends();
  });

  it("watches what its configuration file imports", options, async () => {
    await using watched = await project({
      "prefork.config.ts": `import { drainTimeout } from "./settings/times.ts";
export default { worker: "app.ts", listen: "127.0.0.1:0", drainTimeout };
`,
      "settings/times.ts": `export const drainTimeout = "1s";\n`,
    });
    watched.start([]);
    await watched.isWatched();
    watched.save("settings/times.ts", "export const drainTimeout = ;\n");
    await watched.program.waitForErrorLine("Cannot use prefork.config.ts: settings/times.ts, line 1: ");
    watched.save("settings/times.ts", `export const drainTimeout = "2s";\n`);
    await watched.serves(2, "one");
    assert.deepEqual([...new Set(watched.changes)], ["settings/times.ts"]);
    await watched.ends();
  });

  it("says in one sentence what it may not watch, and goes on", { ...options, skip: runtime !== "deno" }, async () => {
    await using watched = await project({ "app.ts": "await new Promise((resolve) => setTimeout(resolve, 1e8));\n" });
    const temporary = watched.path("temporary");
    mkdirSync(temporary);
    const readable = [dirname(prefork), watched.path("app.ts"), temporary];
    const granted = "env run sys net ffi write".split(" ").map((name) => `--allow-${name}`);
    watched.start(["app.ts", "--allow-all"], {
      runtimeArgs: ["run", "--no-prompt", ...granted, `--allow-read=${readable}`],
      env: { TMPDIR: temporary, XDG_RUNTIME_DIR: temporary },
    });
    await watched.program.waitForErrorLine(/cannot watch .*, nor maybe others: .*read access.*--allow-read/);
    await watched.program.waitForErrorLine(/ is ready$/);
    assert.equal(watched.program.errorLines.filter((line) => line.includes("cannot watch")).length, 1);
    await watched.ends();
  });

  it("says so where the system gives no more watches, and goes on", { ...options, skip: !mayLimit }, async () => {
    await using watched = await project();
    const { command, args } = runtimeCommand();
    watched.startBy("unshare", ["-Ur", "sh", "-c", WITH_ONE_WATCH, "sh", command, ...args, prefork], serving);
    await watched.program.waitForErrorLine(
      /cannot watch .*, nor maybe others: the system gives no more watches; sysctl/,
    );
    assert.equal(await watched.says(), "one");
    assert.equal(watched.program.errorLines.filter((line) => line.includes("cannot watch")).length, 1);
    await watched.ends();
  });

  it("goes on with a new manager, which does not wait for a save but gives way", options, async () => {
    await using watched = await project();
    watched.start(serving);
    await watched.isWatched();
    watched.save("lib/hello.ts", BROKEN);
    await watched.program.waitForErrorLine("the reload failed");
    watched.program.kill("SIGUSR2");
    await watched.program.waitForErrorLine("the upgrade failed, this manager goes on");
    watched.save("lib/hello.ts", hello("two"));
    await watched.serves(3, "two");
    watched.program.kill("SIGUSR2");
    const line = await watched.program.waitForErrorLine(/the new manager pid=\d+ has taken over/);
    await watched.program.status;
    await watched.program.waitForErrorLine(/watches \d+ files/, { count: 2 });
    watched.save("lib/hello.ts", hello("three"));
    await watched.willSay("three");
    signalProcess(Number(/ pid=(\d+) has/.exec(line)?.[1]), "SIGTERM");
    await waitForNobody(watched.program);
  });

  it("is refused for a command", options, async () => {
    await using watched = await project();
    watched.start(["--", "sleep", "100"]);
    assert.equal((await watched.program.waitForEnd()).code, 2);
    assert.match(
      watched.program.errorLines.join("\n"),
      /Cannot use --watch with the command sleep: nothing tells which/,
    );
  });
});
