import { strict as assert } from "node:assert";
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { test } from "node:test";
import { currentHost as host } from "../runtimes/current.ts";
import { bunWorkerFlags } from "../runtimes/bun_reexec.ts";
import { otherRuntimeCommand, runtime, runtimeCommand, tempDir } from "./support/run.ts";

const CASES: readonly [given: string, kept: string][] = [
  ["", ""],
  ["--smol", "--smol"],
  ["--watch", ""],
  ["--hot --no-clear-screen --smol", "--smol"],
  ["--inspect", ""],
  ["--inspect=127.0.0.1:9000 --smol", "--smol"],
  ["--inspect-wait --inspect-brk=9000", ""],
  ["--cpu-prof --smol", "--smol"],
  ["--cpu-prof-dir profiles --smol", "--smol"],
  ["--cpu-prof-dir=profiles --smol", "--smol"],
  ["--heap-prof --heap-prof-name heap --heap-prof-md", ""],
  ["--watch-kill-signal SIGTERM --watch", ""],
  ["--cwd elsewhere --smol", "--smol"],
  ["--preload ./setup.ts -r ./more.ts", "--preload ./setup.ts -r ./more.ts"],
  ["--env-file=.env --no-install --define A=1", "--env-file=.env --no-install --define A=1"],
  ["--conditions development --expose-gc", "--conditions development --expose-gc"],
];

for (const [given, kept] of CASES) {
  test(`bun ${given || "(no flags)"} gives its workers: ${kept || "none"}`, () => {
    assert.deepEqual(bunWorkerFlags(given.split(" ").filter(Boolean)), kept.split(" ").filter(Boolean));
  });
}

const timeout = 180_000;

/** What a program in a file prints when Bun runs it. */
async function runOnBun(args: readonly string[], cwd: string): Promise<string> {
  const { command } = runtime === "bun" ? runtimeCommand() : otherRuntimeCommand();
  return await run(command, args, cwd);
}

async function run(command: string, args: readonly string[], cwd: string): Promise<string> {
  let output = "";
  const { promise: read, resolve } = Promise.withResolvers<void>();
  const stdout = (chunk: Uint8Array) => {
    output += new TextDecoder().decode(chunk);
    if (chunk.length === 0) resolve();
  };
  const child = host.spawn({ command, args, cwd, env: { NODE_ENV: "" }, stdout });
  await child.exited;
  await read;
  return output.trim();
}

const hostUrl = new URL("../runtimes/bun.ts", import.meta.url).pathname;
const PROGRAM = `
  import { bunHost } from ${JSON.stringify(hostUrl)};
  const self = await bunHost.selfCommand({ controlPath: "/tmp/x" }).catch(String);
  process.stdout.write(JSON.stringify(self));
`;

test("a program on Bun is run again with its flags and arguments", { timeout }, async () => {
  await using directory = await tempDir();
  const path = directory.file("program.ts");
  await writeFile(path, PROGRAM);
  const printed = JSON.parse(
    await runOnBun(["run", "--smol", "--no-clear-screen", "program.ts", "a", "--b"], directory.path),
  );
  assert.deepEqual(printed.args, ["run", "--smol", path, "a", "--b"]);
  assert.equal(printed.cwd, directory.path);
  assert.match(printed.command, /bun/);
});

test("a program on Bun is run again with its leading --", { timeout }, async () => {
  await using directory = await tempDir();
  const path = directory.file("program.ts");
  await writeFile(path, PROGRAM);
  const printed = JSON.parse(await runOnBun(["run", "program.ts", "--", "--", "x"], directory.path));
  assert.deepEqual(printed.args, ["run", path, "--", "--", "x"]);
});

test(
  "a manager on Bun is started again by the words and the environment it was started with",
  { timeout },
  async () => {
    await using directory = await tempDir();
    const path = directory.file("program.ts");
    await writeFile(directory.file(".env"), "FROM_FILE=1\n");
    await writeFile(
      path,
      `import { bunHost } from ${JSON.stringify(hostUrl)};
     process.env.SET_LATER = "1";
     const { args, env } = await bunHost.managerCommand();
     console.log(JSON.stringify([args, process.env.FROM_FILE, env.FROM_FILE, env.SET_LATER, env.PATH]));`,
    );
    for (const words of [["a"], ["--", "a"], ["--", "--", "a"], ["--"], []]) {
      const printed = JSON.parse(await runOnBun(["run", "--smol", path, ...words], directory.path));
      assert.deepEqual(printed, [["run", "--smol", path, ...words], "1", null, null, process.env["PATH"]]);
    }
  },
);

test("a compiled program is run again by itself", { timeout }, async () => {
  await using directory = await tempDir();
  const path = directory.file("program.ts");
  await writeFile(path, PROGRAM);
  const compiled = directory.file("compiled");
  await runOnBun(["build", "--compile", path, "--outfile", compiled], directory.path);
  const printed = JSON.parse(await run(compiled, ["a", "--b"], directory.path));
  assert.deepEqual(printed, { command: compiled, args: ["a", "--b"], cwd: directory.path });
});

test("a program that Bun has from no file is refused", { timeout }, async () => {
  const printed = await runOnBun(["-e", PROGRAM], "/");
  assert.match(printed, /A program from eval cannot be run again as a worker: put it into a file/);
});
