/** `--daemonize`: the shell has its prompt back when the daemon is ready, or the reason why it did not come to be. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import process from "node:process";
import { describe, it } from "node:test";
import { ask, options, prefork, web } from "./support/operator.ts";
import { descendants } from "./support/processes.ts";
import {
  isAlive,
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
import { Terminal } from "./support/terminal.ts";

const inTerminal = { ...options, skip: options.skip || (spawnSync("tmux", ["-V"]).status !== 0 && "needs tmux") };
/** A worker that never comes to be ready. */
const never = ["-w", "1", "--ready-when", "tcp:127.0.0.1:1", "--boot-timeout", "1h", "--", "/bin/sleep", "1000"];

/** Starts a daemon, with its log in a file. */
function daemonize(dir: TempDir, args: readonly string[], more: RunOptions = {}): Program {
  return runProgram(prefork, ["--daemonize", "--log-file", dir.file("log"), "--log-format", "plain", ...args], more);
}

function logOf(dir: TempDir): string {
  const file = dir.file("log");
  return existsSync(file) ? readFileSync(file, "utf8") : "";
}

const logged = (dir: TempDir, what: RegExp) =>
  waitFor(() => what.test(logOf(dir)), { what: `${what} in the log` }).catch((error) => {
    throw new Error(`${error.message}\n${logOf(dir)}`);
  });

/** Waits until it is ready; gives its pid and its port. */
async function readyOne(program: Program): Promise<{ readonly pid: number; readonly port: number }> {
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  assert.deepEqual([program.lines.length, program.errorLines], [1, []], program.report());
  const [, pid, port] = /^hello pid=(\d+) listens on 127\.0\.0\.1:(\d+)$/.exec(program.lines[0] ?? "") ?? [];
  assert.ok(pid !== undefined && port !== undefined, program.report());
  return { pid: Number(pid), port: Number(port) };
}

async function expectAnswer(port: number): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: "close" } });
  assert.equal(answer.status, 200);
  await answer.text();
}

async function expectNothingLeft(program: Program): Promise<void> {
  await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" });
  const left = () => readdirSync(program.temporary).filter((name) => name.startsWith("prefork-"));
  await waitFor(() => left().length === 0, { what: `no ${left()} to be left` });
}

async function expectFailure(program: Program, code: number, ...reasons: readonly RegExp[]): Promise<void> {
  assert.deepEqual(await program.waitForEnd(), { code, signal: null }, program.report());
  assert.deepEqual(program.lines, []);
  for (const reason of reasons) assert.match(program.errorLines.join("\n"), reason);
  await expectNothingLeft(program);
}

describe(`--daemonize, on ${runtime}`, () => {
  it("returns when the daemon is ready, which is found, serves, and is stopped", options, async () => {
    await using dir = await tempDir();
    await using program = daemonize(dir, ["--pid-file", dir.file("pid"), "-w", "2", ...web]);
    const { pid, port } = await readyOne(program);
    assert.equal(readFileSync(dir.file("pid"), "utf8"), `${pid}\n`);
    // Who asked is told at once, and the log is written meanwhile.
    await waitFor(() => logOf(dir).match(/ is ready$/gm)?.length === 2, { what: "two ready workers in the log" });
    const [, session, terminal] =
      /^\d+ \(.*\) \w \d+ \d+ (\d+) (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, "latin1")) ?? [];
    assert.deepEqual([Number(session), Number(terminal)], [pid, 0], "a session of its own, without a terminal");
    await expectAnswer(port);
    assert.equal((await ask(program, "stop", "--wait")).code, 0);
    assert.ok(!isAlive(pid));
    await expectNothingLeft(program);
  });

  it("waits for no worker that is not wanted any more", options, async () => {
    await using dir = await tempDir();
    const slow = 'if (process.env.PREFORK_SLOT === "1") await new Promise(() => setInterval(() => {}, 1000));\n';
    writeFileSync(dir.file("app.ts"), `${slow}export default { fetch: () => new Response("ok") };\n`);
    await using program = daemonize(dir, ["-w", "2", "-l", "127.0.0.1:0", dir.file("app.ts")]);
    await logged(dir, /worker=0 gen=1 pid=\d+ is ready/);
    assert.equal((await ask(program, "scale", "1")).code, 0);
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    assert.equal((await ask(program, "stop", "--now", "--wait")).code, 0);
    await expectNothingLeft(program);
  });

  it("outlives the terminal it was started from", inTerminal, async () => {
    await using dir = await tempDir();
    const { command, args } = runtimeCommand();
    const words = [prefork, "--daemonize", "--log-file", dir.file("log"), "--pid-file", dir.file("pid"), "-w", "1"];
    const line = [command, ...args, ...words, ...web, "--control", dir.file("control")].join(" ");
    await using terminal = new Terminal(dir.file("tmux"), line);
    await terminal.open();
    const screen = await terminal.shows(/status 0/);
    const [, pid, port] = /pid=(\d+) listens on 127\.0\.0\.1:(\d+)/.exec(screen) ?? [];
    terminal.close();
    await expectAnswer(Number(port));
    signalProcess(Number(pid), "SIGHUP");
    await logged(dir, /generation 2 serves, and no other/);
    signalProcess(Number(pid), "SIGTERM");
    await waitFor(() => !isAlive(Number(pid)), { what: "the daemon to be gone" });
  });

  it("is upgraded to one that does not start a daemon again", options, async () => {
    await using dir = await tempDir();
    await using program = daemonize(dir, ["-w", "1", ...web]);
    const { pid, port } = await readyOne(program);
    signalProcess(pid, "SIGUSR2");
    await logged(dir, /the new manager pid=\d+ has taken over/);
    await waitFor(() => !isAlive(pid), { what: "the old manager to be gone" });
    await expectAnswer(port);
    await waitFor(async () => (await ask(program, "stop", "--wait")).code === 0, { what: "the new one to stop" });
    await expectNothingLeft(program);
  });

  it("tells what keeps the daemon from beginning", options, async () => {
    await using dir = await tempDir();
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const address = server.address();
    const port = typeof address === "object" ? address?.port : undefined;
    await using taken = daemonize(dir, ["-w", "1", web[0] ?? "", "-l", `127.0.0.1:${port}`]);
    await expectFailure(
      taken,
      2,
      /^prefork: Cannot listen on .*another process listens there; /,
      /exited with status 2 before it/,
    );
    server.close();
    await using file = runProgram(prefork, ["--daemonize", "--log-file", "/nowhere/log", ...web]);
    await expectFailure(file, 2, /^prefork: Cannot use \/nowhere\/log for --log-file: .*\n.*before it was ready$/);
  });

  it("tells what the workers printed of which none came to be ready", options, async () => {
    await using dir = await tempDir();
    const broken = ["--", "/bin/sh", "-c", "echo lost its way; echo at a crossing >&2; exit 5"];
    await using program = daemonize(dir, ["-w", "4", ...broken]);
    await expectFailure(
      program,
      3,
      /^lost its way$/m,
      /^at a crossing$/m,
      /^prefork: gave up after 5 failures, .* exited with status 5/m,
      /^prefork: the daemon exited with status 3 before it was ready; its log is in /m,
    );
  });

  it("tells of a command line that is wrong, and of no log file", options, async () => {
    await using wrong = runProgram(prefork, ["--daemonize", "--log-file", "/dev/null", "nowhere.ts"]);
    await expectFailure(wrong, 2, /^prefork: Cannot find .*nowhere\.ts/);
    await using without = runProgram(prefork, ["--daemonize", ...web]);
    await expectFailure(without, 2, /^prefork: Cannot use --daemonize without --log-file: /);
    await using watching = runProgram(prefork, ["--daemonize", "--log-file", "/dev/null", "--watch", ...web]);
    await expectFailure(watching, 2, /^prefork: Cannot use --daemonize: --watch waits for saves, .*; leave it out$/);
  });

  it("is refused where somebody watches over the process that was started", options, async () => {
    await using dir = await tempDir();
    for (const name of ["NOTIFY_SOCKET", "LISTEN_FDS"]) {
      await using program = daemonize(dir, web, { env: { [name]: "1" } });
      await expectFailure(program, 2, /^prefork: Cannot use --daemonize: .* watches over it as it is; leave it out$/);
    }
  });

  it("is refused to process 1", { ...options, skip: options.skip || process.getuid?.() !== 0 }, async () => {
    const { command, args } = runtimeCommand();
    const line = [command, ...args, prefork, "--daemonize", "--log-file", "/dev/null", ...web];
    await using program = runCommand("unshare", ["--pid", "--fork", "--mount-proc", "--kill-child", "--", ...line]);
    await expectFailure(
      program,
      2,
      /^prefork: Cannot use --daemonize: this is process 1, with which its container ends/,
    );
  });

  it("takes the daemon with it when it is interrupted before that is ready", options, async () => {
    await using dir = await tempDir();
    await using program = daemonize(dir, never);
    await logged(dir, /worker=0 gen=1 pid=\d+ spawned/);
    program.kill("SIGINT");
    await expectFailure(program, 130);
    assert.match(logOf(dir), / stopped$/m);
  });

  it("takes the daemon with it when it is killed before that is ready", options, async () => {
    await using dir = await tempDir();
    await using program = daemonize(dir, never);
    await logged(dir, /worker=0 gen=1 pid=\d+ spawned/);
    assert.ok(descendants(program.pid).length > 0);
    program.kill("SIGKILL");
    await logged(dir, / stopped$/m);
    await expectNothingLeft(program);
  });

  it("tells that the daemon was stopped before it was ready", options, async () => {
    await using dir = await tempDir();
    await using program = daemonize(dir, never);
    await logged(dir, /worker=0 gen=1 pid=\d+ spawned/);
    assert.equal((await ask(program, "stop", "--wait")).code, 0);
    await expectFailure(program, 1, /^prefork: the daemon exited with status 0 before it was ready; its log is in /);
  });
});
