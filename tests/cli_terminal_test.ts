import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { isAlive, runtimeCommand, signalProcess, tempDir, waitFor } from "./support/run.ts";
import { Terminal } from "./support/terminal.ts";

const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));
const worker = fileURLToPath(new URL("./fixtures/cli_worker.ts", import.meta.url));
const SLOW = { timeout: 180_000 };

const { command, args } = runtimeCommand();
const pool = (rest: string): string => `${[command, ...args, prefork].map((word) => `'${word}'`).join(" ")} ${rest}`;
const count = (text: string, what: RegExp): number => [...text.matchAll(what)].length;
const read = (file: string): string => {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
};
const hasTmux = spawnSync("tmux", ["-V"]).status === 0;

describe("prefork in a terminal", { skip: !hasTmux && "needs tmux" }, () => {
  test("Ctrl-C reaches the workers once, through the manager; lines tell their worker", SLOW, async () => {
    await using dir = await tempDir();
    await using terminal = await new Terminal(dir.file("tmux"), pool(`${worker} -w 2`)).open();
    await terminal.shows(/is ready[^]*is ready/);
    terminal.press("C-c");
    const screen = await terminal.shows(/status 0/);
    assert.equal(count(screen, /interrupted/g), 0, screen);
    assert.equal(count(screen, /^\[[01] \d+\] stop pid=/gm), 2, screen);
    assert.equal(count(screen, /^\[[01] \d+\] hello from/gm), 2, screen);
    assert.match(screen, /^(\^C)?\d\d:\d\d:\d\d\.\d{3} info prefork: received SIGINT/m);
    // deno-lint-ignore no-control-regex
    assert.match(terminal.colors(), /\x1b\[3[0-9]m\[0 \d+\]/);
  });

  test("NO_COLOR is honoured", SLOW, async () => {
    await using dir = await tempDir();
    const command = `NO_COLOR=1 ${pool(`-w 1 -- sh -c 'echo hello; exec sleep 60'`)}`;
    await using terminal = await new Terminal(dir.file("tmux"), command).open();
    await terminal.shows(/hello/);
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(terminal.colors(), /\x1b\[/);
  });

  test("a second Ctrl-C kills", SLOW, async () => {
    await using dir = await tempDir();
    await using terminal = await new Terminal(dir.file("tmux"), pool(`${worker} -w 1 -- --deaf`)).open();
    await terminal.shows(/is ready/);
    terminal.press("C-c");
    await terminal.shows(/stop pid=/);
    terminal.press("C-c");
    await terminal.shows(/received another SIGINT: workers are killed[^]*status 0/);
  });

  test("a terminal that stands still does not stop the manager", SLOW, async () => {
    await using dir = await tempDir();
    const mark = dir.file("mark");
    const noise = `echo x >>${mark}; until [ -e go ]; do sleep 0.1; done; head -c 20000 /dev/zero | tr "\\0" "="`;
    const command = pool(`-w 1 --stop-timeout 1s --cwd ${dir.path} -- sh -c '${noise}'`);
    await using terminal = await new Terminal(dir.file("tmux"), command).open();
    const pid = Number(/pid=(\d+)/.exec(await terminal.shows(/keeps 1 worker/))?.[1]);
    terminal.press("C-s");
    writeFileSync(dir.file("go"), "");
    await waitFor(() => read(mark).length > 400, { what: "200 workers, none of which can print" });
    assert.ok(readdirSync(`/proc/${pid}/fd`).length < 100, "what the dead have printed is let go of");
    signalProcess(pid, "SIGTERM");
    await waitFor(() => !isAlive(pid), { what: "the manager to stop" });
  });

  test("closing the terminal stops the pool", SLOW, async () => {
    await using dir = await tempDir();
    const mark = dir.file("mark");
    const command = pool(`${worker} -w 1 --log-format plain -- --mark ${mark} 2>${dir.file("log")}`);
    await using terminal = await new Terminal(dir.file("tmux"), command).open();
    await waitFor(() => read(dir.file("log")).includes("is ready"), { what: "a worker" });
    terminal.close();
    await waitFor(() => read(dir.file("log")).includes("stopped"), { what: "the pool to stop" });
    assert.match(read(dir.file("log")), /the terminal is gone: stopping/);
    assert.equal(count(read(mark), /hello/g), 1);
    assert.equal(count(read(mark), /stop/g), 1);
  });

  test("closing the terminal does not stop a pool under nohup", SLOW, async () => {
    await using dir = await tempDir();
    const log = dir.file("log");
    const command = `nohup ${pool(`${worker} -w 1 --log-format plain >${dir.file("out")} 2>${log}`)}`;
    await using terminal = await new Terminal(dir.file("tmux"), command).open();
    await waitFor(() => read(log).includes("is ready"), { what: "a worker" });
    terminal.close();
    await waitFor(() => /received SIGHUP[^]*gen=2 .* is ready/.test(read(log)), { what: "a new worker" });
    assert.doesNotMatch(read(log), /the terminal is gone/);
  });
});
