/**
 * Nothing is lost: clients at full speed, while workers come and go. `PREFORK_TEST_LOAD_MS` says how long each takes.
 */
import assert from "node:assert/strict";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { PreforkOptions } from "../mod.ts";
import { Client } from "./support/client.ts";
import { keepAlive, load, oneShot, post, stream, type Tally, webSocket } from "./support/load.ts";
import { eventsOfType, liveWorkers, runPool, stopPool, waitForReady } from "./support/pool.ts";
import {
  otherRuntimeCommand,
  processState,
  type Program,
  runProgram,
  runtime,
  signalProcess,
  waitFor,
} from "./support/run.ts";

const LOAD_MS = Number(process.env["PREFORK_TEST_LOAD_MS"] ?? 3000);
const options = { skip: process.platform !== "linux", timeout: 120_000 + 3 * LOAD_MS };
const module = fileURLToPath(new URL("./fixtures/serve/loaded.ts", import.meta.url));

const other = runtime === "deno" ? "bun" : "deno";
const CLIENTS = [
  oneShot,
  oneShot,
  oneShot,
  keepAlive(0),
  keepAlive(0),
  keepAlive(100),
  post,
  stream,
  stream,
  webSocket,
];

interface Setting {
  readonly attach?: boolean;
  readonly adoption?: boolean;
  readonly requests?: number;
  readonly on?: "deno" | "bun";
}

function run({ attach = false, adoption = true, requests, on = runtime }: Setting, more: PreforkOptions = {}): Program {
  const pool: PreforkOptions = {
    maxWorkers: 2,
    listen: "127.0.0.1:0",
    adoption,
    trapSignals: { SIGTERM: "SIGTERM", SIGHUP: "SIGTERM" },
    ...more,
  };
  const env = { TEST_LOADED: JSON.stringify({ attach, requests }) };
  return runPool({ module, runtime: on, options: pool }, { env });
}

async function portOf(program: Program): Promise<number> {
  return JSON.parse((await program.waitForLine(/^listens /)).slice("listens ".length))[0].address.port;
}

/** Replaces all workers again and again, each time when those before are ready. */
async function reloadFor(program: Program, ms: number): Promise<void> {
  const end = performance.now() + ms;
  for (let generation = 2; performance.now() < end; generation++) {
    program.kill("SIGHUP");
    await program.waitForLine(/^returned SIGHUP/, { count: generation - 1 });
    const isNew = () => liveWorkers(program).filter((worker) => worker.generation === generation);
    await waitFor(() => isNew().filter(({ state }) => state === "ready").length === 2, {
      what: "two workers of the next generation",
      timeoutMs: 60_000,
    }).catch((error) => assert.fail(`${error.message}\n${program.report()}`));
  }
}

/** Each kind of client got what it asked for, from more than a few workers. */
function expectNoLoss(tally: Tally, program: Program, least: number): void {
  assert.deepEqual(tally.failures.slice(0, 10), [], `${tally.failures.length} requests failed`);
  const kinds = ["one shot", "keep-alive, 0 ms between", "keep-alive, 100 ms between", "post", "stream", "web socket"];
  for (const kind of kinds) assert.ok((tally.answered[kind] ?? 0) >= 2, `${kind}: ${JSON.stringify(tally.answered)}`);
  assert.ok(tally.workers.size >= least, `${tally.workers.size} workers answered`);
  const cut = program.errorLines.filter((line) => line.includes("cut off"));
  assert.deepEqual(cut, []);
}

const settings: readonly (readonly [string, Setting])[] = [
  ["serve()", {}],
  [`serve() on ${other}`, { on: other }],
  ["attach()", { attach: true }],
  ["serve(), relayed", { adoption: false }],
  ["attach(), relayed", { attach: true, adoption: false }],
];

for (const [name, setting] of settings) {
  describe(`no request is lost by ${name} on a manager on ${runtime}`, () => {
    it("while all workers are replaced again and again", options, async () => {
      await using program = run(setting);
      await waitForReady(program, 2);
      const clients = load(await portOf(program), CLIENTS);
      await reloadFor(program, LOAD_MS);
      expectNoLoss(await clients.stop(), program, 4);
      await stopPool(program, 60_000);
    });

    it("while workers tell themselves to stop", options, async () => {
      await using program = run({ ...setting, requests: 300 });
      await waitForReady(program, 2);
      const clients = load(await portOf(program), CLIENTS);
      const end = performance.now() + LOAD_MS;
      const reaped = () => eventsOfType(program, "reap").length;
      await waitFor(() => reaped() >= 4 && performance.now() >= end, { what: "four workers to go", timeoutMs: 60_000 });
      expectNoLoss(await clients.stop(), program, 4);
      assert.ok(eventsOfType(program, "reap").every(({ status }) => status.type === "exited" && status.code === 0));
      await stopPool(program, 60_000);
    });
  });
}

const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));

for (const on of ["deno", "bun"] as const) {
  describe(`a pool of ${on} workers on a manager on ${runtime}`, () => {
    it("loses nothing while it grows and shrinks", options, async () => {
      const executable = on === runtime ? on : otherRuntimeCommand().command;
      const words = [module, "-l", "127.0.0.1:0", "-w", "1", "--runtime", executable, "--log-format", "plain"];
      await using program = runProgram(prefork, words);
      const line = await program.waitForErrorLine(/listens on/);
      await program.waitForErrorLine(/is ready$/);
      const clients = load(Number(/:(\d+)$/.exec(line)?.[1]), CLIENTS);
      const end = performance.now() + LOAD_MS;
      for (let round = 1; performance.now() < end || round < 3; round++) {
        program.kill("SIGTTIN");
        await program.waitForErrorLine(/is ready$/, { count: round + 1, timeoutMs: 60_000 });
        program.kill("SIGTTOU");
        await program.waitForErrorLine(/exited with status 0$/, { count: round, timeoutMs: 60_000 });
      }
      expectNoLoss(await clients.stop(), program, 3);
      program.kill("SIGTERM");
      assert.deepEqual(await program.waitForEnd({ timeoutMs: 60_000 }), { code: 0, signal: null }, program.report());
    });

    it("answers what waits in the queue when a worker is killed", options, async () => {
      await using program = run({ on }, { errRespawnIntervalMs: 0 });
      const workers = await waitForReady(program, 2);
      const port = await portOf(program);
      for (let round = 0; round < 5; round++) {
        const [victim, heir] = liveWorkers(program).map(({ pid }) => pid);
        assert.ok(victim !== undefined && heir !== undefined);
        for (const pid of [victim, heir]) signalProcess(pid, "SIGSTOP");
        await waitFor(() => [victim, heir].every((pid) => processState(pid) === "T"), { what: "both to be stopped" });
        const waiting = Array.from({ length: 20 }, () => new Client({ port }));
        await Promise.all(waiting.map((client) => client.connected));
        for (const client of waiting) client.send("GET /word/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        signalProcess(victim, "SIGKILL");
        signalProcess(heir, "SIGCONT");
        for (const client of waiting) await client.waitFor(/\r\n\r\n[^]*\d+ x/);
        for (const client of waiting) client[Symbol.dispose]();
        await waitFor(() => eventsOfType(program, "reap").length > round, { what: "the killed worker to be reaped" });
        await waitForReady(program, 2);
      }
      assert.equal(workers.length, 2);
      await stopPool(program);
    });
  });
}
