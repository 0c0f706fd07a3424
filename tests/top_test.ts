/** `prefork top`: what it shows at which size, and in a real terminal. */
import assert from "node:assert/strict";
import process from "node:process";
import { describe, it, test } from "node:test";
import { fileURLToPath } from "node:url";
import { look, miss, render, sparkline, tell, type TopState } from "../src/cli/top_view.ts";
import { type Program, runProgram, runtime, runtimeCommand, tempDir } from "./support/run.ts";
import { statusOf } from "./support/status_report.ts";
import { Terminal } from "./support/terminal.ts";

test("top counts what was served since the last look, and anew for another manager", () => {
  let state = look(undefined, statusOf([10, 20]), 1000);
  assert.deepEqual([...state.rates], [0]);
  state = look(state, statusOf([110, 20]), 1500);
  assert.deepEqual([...state.rates], [0, 200]);
  assert.deepEqual([...state.workerRates], [[100, 200], [101, 0]]);
  state = look(state, statusOf([0, 0], { pid: 42 }), 2500);
  assert.deepEqual([...state.rates], [0, 200, 0]);
  for (let i = 0; i < 1000; i++) {
    state = look(tell(state, `event ${i}`), statusOf([i, i], { pid: 42 }), 3500 + i * 1000);
  }
  assert.deepEqual([state.rates.length, state.events.length, state.rates.at(-1)], [300, 300, 2]);
});

test("top shows nothing as if it lived once nobody answers, and all again when somebody does", () => {
  const size = { columns: 100, rows: 10 };
  const before = tell({ ...look(undefined, statusOf([10, 20]), 1000), note: "stop..." }, "it stops");
  const after = miss(before, "Cannot connect to /run/web.sock: \x1b[31mno such file");
  assert.deepEqual(render(after, size), [
    "web  nobody answers any more",
    "pid=41  was running, with 2/2 ready: Cannot connect to /run/web.sock:  [31mno such file",
    "",
    "",
    "it stops",
    "",
    "",
    "",
    "",
    "looked for once a second; q quits",
  ]);
  const again = render(look(after, statusOf([0], { pid: 42 }), 9000), size);
  assert.match(again[0] ?? "", /^web {2}running {2}1\/1 ready/);
  assert.match(again.at(-1) ?? "", /^r reload /);
});

test("sparklines are as wide as they may be, and as tall as the most", () => {
  assert.equal(sparkline([0, 1, 2, 7], 10), "▁▂▃█");
  assert.equal(sparkline([7, 0, 0, 0], 3), "▁▁▁");
  assert.deepEqual([sparkline([], 10), sparkline([1, 2], 0), sparkline([1, 2], -5)], ["", "", ""]);
});

test("top fits on a terminal of any size", () => {
  let state: TopState = look(undefined, statusOf(Array.from({ length: 40 }, () => 5)), 0);
  for (let i = 0; i < 40; i++) state = tell(state, `something has happened ${i} \x1b[31m\n${"x".repeat(500)}`);
  for (const columns of [1, 20, 80, 300]) {
    for (const rows of [1, 2, 5, 10, 24, 60, 200]) {
      const lines = render(state, { columns, rows });
      assert.equal(lines.length, rows, `${columns}x${rows}`);
      for (const line of lines) {
        assert.ok(line.length <= columns, `${columns}x${rows}: ${line}`);
        // deno-lint-ignore no-control-regex
        assert.doesNotMatch(line, /[\x00-\x1f]/);
      }
    }
  }
  const screen = render(state, { columns: 100, rows: 24 });
  assert.match(screen[0] ?? "", /^web {2}running {2}40\/40 ready {2}gen 3$/);
  assert.match(screen.at(-1) ?? "", /r reload .* q quit$/);
  assert.match(screen.at(-2) ?? "", /^\.\.\. and \d+ more$/);
  const tall = render(state, { columns: 100, rows: 60 });
  assert.match(tall.at(-2) ?? "", /^something has happened 39 /);
  assert.match(
    render(look(undefined, statusOf([1], { degraded: true }), 0), { columns: 80, rows: 24 })[0] ?? "",
    /DEGRADED/,
  );
});

const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));
const hello = fileURLToPath(new URL("../examples/hello.ts", import.meta.url));
const options = { skip: process.platform !== "linux", timeout: 180_000 };

describe(`prefork top on ${runtime}`, () => {
  const { command, args } = runtimeCommand();
  const line = (program: Program) => {
    return `XDG_RUNTIME_DIR=${program.temporary} ${
      [command, ...args, prefork].map((word) => `'${word}'`).join(" ")
    } top`;
  };

  it("shows a pool, acts on it by keys, and leaves the terminal as it was", options, async () => {
    await using dir = await tempDir();
    await using program = runProgram(prefork, ["--log-format", "plain", hello, "-l", "127.0.0.1:0", "-w", "1"]);
    await program.waitForErrorLine("is ready");
    await using terminal = await new Terminal(dir.file("tmux"), `echo before; ${line(program)}`).open();
    await terminal.shows(/^hello {2}running {2}1\/1 ready {2}gen 1/);
    terminal.press("+");
    await terminal.shows(/2 workers from now on, 1 before/);
    await program.waitForErrorLine("is ready", { count: 2 });
    await terminal.shows(/^hello {2}running {2}2\/2 ready/);
    terminal.press("+++"); // as quickly as they can be pressed
    await terminal.shows(/5 workers from now on, 4 before/);
    await terminal.shows(/^hello {2}running {2}5\/5 ready/);
    for (const key of "---") terminal.press(key);
    await terminal.shows(/2 workers from now on, 3 before/);
    await terminal.shows(/^hello {2}running {2}2\/2 ready/);
    terminal.press("r");
    await terminal.shows(/generation 2 serves, with 2 workers/);
    await terminal.shows(/worker=0 gen=2 pid=\d+ is ready/);
    terminal.press("s");
    await terminal.shows(/stop hello\? y, or any other key/);
    terminal.press("n");
    await terminal.shows(/r reload .* q quit/);
    terminal.press("q");
    const screen = await terminal.shows(/^status 0$/m);
    assert.match(screen, /^before\nstatus 0\n/, "what was there before, and nothing of top");
    program.kill("SIGTERM");
    assert.equal((await program.waitForEnd()).code, 0);
  });

  it("stops a pool that it is told to, and goes on until it is told to end", options, async () => {
    await using dir = await tempDir();
    await using program = runProgram(prefork, ["--log-format", "plain", hello, "-l", "127.0.0.1:0", "-w", "1"]);
    await program.waitForErrorLine("is ready");
    await using terminal = await new Terminal(dir.file("tmux"), line(program)).open();
    await terminal.shows(/^hello {2}running/);
    terminal.press("s");
    await terminal.shows(/stop hello\?/);
    terminal.press("y");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    await terminal.shows(/^hello {2}nobody answers any more *\npid=\d+ {2}was \w+, with \d\/1 ready: /);
    await terminal.shows(/^looked for once a second; q quits *$/m);
    terminal.press("C-c");
    await terminal.shows(/^status 0$/m);
  });

  it("refuses to be shown where nobody looks", options, async () => {
    await using program = runProgram(prefork, [hello, "-l", "127.0.0.1:0", "-w", "1"]);
    await program.waitForErrorLine(/is ready/);
    await using top = runProgram(prefork, ["top"], { env: { XDG_RUNTIME_DIR: program.temporary } });
    assert.equal((await top.waitForEnd()).code, 2);
    assert.match(
      top.errorLines.join("\n"),
      /^prefork: Cannot show top without a terminal: use 'prefork status --watch'/,
    );
  });
});
