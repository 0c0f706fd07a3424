/** Managers that are found, asked and told by others: the operator's socket, its commands, and the pid file. */
import assert from "node:assert/strict";
import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { StatusReport } from "../src/operator/report.ts";
import { load, oneShot } from "./support/load.ts";
import {
  isAlive,
  type Program,
  runCommand,
  type RunOptions,
  runProgram,
  runtime,
  tempDir,
  waitFor,
} from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 120_000 };
const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));
const hello = fileURLToPath(new URL("../examples/hello.ts", import.meta.url));
const web = [hello, "-l", "127.0.0.1:0"];
const build = fileURLToPath(new URL("./fixtures/serve/build.ts", import.meta.url));

/** A manager of the command line, with its runtime directory. */
function start(args: readonly string[], more: RunOptions = {}): Program {
  return runProgram(prefork, ["--log-format", "plain", ...args], more);
}

interface Answer {
  readonly code: number | null;
  readonly out: string;
  readonly errors: string;
}

/** Runs a command for the managers whose runtime directory is that of `program`. */
async function ask(program: { readonly temporary: string }, ...args: readonly string[]): Promise<Answer> {
  await using command = runProgram(prefork, args, { env: { XDG_RUNTIME_DIR: program.temporary } });
  const { code } = await command.waitForEnd();
  return { code, out: command.lines.join("\n"), errors: command.errorLines.join("\n") };
}

async function statusOf(program: Program, ...args: readonly string[]): Promise<StatusReport> {
  const { code, out, errors } = await ask(program, "status", "--json", ...args);
  assert.equal(code, 0, errors);
  return JSON.parse(out);
}

const socketOf = (program: Program, name: string) => join(program.temporary, "prefork", `${name}.sock`);

async function ready(program: Program, count: number): Promise<void> {
  await program.waitForErrorLine(/ is ready$/, { count });
}

async function end(program: Program, name = "hello"): Promise<void> {
  program.kill("SIGTERM");
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  assert.equal(existsSync(socketOf(program, name)), false, "the socket's file");
}

async function portOf(program: Program): Promise<number> {
  const line = await program.waitForErrorLine("listens on ");
  return Number(/:(\d+)( \(|$)/.exec(line)?.[1]);
}

/** What the socket answers to raw bytes, until it hangs up or has answered a line. */
function sendRaw(path: string, bytes: string | Uint8Array): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect(path, () => socket.write(bytes));
    socket.on("error", reject).on("close", () => resolve(text)).on("data", (chunk) => {
      text += chunk;
      if (text.endsWith("\n")) socket.destroy();
    });
  });
}

describe(`the operator's commands on ${runtime}`, () => {
  it("tell what there is", options, async () => {
    await using program = start([...web, "-w", "2", "--standby", "1"]);
    await program.waitForErrorLine("stands by");
    await ready(program, 2);
    const status = await statusOf(program);
    assert.equal(status.schema, 1);
    assert.deepEqual(
      [status.name, status.pid, status.state, status.degraded, status.maxWorkers, status.ready, status.generation],
      ["hello", program.pid, "running", false, 2, 2, 1],
    );
    assert.deepEqual(status.listeners, [{ name: null, address: `127.0.0.1:${await portOf(program)}` }]);
    assert.deepEqual(status.workers.map(({ slot, state, restarts }) => [slot, state, restarts]), [
      [0, "ready", 0],
      [1, "ready", 0],
    ]);
    assert.equal(status.standbys.length, 1);
    for (const worker of [...status.workers, ...status.standbys]) {
      assert.ok(isAlive(worker.pid));
      assert.ok((worker.memoryBytes ?? 0) > 1e6 && worker.uptimeMs > 0, JSON.stringify(worker));
    }

    const [victim] = status.workers;
    assert.ok(victim);
    process.kill(victim.pid, "SIGKILL");
    await program.waitForErrorLine("was killed by SIGKILL");
    const after = await statusOf(program, "hello");
    assert.equal(after.workers[0]?.restarts, 1);
    assert.equal(after.workers[0]?.lastReason, "was killed by SIGKILL");
    const { out } = await ask(program, "status");
    assert.match(out, /^hello: running, \d of 2 workers ready, generation 1\n/);
    assert.match(out, /SLOT +PID +GEN +STATE[^\n]*\n +0 .*was killed by SIGKILL\n +1 /);
    assert.match((await ask(program, "list")).out, /^NAME +PID[^\n]*\nhello +\d+ +running +\d\/2/);
    await end(program);
  });

  it("reload, and tell the truth about it", options, async () => {
    await using dir = await tempDir();
    const file = dir.file("build");
    writeFileSync(file, "good");
    await using program = start([build, "-l", "127.0.0.1:0", "-w", "2", "--boot-timeout", "5s"], {
      env: { TEST_BUILD: file },
    });
    await ready(program, 2);
    await using clients = load({ port: await portOf(program) }, [oneShot, oneShot]);
    const good = await ask(program, "reload", "--wait");
    assert.deepEqual([good.code, good.out], [0, "generation 2 serves, with 2 workers"]);
    assert.match(good.errors, /^ {2}reload: generation 2 has to prove itself/);
    writeFileSync(file, "throws");
    const bad = await ask(program, "reload", "--wait");
    assert.equal(bad.code, 1);
    assert.match(bad.errors, /prefork: Cannot reload: .*exited with status 1.* Generation 2 goes on serving$/);
    writeFileSync(file, "good");
    const begun = await ask(program, "reload");
    assert.deepEqual([begun.code, begun.out], [0, "the reload has begun; --wait waits for its end"]);
    await program.waitForErrorLine(/generation \d serves, and no other/, { count: 2 });
    const { failures, sent } = await clients.stop();
    assert.deepEqual(failures, []);
    const { requests, workers } = await statusOf(program);
    assert.equal(requests, Object.values(sent).reduce((sum, count) => sum + count, 0), "of three generations");
    for (const worker of workers) assert.ok(worker.lagMs !== null && worker.lagMs < 200, JSON.stringify(worker));
    await end(program, "build");
  });

  it("change the size, signal, and stop", options, async () => {
    await using program = start([...web, "-w", "1"]);
    await ready(program, 1);
    const scaled = await ask(program, "scale", "3");
    assert.deepEqual([scaled.code, scaled.out], [0, "3 workers from now on, 1 before"]);
    await ready(program, 3);
    const before = await statusOf(program);
    const [, second] = before.workers;
    const signalled = await ask(program, "signal", "kill", "--slot", "1");
    assert.deepEqual([signalled.code, signalled.out], [0, "worker=1 gets SIGKILL"]);
    await program.waitForErrorLine(`pid=${second?.pid} was killed by SIGKILL`);
    const nobody = await ask(program, "signal", "TERM", "--slot", "7");
    assert.deepEqual([nobody.code, nobody.errors], [1, "prefork: Cannot signal: there is no worker in slot 7"]);
    const stopped = await ask(program, "stop", "--wait");
    assert.deepEqual([stopped.code, stopped.out], [0, "stopped"], stopped.errors);
    assert.equal(isAlive(program.pid), false, "the manager, once stop --wait has returned");
    assert.deepEqual(await program.status, { code: 0, signal: null });
    assert.deepEqual(readdirSync(join(program.temporary, "prefork")), []);
  });

  it("kill those who do not stop, and say so", options, async () => {
    await using program = start([
      "--name",
      "deaf",
      "--",
      "/bin/sh",
      "-c",
      "trap '' TERM; echo on; sleep 1000 & wait; wait",
    ], {
      env: { WEB_CONCURRENCY: "1" },
    });
    await program.waitForLine("on");
    await ready(program, 1);
    const stopping = await ask(program, "stop", "deaf");
    assert.deepEqual([stopping.code, stopping.out], [0, "the stop has begun; --wait waits for its end"]);
    assert.equal((await statusOf(program)).state, "stopping");
    const refused = await ask(program, "scale", "4");
    assert.deepEqual([refused.code, refused.errors], [1, "prefork: Cannot scale: this manager is about to stop"]);
    const killed = await ask(program, "stop", "--now", "--wait");
    assert.equal(killed.code, 0);
    assert.match(killed.out, /^stopped; 1 worker had to be killed: worker=0 gen=1 pid=\d+$/);
  });

  it("find nobody, or too many", options, async () => {
    await using dir = await tempDir();
    const place = { temporary: dir.path };
    const nobody = await ask(place, "status");
    assert.deepEqual([nobody.code, nobody.errors], [
      3,
      "prefork: no manager of this user runs, or none with an operator's socket",
    ]);
    const noSuch = await ask(place, "stop", "web");
    assert.equal(noSuch.code, 3);
    assert.match(noSuch.errors, /no manager is called 'web'/);
    await using first = start([...web, "-w", "1"], { env: { XDG_RUNTIME_DIR: dir.path } });
    await ready(first, 1);
    await using second = start([...web, "-w", "1"], { env: { XDG_RUNTIME_DIR: dir.path } });
    await second.waitForErrorLine(`is called hello-${second.pid}: another manager has the name`);
    await ready(second, 1);
    const either = await ask(place, "reload");
    assert.equal(either.code, 2);
    assert.match(
      either.errors,
      new RegExp(`Cannot tell which manager is meant, of hello, hello-${second.pid}: give its name`),
    );
    await using third = start([...web, "--name", "hello"], { env: { XDG_RUNTIME_DIR: dir.path } });
    assert.equal((await third.waitForEnd()).code, 2);
    assert.match(
      third.errorLines.join("\n"),
      new RegExp(`Cannot use the name 'hello': the manager pid=${first.pid} of .*hello.ts has it; stop that one`),
    );
    second.kill("SIGSTOP");
    const silent = await ask(place, "reload");
    assert.deepEqual([silent.code, silent.errors], [either.code, either.errors], "one that is stopped is one, too");
    assert.match((await ask(place, "list")).errors, /^prefork: hello-\d+ is there, and does not answer$/);
    second.kill("SIGCONT");
    for (const name of ["hello", `hello-${second.pid}`]) {
      assert.equal((await ask(place, "stop", name, "--wait")).code, 0);
    }
    assert.deepEqual(readdirSync(join(dir.path, "prefork")), []);
  });
});

describe(`the operator's socket on ${runtime}`, () => {
  it("is for this user alone, and takes no nonsense", options, async () => {
    await using program = start([...web, "-w", "1"]);
    await ready(program, 1);
    const path = socketOf(program, "hello");
    assert.equal(lstatSync(path).mode & 0o777, 0o600);
    assert.equal(statSync(join(program.temporary, "prefork")).mode & 0o777, 0o700);
    assert.match(await sendRaw(path, "nonsense\n"), /^\{"type":"failed","reason":/);
    assert.match(
      await sendRaw(path, '{"version":9,"do":"status"}\n'),
      /speaks version 1 of the operator's protocol, not 9/,
    );
    assert.match(await sendRaw(path, '{"version":1,"do":"dance"}\n'), /there is no order \\"dance\\"/);
    const two = '{"version":1,"do":"follow"}\n{"version":1,"do":"status"}\n';
    assert.match(await sendRaw(path, two), /one order at a time/);
    assert.match(await sendRaw(path, "x".repeat(5000)), /line of more than 4096 characters/);
    assert.match(await sendRaw(path, new Uint8Array(5000).fill(255)), /more than 4096/);
    const many = await Promise.all(Array.from({ length: 64 }, () => {
      return new Promise<ReturnType<typeof connect>>((resolve) => {
        const socket = connect(path, () => resolve(socket));
      });
    }));
    assert.match(await sendRaw(path, '{"version":1,"do":"status"}\n'), /64 operators are connected already/);
    for (const socket of many) socket.destroy();
    await waitFor(async () => (await ask(program, "status")).code === 0, { what: "an answer after they have gone" });
    await end(program);
  });

  it("cannot be reached by another user", { ...options, skip: options.skip || process.getuid?.() !== 0 }, async () => {
    await using dir = await tempDir();
    const path = dir.file("control.sock");
    await using program = start([...web, "-w", "1", "--control", path]);
    await ready(program, 1);
    const perl = `use IO::Socket::UNIX; print IO::Socket::UNIX->new(Peer => $ARGV[0]) ? "in\\n" : "$!\\n"`;
    await using stranger = runCommand("setpriv", [
      "--reuid=65534",
      "--regid=65534",
      "--clear-groups",
      "perl",
      "-e",
      perl,
      path,
    ]);
    await stranger.waitForEnd();
    assert.deepEqual(stranger.lines, ["Permission denied"], stranger.report());
    assert.equal((await ask(program, "status", "--control", path)).code, 0);
    await end(program);
  });

  it("is not somebody else's", { ...options, skip: options.skip || process.getuid?.() !== 0 }, async () => {
    await using dir = await tempDir();
    mkdirSync(dir.file("prefork"), { mode: 0o777 });
    chownSync(dir.file("prefork"), 65534, 65534);
    const here = { env: { XDG_RUNTIME_DIR: dir.path } };
    await using asked = start([...web, "-w", "1", "--name", "web"], here);
    assert.equal((await asked.waitForEnd()).code, 2);
    assert.match(
      asked.errorLines.join("\n"),
      /it is not a directory of this user; set XDG_RUNTIME_DIR, or give --control/,
    );
    await using program = start([...web, "-w", "1"], here);
    await program.waitForErrorLine(/goes without an operator's socket: .* it is not a directory of this user/);
    await ready(program, 1);
    const status = await ask({ temporary: dir.path }, "status");
    assert.deepEqual([status.code, status.errors], [
      3,
      "prefork: no manager of this user runs, or none with an operator's socket",
    ]);
    program.kill("SIGTERM");
    assert.equal((await program.waitForEnd()).code, 0);
    await using long = start([...web, "-w", "1", "--name", "x".repeat(100)]);
    assert.equal((await long.waitForEnd()).code, 2);
    assert.match(long.errorLines.join("\n"), /a socket's path has 107 bytes at most; give a shorter one/);
  });

  it("replaces that of a manager that is gone, and no other file", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("control.sock");
    await using first = start([...web, "-w", "1", "--control", path]);
    await ready(first, 1);
    first.kill("SIGKILL");
    await first.waitForEnd();
    assert.ok(existsSync(path));
    await using second = start([...web, "-w", "1", "--control", path]);
    await ready(second, 1);
    await using third = start([...web, "-w", "1", "--control", path]);
    assert.equal((await third.waitForEnd()).code, 2);
    assert.match(
      third.errorLines.join("\n"),
      new RegExp(`for --control: the manager pid=${second.pid} of .* answers there`),
    );
    assert.equal((await ask(second, "stop", "--control", path, "--wait")).code, 0);
    assert.equal(existsSync(path), false);
    writeFileSync(path, "mine");
    await using fourth = start([...web, "-w", "1", "--control", path]);
    assert.equal((await fourth.waitForEnd()).code, 2);
    assert.match(fourth.errorLines.join("\n"), /control.sock: it is a file, and no socket/);
    assert.equal(readFileSync(path, "utf8"), "mine");
  });
});

describe(`the pid file on ${runtime}`, () => {
  it("is one manager's at a time", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("web.pid");
    writeFileSync(path, "99999999\n");
    await using first = start([...web, "-w", "1", "--pid-file", path]);
    await ready(first, 1);
    assert.equal(readFileSync(path, "utf8"), `${first.pid}\n`);
    await using second = start([...web, "-w", "1", "--pid-file", path]);
    assert.equal((await second.waitForEnd()).code, 2);
    assert.match(
      second.errorLines.join("\n"),
      new RegExp(`Cannot use .*web.pid for --pid-file: the manager pid=${first.pid} has it; stop that one`),
    );
    first.kill("SIGKILL");
    await first.waitForEnd();
    await using third = start([...web, "-w", "1", "--pid-file", path]);
    await ready(third, 1);
    assert.equal(readFileSync(path, "utf8"), `${third.pid}\n`);
    third.kill("SIGTERM");
    await third.waitForEnd();
    assert.equal(existsSync(path), false);
    await using fourth = start([...web, "--pid-file", join(dir.path, "no", "web.pid")]);
    assert.equal((await fourth.waitForEnd()).code, 2);
    assert.match(fourth.errorLines.join("\n"), /Cannot use .* for --pid-file: .*(No such file|ENOENT)/);
  });

  it("is no other file, and none whose loss ends a manager", options, async () => {
    await using dir = await tempDir();
    for (const [name, text] of [["precious.ts", "export {};\n"], ["numbers", "12 34\n"]] as const) {
      writeFileSync(dir.file(name), text);
      await using refused = start([...web, "--pid-file", dir.file(name)]);
      assert.equal((await refused.waitForEnd()).code, 2);
      assert.match(refused.errorLines.join("\n"), /it is there and holds no process id; name another/);
      assert.equal(readFileSync(dir.file(name), "utf8"), text);
    }
    mkdirSync(dir.file("run"));
    await using program = start([...web, "-w", "1", "--pid-file", dir.file("run/pid")]);
    await ready(program, 1);
    rmSync(dir.file("run"), { recursive: true });
    const { code, errors } = await ask(program, "upgrade", "--wait");
    assert.equal(code, 0, errors);
    await program.waitForErrorLine(/Cannot use .*run\/pid for --pid-file: .*(No such file|ENOENT)/);
    const { pid } = await waitFor(async () => {
      const answer = await ask(program, "status", "--json");
      return answer.code === 0 && JSON.parse(answer.out) as StatusReport;
    }, { what: "the new manager to answer" });
    assert.notEqual(pid, program.pid);
    assert.equal((await ask(program, "stop", "--wait")).code, 0);
  });

  it("goes to the manager that takes over, as the socket does", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("web.pid");
    await using blocker = start([...web, "-w", "1"], { env: { XDG_RUNTIME_DIR: dir.path } });
    await ready(blocker, 1);
    await using program = start([...web, "-w", "1", "--pid-file", path], { env: { XDG_RUNTIME_DIR: dir.path } });
    const name = `hello-${program.pid}`;
    await ready(program, 1);
    const place = { temporary: dir.path };
    for (const round of [1, 2]) {
      const { code, out, errors } = await ask(place, "upgrade", name, "--wait");
      assert.deepEqual([code, out], [0, "a new manager has taken over"], errors);
      await program.waitForErrorLine("took over from", { count: round });
      await waitFor(async () => {
        const answer = await ask(place, "status", name, "--json");
        return answer.code === 0 && JSON.parse(answer.out).pid === Number(readFileSync(path, "utf8"));
      }, { what: "the new manager to answer, and to have the pid file" });
    }
    assert.equal((await ask(place, "stop", name, "--wait")).code, 0);
    assert.equal(existsSync(path), false);
    assert.deepEqual(readdirSync(join(dir.path, "prefork")), ["hello.sock"]);
    await end(blocker);
  });
});

describe(`prefork check on ${runtime}`, () => {
  it("tells whether a worker comes to be ready, beside a pool that serves", options, async () => {
    await using dir = await tempDir();
    const file = dir.file("build");
    writeFileSync(file, "good");
    const more = { env: { TEST_BUILD: file } };
    await using program = start([build, "-l", "web=127.0.0.1:0", "-w", "1", "--boot-timeout", "3s"], more);
    await ready(program, 1);
    const args = ["check", build, "-l", `web=127.0.0.1:${await portOf(program)}`, "--boot-timeout", "3s"];
    const cases: readonly [string, number, RegExp][] = [
      ["good", 0, /build.ts is ready after \d+ ms$/],
      ["throws", 3, /broken on purpose[^]*prefork: Cannot use .*build.ts: its worker exited with status 1/],
      ["exits", 3, /prefork: Cannot use .*: its worker exited with status 7/],
      ["hangs", 3, /prefork: Cannot use .*: its worker was killed: it was not ready within 3000 ms/],
      ["never listens", 3, /prefork: Cannot use .*: its worker was killed: it was not ready within 3000 ms/],
    ];
    for (const [state, code, what] of cases) {
      writeFileSync(file, state);
      await using command = runProgram(prefork, args, more);
      assert.equal((await command.waitForEnd()).code, code, `${state}: ${command.report()}`);
      assert.match([...command.lines, ...command.errorLines].join("\n"), what, state);
      await waitFor(() => command.processes().length === 0, { what: "everybody to be gone" });
    }
    writeFileSync(file, "hangs");
    await using stuck = runProgram(prefork, [...args.slice(0, -1), "60s"], more);
    await waitFor(() => stuck.processes().length > 1, { what: "a worker" });
    stuck.kill("SIGINT");
    assert.notEqual((await stuck.waitForEnd()).code, 0);
    await waitFor(() => stuck.processes().length === 0, { what: "everybody to be gone" });
    for (const [script, code] of [["exit 0", 0], ["exit 4", 3]] as const) {
      await using command = runProgram(prefork, ["check", "--", "/bin/sh", "-c", script]);
      assert.equal((await command.waitForEnd()).code, code, command.report());
    }
    assert.equal((await statusOf(program)).restarts, 0, "the pool that serves");
    await end(program, "build");
  });
});

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
    await using follower = runProgram(prefork, ["logs", "-f", "-n", "1"], {
      env: { XDG_RUNTIME_DIR: program.temporary },
    });
    await follower.waitForLine(/^line \d+$/, { count: 10 });

    renameSync(log, `${log}.1`);
    const reopened = await ask(program, "reopen");
    assert.deepEqual([reopened.code, reopened.out], [0, `${log} is begun anew`]);
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
    await using refused = start([...web, "--log-file", "/nonexistent/web.log"]);
    assert.equal((await refused.waitForEnd()).code, 2);
    assert.match(refused.errorLines.join("\n"), /^prefork: Cannot use \/nonexistent\/web.log for --log-file: /);
  });
});
