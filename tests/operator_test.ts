/** The operator's commands: managers that are asked and told by others. */
import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { load, oneShot } from "./support/load.ts";
import { ask, build, end, options, portOf, prefork, ready, start, statusOf, web } from "./support/operator.ts";
import { isAlive, runProgram, runtime, tempDir, waitFor } from "./support/run.ts";

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
    const reason = /prefork: Cannot reload: .*exited with status 1.* Generation 2 goes on serving; /;
    const where = `what was printed is on the standard error of the manager, pid=${program.pid}$`;
    assert.match(bad.errors, new RegExp(reason.source + where));
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
    assert.equal((await ask(program, "signal", "CONT")).out, "1 worker gets SIGCONT");
    const scaled = await ask(program, "scale", "3");
    assert.deepEqual([scaled.code, scaled.out], [0, "3 workers from now on, 1 before"]);
    await ready(program, 3);
    const before = await statusOf(program);
    const [, second] = before.workers;
    const signalled = await ask(program, "signal", "kill", "--slot", "1");
    assert.deepEqual([signalled.code, signalled.out], [0, "worker=1 gets SIGKILL"]);
    await program.waitForErrorLine(`pid=${second?.pid} was killed by SIGKILL`);
    assert.match((await ask(program, "signal", "CONT")).out, /^\d workers get SIGCONT$/);
    const nobody = await ask(program, "signal", "TERM", "--slot", "7");
    assert.deepEqual([nobody.code, nobody.errors], [1, "prefork: Cannot signal: there is no worker in slot 7"]);
    const tooMany = await ask(program, "scale", "2000000");
    assert.deepEqual([tooMany.code, tooMany.errors], [
      1,
      "prefork: Cannot use 'scale': it must be a whole number from 0 to 1000000, not 2000000",
    ]);
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
      `prefork: no manager of this user runs, or none with a socket in ${dir.file("prefork")}`,
    ]);
    const noSuch = await ask(place, "stop", "web");
    assert.equal(noSuch.code, 3);
    assert.match(noSuch.errors, /no manager is called 'web': none has its socket in \/.+\/prefork$/);
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
    assert.match(
      (await ask(place, "list")).errors,
      /^prefork: hello-\d+ is there, and cannot be asked: the manager did not answer within/,
    );
    second.kill("SIGCONT");
    for (const name of ["hello", `hello-${second.pid}`]) {
      assert.equal((await ask(place, "stop", name, "--wait")).code, 0);
    }
    assert.deepEqual(readdirSync(join(dir.path, "prefork")), []);
  });
});

describe(`prefork check on ${runtime}`, () => {
  it("says why there never was a worker", { ...options, skip: options.skip || runtime !== "deno" }, async () => {
    const flags = ["run", "-A", "--no-prompt", "--deny-write"];
    await using command = runProgram(prefork, ["check", build], { runtimeArgs: flags });
    assert.equal((await command.waitForEnd()).code, 3, command.report());
    assert.match(command.errorLines.join("\n"), /Cannot use .*build\.ts: its worker cannot run: .*--allow-write/);
  });

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
    const url = `http://127.0.0.1:${await portOf(program)}/`;
    for (const asked of [url, url.replace(/^http:..(.*).$/, "tcp:$1")]) {
      await using command = runProgram(prefork, [...args, "--ready-when", asked], more);
      assert.equal((await command.waitForEnd()).code, 2, command.report());
      assert.match(command.errorLines.join("\n"), /^prefork: Cannot check by .*: somebody listens there already/m);
    }
    for (const [script, code] of [["exit 0", 0], ["exit 4", 3]] as const) {
      await using command = runProgram(prefork, ["check", "--", "/bin/sh", "-c", script]);
      assert.equal((await command.waitForEnd()).code, code, command.report());
    }
    assert.equal((await statusOf(program)).restarts, 0, "the pool that serves");
    await end(program, "build");
  });
});
