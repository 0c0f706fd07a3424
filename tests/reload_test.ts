/** Reloads with real processes: what was built well takes over, what was not costs nobody a request. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { keepAlive, load, oneShot, post } from "./support/load.ts";
import { eventsOfType, expectEnd, liveWorkers, runFixture, runPool, stopPool, waitForReady } from "./support/pool.ts";
import { runProgram, tempDir, waitFor } from "./support/run.ts";

const LONG = { timeout: 180_000 };
const SERVING = { ...LONG, skip: process.platform !== "linux" };
const module = fileURLToPath(new URL("./fixtures/serve/build.ts", import.meta.url));
const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));

const CLIENTS = [oneShot, oneShot, keepAlive(0), keepAlive(100), post];

/** How builds are broken, and what is said of each. */
const BROKEN = [
  ["throws", /^worker=0 gen=2 pid=\d+ exited with status 1 before it was ready$/],
  ["exits", /^worker=0 gen=2 pid=\d+ exited with status 7 before it was ready$/],
  [
    "hangs",
    /^worker=0 gen=2 pid=\d+ was killed: it was not ready within \d+ ms: it has neither begun to serve nor called ready\(\)$/,
  ],
  [
    "never listens",
    /^worker=0 gen=2 pid=\d+ was killed: it was not ready within \d+ ms: it has neither begun to serve nor called ready\(\)$/,
  ],
] as const;

describe("a reload", () => {
  for (const [build, reason] of BROKEN) {
    it(`of a build that ${build} costs no request, and the workers that serve stay`, SERVING, async () => {
      await using directory = await tempDir();
      const file = directory.file("build");
      writeFileSync(file, "good");
      await using program = runPool({
        module,
        options: {
          maxWorkers: 2,
          listen: "127.0.0.1:0",
          bootTimeoutMs: 4000,
          trapSignals: { SIGTERM: "SIGTERM", SIGHUP: { signal: "SIGTERM", replace: "before" } },
        },
      }, { env: { TEST_BUILD: file } });
      const before = await waitForReady(program, 2);
      const line = await program.waitForLine(/^listens /);
      const [{ address: { port } }] = JSON.parse(line.slice("listens ".length));
      const clients = load({ port }, CLIENTS);
      writeFileSync(file, build);
      program.kill("SIGHUP");
      await program.waitForLine('"type":"reloadFailed"');
      const [failed] = eventsOfType(program, "reloadFailed");
      assert.match(failed?.reason ?? "", reason);
      assert.deepEqual([failed?.serving, failed?.cause], [1, "failed"]);
      await waitForReady(program, 2);
      assert.deepEqual(liveWorkers(program).map(({ pid }) => pid), before.map(({ pid }) => pid));

      writeFileSync(file, "good");
      program.kill("SIGHUP");
      await program.waitForLine('"type":"reloaded","generation":3');
      const answered = { ...clients.tally.answered };
      await waitFor(() => (clients.tally.answered["post"] ?? 0) > (answered["post"] ?? 0), { what: "another answer" });
      const { failures } = await clients.stop();
      assert.deepEqual(failures, []);
      await waitForReady(program, 2);
      assert.deepEqual(liveWorkers(program).map(({ generation }) => generation), [3, 3]);
      await stopPool(program);
    });
  }

  it(
    "is asked for by reload(), which resolves when all workers are new, and rejects with the reason",
    LONG,
    async () => {
      await using program = runFixture("reload");
      await expectEnd(program);
      const line = (start: string) => program.matching((each) => each.startsWith(start))[0]?.slice(start.length);
      assert.equal(line("too early: "), "Cannot reload: this pool is not inside start(), so it has no workers to keep");
      assert.equal(line("at first: "), "0/1/ready 1/1/ready");
      assert.equal(line("good: "), "done", program.report());
      assert.match(
        line("broken: ") ?? "",
        /^ReloadError Cannot reload: worker=0 gen=3 pid=\d+ exited with status 1\. Generation 2 goes on serving$/,
      );
      assert.equal(line("the same again: "), "done", program.report());
      assert.match(line("first of two: ") ?? "", /^ReloadError Cannot reload: generation 6 took its place/);
      assert.equal(line("second of two: "), "done", program.report());
      assert.match(line("wrong data: ") ?? "", /^Cannot send data to workers: a function does not survive JSON$/);
      assert.match(line("stopped: ") ?? "", /^ReloadError Cannot reload: the pool was told to stop by SIGTERM/);
      for (const edition of [1, 2, 6]) {
        for (const slot of [0, 1]) assert.ok(program.lines.includes(`edition ${edition} in ${slot}`), program.report());
      }
    },
  );

  it("of the command line says what is wrong, and the pool serves on", SERVING, async () => {
    await using directory = await tempDir();
    const file = directory.file("build");
    writeFileSync(file, "good");
    const words = [module, "-l", "127.0.0.1:0", "-w", "2", "--log-format", "plain"];
    await using program = runProgram(prefork, words, { env: { TEST_BUILD: file } });
    await program.waitForErrorLine("is ready", { count: 2 });
    writeFileSync(file, "throws");
    program.kill("SIGHUP");
    await program.waitForErrorLine("broken on purpose");
    await program.waitForErrorLine(
      /\[error\] prefork: the reload failed, generation 1 goes on serving: worker=0 gen=2 pid=\d+ exited with status 1/,
    );
    writeFileSync(file, "good");
    program.kill("SIGHUP");
    await program.waitForErrorLine("generation 3 serves, and no other");
    program.kill("SIGTERM");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  });
});
