/** The configuration file: what it may say, who wins, and what becomes of changes. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, it, test } from "node:test";
import { fileURLToPath } from "node:url";
import { currentHost } from "../runtimes/current.ts";
import { capture } from "../src/cli/capture.ts";
import { toArguments } from "../src/cli/config.ts";
import { findConfig, parse } from "../src/cli/parse.ts";
import type { Given, RunRequest } from "../src/cli/request.ts";
import { DEFAULT_TRAPS } from "../src/cli/values.ts";
import { defineConfig, type PreforkConfig } from "../src/define_config.ts";
import { heldPort } from "./support/free_port.ts";
import { load, oneShot } from "./support/load.ts";
import { type Program, runProgram, runtime, signalProcess, type TempDir, tempDir, waitFor } from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };
const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));
const loaded = fileURLToPath(new URL("./fixtures/serve/loaded.ts", import.meta.url));
const library = new URL("../src/define_config.ts", import.meta.url).href;

function read(config: PreforkConfig, ...args: readonly string[]): RunRequest {
  const request = parse(args, toArguments("x.json", config));
  return request.kind === "run" ? request : assert.fail(JSON.stringify(request));
}

test("a file says what a command line says", () => {
  const typed = parse(
    "app.ts -w 4 -l 8080 -l admin=127.0.0.1:9000 --spare 3:8 --boot-timeout 500ms --drain-delay 5s --max-lifetime 1h --max-memory 1G -t HUP=TERM:500 --no-adoption --watch --allow-net --status-listen 9090 --umask 027 --rlimit nofile=65536 --rlimit core=0:unlimited -- -v"
      .split(" "),
  );
  const filed = read(defineConfig({
    worker: "app.ts",
    args: ["-v"],
    workers: 4,
    listen: [8080, "admin=127.0.0.1:9000"],
    spare: { min: 3, max: 8 },
    bootTimeout: 500,
    drainDelay: "5s",
    maxLifetime: "1h",
    maxMemory: "1G",
    trap: { HUP: "TERM:500" },
    adoption: false,
    watch: true,
    permissions: ["--allow-net"],
    statusListen: 9090,
    umask: "027",
    rlimit: { nofile: 65536, core: "0:unlimited" },
  }));
  assert.ok(typed.kind === "run");
  const said = ({ name, text }: Given): string => `${name}=${text}`;
  assert.deepEqual(
    filed.given.map(said).sort(),
    [
      ...typed.given.map(said).filter((text) => !/timeout|adoption/.test(text)),
      "--boot-timeout=500ms",
      "--no-adoption=",
    ].sort(),
  );
  assert.deepEqual([filed.targetOrigin, typed.targetOrigin], ["x.json", "command line"]);
  assert.deepEqual({ ...filed, given: [], targetOrigin: "" }, { ...typed, given: [], targetOrigin: "" });
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
  assert.deepEqual(request.given, [
    { name: "--trap", text: "USR2=none", origin: "x.json" },
    { name: "--workers", text: "2", origin: "command line" },
    { name: "--listen", text: "9000", origin: "command line" },
    { name: "--trap", text: "HUP=QUIT", origin: "command line" },
  ]);
  assert.deepEqual(read(file, "-w", "7", "-w", "8").given.map(({ name, text }) => `${name} ${text}`), [
    "--listen 8080",
    "--listen 8081",
    "--trap HUP=TERM",
    "--trap USR2=none",
    "--workers 8",
  ]);
  assert.throws(() => read(file, "--", "-x"), /no command begins with a dash/);
  const limited = { worker: "app.ts", rlimit: { nofile: 9, core: 0 } };
  assert.deepEqual(read(limited).given.map(({ text }) => text), ["nofile=9", "core=0"]);
  assert.deepEqual(read(limited, "--rlimit", "nofile=8").given.map(({ text }) => text), ["nofile=8"]);
  assert.deepEqual(read(limited, "--rlimit", "nofile=8").options.rlimit, ["nofile=8"]);
  const switched = read({ worker: "app.ts", watch: true, adoption: false }, "--no-watch", "--adoption");
  assert.deepEqual(switched.options, { watch: false, adoption: true });
  assert.deepEqual(switched.given.map(({ name, origin }) => [name, origin]), [
    ["--no-watch", "command line"],
    ["--adoption", "command line"],
  ]);
  assert.deepEqual(read({ worker: "app.ts", watch: false, adoption: true }, "--watch", "--no-adoption").options, {
    watch: true,
    adoption: false,
  });
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
  [
    { daemonize: true },
    /^Cannot use 'daemonize' in x.json: it is for the command line only; leave it out, and type it$/,
  ],
  [{ printConfig: true }, /^Cannot use 'printConfig' in x.json: it is for the command line only/],
  [{ worker: "a.ts", workers: "many" }, /^Cannot use 'many' for --workers: .* \('workers' in x.json\)$/],
  [{ worker: "a.ts", workers: [4] }, /^Cannot use \[4\] for 'workers' in x.json: it must be text or a number$/],
  [
    { worker: "a.ts", umask: 27 },
    /^Cannot use 27 for 'umask' in x.json: it must be text of octal digits, such as '027'$/,
  ],
  [
    { worker: "a.ts", rlimit: "nofile=1" },
    /^Cannot use "nofile=1" for 'rlimit' in x.json: it must be \{ nofile: 65536 \}$/,
  ],
  [{ worker: "a.ts", rlimit: { nofil: 1 } }, /did you mean nofile\? \('rlimit' in x.json\)$/],
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
  [
    { workers: 4 },
    /^Cannot tell what to run: x\.json names neither a worker nor a command; add worker: "\.\/app\.ts" to it, or give one beside it$/,
  ],
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

test("a program that took too long is told from one that ended", async () => {
  const run = (script: string, timeoutMs: number) => capture(currentHost, "/bin/sh", ["-c", script], { timeoutMs });
  assert.deepEqual(await run("echo early; exit 1", 30_000), { code: 1, text: "early\n", isLate: false });
  assert.deepEqual(await run("echo late; exec sleep 30", 300), { code: 128, text: "late\n", isLate: true });
  assert.deepEqual(await run("kill -9 $$", 30_000), { code: 128, text: "", isLate: false });
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
      await program.waitForErrorLine("generation 2 serves, and no other");
      await waitFor(() => program.errorLines.filter((line) => / gen=2 .*is ready/.test(line)).length === 3, {
        what: "three workers",
      });
      for (
        const [config, refusal] of [
          [{ ...base, wrokers: 2 }, `Cannot understand 'wrokers' in ${name}`],
          [{ ...base, workers: "many" }, "Cannot use 'many' for --workers"],
          [{ ...base, listen: ["127.0.0.1:1", "198.51.100.1:80"] }, "Cannot listen on "],
          [undefined, `Cannot find the configuration file '${name}'`],
          [{ ...base, name: "other" }, "Cannot change 'name' by a reload: it holds for as long as the manager lives"],
        ] as const
      ) {
        if (config === undefined) rmSync(dir.file(name));
        else write(dir, config as PreforkConfig, name);
        program.kill("SIGHUP");
        await program.waitForErrorLine(refusal);
      }
      assert.equal(program.errorLines.filter((line) => line.includes("has to prove itself")).length, 1);
      const { failures } = await clients.stop();
      assert.deepEqual(failures, []);
      await stop(program);
    });
  }

  for (
    const [what, text] of [
      ["has not come to its end", "setInterval(() => {}, 1000); await new Promise(() => {});"],
      [
        "comes to its end then",
        `const begun = process.ppid;
        while (process.ppid === begun) await new Promise((resolve) => setTimeout(resolve, 1));
        export default {};`,
      ],
    ] as const
  ) {
    it(`leaves nobody behind, and no word, where a file ${what} as it is interrupted`, options, async () => {
      await using dir = await tempDir();
      writeFileSync(
        dir.file("prefork.config.ts"),
        `import process from "node:process"; console.error("read");\n${text}`,
      );
      await using program = start(dir);
      await program.waitForErrorLine("read");
      program.kill("SIGINT");
      assert.deepEqual(await program.status, { code: null, signal: "SIGINT" });
      await waitFor(() => program.processes().length === 0, { what: "the reader of the file to be gone" });
      await program.closed;
      assert.deepEqual(program.errorLines, ["read"]);
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

  it("goes on with a reload when the next one is refused", options, async () => {
    await using dir = await tempDir();
    writeFileSync(
      dir.file("app.ts"),
      `import { existsSync } from "node:fs";
      console.log("boots");
      while (!existsSync("gate")) await new Promise((resolve) => setTimeout(resolve, 10));
      export default () => new Promise(() => setInterval(() => {}, 1000));`,
    );
    writeFileSync(dir.file("gate"), "");
    const base = { worker: "app.ts", workers: 1 };
    write(dir, base);
    await using program = start(dir);
    await program.waitForErrorLine("is ready");
    rmSync(dir.file("gate"));
    write(dir, { ...base, workers: 2 });
    program.kill("SIGHUP");
    await program.waitForLine("boots", { count: 2 });
    write(dir, { ...base, workers: "many" } as unknown as PreforkConfig);
    program.kill("SIGHUP");
    await program.waitForErrorLine("Cannot use 'many' for --workers");
    writeFileSync(dir.file("gate"), "");
    await program.waitForErrorLine("generation 2 serves, and no other");
    await program.waitForErrorLine(/worker=1 gen=2 pid=\d+ is ready/);
    await stop(program);
  });

  it("takes a change back while that is being made", options, async () => {
    await using dir = await tempDir();
    writeFileSync(
      dir.file("app.ts"),
      `import { existsSync } from "node:fs";
      export default async (worker) => {
        while (worker.slot === 1 && !existsSync("gate")) await new Promise((resolve) => setTimeout(resolve, 10));
        worker.ready();
        await new Promise((resolve) => worker.signal.addEventListener("abort", resolve));
      };`,
    );
    const base = { worker: "app.ts", workers: 1, bootTimeout: "60s" };
    write(dir, base);
    await using program = start(dir);
    await program.waitForErrorLine("is ready");
    write(dir, { ...base, workers: 2 });
    program.kill("SIGHUP");
    await program.waitForErrorLine(/worker=1 gen=2 pid=\d+ spawned/);
    write(dir, base);
    program.kill("SIGHUP");
    await program.waitForErrorLine("generation 3 serves, and no other");
    await waitFor(() => program.errorLines.some((line) => /worker=1 gen=2 .*(exited|killed)/.test(line)), {
      what: "the second worker to go",
    });
    await stop(program);
    assert.deepEqual(program.errorLines.filter((line) => /worker=1 gen=3/.test(line)), [], program.report());
  });

  it(
    "begins a reload anew whose place a start() has taken, and one that was asked for before the first",
    options,
    async () => {
      await using dir = await tempDir();
      const base = { worker: loaded, workers: 1, listen: ["127.0.0.1:0"], trap: { USR2: "none" } } as const;
      write(dir, base);
      await using program = start(dir);
      await program.waitForErrorLine("keeps 1 worker");
      program.kill("SIGHUP"); // nobody is there yet
      await program.waitForErrorLine("generation 2 serves, and no other");
      write(dir, { ...base, workers: 3 });
      program.kill("SIGHUP");
      await program.waitForErrorLine("generation 3 has to prove itself");
      program.kill("SIGUSR2");
      await program.waitForErrorLine(/worker=2 gen=\d+ pid=\d+ is ready/);
      await stop(program);
    },
  );

  it("keeps the variables of a file with the workers that were made with them", options, async () => {
    await using dir = await tempDir();
    writeFileSync(
      dir.file("app.ts"),
      `import process from "node:process";
      const { MODE, ONLY } = process.env;
      console.log("boots as", MODE, ONLY);
      if (MODE === "bad") process.exit(1);
      export default { fetch: () => new Response("") };`,
    );
    const mode = (text: string) => writeFileSync(dir.file("app.env"), text);
    mode("MODE=good\nONLY=once\n");
    write(dir, { worker: "app.ts", workers: 2, envFile: "app.env", listen: ["127.0.0.1:0"] });
    await using program = start(dir);
    await program.waitForErrorLine("is ready", { count: 2 });
    mode("MODE=bad\n");
    program.kill("SIGHUP");
    await program.waitForErrorLine("the reload failed, generation 1 goes on serving");
    const [, pid] = /worker=1 gen=1 pid=(\d+) is ready/.exec(program.errorLines.join("\n")) ?? [];
    signalProcess(Number(pid), "SIGKILL");
    await program.waitForLine("boots as good once", { count: 3 });
    await program.waitForErrorLine(/worker=1 gen=1 pid=\d+ is ready/, { count: 2 });
    mode("MODE=better\n");
    program.kill("SIGHUP");
    await program.waitForLine("boots as better undefined", { count: 2 });
    await program.waitForErrorLine("generation 3 serves, and no other");
    await stop(program);
  });

  it("listens where it says though one reload overtakes another that listened there first", options, async () => {
    await using dir = await tempDir();
    writeFileSync(
      dir.file("app.ts"),
      `import { existsSync } from "node:fs";
      console.log("boots");
      while (!existsSync("gate")) await new Promise((resolve) => setTimeout(resolve, 10));
      export default { fetch: ({ url }) => new Response("x " + new URL(url).pathname.slice("/word/".length)) };`,
    );
    writeFileSync(dir.file("gate"), "");
    const base = { worker: "app.ts", workers: 1, listen: ["127.0.0.1:0"] };
    const { port, release } = await heldPort();
    write(dir, base);
    await using program = start(dir);
    await program.waitForErrorLine("is ready");
    rmSync(dir.file("gate"));
    await release();
    write(dir, { ...base, listen: [...base.listen, `127.0.0.1:${port}`] });
    program.kill("SIGHUP");
    await program.waitForLine("boots", { count: 2 }); // and holds the socket, whatever becomes of its generation
    program.kill("SIGHUP");
    await program.waitForErrorLine(/gen=3 pid=\d+ spawned/);
    writeFileSync(dir.file("gate"), "");
    await program.waitForErrorLine("generation 3 serves, and no other");
    const clients = load({ port }, [oneShot]);
    await waitFor(() => (clients.tally.answered["one shot"] ?? 0) > 5, { what: "answers" });
    assert.deepEqual((await clients.stop()).failures, []);
    await stop(program);
  });

  it("says what each option is, and who says so", options, async () => {
    await using dir = await tempDir();
    write(dir, { worker: loaded, args: ["a b"], workers: 3, bootTimeout: "5s", trap: { HUP: "TERM:500" } });
    await using program = runProgram(
      prefork,
      ["-w", "2", "--allow-net=:80", "--drain-timeout", "1m", "--print-config"],
      {
        cwd: dir.path,
        env: { PORT: "8080", WEB_CONCURRENCY: "9" },
      },
    );
    assert.equal((await program.waitForEnd()).code, 0, program.report());
    for (
      const row of [
        /^worker +\S+loaded\.ts 'a b' +prefork\.config\.ts$/m,
        /^--workers +2 +command line$/m,
        /^--boot-timeout +5s +prefork\.config\.ts$/m,
        /^--trap +HUP=TERM:500 +prefork\.config\.ts$/m,
        /^--allow-net +:80 +command line$/m,
        /^--listen +8080 +PORT$/m,
        /^--trap +TERM=TERM +default$/m,
        /^--stop-timeout +90s +default$/m,
      ]
    ) assert.match(program.lines.join("\n"), row);
    assert.equal(program.lines.filter((line) => /^--workers|HUP=|print/.test(line)).length, 2, program.report());
  });

  it("says what a file of variables says, and what is wrong with that", options, async () => {
    await using dir = await tempDir();
    writeFileSync(dir.file("prod.env"), "WEB_CONCURRENCY=3\nPORT=8099\n");
    writeFileSync(dir.file("broken.env"), "WEB_CONCURRENCY\n");
    const module = [/^--workers +3 +WEB_CONCURRENCY in prod\.env$/m, /^--listen +8099 +PORT in prod\.env$/m];
    const command = [/^--workers +5 +WEB_CONCURRENCY$/m, /^(?![^]*--listen)/];
    for (
      const [args, env, rows] of [
        [[loaded, "--env-file", "prod.env"], {}, module],
        [["--env-file", "prod.env", "--", "/bin/true"], { WEB_CONCURRENCY: "5" }, command],
      ] as const
    ) {
      const asked = { cwd: dir.path, env: { PORT: undefined, WEB_CONCURRENCY: undefined, ...env } };
      await using program = runProgram(prefork, ["--print-config", ...args], asked);
      assert.equal((await program.waitForEnd()).code, 0, program.report());
      for (const row of rows) assert.match(program.lines.join("\n"), row);
    }
    const words = [loaded, "--print-config", "--env-file", "broken.env"];
    await using broken = runProgram(prefork, words, { cwd: dir.path });
    assert.equal((await broken.waitForEnd()).code, 2, broken.report());
    assert.deepEqual(broken.errorLines, ["prefork: Cannot read broken.env, line 1: it is not NAME=value"]);
  });

  it("finds this package by its name wherever it stands", options, async () => {
    await using dir = await tempDir();
    const shape =
      'import { defineConfig } from "@prefork/prefork/config";\nexport default defineConfig({ workers: 3 });';
    const whole = 'import { isWorker } from "@prefork/prefork";\nexport default { workers: isWorker() ? 0 : 3 };';
    for (const [name, text] of [["shape.ts", shape], ["whole.ts", whole]] as const) {
      writeFileSync(dir.file(name), text);
      await using program = runProgram(prefork, [loaded, "--config", name, "--print-config"], { cwd: dir.path });
      assert.equal((await program.waitForEnd()).code, 0, program.report());
      assert.match(program.lines.join("\n"), /^--workers +3 +/m);
    }
  });

  it("finds the package that is installed where it stands", { ...options, skip: runtime !== "bun" }, async () => {
    await using dir = await tempDir();
    const home = dir.file("node_modules/@prefork/prefork");
    mkdirSync(home, { recursive: true });
    const manifest = { name: "@prefork/prefork", type: "module", exports: { "./config": "./config.js" } };
    writeFileSync(join(home, "package.json"), JSON.stringify(manifest));
    writeFileSync(join(home, "config.js"), "export const defineConfig = (config) => ({ ...config, workers: 5 });");
    const text = 'import { defineConfig } from "@prefork/prefork/config";\nexport default defineConfig({});\n';
    writeFileSync(dir.file("prefork.config.ts"), text);
    await using program = runProgram(prefork, [loaded, "--config", "prefork.config.ts", "--print-config"], {
      cwd: dir.path,
    });
    assert.equal((await program.waitForEnd()).code, 0, program.report());
    assert.match(program.lines.join("\n"), /^--workers +5 +/m);
  });

  it("takes the file that is named, and says what is wrong with it", options, async () => {
    await using dir = await tempDir();
    mkdirSync(dir.file("etc"));
    writeFileSync(dir.file("broken.ts"), "console.error('seen');\nthrow new Error('no such secret');");
    writeFileSync(dir.file("slip.ts"), "export default {\n  workers: ;\n};");
    writeFileSync(dir.file("helped.ts"), "import './etc/help.ts';\nexport default {};");
    writeFileSync(dir.file("helpless.ts"), "import './etc/slip.ts';\nexport default {};");
    writeFileSync(dir.file("etc/help.ts"), "\n\nthrow new Error('no such help');");
    writeFileSync(dir.file("etc/slip.ts"), "export const a: number = 1;\nexport const b = ;");
    writeFileSync(dir.file("function.ts"), "export default () => ({ workers: 4 });");
    writeFileSync(dir.file("map.ts"), "export default { trap: new Map([['HUP', 'TERM']]) };");
    writeFileSync(dir.file("exit.ts"), "process.stdout.write('loading'); process.exit(0);");
    writeFileSync(dir.file("failed.ts"), "process.exit(5);");
    writeFileSync(dir.file("broken.json"), "{");
    writeFileSync(dir.file("empty.ts"), "export const a = 1;");
    for (
      const [args, message] of [
        [["--config", "none.ts"], /Cannot find the configuration file 'none\.ts'/],
        [["--config", "broken.ts"], /seen\n.*Cannot use broken\.ts: line 2: no such secret$/],
        [["--config", "slip.ts"], /Cannot use slip\.ts: line 2: /],
        [["--config", "helped.ts"], /Cannot use helped\.ts: etc\/help\.ts, line 3: no such help$/],
        [["--config", "helpless.ts"], /Cannot use helpless\.ts: etc\/slip\.ts, line 2: /],
        [
          ["--config", "function.ts"],
          /: what it exports by default must be plain data, as JSON has it, and is function/,
        ],
        [["--config", "map.ts"], /'trap' must be plain data, as JSON has it, and is an object of the class Map$/],
        [["--config", "exit.ts"], /Cannot use exit\.ts: it ended the process by itself, and had not exported/],
        [["--config", "broken.json"], /Cannot use broken\.json: it is no JSON/],
        [["--config", "failed.ts"], /Cannot use failed\.ts: its process ended with status 5, and had not exported/],
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
