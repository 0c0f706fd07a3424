/** Completion, by the shells themselves. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it, test } from "node:test";
import { completionFor } from "../src/cli/completion.ts";
import { parse } from "../src/cli/parse.ts";
import { tempDir } from "./support/run.ts";
import { Terminal } from "./support/terminal.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };

/** What a shell is to make of a line, its last word not finished. */
const LINES: readonly [string, readonly string[]][] = [
  ["prefork st", ["status", "stop"]],
  ["prefork reload --w", ["--wait"]],
  ["prefork reload we", ["web"]],
  ["prefork stop --n", ["--name", "--now"]],
  ["prefork app.ts --boot", ["--boot-timeout"]],
  ["prefork app.ts --no-", ["--no-adoption", "--no-watch"]],
  ["prefork check app.ts --boot", ["--boot-timeout"]],
  ["prefork signal USR2 --s", ["--slot"]],
  ["prefork app.ts --runtime b", ["bun"]],
  ["prefork app.ts --output l", ["lines"]],
  ["prefork app.ts --log-format p", ["plain", "pretty"]],
  ["prefork my", ["my worker.ts"]],
  ["prefork completion z", ["zsh"]],
];

/** Managers for it to find. */
const LIST = `'[{"schema":1,"name":"web","pid":7},{"schema":1,"name":"$(touch pwned)","pid":9},' ` +
  `'{"schema":1,"name":"mail","pid":8}]'`;

function run(command: string, args: readonly string[]): readonly string[] {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  assert.equal(stderr, "");
  return stdout.split("\n").filter((line) => line !== "").sort();
}

describe("completion", () => {
  it("is what bash wants", options, async () => {
    await using dir = await tempDir();
    writeFileSync(dir.file("script"), completionFor("bash"));
    writeFileSync(dir.file("my worker.ts"), "");
    for (const name of ["prettier.json", "line", "own"]) writeFileSync(dir.file(name), "");
    for (const [line, words] of [...LINES, ["prefork app.ts --runtime ./o", ["./own"]] as const]) {
      const script = `cd ${dir.path}; source ./script; prefork() { echo ${LIST}; }; ` +
        `COMP_WORDS=(${line}); COMP_CWORD=$(( \${#COMP_WORDS[@]} - 1 )); _prefork; printf '%s\\n' "\${COMPREPLY[@]}"`;
      assert.deepEqual(run("bash", ["--norc", "-c", script]), words, line);
    }
    assert.equal(existsSync(dir.file("pwned")), false, "what somebody calls himself is not run");
  });

  it("is what fish wants", options, async () => {
    await using dir = await tempDir();
    writeFileSync(dir.file("script"), completionFor("fish"));
    writeFileSync(dir.file("my worker.ts"), "");
    for (const [line, words] of LINES) {
      const script = `cd ${dir.path}; source ./script; function prefork; echo ${LIST}; end; complete -C "${line}"`;
      const found = run("fish", ["--no-config", "-c", script]).map((word) => word.replace(/\t.*$/, ""));
      assert.deepEqual(found, words, line);
    }
    assert.equal(existsSync(dir.file("pwned")), false);
  });

  it("is what zsh wants", options, async () => {
    await using dir = await tempDir();
    writeFileSync(dir.file("script"), completionFor("zsh"));
    writeFileSync(dir.file("my worker.ts"), "");
    mkdirSync(dir.file("home"));
    const rc = `PS1='> '; autoload -U compinit; compinit -u -D; prefork() { echo ${LIST} }; source ${
      dir.file("script")
    }\n`;
    writeFileSync(`${dir.file("home")}/.zshrc`, rc);
    await using terminal = await new Terminal(dir.file("tmux"), `cd ${dir.path}; ZDOTDIR=${dir.file("home")} zsh -i`)
      .open();
    await terminal.shows(/^> $/m);
    for (const [typed, shown] of [["prefork rel", "prefork reload"], [" we", "prefork reload +web"]] as const) {
      for (const key of typed) terminal.press(key === " " ? "Space" : key);
      await terminal.shows(new RegExp(`^> .*${typed}$`, "m"));
      terminal.press("Tab");
      await terminal.shows(new RegExp(`^> ${shown} ?$`, "m"));
    }
    terminal.press("C-u");
    await terminal.shows(/^> *$/m);
    for (const key of "prefork my") terminal.press(key === " " ? "Space" : key);
    await terminal.shows(/^> prefork my *$/m);
    terminal.press("Tab");
    await terminal.shows(/^> prefork my\\ worker\.ts *$/m);
  });
});

test("completion for another shell is refused in a sentence", () => {
  assert.deepEqual(parse(["completion", "bash"]), { kind: "completion", shell: "bash" });
  assert.throws(
    () => completionFor("tcsh"),
    /^UsageError: Cannot complete for 'tcsh': it must be one of bash, zsh, fish/,
  );
  assert.throws(() => completionFor(undefined), /^UsageError: Cannot complete for no shell: it must be one of/);
});
