/** The configuration file: what it may say, who wins, and what becomes of changes. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, it, test } from "node:test";
import { fileURLToPath } from "node:url";
import { toArguments } from "../src/cli/config.ts";
import { findConfig, parse, type RunRequest } from "../src/cli/parse.ts";
import { DEFAULT_TRAPS } from "../src/cli/values.ts";
import { defineConfig, type PreforkConfig } from "../src/define_config.ts";
import { load, oneShot } from "./support/load.ts";
import { type Program, runProgram, runtime, type TempDir, tempDir, waitFor } from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 90_000 };
const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));
const loaded = fileURLToPath(new URL("./fixtures/serve/loaded.ts", import.meta.url));
const library = new URL("../src/define_config.ts", import.meta.url).href;

function read(config: PreforkConfig, ...args: readonly string[]): RunRequest {
  const request = parse(args, toArguments("x.json", config));
  return request.kind === "run" ? request : assert.fail(JSON.stringify(request));
}

test("a file says what a command line says", () => {
  const typed = parse(
    "app.ts -w 4 -l 8080 -l admin=127.0.0.1:9000 --spare 3:8 --boot-timeout 500ms --max-lifetime 1h --max-memory 1G -t HUP=TERM:500 --no-adoption --allow-net --status-listen 9090 -- -v"
      .split(" "),
  );
  const filed = read(defineConfig({
    worker: "app.ts",
    args: ["-v"],
    workers: 4,
    listen: [8080, "admin=127.0.0.1:9000"],
    spare: { min: 3, max: 8 },
    bootTimeout: 500,
    maxLifetime: "1h",
    maxMemory: "1G",
    trap: { HUP: "TERM:500" },
    adoption: false,
    permissions: ["--allow-net"],
    statusListen: 9090,
  }));
  assert.equal(typed.kind, "run");
  assert.deepEqual({ ...filed, origins: {} }, { ...typed, origins: {} });
  assert.deepEqual(read({ command: ["./a.py", "-q"], args: ["x"] }).target, {
    type: "command",
    command: "./a.py",
    args: ["-q", "x"],
  });
});

test("the command line wins over the file, and the file over what else there is", () => {
  const file = { worker: "app.ts", workers: 4, listen: ["8080", "8081"], trap: { HUP: "TERM", USR2: "none" } };
  const request = read(file, "-w", "2", "-l", "9000", "-t", "HUP=QUIT");
  assert.deepEqual([request.options.workers, request.options.listen], [2, ["9000"]]);
  assert.deepEqual(request.trapSignals, { ...DEFAULT_TRAPS, SIGHUP: "SIGQUIT", SIGUSR2: null });
  assert.deepEqual(request.origins, { workers: "command line", listen: "command line" });
  assert.deepEqual(read(file).origins, { workers: "x.json", listen: "x.json" });
  assert.deepEqual(read(file, "other.ts").target, { type: "module", module: "other.ts", args: [] });
  assert.deepEqual(read(file, "--", "ls").target, { type: "command", command: "ls", args: [] });
});

test("a file is looked for where no worker is named", () => {
  assert.deepEqual(findConfig([]), { isComplete: false });
  assert.deepEqual(findConfig(["run", "-w", "4"]), { isComplete: false });
  assert.deepEqual(findConfig(["check", "--config", "a.ts"]), { file: "a.ts", isComplete: false });
  assert.deepEqual(findConfig(["app.ts", "--config=a.ts"]), { file: "a.ts", isComplete: true });
  for (const args of [["app.ts"], ["--", "ls"], ["status"], ["--help"], ["--nonsense"]]) {
    assert.deepEqual(findConfig(args), { isComplete: true }, args.join(" "));
  }
});

const MISTAKES: readonly [unknown, RegExp][] = [
  [null, /^Cannot use x.json: it must export an object by default, as defineConfig/],
  [[], /it must export an object/],
  [{ wrokers: 4 }, /^Cannot understand 'wrokers' in x.json: there is no such option; did you mean 'workers'\?$/],
  [{ worker: "a.ts", workers: "many" }, /^Cannot use 'many' for --workers: .* \('workers' in x.json\)$/],
  [{ worker: "a.ts", workers: [4] }, /^Cannot use \[4\] for 'workers' in x.json: it must be text or a number$/],
  [{ worker: "a.ts", bootTimeout: "30" }, /say whether 30s or 30ms is meant \('bootTimeout' in x.json\)$/],
  [{ worker: "a.ts", adoption: "no" }, /for 'adoption' in x.json: it must be true or false$/],
  [{ worker: "a.ts", spare: { max: 4 } }, /for 'spare' in x.json: it must be \{ min: 3, max: 8 \}$/],
  [{ worker: "a.ts", spare: { min: 1, mx: 4 } }, /for 'spare' in x.json: it must be \{ min: 3, max: 8 \}$/],
  [{ worker: "a.ts", trap: "HUP" }, /for 'trap' in x.json/],
  [{ worker: "a.ts", trap: { HUPP: "reload" } }, /there is no such signal; did you mean HUP\? \('trap' in x.json\)$/],
  [{ worker: "a.ts", command: ["ls"] }, /^Cannot use 'command' in x.json: it must be left out beside 'worker'$/],
  [{ command: "ls -l" }, /^Cannot use 'command' in x.json: it must be a list of texts/],
  [{ worker: 7 }, /^Cannot use 'worker' in x.json/],
  [{ worker: "a.ts", permissions: ["--help"] }, /for 'permissions' in x.json: it must be flags of Deno/],
  [{ worker: "a.ts", permissions: ["allow-net"] }, /for 'permissions' in x.json: it must be flags of Deno/],
  [{ worker: "a.ts", permissions: ["--name=evil"] }, /for 'permissions' in x.json: it must be flags of Deno/],
  [{ workers: 4 }, /^Cannot tell what to run/],
];

test("what is wrong in a file is told with its name and the key", () => {
  for (const [config, message] of MISTAKES) {
    const said = (() => {
      try {
        return parse([], toArguments("x.json", config));
      } catch (error) {
        return { kind: "error", message: String(error instanceof Error ? error.message : error) };
      }
    })();
    assert.match("message" in said ? said.message : JSON.stringify(said), message, JSON.stringify(config));
  }
});

/** A directory with a configuration in it. */
function write(dir: TempDir, config: PreforkConfig, name = "prefork.config.ts"): void {
  const text = name.endsWith(".json")
    ? JSON.stringify(config)
    : `import { defineConfig } from ${JSON.stringify(library)};\nconsole.log("noise");\n` +
      `export default defineConfig(${JSON.stringify(config)});\n`;
  writeFileSync(dir.file(name), text);
}

function start(dir: TempDir, ...args: readonly string[]): Program {
  return runProgram(prefork, ["--log-format", "plain", ...args], { cwd: dir.path });
}

async function stop(program: Program): Promise<void> {
  program.kill("SIGTERM");
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
}

describe(`a manager with a configuration file on ${runtime}`, () => {
  for (const name of ["prefork.config.ts", "prefork.config.json"]) {
    it(`reads ${name} again on SIGHUP, all of it or nothing`, options, async () => {
      await using dir = await tempDir();
      const base = { worker: loaded, workers: 1, listen: ["127.0.0.1:0"], bootTimeout: "5s" };
      write(dir, base, name);
      await using program = start(dir);
      await program.waitForErrorLine("is ready");
      const port = Number(/:(\d+)$/.exec(await program.waitForErrorLine("listens on "))?.[1]);
      await using clients = load({ port }, [oneShot, oneShot]);

      write(dir, { ...base, workers: 3 }, name);
      program.kill("SIGHUP");
      await program.waitForErrorLine("generation 3 serves, and no other");
      await waitFor(() => program.errorLines.filter((line) => / gen=3 .*is ready/.test(line)).length === 3, {
        what: "three workers",
      });
      for (
        const [config, refusal] of [
          [{ ...base, wrokers: 2 }, `Cannot understand 'wrokers' in ${name}`],
          [{ ...base, workers: "many" }, "Cannot use 'many' for --workers"],
          [{ ...base, listen: ["127.0.0.1:1", "198.51.100.1:80"] }, "Cannot listen on "],
          [{ ...base, name: "other" }, "Cannot change 'name' by a reload: it holds for as long as the manager lives"],
        ] as const
      ) {
        write(dir, config as PreforkConfig, name);
        program.kill("SIGHUP");
        await program.waitForErrorLine(refusal);
      }
      assert.equal(program.errorLines.filter((line) => line.includes("has to prove itself")).length, 1);
      const { failures } = await clients.stop();
      assert.deepEqual(failures, []);
      await stop(program);
    });
  }

  it("holds what was read last, however long the reading takes", options, async () => {
    await using dir = await tempDir();
    const base = { worker: loaded, listen: ["127.0.0.1:0"] };
    const slowly = (workers: number, ms: number) => {
      writeFileSync(
        dir.file("prefork.config.ts"),
        `await new Promise((resolve) => setTimeout(resolve, ${ms}));
        setInterval(() => {}, 1000); export default ${JSON.stringify({ ...base, workers })};`,
      );
    };
    slowly(1, 0);
    await using program = start(dir);
    await program.waitForErrorLine("is ready");
    slowly(2, 1500);
    program.kill("SIGHUP");
    await program.waitForErrorLine("received SIGHUP");
    await waitFor(() => program.processes().length > 2, { what: "the file to be run" });
    slowly(3, 0);
    program.kill("SIGHUP");
    await program.waitForErrorLine(/worker=2 gen=\d+ pid=\d+ is ready/);
    await program.waitForErrorLine(/generation \d+ serves, and no other/);
    await stop(program);
  });

  it("says what each option is, and who says so", options, async () => {
    await using dir = await tempDir();
    write(dir, { worker: loaded, workers: 3, bootTimeout: "5s" });
    await using program = start(dir, "-w", "2", "--print-config");
    assert.equal((await program.waitForEnd()).code, 0, program.report());
    assert.match(program.lines.join("\n"), /^worker +\S+loaded\.ts$/m);
    assert.match(program.lines.join("\n"), /^workers +2 {2}\(command line\)$/m);
    assert.match(program.lines.join("\n"), /^bootTimeoutMs +5000 {2}\(prefork\.config\.ts\)$/m);
  });

  it("takes the file that is named, and says what is wrong with it", options, async () => {
    await using dir = await tempDir();
    mkdirSync(dir.file("etc"));
    writeFileSync(dir.file("broken.ts"), "throw new Error('no such secret');");
    writeFileSync(dir.file("broken.json"), "{");
    writeFileSync(dir.file("empty.ts"), "export const a = 1;");
    for (
      const [args, message] of [
        [["--config", "none.ts"], /Cannot find the --config 'none\.ts'/],
        [["--config", "broken.ts"], /Cannot use broken\.ts: no such secret$/],
        [["--config", "broken.json"], /Cannot use broken\.json: it is no JSON/],
        [["--config", "empty.ts"], /Cannot use empty\.ts: it must export an object by default/],
        [[], /Cannot tell what to run/],
      ] as const
    ) {
      await using program = start(dir, ...args);
      assert.equal((await program.waitForEnd()).code, 2, program.report());
      assert.match(program.errorLines.join("\n"), message);
    }
    writeFileSync(join(dir.path, "etc", "web.json"), JSON.stringify({ command: ["/bin/sleep", "1000"], workers: 1 }));
    await using program = start(dir, "--config", "etc/web.json", "--name", "web");
    await program.waitForErrorLine("is ready");
    await stop(program);
    assert.equal(existsSync(join(program.temporary, "prefork", "web.sock")), false);
  });
});
