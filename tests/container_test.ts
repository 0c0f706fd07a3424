/** A manager that is process 1 of a name space of its own, as in a container. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { commandLine } from "./support/pool.ts";
import { descendants, processState } from "./support/processes.ts";
import { type Program, runCommand, runtime, runtimeCommand, signalProcess, tempDir, waitFor } from "./support/run.ts";

const options = { skip: process.platform !== "linux" || process.getuid?.() !== 0, timeout: 180_000 };
const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));
const hello = fileURLToPath(new URL("../examples/hello.ts", import.meta.url));

/** The last that a manager listens for at its beginning: while it begins with the first, Deno itself dies by TERM. */
const SIGTTOU = 22;

function runAsInit(
  words: readonly string[],
  { flags = runtimeCommand().args, file = prefork, command = "run" } = {},
): Program {
  const line = [runtimeCommand().command, ...flags, file, command, "--log-format", "plain", ...words];
  return runCommand("unshare", ["--pid", "--fork", "--mount-proc", "--kill-child", "--", ...line]);
}

/** Whether a process has a handler for a signal. */
function catches(pid: number, signal: number): boolean {
  try {
    const mask = /^SigCgt:\s*([0-9a-f]+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? "0";
    return (BigInt(`0x${mask}`) >> BigInt(signal - 1) & 1n) === 1n;
  } catch {
    return false;
  }
}

describe(`a manager that is process 1, on ${runtime}`, () => {
  for (const signal of ["SIGTERM", "SIGINT", "SIGQUIT"] as const) {
    it(`serves, and stops by ${signal}`, options, async () => {
      await using program = runAsInit([hello, "-l", "127.0.0.1:0", "-w", "2"]);
      await program.waitForErrorLine(/pid=1 .* keeps 2 workers/);
      await program.waitForErrorLine("is ready", { count: 2 });
      const line = await program.waitForErrorLine("listens on ");
      const answer = await fetch(`http://127.0.0.1:${/:(\d+)$/.exec(line)?.[1]}/`, {
        headers: { connection: "close" },
      });
      assert.equal(answer.status, 200);
      await answer.text();
      const [manager = 0] = descendants(program.pid);
      signalProcess(manager, signal);
      await program.waitForErrorLine(/ stopped$/);
      assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
      await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" });
    });
  }

  it("waits for the orphans that it inherits, and leaves the status of its workers alone", options, async () => {
    const orphan = "(sh -c 'sleep 0.1; echo orphan' &)";
    const worker = `for i in 1 2 3 4 5 6 7 8 9 10; do ${orphan}; done; sleep 0.3; exit 0`;
    await using program = runAsInit(["-w", "2", "--", "/bin/sh", "-c", worker]);
    await program.waitForErrorLine("exited with status", { count: 20 });
    await program.waitForLine("orphan", { count: 150 });
    const reaps = program.errorLines.filter((line) => /pid=\d+ (exited|was killed)/.test(line));
    assert.deepEqual(reaps.filter((line) => !line.endsWith(" exited with status 0")), []);
    const [manager = 0] = descendants(program.pid);
    const dead = () => descendants(manager).filter((pid) => processState(pid) === "Z");
    await waitFor(() => dead().length < 20, { what: "most orphans to be waited for" });
  });

  it("has no zombies left where nobody ends any more", options, async () => {
    const worker = "for i in 1 2 3 4 5; do (sh -c 'exit 7' &); done; echo made; exec sleep 1000";
    await using program = runAsInit(["-w", "2", "--", "/bin/sh", "-c", worker]);
    await program.waitForLine("made", { count: 2 });
    const [manager = 0] = descendants(program.pid);
    const zombies = () => descendants(manager).filter((pid) => processState(pid) === "Z");
    await waitFor(() => zombies().length === 0, { what: "no zombies" });
    const [worked] = descendants(manager).filter((pid) => commandLine(pid).startsWith("sleep"));
    signalProcess(worked ?? 0, "SIGKILL");
    await program.waitForErrorLine("was killed by SIGKILL");
  });

  it("outlives every signal that does not stop it", options, async () => {
    await using program = runAsInit(["-w", "1", "--", "/bin/sleep", "1000"]);
    await program.waitForErrorLine("is ready");
    const [manager = 0] = descendants(program.pid);
    for (const signal of ["SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPIPE", "SIGIO", "SIGXCPU", "SIGWINCH"] as const) {
      signalProcess(manager, signal);
    }
    signalProcess(manager, "SIGUSR2");
    await program.waitForErrorLine("Cannot upgrade process 1: its container ends with it");
    signalProcess(manager, "SIGTERM");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  });

  it("stops by a signal that comes before it has workers", options, async () => {
    await using dir = await tempDir();
    const log = dir.file("log");
    execFileSync("mkfifo", [log]); // which keeps whoever opens it until somebody reads
    await using program = runAsInit(["--log-file", log, "-w", "1", "--", "/bin/sleep", "1000"]);
    const manager = () => descendants(program.pid)[0] ?? 0;
    await waitFor(() => catches(manager(), SIGTTOU), { what: "the manager to listen" });
    signalProcess(manager(), "SIGTERM");
    await using reader = runCommand("cat", [log]);
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    await reader.waitForLine(/ stopped$/);
  });

  for (const command of ["run", "check"] as const) {
    it(`stops ${command} by a signal that comes while its configuration is read`, options, async () => {
      await using dir = await tempDir();
      const [config, gate] = [dir.file("prefork.config.ts"), dir.file("gate")];
      execFileSync("mkfifo", [gate]); // which keeps whoever reads it until somebody writes
      const lines = [
        "import { readFileSync } from 'node:fs';",
        "console.error('reads');",
        `readFileSync(${JSON.stringify(gate)});`,
        "export default { command: ['/bin/sleep', '1000'], workers: 1, trap: { ALRM: 'TERM' } };",
      ];
      writeFileSync(config, lines.join("\n"));
      await using program = runAsInit(["--config", config], { command });
      await program.waitForErrorLine("reads");
      const [manager = 0] = descendants(program.pid);
      for (const signal of ["SIGHUP", "SIGTERM"] as const) signalProcess(manager, signal);
      await using _writer = runCommand("sh", ["-c", `: > '${gate}'`]);
      const code = command === "run" ? 0 : 3;
      assert.deepEqual(await program.waitForEnd(), { code, signal: null }, program.report());
      await program.waitForErrorLine(/ stopped$|was not ready when the check was interrupted$/);
    });
  }

  it("stops by a signal that comes while what a manager is made of is loaded", options, async () => {
    await using dir = await tempDir();
    for (const part of ["mod.ts", "src", "runtimes", "package.json", "deno.json"]) {
      cpSync(new URL(`../${part}`, import.meta.url), dir.file(part), { recursive: true });
    }
    symlinkSync(new URL("../node_modules", import.meta.url), dir.file("node_modules"));
    const manager = dir.file("src/manager.ts");
    const wait = "console.log('loads'); await new Promise((resolve) => setTimeout(resolve, 1000));\n";
    writeFileSync(manager, `${wait}${readFileSync(manager, "utf8")}`);
    await using program = runAsInit(["-w", "1", "--", "/bin/sleep", "1000"], { file: dir.file("mod.ts") });
    await program.waitForLine("loads");
    signalProcess(descendants(program.pid)[0] ?? 0, "SIGTERM");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  });

  it("says so where it cannot wait", { ...options, skip: options.skip || runtime !== "deno" }, async () => {
    const flags = ["run", "--no-prompt", "--allow-read", "--allow-env", "--allow-run", "--allow-sys"];
    await using program = runAsInit(["-w", "1", "--", "/bin/sleep", "1000"], { flags });
    await program.waitForErrorLine(
      "runs as process 1, which inherits the orphans of all others, and cannot wait for them: Deno may not call the C " +
        "library: add --allow-ffi, or -A; else start it by an init, as docker run --init does",
    );
  });
});
