/**
 * Nothing is lost: clients at full speed, while workers come and go. `PREFORK_TEST_LOAD_MS` says how long each takes; where
 * it is set, the relay is shown everything that the others are.
 */
import assert from "node:assert/strict";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { PreforkOptions, Relay } from "../mod.ts";
import { Client, type Where } from "./support/client.ts";
import { freeze, freezeForGood, isHeld, type Kill } from "./support/held.ts";
import { keepAlive, type Load, load, oneShot, post, stream, type Tally, webSocket } from "./support/load.ts";
import { eventsOfType, liveWorkers, portOf, runPool, stopPool, waitForReady } from "./support/pool.ts";
import {
  otherRuntimeCommand,
  type Program,
  runProgram,
  runtime,
  signalProcess,
  tempDir,
  type TestRuntime,
  waitFor,
} from "./support/run.ts";

const LOAD_MS = Number(process.env["PREFORK_TEST_LOAD_MS"] ?? 1000);
const isLong = process.env["PREFORK_TEST_LOAD_MS"] !== undefined;
const options = { skip: process.platform !== "linux", timeout: 180_000 + 3 * LOAD_MS };
const module = fileURLToPath(new URL("./fixtures/serve/loaded.ts", import.meta.url));
const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));

const other = runtime === "deno" ? "bun" : "deno";
/** Longer than a drain waits for idle connections: these may race with their close. */
const LONG_MS = 1500;
const RACING = `keep-alive, ${LONG_MS} ms between`;
const KINDS = ["one shot", "keep-alive, 0 ms between", "keep-alive, 100 ms between", "post", "stream", "web socket"];
const CLIENTS = [
  oneShot,
  oneShot,
  oneShot,
  keepAlive(0),
  keepAlive(0),
  keepAlive(100),
  keepAlive(LONG_MS, true),
  post,
  stream,
  stream,
  webSocket,
];
/** So many that the queue is never empty: a worker that is told to stop must leave it all the same. */
const CROWD = [...CLIENTS, ...Array.from({ length: 60 }, () => oneShot)];

interface Setting {
  readonly attach?: boolean;
  readonly adoption?: boolean;
  readonly requests?: number;
  /** Whether the program of a worker that has had enough closes its server. */
  readonly closes?: boolean;
  /** What HUP does: tell all workers at once, or replace one after the other. */
  readonly hup?: Relay;
  readonly on?: TestRuntime;
  /** A Unix socket to listen on. */
  readonly path?: string;
}

function run(
  { attach, adoption = true, requests, closes, hup = "SIGTERM", on = runtime, path }: Setting,
  more: PreforkOptions = {},
): Program {
  const pool: PreforkOptions = {
    maxWorkers: 2,
    listen: path === undefined ? "127.0.0.1:0" : `unix:${path}`,
    adoption,
    trapSignals: { SIGTERM: "SIGTERM", SIGHUP: hup },
    ...more,
  };
  return runPool({ module, runtime: on, options: pool }, {
    env: { TEST_LOADED: JSON.stringify({ attach, requests, closes }) },
  });
}

async function whereOf(program: Program): Promise<Where> {
  const line = await program.waitForLine(/^listens /);
  const [{ address: { port, path } }] = JSON.parse(line.slice("listens ".length));
  return path === undefined ? { port } : { path };
}

/** Replaces all workers again and again, each time when those before have answered; gives how many generations there were. */
async function reloadFor(program: Program, ms: number, { tally }: Load): Promise<number> {
  const end = performance.now() + ms;
  let generation = 2;
  for (; performance.now() < end || generation < 4; generation++) {
    program.kill("SIGHUP");
    await program.waitForLine(/^returned SIGHUP/, { count: generation - 1 });
    const isNew = () => liveWorkers(program).filter((worker) => worker.generation === generation);
    await waitFor(() => isNew().filter(({ state }) => state === "ready").length === 2, {
      what: "two workers of the next generation",
    }).catch((error) => assert.fail(`${error.message}\n${program.report()}`));
    await waitFor(() => isNew().some(({ pid }) => tally.workers.has(String(pid))), {
      what: `an answer of generation ${generation}`,
    });
  }
  return generation - 1;
}

/** Clients stop only when each kind of them was answered, and enough workers did: on a busy machine that takes longer. */
async function finish(clients: Load, least: number): Promise<Tally> {
  const { answered, failures, workers } = clients.tally;
  const isEnough = () => KINDS.every((kind) => (answered[kind] ?? 0) >= 2) && workers.size >= least;
  await waitFor(() => failures.length > 0 || isEnough(), {
    what: `two answers for each kind of client, by ${least} workers`,
  }).catch((error) => assert.fail(`${error.message}: ${JSON.stringify(answered)} by ${workers.size}`));
  return await clients.stop();
}

/** Each request of each kind of client was answered, by more than a few workers. */
async function expectNoLoss(clients: Load, program: Program, least: number): Promise<void> {
  const { failures, sent, answered, cutShort, idleRaces, heldUp, idleCloses } = await finish(clients, least);
  tellFigures(clients.tally);
  if (failures.length > 0) {
    const told = failures.slice(0, 10).map((failure) => JSON.stringify(failure)).join("\n");
    assert.fail(`${failures.length} requests failed:\n${told}\n${program.report()}`);
  }
  for (const kind of KINDS) {
    const excused = kind === "web socket" ? cutShort : heldUp[kind] ?? 0;
    assert.equal(sent[kind], (answered[kind] ?? 0) + excused, kind);
    assert.equal(idleCloses[kind] ?? 0, 0, kind);
  }
  const sum = (counts: Readonly<Record<string, number>>) => Object.values(counts).reduce((all, one) => all + one, 0);
  assert.ok(50 * sum(heldUp) < sum(answered), `${sum(heldUp)} requests came too late, ${sum(answered)} were answered`);
  assert.equal(sent[RACING], (answered[RACING] ?? 0) + (idleRaces[RACING] ?? 0));
  assert.deepEqual(program.errorLines.filter((line) => line.includes("cut off")), []);
}

/** Long runs are made to be read. */
function tellFigures({ failures, workers, ...figures }: Tally): void {
  if (!isLong) return;
  process.stdout.write(`${JSON.stringify({ ...figures, failures: failures.length, workers: workers.size })}\n`);
}

async function reloads(setting: Setting, loops = CLIENTS): Promise<void> {
  await using program = run(setting);
  await waitForReady(program, 2);
  const clients = load(await whereOf(program), loops);
  const generations = await reloadFor(program, LOAD_MS, clients);
  await expectNoLoss(clients, program, generations);
  await stopPool(program);
}

async function recycles(setting: Setting): Promise<void> {
  await using program = run({ ...setting, requests: 300 });
  await waitForReady(program, 2);
  const clients = load(await whereOf(program), CLIENTS);
  const end = performance.now() + LOAD_MS;
  const reaped = () => eventsOfType(program, "reap");
  await waitFor(() => reaped().length >= 4 && performance.now() >= end, {
    what: "four workers to go",
    timeoutMs: LOAD_MS + 60_000,
  });
  await expectNoLoss(clients, program, 4);
  assert.ok(reaped().every(({ status }) => status.type === "exited" && status.code === 0));
  await stopPool(program);
}

/** By the manager, of whom each worker asks for its successor. */
async function replaces(setting: Setting): Promise<void> {
  await using program = run(setting, { recycle: { maxRequests: 300, jitter: 0.5 } });
  await waitForReady(program, 2);
  const clients = load(await whereOf(program), CLIENTS);
  const end = performance.now() + LOAD_MS;
  const replaced = () => eventsOfType(program, "replace").length;
  await waitFor(() => replaced() >= 4 && performance.now() >= end, {
    what: "four workers to be replaced",
    timeoutMs: LOAD_MS + 60_000,
  });
  await expectNoLoss(clients, program, 4);
  for (const { reason } of eventsOfType(program, "recycle")) assert.match(reason, /^has served \d+ requests$/);
  await stopPool(program);
}

function waitForAnswer({ tally }: Load, pid: string): Promise<unknown> {
  return waitFor(() => tally.workers.has(pid), { what: `an answer of ${pid}` });
}

/** By the command line, which changes the number of its workers by signals. */
async function resizes({ attach, adoption = true, on = runtime }: Setting): Promise<void> {
  const executable = on === runtime ? on : otherRuntimeCommand().command;
  const words = [module, "-l", "127.0.0.1:0", "-w", "1", "--runtime", executable, "--log-format", "plain"];
  await using program = runProgram(prefork, adoption ? words : [...words, "--no-adoption"], {
    env: { TEST_LOADED: JSON.stringify({ attach }) },
  });
  const line = await program.waitForErrorLine(/listens on/);
  await program.waitForErrorLine(/is ready$/);
  const clients = load({ port: Number(/:(\d+)$/.exec(line)?.[1]) }, CLIENTS);
  const end = performance.now() + LOAD_MS;
  for (let round = 1; performance.now() < end || round < 3; round++) {
    program.kill("SIGTTIN");
    const ready = await program.waitForErrorLine(/is ready$/, { count: round + 1 });
    await waitForAnswer(clients, / pid=(\d+) /.exec(ready)?.[1] ?? assert.fail(ready));
    program.kill("SIGTTOU");
    await program.waitForErrorLine(/exited with status 0$/, { count: round });
  }
  await expectNoLoss(clients, program, 2);
  program.kill("SIGTERM");
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
}

async function kills(setting: Setting): Promise<void> {
  await using program = run(setting, { errRespawnIntervalMs: 0 });
  await waitForReady(program, 2);
  const port = await portOf(program);
  const clients = load({ port }, CLIENTS);
  const killed: Kill[] = [];
  const end = performance.now() + LOAD_MS;
  while (performance.now() < end || killed.length < 3) {
    await waitForReady(program, 2);
    const victim = liveWorkers(program)[killed.length % 2]?.pid ?? assert.fail("no worker");
    await waitForAnswer(clients, String(victim));
    // Far more of those who come and go are answered than fail, since a kill costs no client more than one request.
    await waitFor(() => (clients.tally.answered["one shot"] ?? 0) > 2 * CLIENTS.length * (killed.length + 1), {
      what: `answers enough before kill ${killed.length + 1}`,
    });
    killed.push(await freezeForGood(victim, port));
    signalProcess(victim, "SIGKILL");
    await waitFor(() => eventsOfType(program, "reap").length >= killed.length, { what: "it to be reaped" });
  }
  const { failures } = await clients.stop();
  tellFigures(clients.tally);
  assert.deepEqual(failures.filter((failure) => !isHeld(failure, killed)).slice(0, 10), []);
  const held = killed.reduce((sum, kill) => sum + (kill.held?.size ?? 0), 0);
  assert.ok(held > 0, "no connection was held by any of the workers that were killed");
  assert.ok(failures.length <= held, `${failures.length} requests failed, and ${held} connections were held`);
  await stopPool(program);
}

/** Connections that no worker has accepted when one of them dies. */
async function killsWhileQueued(setting: Setting): Promise<void> {
  await using program = run(setting, { errRespawnIntervalMs: 0 });
  await waitForReady(program, 2);
  const port = await portOf(program);
  for (let round = 0; round < 3; round++) {
    const [victim, heir] = liveWorkers(program).map(({ pid }) => pid);
    assert.ok(victim !== undefined && heir !== undefined);
    for (const pid of [victim, heir]) await freeze(pid);
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
  await stopPool(program);
}

const settings: readonly (readonly [string, Setting])[] = [
  ["serve()", {}],
  ["attach()", { attach: true }],
  ["serve(), relayed", { adoption: false }],
  ["attach(), relayed", { attach: true, adoption: false }],
];

for (const [name, setting] of settings) {
  describe(`no request is lost by ${name} on a manager on ${runtime}`, () => {
    it("while all workers are replaced again and again", options, () => reloads(setting));
    it("while all workers are reloaded again and again", options, () => {
      return reloads({ ...setting, hup: { signal: "SIGTERM", replace: "before" } });
    });
    it("while the pool grows and shrinks", options, () => resizes(setting));
    // A worker leaves by itself as it does when it is told to, which a relay was shown above.
    if (setting.adoption !== false || isLong) {
      it("while workers tell themselves to stop", options, () => recycles(setting));
      it("while programs close their servers", options, () => recycles({ ...setting, closes: true }));
      it("while workers are replaced that have served enough", options, () => replaces(setting));
    }
    it("but what a killed worker had accepted", options, () => kills(setting));
    it("that waits in the queue when a worker is killed", options, () => killsWhileQueued(setting));
  });

  describe(`no request is lost by ${name} on ${other} on a manager on ${runtime}`, () => {
    it("while all workers are replaced again and again", options, () => reloads({ ...setting, on: other }));
  });
}

describe(`no request is lost by serve() on a manager on ${runtime} while all workers are replaced`, () => {
  it("by a crowd that never leaves the queue empty", options, () => reloads({}, CROWD));
  it("on a Unix socket", options, async () => {
    await using directory = await tempDir();
    await reloads({ path: directory.file("s") });
  });
});

describe(`no request is lost by serve() on ${other} on a manager on ${runtime}`, () => {
  it("while the pool grows and shrinks", options, () => resizes({ on: other }));
  it("but what a killed worker had accepted", options, () => kills({ on: other }));
  it("that waits in the queue when a worker is killed", options, () => killsWhileQueued({ on: other }));
});
