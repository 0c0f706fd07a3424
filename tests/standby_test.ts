/** Standbys with real processes: how far each kind of worker goes before it waits, and what becomes of it. */
import assert from "node:assert/strict";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { PreforkOptions } from "../mod.ts";
import type { PoolSpec } from "./fixtures/lifecycle/pool.ts";
import { get } from "./support/client.ts";
import { keepAlive, load, oneShot, post } from "./support/load.ts";
import {
  eventsOfType,
  expectEnd,
  liveWorkers,
  runPool,
  stopPool,
  waitForNobody,
  waitForReady,
} from "./support/pool.ts";
import { isAlive } from "./support/processes.ts";
import { otherRuntimeCommand, type Program, runProgram, runtime, signalProcess, waitFor } from "./support/run.ts";

const options = { timeout: 180_000 };
const SERVING = { ...options, skip: process.platform !== "linux" };
const module = fileURLToPath(new URL("./fixtures/serve/standby.ts", import.meta.url));
const loaded = fileURLToPath(new URL("./fixtures/serve/loaded.ts", import.meta.url));
const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));

type Form = "fetch" | "function" | "plain function" | "program" | "refused" | "throws";

/** What cannot be served before it has a slot, and what is said of it. */
const FAILURES = [
  ["refused", /^prefork: Cannot use 'signal' in a worker: /],
  ["throws", /^Error: no certificate$/],
] as const;

function run(spec: PoolSpec, form?: Form): Program {
  const { options = {}, ...rest } = spec;
  const own: PreforkOptions = { maxWorkers: 1, standby: 1, ...options };
  return runPool({ ...rest, options: own }, form === undefined ? {} : { env: { STANDBY_FORM: form } });
}

/** The process that stands by after `count` have done so. */
async function waitForStandby(program: Program, count = 1): Promise<number> {
  await program.waitForLine('"type":"standby"', { count });
  return eventsOfType(program, "standby").at(count - 1)?.worker.pid ?? assert.fail("nobody stands by");
}

function killFirst(program: Program): void {
  const [victim] = liveWorkers(program).filter(({ slot }) => slot === 0);
  signalProcess(victim?.pid ?? assert.fail("no worker"), "SIGKILL");
}

/** Kills the only worker: whoever stands by takes its place, with no wait for a failure. */
async function activate(program: Program, standby: number): Promise<void> {
  killFirst(program);
  await program.waitForLine('"type":"activate"');
  const [{ worker } = assert.fail("nobody")] = eventsOfType(program, "activate");
  assert.deepEqual([worker.pid, worker.slot], [standby, 0]);
  await waitFor(() => eventsOfType(program, "ready").some(({ worker: { pid } }) => pid === standby), {
    what: "it to be ready",
  });
  assert.deepEqual(eventsOfType(program, "backoff"), []);
}

for (const on of ["deno", "bun"] as const) {
  const executable = on === runtime ? {} : { executable: otherRuntimeCommand().command };
  const modules = { module, runtime: on, ...executable };

  describe(`a standby on ${on} of a manager on ${runtime}`, () => {
    it("has run its module up to the function that it exports, and begins that in its slot", options, async () => {
      await using program = run(modules, "plain function");
      const standby = await waitForStandby(program);
      await program.waitForLine(`program ${standby} in none`);
      assert.deepEqual(program.matching(`work ${standby}`), []);
      await activate(program, standby);
      await program.waitForLine(`work ${standby} in 0 of 1 with {"starts":1}`);
      await waitForStandby(program, 2);
      await stopPool(program);
    });

    for (const form of ["fetch", "function"] as const) {
      it(`serves at once when it is activated, and takes no connection before: ${form}`, SERVING, async () => {
        await using program = run({ ...modules, options: { listen: "127.0.0.1:0" } }, form);
        const standby = await waitForStandby(program);
        const line = await program.waitForLine(/^listens /);
        const [{ address: { port } }] = JSON.parse(line.slice("listens ".length));
        for (let i = 0; i < 20; i++) assert.doesNotMatch(await get(port, "/"), new RegExp(`^${standby} `));
        killFirst(program);
        assert.equal(await get(port, "/next"), `${standby} 0 /next`);
        await stopPool(program);
      });
    }

    for (const [form, said] of FAILURES) {
      it(`ends with status 1 where it cannot prepare to serve, and says why (${form})`, SERVING, async () => {
        await using program = run({ ...modules, options: { listen: "127.0.0.1:0" } }, form);
        await waitForReady(program, 1);
        await program.waitForErrorLine(said);
        const line = await program.waitForLine(/"type":"reap"/);
        assert.match(line, /"slot":-1.*"exited with status 1/);
        assert.deepEqual(program.errorLines.filter((line) => /[Uu]ncaught|unhandled/.test(line)), []);
        await stopPool(program);
      });
    }

    it("waits before a program that exports nothing to wait for", options, async () => {
      await using program = run({ ...modules, options: { standby: 1 } }, "program");
      const standby = await waitForStandby(program);
      assert.deepEqual(program.matching(`program ${standby}`), []);
      await activate(program, standby);
      await program.waitForLine(`program ${standby} in 0`);
      program.kill("SIGTERM");
      await expectEnd(program);
    });
  });
}

describe(`a standby of a manager on ${runtime}`, () => {
  for (const fallThrough of [false, true]) {
    it(
      `waits in its start(), ${fallThrough ? "which then returns" : "and its callback begins then"}`,
      options,
      async () => {
        await using program = run({ fallThrough });
        const standby = await waitForStandby(program);
        await activate(program, standby);
        await program.waitForLine(`begun 0 1 ${standby} {"starts":1}`);
        await stopPool(program);
      },
    );
  }

  it("tells what memory it uses", { ...options, skip: process.platform !== "linux" }, async () => {
    await using program = run({});
    await waitForStandby(program);
    const [{ usage } = assert.fail("nobody")] = eventsOfType(program, "standby");
    assert.ok((usage?.memoryBytes ?? 0) > 5 * 2 ** 20, JSON.stringify(usage));
    await stopPool(program);
  });

  it("is thrown away by a reload, and made again of what is new", options, async () => {
    await using program = run({
      options: { trapSignals: { SIGTERM: "SIGTERM", SIGHUP: { signal: "SIGTERM", replace: "before" } } },
    });
    const old = await waitForStandby(program);
    program.kill("SIGHUP");
    const next = await waitForStandby(program, 2);
    await waitFor(() => !isAlive(old), { what: "the old standby to be gone" });
    const generations = eventsOfType(program, "standby").map(({ worker }) => worker.generation);
    assert.deepEqual(generations, [1, 2]);
    killFirst(program);
    await program.waitForLine(`begun 0 2 ${next} {"starts":2}`);
    await stopPool(program);
  });

  it("ends with a manager that is killed", options, async () => {
    await using program = run({});
    await waitForStandby(program);
    program.kill("SIGKILL");
    await waitForNobody(program, 5000);
  });

  it("costs no request when it takes the place of a worker under load", SERVING, async () => {
    const recycle = { maxRequests: 200, jitter: 0.5 };
    await using program = run({
      module: loaded,
      options: { maxWorkers: 2, standby: 2, listen: "127.0.0.1:0", recycle },
    });
    await waitForReady(program, 2);
    const line = await program.waitForLine(/^listens /);
    const [{ address: { port } }] = JSON.parse(line.slice("listens ".length));
    const clients = load({ port }, [oneShot, oneShot, keepAlive(0), post]);
    // Where the machine is busy, workers are replaced before another standby has booted, and get a fresh successor.
    await program.waitForLine('"type":"activate"', { count: 4 });
    const { failures } = await clients.stop();
    assert.deepEqual(failures, []);
    await stopPool(program);
  });

  it("is refused for commands", options, async () => {
    await using program = run({ command: ["sleep", "1000"] });
    assert.notEqual((await program.waitForEnd()).code, 0);
    await program.waitForErrorLine(
      "Cannot keep standbys of a command: it cannot be told to wait; leave out the option 'standby'",
    );
    await using line = runProgram(prefork, ["--standby", "1", "--", "sleep", "1000"]);
    assert.deepEqual(await line.waitForEnd(), { code: 2, signal: null });
    await line.waitForErrorLine("Cannot use --standby with the command sleep: it cannot be told to wait; leave it out");
  });

  it("is kept by the command line, which names it in the log and before what it prints", SERVING, async () => {
    const words = [module, "-l", "127.0.0.1:0", "-w", "1", "--standby", "1", "--log-format", "plain"];
    await using program = runProgram(prefork, words, { env: { STANDBY_FORM: "fetch" } });
    const line = await program.waitForErrorLine(/standby gen=1 pid=\d+ stands by, memory [\d.]+ MiB, CPU \d+ ms$/);
    const pid = Number(/pid=(\d+)/.exec(line)?.[1]);
    const first = await program.waitForErrorLine(/worker=0 gen=1 pid=\d+ is ready$/);
    signalProcess(Number(/pid=(\d+)/.exec(first)?.[1]), "SIGKILL");
    await program.waitForErrorLine(`worker=0 gen=1 pid=${pid} stood by, and begins`);
    await program.waitForErrorLine(`worker=0 gen=1 pid=${pid} is ready`);
    program.kill("SIGTERM");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  });
});
