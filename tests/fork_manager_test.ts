/** Parallel::ForkManager's behaviour, by real processes; what it does itself is asked of the real one. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { ForkManager } from "../src/jobs/mod.ts";
import { FakeHost } from "./fake_host.ts";
import { type Program, runCommand, runProgram, runtime, tempDir, waitFor } from "./support/run.ts";

const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/jobs/${name}`, import.meta.url));

function scene(name: string, ...args: readonly string[]): Program {
  return runProgram(fixture("scenes.ts"), [name, ...args]);
}

async function play(name: string, ...args: readonly string[]): Promise<Program> {
  await using program = scene(name, ...args);
  await program.waitForEnd();
  return program;
}

describe(`ForkManager on ${runtime}`, () => {
  for (const procs of [1, 3]) {
    it(`does each of 20 jobs once, ${procs} at a time`, async () => {
      const env = { TEST_JOBS: JSON.stringify({ procs, jobs: 20 }) };
      await using program = runProgram(fixture("fork_manager.ts"), [], { env });
      const status = await program.waitForEnd({ timeoutMs: 120_000 });
      assert.deepEqual(status, { code: 0, signal: null }, program.report());
      const numbers = (word: string) => program.matching(new RegExp(`^${word} `)).length;
      assert.deepEqual([numbers("start"), numbers("job"), numbers("finish")], [20, 20, 20]);
      assert.equal(new Set(program.matching(/^job /)).size, 20);
    });
  }

  it("does what the program does in Perl that it was ported from line by line", async () => {
    const env = { TEST_JOBS: JSON.stringify({ procs: 2, jobs: 5 }) };
    await using ours = runProgram(fixture("fork_manager.ts"), [], { env });
    await using theirs = runCommand("perl", [fixture("fork_manager.pl")], { env });
    await Promise.all([ours.waitForEnd(), theirs.waitForEnd()]);
    assert.deepEqual(ours.lines.toSorted(), theirs.lines.toSorted(), theirs.report());
    assert.equal(ours.lines.at(-1), "done 0");
  });

  it("knows who runs, and waits for as many as are asked for", async () => {
    await using dir = await tempDir();
    await using program = scene("basics", dir.path);
    await program.waitForLine('"running" 3 4 ["one","two","three"]');
    await program.waitForLine(/^\[\]$/);
    writeFileSync(dir.file("one"), "");
    writeFileSync(dir.file("three"), "");
    await program.waitForLine('"left" ["two"]');
    await program.waitForLine(
      '"RangeError" "Cannot wait for 5 processes to be available: there are at most 4 (maxProcs)"',
    );
    writeFileSync(dir.file("two"), "");
    await program.waitForLine('"running" []');
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null });
  });

  it("works in the child of another one, and gives data up both levels", async () => {
    const { lines } = await play("nested");
    assert.deepEqual(lines.toSorted(), [
      '"outer" "a" 0 [["1","a1"],["2","a2"]]',
      '"outer" "b" 0 [["1","b1"],["2","b2"]]',
    ]);
  });

  it("works after another one", async () => {
    const { lines } = await play("later");
    const all = ["first", "second"].flatMap((round) => ["a", "b"].map((name) => `"${round}" "${name}" "${round}"`));
    assert.deepEqual(lines.toSorted(), all);
  });

  it("begins children that are functions", async () => {
    const { lines, errorLines } = await play("startChild");
    assert.deepEqual(lines.toSorted(), [
      '0 "named" "" 1',
      '0 undefined "" "nameless"',
      '1 "throws" "" undefined',
    ]);
    assert.ok(errorLines.some((line) => line.includes("no good")));
  });

  for (const [when, more] of [["at once", ""], ["later", "later"]] as const) {
    it(`waits for children whose start nobody has waited for, ${when}, and for them in the parent alone`, async () => {
      const { lines } = await play("unawaited", more);
      assert.deepEqual(lines.toSorted(), ['"all" false', '0 "a" "a"', '0 "b" "b"', '0 "c" "c"']);
      assert.equal(lines.at(-1), '"all" false');
    });
  }

  it("has callbacks wait, but not start what could not come to its call", async () => {
    const { lines } = await play("again");
    const refused =
      '1 "Cannot start a process in a callback: it would not come to this call, for callbacks are called in ' +
      'the parent alone; note what is to be started, and start it where the others are"';
    assert.deepEqual(lines, [refused, '"waited" []', refused, '"waited" []', '"all"']);
  });

  it("is given data of any kind and any size", async () => {
    const { lines } = await play("data");
    assert.deepEqual(
      lines.toSorted(),
      [
        "0 3000000",
        '3 "text"',
        '3 [["a",[1]]]',
        "3 0",
        "3 3000000",
        "3 undefined",
        "3 null",
      ].toSorted(),
    );
  });

  it("refuses data that cannot be sent, in words", async () => {
    const { lines } = await play("unsendable");
    assert.deepEqual(lines, ['9 "Cannot send this value to another process: Cannot stringify a function"']);
  });

  it("tells the callback of a process in the place of that of all", async () => {
    await using dir = await tempDir();
    await using program = scene("callbacks", dir.path);
    await program.waitForLine('"set"');
    writeFileSync(dir.file("on"), "");
    await program.waitForEnd();
    assert.deepEqual(program.lines.toSorted(), ['"all" "a"', '"own" "b"', '"set"']);
  });

  it("does jobs in this process where none is to be made, for debugging", async () => {
    const { lines } = await play("here");
    assert.deepEqual(
      lines,
      ["a", "b"].flatMap((name) => [
        `"start" true "${name}"`,
        `"job" "${name}" false true`,
        `"finish" true 2 "${name}" "" {"name":"${name}"}`,
      ]),
    );
  });

  for (const [what, means] of [["none", "status 0"], ["other", "status 1"]] as const) {
    it(`says so if a child comes to ${what === "none" ? "no call" : "another job"}`, async () => {
      const { lines, errorLines } = await play("misses", what);
      assert.deepEqual(lines, [
        `"finish" ${what === "none" ? 255 : 1} "first" ""`,
        `"error" "Cannot do the job of call 0 of start() ('first'): its process exited with ${means} before the program had ` +
        'come to that call; the program must come to the same calls in the same order each time it runs"',
      ]);
      const isSaid = errorLines.some((line) => line.includes("it is 'other' here, and was 'first' where this process"));
      assert.equal(isSaid, what === "other");
    });
  }

  it("begins no other job in a child", async () => {
    const { lines, errorLines } = await play("misses", "twice");
    assert.deepEqual(lines, ['"finish" 1 "first" ""']);
    assert.ok(
      errorLines.some((line) => line.includes("Cannot start another process while you are in the child process")),
    );
  });

  it("tells how a process ended that somebody else has killed", async () => {
    await using program = scene("killed");
    await program.waitForLine(/^"job"/, { count: 2 });
    const pids = new Map(
      program.matching(/^"pid"/).map((line) => {
        const [, name = "", pid] = /^"pid" "(\w)" (\d+)/.exec(line) ?? [];
        return [name, Number(pid)];
      }),
    );
    process.kill(pids.get("a") ?? 0, "SIGKILL");
    process.kill(pids.get("b") ?? 0, "SIGTERM");
    await program.waitForEnd();
    const ends = program.matching(/^"finish"/).toSorted();
    assert.deepEqual(ends, ['"finish" "a" 0 "SIGKILL"', '"finish" "b" 0 "SIGTERM"']);
    assert.equal(program.lines.at(-1), '"done"');
  });

  it("leaves no process behind if it is killed", async () => {
    await using program = scene("killed");
    await program.waitForLine(/^"job"/, { count: 2 });
    program.kill("SIGKILL");
    await program.status;
    await waitFor(() => program.processes().length === 0, { what: "all processes to be gone" });
  });

  it("has more processes run as soon as there may be more", async () => {
    await using dir = await tempDir();
    await using program = scene("grows", dir.path);
    await program.waitForLine('"started" "a" 1');
    writeFileSync(dir.file("more"), "");
    await program.waitForLine('"started" "b" 2');
    await program.waitForLine('"started" "c" 3');
    writeFileSync(dir.file("on"), "");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null });
  });
});

describe("ForkManager, on a virtual clock", () => {
  const KILLED = { type: "signaled", signal: "SIGTERM" } as const;

  /** Lets what was asked for happen. */
  async function settled<T>(host: FakeHost, asked: Promise<T>): Promise<T> {
    await host.advance(1);
    return await asked;
  }

  for (const [periodMs, calls] of [[500, 11], [undefined, 1]] as const) {
    const often = periodMs === undefined ? "once" : `every ${periodMs} ms`;
    it(`calls back ${often} while it waits`, async () => {
      const host = new FakeHost();
      const pm = new ForkManager(1, { host });
      let waits = 0;
      pm.runOnWait(() => waits++, periodMs);
      const pid = await settled(host, pm.start("a"));
      assert.equal(waits, 0);
      const second = pm.start("b");
      await host.advance(5000);
      assert.equal(waits, calls);
      host.exitChild(pid, KILLED);
      const next = await settled(host, second);
      assert.equal(waits, calls);
      host.exitChild(next, KILLED);
      await settled(host, pm.waitAllChildren());
    });
  }

  it("has all who wait look again when a process has ended", async () => {
    const host = new FakeHost();
    const pm = new ForkManager(1, { host });
    const pid = await settled(host, pm.start("a"));
    const [second, available] = [pm.start("b"), pm.waitForAvailableProcs()];
    await host.advance(10);
    host.exitChild(pid, KILLED);
    const next = await settled(host, second);
    host.exitChild(next, KILLED);
    await settled(host, available);
    await settled(host, pm.waitAllChildren());
  });

  it("looks again at how many there may be while it waits", async () => {
    const host = new FakeHost();
    const pm = new ForkManager(2, { host });
    const pids = [await settled(host, pm.start("a")), await settled(host, pm.start("b"))];
    const [third, both] = [pm.start("c"), pm.waitForAvailableProcs(2)];
    both.catch(() => {});
    await host.advance(10);
    pm.maxProcs = 0;
    assert.equal(await settled(host, third), 0, "it is begun here");
    await assert.rejects(both, /^RangeError: Cannot wait for 2 processes to be available: there are at most 0/);
    await pm.finish();
    for (const pid of pids) host.exitChild(pid, KILLED);
    await settled(host, pm.waitAllChildren());
  });

  it("notices at once that a process has ended", async () => {
    const host = new FakeHost();
    const pm = new ForkManager(2, { host });
    const ends: (string | undefined)[] = [];
    pm.runOnFinish((_pid, _code, ident, signal) => ends.push(`${ident} ${signal} ${host.now()}`));
    const pids = [await settled(host, pm.start("a")), await settled(host, pm.start("b"))];
    const waiting = pm.waitOneChild();
    await host.advance(123);
    host.exitChild(pids[1] ?? 0, KILLED);
    await host.advance(0);
    assert.equal(await waiting, pids[1]);
    assert.deepEqual(ends, ["b SIGTERM 125"]);
    assert.deepEqual(pm.runningProcs, [pids[0]]);
    host.exitChild(pids[0] ?? 0, KILLED);
    await settled(host, pm.waitAllChildren());
  });

  it("kills a process that does not come to its call in time", async () => {
    const host = new FakeHost();
    const pm = new ForkManager(1, { host, bootTimeoutMs: 1000 });
    await settled(host, pm.start("slow"));
    const waiting = pm.waitAllChildren();
    waiting.catch(() => {});
    await host.advance(2000);
    await assert.rejects(waiting, {
      message: "Cannot do the job of call 0 of start() ('slow'): its process was killed after 1000 ms before the " +
        "program had come to that call; the program must come to the same calls in the same order each time it runs",
    });
  });

  it("refuses what makes no sense, and names it", async () => {
    assert.throws(() => new ForkManager(-1), /^RangeError: Cannot use 'maxProcs'/);
    assert.throws(() => new ForkManager(2, { bootTimeout: 1 } as never), {
      name: "TypeError",
      message: "Unknown option 'bootTimeout' for ForkManager; did you mean 'bootTimeoutMs'?",
    });
    const named = new ForkManager<unknown>(1, { host: new FakeHost() });
    await assert.rejects(named.start({ a: new Uint8Array(1) }), {
      name: "TypeError",
      message: "Cannot call a job by what has bytes in it: give a text, a number, or an object of such",
    });
    await assert.rejects(named.start(() => {}), /^TypeError: Cannot send this value to another process/);
    const pm = new ForkManager(0);
    await assert.rejects(pm.finish(256), /^RangeError: Cannot use 'code'/);
    assert.throws(() => pm.runOnWait(() => {}, -1), /^RangeError: Cannot use 'periodMs'/);
    await assert.rejects(pm.startChild("a" as never), /^TypeError: Cannot start a child by 'a': give a function/);
  });
});
