import assert from "node:assert/strict";
import { readlinkSync } from "node:fs";
import { chmod, copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import process from "node:process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  isAlive,
  otherRuntimeCommand,
  type Program,
  runCommand,
  type RunOptions,
  runProgram,
  runtime,
  runtimeCommand,
  tempDir,
  waitFor,
} from "./support/run.ts";

const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));
const worker = fileURLToPath(new URL("./fixtures/cli_worker.ts", import.meta.url));
const ticker = fileURLToPath(new URL("../examples/ticker.ts", import.meta.url));
const SLOW = { timeout: 180_000 };

function start(args: readonly string[], options: RunOptions = {}): Program {
  return runProgram(prefork, ["--log-format", "plain", ...args], options);
}

async function stop(program: Program): Promise<void> {
  program.kill("SIGTERM");
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" });
}

function pidIn(line: string): number {
  const pid = Number(/pid=(\d+)/.exec(line)?.[1]);
  assert.ok(pid > 0, line);
  return pid;
}

describe("prefork on the command line", () => {
  test("--version and --help", SLOW, async () => {
    await using version = runProgram(prefork, ["--version"]);
    assert.equal((await version.waitForEnd()).code, 0);
    assert.match(
      version.lines.join("\n"),
      new RegExp(`^prefork \\d+\\.\\d+\\.\\d+ \\(${runtime} \\d+\\.\\d+\\.\\d+.*\\)$`),
    );
    await using help = runProgram(prefork, ["--help"]);
    assert.equal((await help.waitForEnd()).code, 0);
    assert.match(help.lines.join("\n"), /--workers N/);
  });

  test("a mistake is one sentence and exit status 2", SLOW, async () => {
    await using dir = await tempDir();
    await writeFile(dir.file("bad.env"), "A=1\nnonsense\n");
    await writeFile(dir.file("program"), "");
    await writeFile(dir.file("what?.ts"), "");
    await writeFile(dir.file("bundle.sh"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
    const cases: readonly [readonly string[], RegExp, RunOptions?][] = [
      [["--wrokers", "2", worker], /did you mean --workers\?/],
      [[worker.replace("cli_worker", "cli_wroker")], /Cannot find the worker .*; is it .*cli_worker\.ts\?/],
      [["staus"], /Cannot find the worker 'staus'; did you mean the command 'status'\?/],
      [["help"], /Cannot find the worker 'help'; did you mean --help\?/],
      [["ps"], /Cannot find the worker 'ps'; did you mean the command 'list'\?/],
      [["start", worker], /Cannot use '.*' beside the worker start: .*; did you mean the command 'run'\?/],
      [[dir.path], /it is a directory/],
      [[worker, "--cwd", dir.file("none")], /Cannot find the directory --cwd/],
      [[worker, "--cwd", worker], /it is not a directory/],
      [[worker, "--env-file", dir.file("none.env")], /Cannot find the --env-file/],
      [[worker, "--env-file", dir.file("bad.env")], /bad\.env, line 2: it is not NAME=value/],
      [[worker, "--runtime", "nodee"], /it must be deno, bun, or the path of one of them/],
      [[worker, "--runtime", "/none/deno"], /Cannot find the --runtime '\/none\/deno': there is no directory \/none$/],
      [[`/${"x".repeat(300)}`], /Cannot look for the worker '.*': its name is too long$/],
      [[worker, "--runtime", "/bin/true"], /does not answer --version as Deno or Bun do/],
      [[worker, "--runtime", "bun", "--allow-net"], /for workers on Bun/],
      [[worker, "--runtime", "deno", "-t", "USR2=USR1"], /Cannot send SIGUSR1 to workers on Deno/],
      [[worker, "--status-token-file", "/dev/null"], /Cannot use --status-token-file without --status-listen: add one/],
      [[worker, "--name", "a b"], /Cannot name a pool 'a b'/],
      [[worker, "--output", "inherit", "--log-file", "/dev/null"], /Cannot use --output inherit beside --log-file: /],
      [["http://localhost/app.ts", "--runtime", "bun"], /it runs files only/],
      [["file:///nonexistent.ts"], /Cannot find the worker '\/nonexistent\.ts'/],
      [["file:///a%2Fb.ts"], /it is no valid URL/],
      [["http://"], /it is no valid URL/],
      [["htp:foo"], /Cannot use 'htp:foo' as the worker: htp: is none of file:, http:,/],
      [[dir.file("what?.ts"), "--runtime", "bun"], /on Bun: it takes no path with a '\?'/],
      [[worker, "--runtime", dir.file("bundle.sh")], /does not answer --version as Deno or Bun do/],
      [[worker, "-w", "2000000"], /Cannot use --workers: it must be a whole number from 0 to 1000000, not 2000000$/],
      [[worker, "--max-lifetime", "0"], /Cannot use --max-lifetime: it must be 1 or more milliseconds, not 0$/],
      [[worker, "--surge", "0"], /Cannot replace workers with --surge and --unavailable both 0/],
      [
        [worker, "--ready-when", "/healthz"],
        /Cannot use --ready-when with the path '\/healthz': .* listens on nothing/,
      ],
      [[worker, "-w", "2", "--spare", "2:8"], /Cannot keep 2 workers spare of 2, as --spare asks: give a larger -w/],
      [["run", "--", "no-such-command"], /along PATH/],
      [["run", "--", dir.file("program")], /it is not executable/],
      [["run", "--runtime", "bun", "--", "true"], /it is for worker modules only/],
      [
        ["run", "--hang-timeout", "1s", "--", "true"],
        /^prefork: Cannot use --hang-timeout with the command true: it does not tell whether .*; leave it out$/,
      ],
      [["--max-requests", "10", "--", "true"], /Cannot use --max-requests with the command true: .*; leave it out$/],
      [["--no-adoption", "--", "true"], /Cannot use --no-adoption with the command true: .*; leave it out$/],
      [[worker], /Cannot use 'many' for WEB_CONCURRENCY/, { env: { WEB_CONCURRENCY: "many" } }],
    ];
    for (const [args, message, options] of cases) {
      await using program = runProgram(prefork, args, options);
      assert.deepEqual(await program.waitForEnd(), { code: 2, signal: null }, program.report());
      assert.equal(program.errorLines.length, 1, program.report());
      assert.match(program.errorLines.join(), message);
      assert.match(program.errorLines.join(), /^prefork: [A-Z]/);
    }
  });

  test("runs a module that knows nothing of prefork, and stops it", SLOW, async () => {
    await using program = start([ticker, "-w", "2"]);
    await program.waitForLine("tick 1", { count: 2 });
    await program.waitForErrorLine("is ready", { count: 2 });
    await stop(program);
    assert.equal(program.matching("stopping after").length, 2);
    const story = program.errorLines.join("\n");
    for (const what of ["spawned", "is ready", "was sent SIGTERM", "exited with status 0"]) {
      assert.equal([...story.matchAll(new RegExp(`worker=[01] gen=1 pid=\\d+ ${what}`, "g"))].length, 2, story);
    }
    assert.match(story, /received SIGTERM/);
  });

  test("hands arguments, environment file and directory to the workers", SLOW, async () => {
    await using dir = await tempDir();
    await writeFile(dir.file("app.env"), "FLAVOUR='sea salt'\nHOME=/nowhere\n");
    const options = ["--env-file", dir.file("app.env"), "--cwd", dir.path];
    await using program = start([worker, ...options, "--", "-w", "--", "x"], {
      env: { WEB_CONCURRENCY: "1", HOME: "/h" },
    });
    const hello = await program.waitForLine("hello");
    assert.match(hello, /flavour=sea salt .* home=\/h /);
    assert.ok(hello.includes(`cwd=${dir.path} `), hello);
    assert.match(hello, /args=-w -- x$/);
    await stop(program);
    assert.equal(program.matching("hello").length, 1);
  });

  test("hands a leading -- to the workers, too", SLOW, async () => {
    for (const words of [["--", "x"], ["--", "--", "x"]]) {
      await using program = start([worker, "-w", "1", "--", ...words]);
      assert.ok((await program.waitForLine("hello")).endsWith(` args=${words.join(" ")}`), program.report());
      await stop(program);
    }
  });

  test("runs workers on the other runtime", SLOW, async () => {
    const other = otherRuntimeCommand();
    await using program = start([worker, "-w", "1", "--runtime", other.command]);
    await program.waitForLine(`hello from ${other.name}`);
    await stop(program);
  });

  test("passes permissions to workers on Deno", SLOW, async () => {
    const deno = runtime === "deno" ? "deno" : otherRuntimeCommand().command;
    await using dir = await tempDir();
    await writeFile(
      dir.file("app.ts"),
      `const state = (name) => Deno.permissions.querySync({ name }).state;
       console.log("sys", state("sys"), "run", state("run"));
       setInterval(() => {}, 60_000);`,
    );
    await using program = start([dir.file("app.ts"), "-w", "1", "--runtime", deno, "--allow-sys", "--allow-read"]);
    const line = await program.waitForLine("sys");
    assert.match(line, /^sys granted run (prompt|denied)$/);
    await stop(program);
  });

  test(
    "fails where what it has to say cannot be written",
    { ...SLOW, skip: process.platform !== "linux" },
    async () => {
      const { command, args } = runtimeCommand();
      const line = [command, ...args, prefork, "--help"].map((word) => `'${word}'`).join(" ");
      await using program = runCommand("sh", ["-c", `${line} >/dev/full`]);
      assert.equal((await program.waitForEnd()).code, 1, program.report());
      assert.deepEqual(program.errorLines, [
        "prefork: Cannot write to standard output: no space is left on the disk",
      ]);
    },
  );

  test("names the permission that Deno lacks, in a sentence", { ...SLOW, skip: runtime !== "deno" }, async () => {
    for (const args of [[worker], ["--print-config"], ["list"]]) {
      await using program = runProgram(prefork, args, { runtimeArgs: ["run", "--no-prompt", "--allow-env"] });
      assert.equal((await program.waitForEnd()).code, 2, program.report());
      assert.match(
        program.errorLines.join("\n"),
        /^prefork: Requires (read|sys) access .*--allow-(read|sys)/,
      );
    }
  });

  test("runs any command, with and without `run`", SLOW, async () => {
    for (const words of [["-w", "1", "--"], ["run", "-w", "1", "--"]]) {
      await using program = start([
        ...words,
        "sh",
        "-c",
        'echo "hello $PREFORK_SLOT $1"; exec sleep 60',
        "sh",
        "--help",
      ]);
      await program.waitForLine("hello 0 --help");
      await program.waitForErrorLine("is ready");
      await stop(program);
    }
    await using program = runProgram(prefork, ["--", "sh", "-c", "echo hello; exec sleep 60"], {
      env: { WEB_CONCURRENCY: "1" },
    });
    await program.waitForLine("hello");
    await stop(program);
  });

  test("HUP replaces all workers, TTIN and TTOU change their number", SLOW, async () => {
    await using program = start([worker, "-w", "2"]);
    const first = pidIn(await program.waitForErrorLine("is ready", { count: 2 }));
    program.kill("SIGHUP");
    await program.waitForErrorLine("generation 2 has to prove itself");
    await program.waitForErrorLine(/gen=1 .* is replaced by gen=2/, { count: 2 });
    await program.waitForErrorLine("generation 2 serves, and no other");
    await waitFor(() => !isAlive(first), { what: "the old workers to go" });
    program.kill("SIGTTIN");
    await program.waitForErrorLine("received SIGTTIN: now 3 workers");
    await program.waitForErrorLine(/worker=2 gen=2 .*is ready/);
    program.kill("SIGTTOU");
    await program.waitForErrorLine("received SIGTTOU: now 2 workers");
    await program.waitForErrorLine(/gen=2 .* exited with status 0/);
    await stop(program);
    assert.doesNotMatch(program.errorLines.join("\n"), /gen=3/);
  });

  test("INT and QUIT stop, too, and -t says what workers get", SLOW, async () => {
    for (const signal of ["SIGINT", "SIGQUIT"] as const) {
      await using program = start([worker, "-w", "1", "-t", "USR2=INT"]);
      await program.waitForErrorLine("is ready");
      program.kill("SIGUSR2");
      await program.waitForLine("interrupted");
      program.kill(signal);
      assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null });
      assert.equal(program.matching("stop").length, 1);
    }
  });

  test("a second TERM kills, as whoever waits is told", SLOW, async () => {
    await using program = start([worker, "-w", "2", "--", "--deaf"]);
    await program.waitForErrorLine("is ready", { count: 2 });
    program.kill("SIGTERM");
    await program.waitForLine("stop", { count: 2 });
    await program.waitForErrorLine("waits for 2 workers, which are not done yet; another SIGTERM kills them");
    await stop(program);
    assert.match(program.errorLines.join("\n"), /received another SIGTERM: workers are killed/);
    assert.match(program.errorLines.join("\n"), /was killed by SIGKILL/);
    assert.match(
      program.errorLines.at(-1) ?? "",
      /stopped; 2 workers had to be killed: worker=0 gen=1 pid=\d+, worker=1 gen=1 pid=\d+$/,
    );
  });

  test("--stop-timeout kills", SLOW, async () => {
    await using program = start([worker, "-w", "1", "--stop-timeout", "100ms", "--", "--deaf"]);
    await program.waitForErrorLine("is ready");
    await stop(program);
    assert.match(program.errorLines.join("\n"), /did not stop in time and is killed/);
  });

  test("exit status 3 when no worker ever became ready", SLOW, async () => {
    await using program = start(["-w", "5", "--", "sh", "-c", "exit 7"]);
    assert.deepEqual(await program.waitForEnd(), { code: 3, signal: null }, program.report());
    assert.match(program.errorLines.join("\n"), /exited with status 7/);
    assert.match(program.errorLines.join("\n"), /gave up after 5 failures/);
  });

  test("dies of a signal that is nobody's, and leaves nobody", SLOW, async () => {
    await using program = start([worker, "-w", "2"]);
    await program.waitForErrorLine("is ready", { count: 2 });
    program.kill("SIGALRM");
    assert.deepEqual(await program.status, { code: null, signal: "SIGALRM" });
    await waitFor(() => program.processes().length === 0, { what: "the workers to end" });
  });

  test("logs in JSON when no terminal reads it", SLOW, async () => {
    await using program = runProgram(prefork, [worker, "-w", "1", "--name", "web"]);
    await program.waitForErrorLine("is ready");
    await stop(program);
    const records = program.errorLines.map((line) => JSON.parse(line));
    const reap = records.find(({ properties }) => properties.event === "reap");
    assert.deepEqual([reap.logger, reap.level, reap.properties.worker, reap.properties.gen], [
      "prefork.web",
      "INFO",
      0,
      1,
    ]);
    assert.deepEqual(reap.properties.status, { type: "exited", code: 0 });
  });

  test("logs in JSON what is no event, too", SLOW, async () => {
    await using program = runProgram(prefork, ["-w", "1", "-t", "USR1=none", "--", "sleep", "60"]);
    await program.waitForErrorLine("is ready");
    await stop(program);
    const messages = program.errorLines.map((line): string => JSON.parse(line).message);
    const warnings = messages.filter((message) => message.startsWith("trapping SIGUSR1: on Deno"));
    assert.equal(warnings.length, runtime === "deno" ? 1 : 0, program.report());
    assert.equal(messages.filter((message) => message.includes("is ready")).length, 1, program.report());
  });

  test("has no line within another where both streams are one", SLOW, async () => {
    const talk = "seq -f 'out %0200g' 3000 & seq -f 'err %0200g' 3000 >&2; wait; exec sleep 60";
    const { command, args } = runtimeCommand();
    const pool = [command, ...args, prefork, "--log-format", "plain", "-w", "2", "--", "sh", "-c", talk];
    await using program = runCommand("sh", ["-c", 'exec "$@" 2>&1', "sh", ...pool]);
    const said = () => program.lines.filter((line) => /out|err|0{10}/.test(line));
    await waitFor(() => said().length >= 12_000, { what: "all lines" });
    assert.deepEqual(said().filter((line) => !/^(out|err) \d{200}$/.test(line)), []);
    await stop(program);
  });

  test("says that it stopped when the workers have nothing more to say", SLOW, async () => {
    const late = "trap 'kill $!; setsid sh -c \"sleep 0.5; echo last\" & exit' TERM; sleep 60 & echo hello; wait";
    const { command, args } = runtimeCommand();
    const pool = [command, ...args, prefork, "--log-format", "plain", "-w", "1", "--", "sh", "-c", late];
    await using program = runCommand("sh", ["-c", 'exec "$@" 2>&1', "sh", ...pool]);
    await program.waitForLine("hello");
    await program.waitForLine("is ready");
    await stop(program);
    assert.deepEqual(program.lines.slice(-2).map((line) => line.replace(/.* /, "")), ["last", "stopped"]);
  });
});

test("the log has its levels, and no time of its own, where the journal reads it", SLOW, async () => {
  await using dir = await tempDir();
  const { command, args } = runtimeCommand();
  const line = [command, ...args, prefork, worker, "-w", "1"].map((word) => `'${word}'`).join(" ");
  const begin = ': >log; export JOURNAL_STREAM="$(stat -c %d:%i log)";';
  for (
    const [how, form] of [["2>>log", /^<6>pid=\d+ \S+ \S+ keeps 1 worker of /], ["2>other", /^\{"@timestamp"/]] as const
  ) {
    await using program = runCommand("sh", ["-c", `${begin} exec ${line} ${how}`], { cwd: dir.path });
    const log = dir.file(how.slice(how.lastIndexOf(">") + 1));
    const read = () => readFile(log, "utf8").catch(() => "");
    await waitFor(async () => (await read()).includes("is ready"), { what: "a worker" });
    assert.match(await read(), form);
    process.kill(liveWorkerIn(await read()), "SIGKILL");
    await waitFor(async () => (await read()).includes("was killed by SIGKILL"), { what: "its end" });
    if (how === "2>>log") assert.match(await read(), /^<4>worker=0 gen=1 pid=\d+ was killed by SIGKILL$/m);
    program.kill("SIGTERM");
    assert.deepEqual(await program.status, { code: 0, signal: null });
  }
});

function liveWorkerIn(log: string): number {
  return pidIn(/worker=0 gen=1 pid=\d+ is ready/.exec(log)?.[0] ?? "");
}

describe("prefork --output", () => {
  const script = 'echo "one  \\"two\\""; readlink /proc/self/fd/1; echo oops >&2; exec sleep 60';
  const print = (...args: string[]): Program => start([...args, "-w", "1", "--", "sh", "-c", script]);

  test("named tells whose each line is, in a JSON log as a record of its own", SLOW, async () => {
    for (const format of ["json", "plain"]) {
      await using program = print("--output", "named", "--log-format", format);
      const [line, error] = [await program.waitForLine("two"), await program.waitForErrorLine("oops")];
      const pid = pidIn(await program.waitForErrorLine("gen=1"));
      if (format === "plain") assert.deepEqual([line, error], [`[0 ${pid}] one  "two"`, `[0 ${pid}] oops`]);
      else {
        const { "@timestamp": _, ...record } = JSON.parse(line);
        const properties = { event: "output", worker: 0, pid, stream: "stdout" };
        assert.deepEqual(record, { level: "INFO", message: 'one  "two"', logger: "prefork", properties });
        assert.deepEqual(JSON.parse(error).properties, { ...properties, stream: "stderr" });
      }
      await stop(program);
    }
  });

  test("lines leaves them as they are, and inherit does not even look at them", SLOW, async () => {
    for (const mode of ["lines", "inherit"]) {
      await using program = print("--output", mode);
      await program.waitForLine('one  "two"');
      const own = readlinkSync(`/proc/${program.pid}/fd/1`);
      assert.equal(await program.waitForLine(/^(pipe|socket):/) === own, mode === "inherit", program.report());
      assert.equal(await program.waitForErrorLine("oops"), "oops");
      await stop(program);
    }
  });
});

describe("prefork whose output nobody takes", () => {
  const { command, args } = runtimeCommand();
  const line = (rest: string): string =>
    [...[command, ...args, prefork].map((word) => `'${word}'`), "-w", "1", rest].join(" ");

  const stuck = (pool: string): string => `mkfifo fifo; sleep 600 <fifo & exec ${pool} >fifo 2>fifo`;
  const count = async (file: string): Promise<number> =>
    (await readFile(file, "utf8").catch(() => "")).split("\n").length;

  test("a full pipe stops the workers that print, not the manager", SLOW, async () => {
    await using dir = await tempDir();
    const pool = line(`${worker} --stop-timeout 200ms -- --mark ${dir.file("mark")} --flood`);
    await using program = runCommand("sh", ["-c", stuck(pool)], { cwd: dir.path });
    for (const workers of [1, 2, 3]) {
      await waitFor(async () => await count(dir.file("mark")) > workers, { what: `worker ${workers}` });
      program.kill("SIGTTIN");
    }
    program.kill("SIGTERM");
    assert.deepEqual(await program.status, { code: 0, signal: null });
  });

  test("a log that nobody reads does not stop the manager", SLOW, async () => {
    await using dir = await tempDir();
    const pool = line(`-- sh -c 'echo started >>mark'`);
    await using program = runCommand("sh", ["-c", stuck(pool)], { cwd: dir.path });
    // Each worker is good for more than 300 bytes of log, and a pipe takes 65536.
    await waitFor(async () => await count(dir.file("mark")) > 500, { what: "500 workers" });
    program.kill("SIGTERM");
    assert.deepEqual(await program.status, { code: 0, signal: null });
  });

  test("a closed standard error and output neither", SLOW, async () => {
    await using dir = await tempDir();
    for (const how of [">&- 2>&-", ">/dev/full 2>/dev/full", ">broken 2>&1"]) {
      const pool = line(`${worker} -- --mark ${dir.file("mark")}`);
      await writeFile(dir.file("mark"), "");
      const script = `rm -f broken; mkfifo broken; sh -c ': <broken' & exec ${pool} ${how}`;
      await using program = runCommand("sh", ["-c", script], { cwd: dir.path });
      await waitFor(async () => (await readFile(dir.file("mark"), "utf8")).includes("hello"), {
        what: `a worker: ${how}`,
      });
      program.kill("SIGTERM");
      assert.deepEqual(await program.status, { code: 0, signal: null }, how);
    }
  });
});

describe("prefork --user", { skip: process.getuid?.() !== 0 && "needs root" }, () => {
  test("sets user, group, groups and home", SLOW, async () => {
    await using dir = await tempDir();
    await chmod(dir.path, 0o755);
    await copyFile(worker, dir.file("app.ts"));
    await writeFile(dir.file("app.env"), "USER=somebody\nLOGNAME=else\n"); // which says what is, not who
    const words = ["-w", "1", "--user", "nobody", "--cwd", "/", "--env-file", dir.file("app.env")];
    await using program = start([dir.file("app.ts"), ...words]);
    const hello = await program.waitForLine("hello");
    assert.match(hello, /ids=65534:65534 groups=65534 home=\/nonexistent user=nobody/);
    await stop(program);
  });

  test("says which directory keeps that user out", SLOW, async () => {
    await using dir = await tempDir();
    await chmod(dir.path, 0o755);
    await mkdir(dir.file("closed"), { mode: 0o700 });
    await copyFile(worker, dir.file("closed/app.ts"));
    await copyFile(worker, dir.file("secret.ts"));
    await chmod(dir.file("secret.ts"), 0o600);
    const cases: readonly [readonly string[], string][] = [
      [[dir.file("closed/app.ts")], `may not enter the directory ${dir.file("closed")} on the way to the worker`],
      [[dir.file("secret.ts")], `may not read the worker ${dir.file("secret.ts")}`],
      [[ticker, "--cwd", dir.file("closed")], `may not enter --cwd ${dir.file("closed")}`],
    ];
    for (const [args, message] of cases) {
      await using program = start([...args, "--user", "nobody"]);
      assert.equal((await program.waitForEnd()).code, 2);
      assert.ok(program.errorLines.join().includes(message), program.report());
    }
  });

  test("refuses who is not there", SLOW, async () => {
    for (
      const [args, message] of [[["--user", "nobdy"], /did you mean nobody\?/], [
        ["--user", "54321"],
        /add --group/,
      ]] as const
    ) {
      await using program = start([ticker, ...args]);
      assert.equal((await program.waitForEnd()).code, 2);
      assert.match(program.errorLines.join(), message);
    }
  });
});
