/** The log file of a manager. */
import assert from "node:assert/strict";
import { existsSync, lstatSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { describe, it } from "node:test";
import { ask, build, end, options, prefork, ready, socketOf, start, web } from "./support/operator.ts";
import { runCommand, runProgram, runtime, runtimeCommand, tempDir, waitFor } from "./support/run.ts";

describe(`the log file on ${runtime}`, () => {
  it("takes all there is, is shown, and is begun anew without a lost line", options, async () => {
    await using dir = await tempDir();
    const log = dir.file("web.log");
    const script = "i=0; while :; do i=$((i + 1)); echo line $i; sleep 0.002; done";
    await using program = start(["--log-file", log, "-w", "1", "--name", "web", "--", "/bin/sh", "-c", script]);
    const text = (file = log) => existsSync(file) ? readFileSync(file, "utf8") : "";
    await waitFor(() => /line 50\n/.test(text()) && text().includes("is ready"), { what: "the log" });
    assert.equal(lstatSync(log).mode & 0o777, 0o640);
    const shown = await ask(program, "logs", "web", "-n", "3");
    assert.equal(shown.code, 0, shown.errors);
    assert.match(shown.out, /^line \d+\nline \d+\nline \d+$/);
    assert.deepEqual((await ask(program, "logs", "web", "-n", "0")).out, "");
    await using follower = runProgram(prefork, ["logs", "-f", "-n", "1"], {
      env: { XDG_RUNTIME_DIR: program.temporary },
    });
    await follower.waitForLine(/^line \d+$/, { count: 10 });

    renameSync(log, `${log}.1`);
    const reopened = await ask(program, "reopen");
    assert.deepEqual([reopened.code, reopened.out], [0, `the log goes to ${log} from now on`]);
    await waitFor(() => /line \d+\n/.test(text()), { what: "the new log" });
    const last = Number(/line (\d+)\n/.exec(text())?.[1]) + 20;
    await follower.waitForLine(`line ${last}`);
    const stopped = await ask(program, "stop", "--wait");
    assert.equal(stopped.code, 0);

    const numbers = (from: string) => [...from.matchAll(/^line (\d+)$/gm)].map((match) => Number(match[1]));
    const written = numbers(text(`${log}.1`) + text());
    assert.deepEqual(written, Array.from({ length: written.length }, (_, index) => index + 1));
    const followed = numbers(follower.lines.join("\n"));
    for (const [index, number] of followed.entries()) assert.equal(number, (followed[0] ?? 0) + index);
    assert.match(text(), /stopped\n$/);
    assert.deepEqual([program.lines, program.errorLines], [[], []]);
  });

  it("is shown for as long as somebody reads, and no longer", options, async () => {
    await using dir = await tempDir();
    const script = "while :; do echo line; sleep 0.01; done";
    await using program = start([
      "--log-file",
      dir.file("log"),
      "-w",
      "1",
      "--name",
      "web",
      "--",
      "/bin/sh",
      "-c",
      script,
    ]);
    await waitFor(() => existsSync(socketOf(program, "web")), { what: "the manager" });
    const { command, args } = runtimeCommand();
    const logs = [command, ...args, prefork, "logs", "web", "-f"].map((word) => `'${word}'`).join(" ");
    const into = async (reader: string): Promise<readonly [readonly string[], readonly string[]]> => {
      await using shown = runCommand("sh", ["-c", `{ ${logs}; echo "status $?" >&2; } ${reader}`], {
        env: { XDG_RUNTIME_DIR: program.temporary },
      });
      await shown.waitForErrorLine(/^status/);
      return [shown.lines, shown.errorLines];
    };
    assert.deepEqual(await into("| grep -m1 line"), [["line"], ["status 0"]]);
    const [, errors] = await into("> /dev/full");
    assert.match(errors.join("\n"), /^prefork: .*(No space|ENOSPC).*\nstatus 1$/i);
    await end(program, "web");
  });

  it("is named where the reason of a failure stands in it", options, async () => {
    await using dir = await tempDir();
    const file = dir.file("build");
    writeFileSync(file, "good");
    const args = [build, "-l", "127.0.0.1:0", "-w", "1", "--name", "web", "--log-file", dir.file("log")];
    await using program = start(args, { env: { TEST_BUILD: file } });
    await waitFor(() => existsSync(dir.file("log")) && readFileSync(dir.file("log"), "utf8").includes("is ready"), {
      what: "a worker",
    });
    writeFileSync(file, "throws");
    const { code, errors } = await ask(program, "reload", "--wait");
    assert.equal(code, 1);
    assert.match(errors, /Generation 1 goes on serving; 'prefork logs web' shows what was printed$/);
    assert.match((await ask(program, "logs", "web")).out, /broken on purpose/);
    await end(program, "web");
  });

  it("stays the old one where no new one can be begun", options, async () => {
    await using dir = await tempDir();
    mkdirSync(dir.file("var"));
    const log = dir.file("var/log");
    await using program = start(["--log-file", log, ...web, "-w", "1", "--name", "web"]);
    await waitFor(() => existsSync(log) && readFileSync(log, "utf8").includes("is ready"), { what: "the log" });
    assert.equal((await ask(program, "reopen")).out, `the log goes to ${log} from now on`);
    renameSync(dir.file("var"), dir.file("old"));
    assert.deepEqual(await ask(program, "logs"), {
      code: 1,
      out: "",
      errors: `prefork: Cannot show ${log}: it is not there any more; 'prefork reopen' begins it anew`,
    });
    assert.deepEqual(await ask(program, "reopen"), {
      code: 1,
      out: "",
      errors: `prefork: Cannot reopen: ${log}: its directory does not exist; the old file is written to as before`,
    });
    await end(program, "web");
    assert.match(readFileSync(dir.file("old/log"), "utf8"), /stopped\n$/);
  });

  it("is not there where nobody asked for it", options, async () => {
    await using program = start([...web, "-w", "1"]);
    await ready(program, 1);
    const logs = await ask(program, "logs");
    assert.deepEqual([logs.code, logs.errors], [
      1,
      "prefork: Cannot show the log of hello: it goes to its standard error; --log-file keeps one",
    ]);
    const reopen = await ask(program, "reopen");
    assert.equal(reopen.code, 1);
    assert.match(reopen.errors, /^prefork: Cannot reopen: it has no log file; --log-file FILE gives it one$/);
    await end(program);
    const cases = [
      ["/nonexistent/web.log", "its directory does not exist; make it, or name another file"],
      [program.temporary, "it is a directory; name another file"],
    ] as const;
    for (const [path, why] of cases) {
      await using refused = start([...web, "--log-file", path]);
      assert.equal((await refused.waitForEnd()).code, 2);
      assert.equal(refused.errorLines.join("\n"), `prefork: Cannot use ${path} for --log-file: ${why}`);
    }
  });
});
