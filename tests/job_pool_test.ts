/** Workers that do jobs, by real processes. `PREFORK_TEST_ITEMS` says how many the longest list has. */
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { JobPool } from "../src/jobs/mod.ts";
import { draw, ProgressBar } from "../src/jobs/progress.ts";
import {
  descendants,
  otherRuntimeCommand,
  type Program,
  runProgram,
  runtime,
  runtimeCommand,
  signalProcess,
  tempDir,
  waitFor,
} from "./support/run.ts";

const ITEMS = Number(process.env["PREFORK_TEST_ITEMS"] ?? 30_000);
const fixture = fileURLToPath(new URL("./fixtures/jobs/pool_scenes.ts", import.meta.url));

function scene(name: string, ...args: readonly string[]): Program {
  return runProgram(fixture, [name, ...args]);
}

/** What a scene tells, which ends well and leaves nobody behind. */
async function play(name: string, ...args: readonly string[]): Promise<Program> {
  await using program = scene(name, ...args);
  const status = await program.waitForEnd({ timeoutMs: 120_000 });
  assert.deepEqual(status, { code: 0, signal: null }, program.report());
  await waitFor(() => program.processes().length === 0, { what: "all processes to be gone" });
  return program;
}

describe(`a pool of jobs on ${runtime}`, () => {
  it("has jobs done by its workers, which give and take values of any kind and size", async () => {
    const { lines } = await play("run");
    const cannot = '"TypeError: Cannot send this value to another process: Cannot stringify a function"';
    const wordless = '"an object of class null"';
    assert.deepEqual(lines, ['"workers" true true', '"no good" {"value":7}', wordless, cannot, cannot, '"same"']);
  });

  it("sends many bytes through files, of which none is left", async () => {
    const { lines } = await play("files");
    const died =
      "JobDiedError: Cannot tell what became of this job: its worker died; a job that may be tried again takes the option 'retries'";
    const none = '"none is left" []';
    assert.deepEqual(lines, [none, '["N-managerN"]', JSON.stringify(died), none]);
  });

  it("sends them through its stream to workers that may not read files", async () => {
    const { lines } = await play("unreadable");
    assert.deepEqual(lines, ['"same"']);
  });

  it("maps items in their order, or as they are done, and ends with whoever reads", async () => {
    await using dir = await tempDir();
    const { lines } = await play("map", dir.path);
    const taken = lines.filter((line) => line.startsWith('"taken"')).length;
    assert.ok(taken >= 4 && taken < 100, `${taken} items were taken`);
    assert.deepEqual(lines.filter((line) => !line.startsWith('"taken"')), [
      JSON.stringify(Array.from({ length: 100 }, (_, index) => index)),
      '["a","b"] ["wait"]',
      '[[0,"fulfilled"],[1,"rejected"],[2,"rejected"],[3,"fulfilled"]]',
      '{"waiting":0,"running":0,"done":105,"failed":2,"total":107}',
      '"broken off"',
      '"RangeError: no good"',
      '"Error: no more items"',
    ]);
  });

  it("loses by a crash the job alone that crashed", async () => {
    const { lines } = await play("crashes");
    const died =
      "Cannot tell what became of this job: its worker died; a job that may be tried again takes the option 'retries'";
    assert.deepEqual(lines, [`${JSON.stringify(died)} 1`, "50", JSON.stringify(`JobDiedError: ${died}`), '"after"']);
  });

  it("tries a job again whose worker died, where that is asked for", async () => {
    await using dir = await tempDir();
    const { lines } = await play("retries", dir.path);
    const late = '"TimeoutError: Cannot wait for this job any longer: it took more than 500 ms"';
    assert.deepEqual(lines, ['"survived"', "3", late]);
  });

  it("has others do what waits behind a job that takes long", async () => {
    await using dir = await tempDir();
    const { lines } = await play("behind", dir.path);
    assert.deepEqual(lines, ['"wait"']);
  });

  it("gives up what takes too long, and what nobody wants any more", async () => {
    const { lines } = await play("limits");
    const late = '"TimeoutError: Cannot wait for this job any longer: it took more than 100 ms"';
    assert.deepEqual(lines, [
      late,
      late,
      '"Error: not wanted"',
      '"Error: too late"',
      '"goes on" "number" "number"',
      '"Error: all of it"',
    ]);
  });

  it("takes no more jobs than may wait, and says when there is room", async () => {
    await using dir = await tempDir();
    const { lines } = await play("queue", dir.path);
    assert.deepEqual(lines, [
      '"RangeError: Cannot take this job: 2 wait already (maxQueue); await room() before run()"',
      '"room"',
      '["wait","a","b"]',
    ]);
  });

  it("does jobs in this process where there are to be no workers, for debugging", async () => {
    await using dir = await tempDir();
    const { lines } = await play("here", dir.path);
    assert.deepEqual(lines, [
      'true "RangeError: no good"',
      '["a","b"]',
      '1 1 0 ["Error: not wanted","Error: not wanted"]',
      '"TimeoutError: Cannot wait for this job any longer: it took more than 100 ms" "after"',
      '"TimeoutError: Cannot wait for this job any longer: it took more than 100 ms" "next"',
      '"closed" 0 0',
    ]);
  });

  const commands = [{ ...runtimeCommand(), name: runtime }, otherRuntimeCommand()];
  for (const { name, command } of commands) {
    it(`does jobs of a module, here on ${name}, and says so if there is none`, async () => {
      const { lines, errorLines } = await play("module", JSON.stringify({ runtime: name, executable: command }));
      assert.deepEqual(lines, [
        JSON.stringify({ square: 49, runtime }),
        JSON.stringify({ square: 64, runtime: name }),
        '"BootFailureError"',
      ]);
      assert.ok(errorLines.some((line) => line.includes("none.ts")));
    });
  }

  it("is refused to a thread, which cannot run again, but for the jobs of a module", async () => {
    const { lines } = await play("thread");
    assert.deepEqual(lines, [
      '"Error: A worker thread cannot be run again as a worker, its program would begin with the main thread: make the ' +
      'pool there, or use a worker module."',
      JSON.stringify({ square: 49, runtime }),
    ]);
  });

  it("loses no job as its workers come and go, and does the rest here if there are to be none", async () => {
    await using dir = await tempDir();
    const { lines } = await play("resized", dir.path);
    assert.deepEqual(lines, ["4000 0", '"wait" true']);
  });

  it("does what comes behind the first job in the program alone that gave it", async () => {
    await using dir = await tempDir();
    const { lines } = await play("beside", dir.path);
    assert.deepEqual(lines, ['["came to manager","came to worker","done by manager","go.begun"]', '"wait"']);
  });

  it("gives up what its process has taken over", async () => {
    await using dir = await tempDir();
    const { lines } = await play("takenOver", dir.path);
    assert.deepEqual(lines, ['"Error: not wanted" "after"', '"wait"']);
  });

  it("has nobody do what nobody wants any more", async () => {
    await using dir = await tempDir();
    const { lines } = await play("unwanted", dir.path);
    assert.deepEqual(lines, ["true", '"after" 0']);
  });

  for (const when of ["at once", "later"]) {
    it(`goes on where who is told of its progress throws ${when}, and says so`, async () => {
      const { lines, errorLines } = await play("throwing", when);
      assert.deepEqual(lines, ['"a"']);
      assert.match(errorLines[0] ?? "", /^prefork: what is told of the progress of jobs threw: Error: no screen/);
    });
  }

  it("says so if a program with two of them is late to give one its job", async () => {
    await using program = scene("unnamed");
    await program.waitForLine("2");
    await program.waitForErrorLine(
      /^prefork: Cannot do the jobs of this pool: the program gives a job to another one before this one has its own; /,
    );
    await program.waitForEnd();
  });

  it("may be told its job by the first map", async () => {
    const { lines } = await play("told");
    assert.deepEqual(lines, ["[1,4]", "[9]"]);
  });

  it("is not mistaken for another one that the program makes in its place", async () => {
    const { lines, errorLines } = await play("other");
    assert.deepEqual(lines, ['"BootFailureError"']);
    assert.match(
      errorLines[0] ?? "",
      /^prefork: Cannot do the jobs of this pool: the program has made another one in its /,
    );
  });

  it("stands beside another one", async () => {
    const { lines } = await play("two");
    assert.deepEqual(lines, ["20"]);
  });

  it("is to be made before the first job is given, and says so", async () => {
    const { lines, errorLines } = await play("late");
    assert.deepEqual(lines, ['"BootFailureError"']);
    assert.match(
      errorLines[0] ?? "",
      /^prefork: Cannot give a job: the program has not made the pool of this worker when it gives its first job; make all /,
    );
  });

  it("is refused to a worker that has not come to its start() yet", async () => {
    const { lines, errorLines } = await play("inPrefork", "before");
    assert.deepEqual(new Set(lines), new Set(['"never"', "2", '"BootFailureError"']));
    assert.match(
      errorLines[0] ?? "",
      /^prefork: Cannot give a job: this process is a worker whose start\(\) comes later; give jobs after that, or where /,
    );
  });

  it("can be made in a job of a module, and says why it cannot of a function", async () => {
    const { lines } = await play("nested", "module");
    assert.deepEqual(lines, [JSON.stringify({ square: 100, runtime })]);
    const refused = await play("nested");
    assert.deepEqual(refused.lines, ['"BootFailureError"']);
    assert.match(
      refused.errorLines[0] ?? "",
      /^prefork: Cannot come to where this worker is made, for that is in a job; /,
    );
  });

  it("fails all jobs if no worker ever comes to do one, and has nobody wait for room", async () => {
    const { lines } = await play("none");
    assert.deepEqual(lines, ['"BootFailureError"', '"BootFailureError" 0']);
  });

  it("says what is asked of the program if its workers do not come to their first job", async () => {
    const { lines } = await play("asked");
    assert.deepEqual(lines, [
      '"BootFailureError: Cannot keep this pool: 3 workers failed and none ever became ready; the last one exited with ' +
      "status 0 without reaching the start() it was made for, which in a pool of jobs is where the program gives its " +
      'first job: it must come to that in workers, too, and not ask isWorker() before"',
    ]);
  });

  it("says so if workers come no more, and goes on when they do", async () => {
    await using dir = await tempDir();
    await using program = scene("gone", dir.path);
    await program.waitForErrorLine(
      "prefork: 3 workers in a row have failed before they could do a job, the last one exited with status 7 without " +
        "reaching the start() it was made for; jobs wait until one can",
    );
    rmSync(dir.file("gone"));
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null });
    assert.deepEqual(program.lines, ['"a"', '"JobDiedError" "b"']);
  });

  it("tells how far it has come", async () => {
    const { lines } = await play("progress");
    const [seen = [], totals] = lines.map((line) => JSON.parse(line));
    assert.deepEqual(seen.at(-1), [2, 1, 3]);
    assert.equal(seen.length, 3);
    assert.deepEqual(totals, [3, 8, 8, 8, null]);
  });

  it(`holds as much memory with ${ITEMS} items as with a few`, { timeout: 600_000 }, async () => {
    await using program = scene("many", `${ITEMS}`);
    await program.waitForEnd({ timeoutMs: 500_000 });
    assert.equal(program.lines[0], '"sum" true', program.report());
    const kb: number[] = JSON.parse(program.lines[1]?.replace('"kb" ', "") ?? "[]");
    const third = kb.slice(10, 20).toSorted((a, b) => a - b)[5] ?? NaN;
    const last = kb.slice(20).toSorted((a, b) => a - b)[5] ?? NaN;
    // V8 takes steps of some megabytes at any time; a hundred bytes kept for each of a million items are more.
    assert.ok(last - third < 32 * 1024, `${third} kB in the middle, ${last} kB in the end`);
  });

  it("loses no job while its workers are killed again and again", async () => {
    await using dir = await tempDir();
    await using program = scene("steady", dir.path);
    await program.waitForLine('"did" 1000');
    for (let kills = 0; kills < 10; kills++) {
      const before = program.matching('"did"').length;
      const workers = descendants(program.pid).filter((pid) => program.processes().includes(pid));
      const victim = workers[kills % workers.length];
      if (victim !== undefined) signalProcess(victim, "SIGKILL");
      await waitFor(() => program.matching('"did"').length > before, { what: "jobs to go on" });
    }
    writeFileSync(dir.file("stop"), "");
    await program.waitForLine('"all" true');
    assert.deepEqual(program.matching('"lost"'), []);
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null });
  });

  it("leaves no worker behind if its process is killed", async () => {
    await using dir = await tempDir();
    await using program = scene("steady", dir.path);
    await program.waitForLine('"did" 1000');
    program.kill("SIGKILL");
    await program.status;
    await waitFor(() => program.processes().length === 0, { what: "all processes to be gone" });
  });
});

describe("a pool of jobs", () => {
  it("refuses what makes no sense, and names it", async () => {
    const make = (options: object) => () => new JobPool(() => {}, options);
    assert.throws(make({ maxProc: 1 }), { message: "Unknown option 'maxProc' for JobPool; did you mean 'maxProcs'?" });
    assert.throws(make({ maxProcs: -1 }), /^RangeError: Cannot use 'maxProcs'/);
    assert.throws(make({ maxQueue: 0 }), /^RangeError: Cannot use 'maxQueue'/);
    assert.throws(make({ timeoutMs: "1" }), /^TypeError: Cannot use 'timeoutMs'/);
    assert.throws(make({ progress: 1 }), { message: "Cannot use 'progress': it must be true or a function, not 1" });
    assert.throws(make({ runtime: "node" }), /^TypeError: Cannot do jobs on 'node': the runtimes are 'deno' and 'bun'/);
    assert.throws(() => new JobPool(1 as never), /^TypeError: Cannot use 1 as the options of JobPool: give an object/);
    assert.throws(make({ runtime: "deno" }), {
      name: "TypeError",
      message:
        "Cannot use 'runtime' for a job that is a function: its workers run this program again, as it was started; " +
        "give a module in its place",
    });
    assert.throws(make({ executable: "deno" }), /^TypeError: Cannot use 'executable' for a job that is a function/);
    const module = new URL("./support/run.ts", import.meta.url);
    await assert.rejects(new JobPool<number, number>(module, { maxProcs: 0 }).run(1), {
      name: "TypeError",
      message: `Cannot do jobs by ${module}: its default export is undefined, and must be a function`,
    });
    const none = new JobPool({ maxProcs: 0 });
    await assert.rejects(
      none.run(1),
      /^TypeError: Cannot do this job: the pool was given none; make it as new JobPool/,
    );
    const job = (): number => 1;
    await none.map([1], job).next();
    await assert.rejects(
      none.map([1], () => 1).next(),
      /^TypeError: Cannot do another job: the workers of a pool do the /,
    );
    const pool = new JobPool(() => {}, { maxProcs: 0 });
    await assert.rejects(pool.map(5 as never).next(), {
      name: "TypeError",
      message: "Cannot map 5: give a list, or something else that can be iterated over",
    });
    await assert.rejects(pool.map(undefined as never).next(), /^TypeError: Cannot map undefined/);
    await assert.rejects(
      pool.map([], { signal: {} as never }).next(),
      /^TypeError: Cannot use 'signal': it must be an A/,
    );
    await assert.rejects(pool.run(undefined as never, { signal: 5 as never }), /^TypeError: Cannot use 'signal'/);
    await assert.rejects(pool.map([], { total: "3" as never }).next(), /^TypeError: Cannot use 'total'/);
    await pool.close();
    await assert.rejects(pool.run(undefined as never), { message: "Cannot take this job: the pool was closed" });
  });

  it("draws how far it has come, on a terminal alone, ten times a second at most", () => {
    const progress = { waiting: 3, running: 1, done: 4, failed: 2, total: 10 };
    assert.equal(draw(progress), "[##################------------] 6 of 10, 2 failed");
    assert.equal(draw({ ...progress, total: undefined, failed: 0 }), "[###############---------------] 4 of 8");
    const written: string[] = [];
    let now = 0;
    const host = { now: () => now, write: (text: string) => void written.push(text) };
    new ProgressBar(host, false).show(progress);
    assert.deepEqual(written, []);
    const bar = new ProgressBar(host, true);
    for (; now < 250; now += 10) bar.show(progress);
    assert.equal(written.length, 3);
    bar.show({ ...progress, waiting: 0, running: 0, done: 8 });
    assert.equal(written.length, 4);
    assert.ok(written.join("").endsWith("10 of 10, 2 failed\x1b[K\n"));
    bar.end();
    assert.equal(written.length, 4, "the line was left already");
  });

  it("leaves the line in the end alone where nobody knows how many jobs there are", () => {
    const written: string[] = [];
    const bar = new ProgressBar({ now: () => 0, write: (text) => void written.push(text) }, true);
    for (let done = 1; done <= 3; done++) bar.show({ waiting: 0, running: 0, done, failed: 0, total: undefined });
    bar.end();
    assert.deepEqual(written.map((text) => text.replace(/^\r.*\] /, "")), ["1 of 1\x1b[K", "3 of 3\x1b[K\n"]);
  });
});
