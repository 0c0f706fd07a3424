/** What somebody is told who waits: at a terminal for what, and in the end what it has come to. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { describe, it } from "node:test";
import { ask, end, options, prefork, ready, start, web } from "./support/operator.ts";
import { runCommand, runtime, runtimeCommand, type TempDir, tempDir } from "./support/run.ts";
import { Terminal } from "./support/terminal.ts";

const inTerminal = { ...options, skip: options.skip || (spawnSync("tmux", ["-V"]).status !== 0 && "needs tmux") };
const SILENT =
  /the manager did not answer within \d+ seconds, though its socket is open: it is too busy, so ask again, /;

function type(...words: readonly string[]): string {
  const { command, args } = runtimeCommand();
  return [command, ...args, prefork, ...words].map((word) => `'${word}'`).join(" ");
}

/** A worker that boots until somebody opens the gate. */
function gated(dir: TempDir): { readonly app: string; readonly open: () => AsyncDisposable } {
  const [app, gate] = [dir.file("app.ts"), dir.file("gate")];
  execFileSync("mkfifo", [gate]);
  const lines = [
    "import { readFileSync } from 'node:fs';",
    `readFileSync(${JSON.stringify(gate)});`,
    "export default { fetch: () => new Response('ok') };",
  ];
  writeFileSync(app, lines.join("\n"));
  return { app, open: () => runCommand("sh", ["-c", `: > '${gate}'`]) };
}

describe(`whoever waits, on ${runtime}`, () => {
  it("is told that a manager is there and does not answer", inTerminal, async () => {
    await using dir = await tempDir();
    await using program = start([...web, "-w", "1"]);
    await ready(program, 1);
    program.kill("SIGSTOP");
    const line = `XDG_RUNTIME_DIR='${program.temporary}' ${type("status")}`;
    await using terminal = await new Terminal(dir.file("tmux"), line).open();
    const answers = Promise.all([ask(program, "reload"), ask(program, "list")]);
    await terminal.shows(/^ {2}waiting for the manager 'hello' to answer$/m);
    const [reload, list] = await answers;
    assert.deepEqual([reload.code, reload.out], [1, ""]);
    assert.match(reload.errors, new RegExp(`^prefork: ${SILENT.source}`));
    assert.match(list.out, /^NAME .*\nhello +\? +does not answer +\?/);
    assert.match(list.errors, new RegExp(`^prefork: hello is there, and cannot be asked: ${SILENT.source}`));
    assert.match(await terminal.shows(/^status \d/m), new RegExp(`^prefork: ${SILENT.source}[^]*^status 1$`, "m"));
    program.kill("SIGCONT");
    await end(program);
  });

  it("is told that a worker has to be ready first", inTerminal, async () => {
    await using dir = await tempDir();
    const { app, open } = gated(dir);
    await using terminal = await new Terminal(dir.file("tmux"), type("check", app, "-l", "0")).open();
    await terminal.shows(/^ {2}waiting for a worker of .*app\.ts to be ready$/m);
    await using _gate = open();
    await terminal.shows(/app\.ts is ready after \d+ ms\nstatus 0$/m);
  });

  it("is told that a daemon has to be ready first", inTerminal, async () => {
    await using dir = await tempDir();
    const { app, open } = gated(dir);
    const words = [app, "-l", "127.0.0.1:0", "-w", "1", "--daemonize", "--log-file", dir.file("log")];
    const line = `export XDG_RUNTIME_DIR='${dir.path}'; ${type(...words)}`;
    await using terminal = await new Terminal(dir.file("tmux"), line).open();
    await terminal.shows(/^ {2}waiting for the daemon, pid=\d+, to be ready$/m);
    await using _gate = open();
    await terminal.shows(/^app pid=\d+ listens on .*\nstatus 0$/m);
    assert.equal((await ask({ temporary: dir.path }, "stop", "--wait")).code, 0);
  });
});
