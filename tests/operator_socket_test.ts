/** How a manager is found: its operator's socket, and its pid file. */
import assert from "node:assert/strict";
import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import type { StatusReport } from "../src/operator/report.ts";
import { ask, end, options, ready, socketOf, start, web } from "./support/operator.ts";
import { runtime, tempDir, waitFor } from "./support/run.ts";

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

  it("is not somebody else's", { ...options, skip: options.skip || process.getuid?.() !== 0 }, async () => {
    await using dir = await tempDir();
    mkdirSync(dir.file("prefork"), { mode: 0o777 });
    chownSync(dir.file("prefork"), 65534, 65534);
    const here = { env: { XDG_RUNTIME_DIR: dir.path } };
    await using asked = start([...web, "-w", "1", "--name", "web"], here);
    assert.equal((await asked.waitForEnd()).code, 2);
    assert.match(
      asked.errorLines.join("\n"),
      /Cannot use .*prefork: it belongs to user 65534, and this is user 0; remove it, or give --control with a path/,
    );
    await using program = start([...web, "-w", "1"], here);
    await program.waitForErrorLine(/goes without an operator's socket: .* it belongs to user 65534/);
    await ready(program, 1);
    const status = await ask({ temporary: dir.path }, "status");
    assert.deepEqual([status.code, status.errors], [
      3,
      `prefork: no manager of this user runs, or none with a socket in ${dir.file("prefork")}`,
    ]);
    program.kill("SIGTERM");
    assert.equal((await program.waitForEnd()).code, 0);
    await using long = start([...web, "-w", "1", "--name", "x".repeat(100)]);
    assert.equal((await long.waitForEnd()).code, 2);
    assert.match(
      long.errorLines.join("\n"),
      /a socket's path has 107 bytes at most, and that of its directory 96; give a shorter one/,
    );
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
    assert.match(
      fourth.errorLines.join("\n"),
      /control.sock: it is a file, and no socket; name another path \(--control\)$/,
    );
    await using directory = start([...web, "-w", "1", "--control", dir.path]);
    assert.equal((await directory.waitForEnd()).code, 2);
    assert.match(
      directory.errorLines.join("\n"),
      /: it is a directory, and no socket; name another path \(--control\)$/,
    );
    const nowhere = dir.file("no/control.sock");
    await using fifth = start([...web, "-w", "1", "--control", nowhere]);
    assert.equal((await fifth.waitForEnd()).code, 2);
    assert.equal(
      fifth.errorLines.join("\n"),
      `prefork: Cannot use ${nowhere}: its directory does not exist; make it, or name another path (--control)`,
    );
    const cases = [
      [path, `Cannot ask ${path}: it is a file, and no socket`],
      [dir.path, `Cannot ask ${dir.path}: it is a directory, and no socket`],
      [nowhere, `there is no socket of this user at ${nowhere}`],
      [join(path, "x"), `Cannot look for a socket at ${join(path, "x")}: a part of its path is no directory`],
    ] as const;
    for (const [asked, why] of cases) {
      assert.deepEqual(await ask(fifth, "status", "--control", asked), { code: 3, out: "", errors: `prefork: ${why}` });
    }
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
    const cases = [
      [
        join("no", "web.pid"),
        /Cannot use \S+ for --pid-file: its directory does not exist; make it, or name another file$/,
      ],
      [
        join("file", "web.pid"),
        /Cannot use \S+ for --pid-file: a part of its path is no directory; name another file$/,
      ],
    ] as const;
    writeFileSync(dir.file("file"), "");
    for (const [name, message] of cases) {
      await using fourth = start([...web, "--pid-file", dir.file(name)]);
      assert.equal((await fourth.waitForEnd()).code, 2);
      assert.match(fourth.errorLines.join("\n"), message);
    }
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
    await using directory = start([...web, "--pid-file", dir.path]);
    assert.equal((await directory.waitForEnd()).code, 2);
    assert.match(directory.errorLines.join("\n"), /for --pid-file: it is a directory; name a file in it$/);
    mkdirSync(dir.file("run"));
    await using program = start([...web, "-w", "1", "--pid-file", dir.file("run/pid")]);
    await ready(program, 1);
    rmSync(dir.file("run"), { recursive: true });
    const { code, errors } = await ask(program, "upgrade", "--wait");
    assert.equal(code, 0, errors);
    await program.waitForErrorLine(
      /Cannot use .*run\/pid for --pid-file: its directory does not exist; make it, or name another file/,
    );
    const { pid }: StatusReport = JSON.parse((await ask(program, "status", "--json")).out);
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
    let manager = program.pid;
    for (const round of [1, 2]) {
      const { code, out, errors } = await ask(place, "upgrade", name, "--wait");
      assert.deepEqual([code, out], [0, "a new manager has taken over"], errors);
      const pid = Number(readFileSync(path, "utf8")); // at once, as a script does that is to watch the new one
      assert.notEqual(pid, manager);
      const answer = await ask(place, "status", name, "--json");
      assert.equal(answer.code === 0 && JSON.parse(answer.out).pid, pid, answer.errors);
      await program.waitForErrorLine("took over from", { count: round });
      manager = pid;
    }
    assert.equal((await ask(place, "stop", name, "--wait")).code, 0);
    assert.equal(existsSync(path), false);
    assert.deepEqual(readdirSync(join(dir.path, "prefork")), ["hello.sock"]);
    await end(blocker);
  });
});
