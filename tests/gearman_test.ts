/** The Gearman examples against a real gearmand, and the real client. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { type Gearmand, startGearmand } from "./support/gearmand.ts";
import { JobLog } from "./support/job_log.ts";
import { type Program, runProgram, type TempDir, tempDir } from "./support/run.ts";

const WORKER = new URL("../examples/gearman_worker.ts", import.meta.url);
const DAEMON = new URL("../examples/gearman_daemon.ts", import.meta.url);
const FUNCTIONS = fileURLToPath(new URL("./fixtures/gearman_functions.ts", import.meta.url));

/** What one test needs: a server, a log of the jobs, a configuration. */
class Bench implements AsyncDisposable {
  readonly server: Gearmand;
  readonly log: JobLog;
  readonly config: string;
  readonly #dir: TempDir;
  #files = 0;

  constructor(dir: TempDir, server: Gearmand) {
    this.#dir = dir;
    this.server = server;
    this.log = new JobLog(dir.file("jobs.log"));
    this.config = dir.file("gearman.json");
  }

  async configure(maxWorkers: number): Promise<void> {
    const functions = ["record", "nothing", "fail"];
    await writeFile(
      this.config,
      JSON.stringify({ servers: [this.server.address], module: FUNCTIONS, functions, maxWorkers }),
    );
  }

  run(program: URL): Program {
    return runProgram(program, [this.config], { env: { GEARMAN_TEST_LOG: this.log.path } });
  }

  /** Hands jobs to the server through one client process. */
  async submit(name: string, jobs: readonly string[], ...flags: readonly string[]): Promise<Program> {
    const file = this.#dir.file(`jobs.${this.#files++}`);
    await writeFile(file, jobs.map((job) => `${job}\n`).join(""));
    return this.server.runJobs(name, file, ...flags);
  }

  /** The same with background jobs: resolves when the server has them in its queue. */
  async enqueue(...jobs: readonly string[]): Promise<void> {
    await using client = await this.submit("record", jobs, "-b");
    assert.equal((await client.waitForEnd()).code, 0, client.report());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    await this.#dir[Symbol.asyncDispose]();
  }
}

async function bench(maxWorkers = 1): Promise<Bench> {
  const dir = await tempDir();
  const made = new Bench(dir, await startGearmand(dir));
  await made.configure(maxWorkers);
  return made;
}

function jobs(prefix: string, count: number, ms: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index} ${ms}`);
}

async function assertStops(program: Program): Promise<void> {
  program.kill("SIGTERM");
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  assert.deepEqual(program.processes(), []);
}

test(
  "gearman: what is wrong with a configuration is one sentence that names the file",
  { timeout: 180_000 },
  async () => {
    await using dir = await tempDir();
    await writeFile(dir.file("wrong.json"), '{ "maxWorkers": -1 }');
    for (const program of [WORKER, DAEMON]) {
      for (
        const [name, why] of [["none.json", /ENOENT/], ["wrong.json", /"maxWorkers" must be a whole number/]] as const
      ) {
        await using refused = runProgram(program, [dir.file(name)]);
        assert.deepEqual(await refused.waitForEnd(), { code: 2, signal: null }, refused.report());
        assert.equal(refused.errorLines.length, 1, refused.report());
        assert.ok(refused.errorLines[0]?.startsWith(`Cannot use ${dir.file(name)}: `), refused.report());
        assert.match(refused.errorLines.join(), why);
      }
    }
  },
);

test("gearman: an idle worker stops at once on SIGTERM", { timeout: 180_000 }, async () => {
  await using at = await bench();
  await using worker = at.run(WORKER);
  await at.server.waitForWorkers("record", 1);
  worker.kill("SIGTERM");
  // Sooner than it would ask for a job by itself, or give up a server that does not answer.
  assert.deepEqual(await worker.waitForEnd({ timeoutMs: 9_000 }), { code: 0, signal: null }, worker.report());
  await at.server.waitForWorkers("record", 0);
});

test("gearman: a worker told to stop finishes the job in hand first", { timeout: 180_000 }, async () => {
  await using at = await bench();
  await using worker = at.run(WORKER);
  await at.enqueue("in-hand 700", "waiting 0");
  await at.log.waitUntilBegun("in-hand");
  worker.kill("SIGTERM");
  worker.kill("SIGTERM");
  assert.deepEqual(await worker.waitForEnd(), { code: 0, signal: null }, worker.report());
  assert.deepEqual([...at.log.done()], [["in-hand", 1]]);
  assert.equal((await at.server.status("record")).jobs, 1, "the server must know that one job is done, one waits");
});

test("gearman: no result and a failure reach the client, and the worker goes on", { timeout: 180_000 }, async () => {
  await using at = await bench();
  await using worker = at.run(WORKER);
  await using silent = await at.submit("nothing", ["x"]);
  assert.equal((await silent.waitForEnd()).code, 0, silent.report());
  await using failing = await at.submit("fail", ["it"]);
  assert.equal((await failing.waitForEnd()).code, 1, failing.report());
  assert.match([...failing.lines, ...failing.errorLines].join(), /cannot do it/);
  await using next = await at.submit("record", ["next 0"]);
  await next.waitForEnd();
  assert.deepEqual(next.lines, ["next"]);
  await assertStops(worker);
});

test("gearman: a worker comes back to a server that was restarted", { timeout: 180_000 }, async () => {
  await using dir = await tempDir();
  const first = await startGearmand(dir);
  await using at = new Bench(await tempDir(), first);
  await at.configure(1);
  await using worker = at.run(WORKER);
  await first.waitForWorkers("record", 1);
  await first[Symbol.asyncDispose]();
  await worker.waitForErrorLine("is lost");
  await using second = await startGearmand(dir, first.port);
  await second.waitForWorkers("record", 1);
  await at.enqueue("after 0");
  await at.log.waitUntilDone(1);
  await assertStops(worker);
});

test("gearman: workers stopped at any instant do every job exactly once", { timeout: 180_000 }, async () => {
  await using at = await bench();
  await at.enqueue(...jobs("job", 400, 2));
  const rounds = 12;
  for (let round = 1; round <= rounds; round++) {
    await using worker = at.run(WORKER);
    const before = at.log.done().size;
    await at.log.waitUntilDone(Math.min(400, before + 1 + Math.floor(Math.random() * 20)));
    await assertStops(worker);
  }
  await using last = at.run(WORKER);
  await at.log.waitUntilDone(400);
  await assertStops(last);
  assert.deepEqual(at.log.repeated(), []);
  assert.equal((await at.server.status("record")).jobs, 0);
});

test("gearman: a thousand jobs through HUP, a crash and changes of scale", { timeout: 240_000 }, async () => {
  await using at = await bench(3);
  await using daemon = at.run(DAEMON);
  try {
    await doThousandJobs(at, daemon);
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : error}\n${daemon.report()}`, { cause: error });
  }
});

async function doThousandJobs(at: Bench, daemon: Program): Promise<void> {
  await at.server.waitForWorkers("record", 3);
  await using clients = new AsyncDisposableStack();
  const waiting = await Promise.all(["a", "b", "c", "d"].map((name) => at.submit("record", jobs(name, 125, 10))));
  for (const client of waiting) clients.use(client);
  await Promise.all([at.enqueue(...jobs("e", 250, 10)), at.enqueue(...jobs("f", 248, 10))]);

  await at.log.waitUntilDone(100);
  daemon.kill("SIGHUP");
  await at.log.waitUntilDone(200);
  await at.configure(5);
  daemon.kill("SIGHUP");
  await at.server.waitForWorkers("record", 5);

  await at.log.waitUntilDone(400);
  await writeFile(at.config, '{ "servers": 7 }');
  daemon.kill("SIGHUP");
  await daemon.waitForErrorLine("the old configuration stays in use");

  // The file is broken now: the worker that replaces the crashed one must not need it.
  const held = clients.use(await at.submit("record", ["held 3000"], "-I"));
  const killed = await at.log.waitUntilBegun("held");
  process.kill(killed, "SIGKILL");
  await at.log.waitUntilBegun("held", killed);
  await at.server.waitForWorkers("record", 5);

  await at.log.waitUntilDone(600);
  await at.configure(2);
  daemon.kill("SIGHUP");
  for (const client of [...waiting, held]) {
    assert.equal((await client.waitForEnd({ timeoutMs: 120_000 })).code, 0, client.report());
  }
  await at.log.waitUntilDone(999);
  await at.server.waitForWorkers("record", 2);

  await at.enqueue("last 800");
  await at.log.waitUntilBegun("last");
  await assertStops(daemon);

  assert.equal(at.log.done().size, 1000);
  assert.deepEqual(waiting.map((client) => client.lines.length), [125, 125, 125, 125]);
  assert.deepEqual(held.lines, ["held"]);
  assert.equal((await at.server.status("record")).jobs, 0);
  // Gearman promises at least once. More than once is the job whose worker was killed with it in hand, and no other.
  assert.deepEqual(at.log.repeated(), ["held"]);
  assert.deepEqual([...at.log.done()].filter(([, times]) => times !== 1), []);
}
