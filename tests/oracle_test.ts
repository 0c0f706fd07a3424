/**
 * The ancestor as oracle: the same scenario drives the real Parallel::Prefork 0.18 (`oracle/daemon.pl`) and this library
 * (`oracle/daemon.ts`), and their stories must be the same, but for the differences listed here.
 *
 * | what | Parallel::Prefork | here | reason |
 * | --- | --- | --- | --- |
 * | Start of a worker | `fork`: continues inside `start` | the program runs again up to its `start`, so what stands before it (`load_config`) runs in workers too; the configuration they work with is the manager's `data` | there is no `fork` |
 * | Q1: status given to the reap hook during `wait_all_children` | 0, whatever it was | the true one | the hook is there to tell a failure |
 * | Q2: a signal between two `start` calls | forgotten | the next `start` returns by it at once | a stop must stop |
 * | Q5: several workers failing together | reaped one per `err_respawn_interval`, each late reap delaying the whole pool again | reaped at once; each slot backs off on its own, 1 s at first, then twice as long each time with jitter | a crash costs one slot, not the pool |
 * | Back-off after a new `start` | goes on | forgotten | a reload is an attempt to mend it |
 * | Q11: a relay that comes before the worker's handler | kills the worker | is held until `ready()`, or for the worker's first second | no work may be lost to a relay |
 * | Staggered relay: who is first | the lowest pid, as text | the oldest worker | pids mean nothing |
 *
 * USR1 mapped to nothing is USR2 here, on both sides: SIGUSR1 opens the inspector of a Deno process.
 * Q4 (a signal just before the ancestor waits is overlooked until something else wakes it) and Q11 are not provoked: the
 * scenario signals a manager only while it sleeps, and workers only once they can handle it.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type DaemonConfig, DaemonRun, writeConfig } from "./oracle/daemon_run.ts";
import { type Story, tellStory } from "./oracle/story.ts";
import { type Program, runCommand, runProgram, signalProcess, type TempDir, tempDir } from "./support/run.ts";

type StartDaemon = (configPath: string) => Program;

/** The steps whose forks happen one by one, so that the size of the pool before each is no race. */
const SIZED_STEPS = ["start", "kill -9", "TERM to a worker"];

const startOurs: StartDaemon = (config) => runProgram(new URL("./oracle/daemon.ts", import.meta.url), [config]);
const startAncestor: StartDaemon = (config) =>
  runCommand("/usr/bin/perl", [fileURLToPath(new URL("./oracle/daemon.pl", import.meta.url)), config]);

/** From one configuration to the next: all three workers are told to stop, and replaced. */
const REPLACED = { start_return: 1, load_config: 1, worker_term: 3, reap: 3, after_fork: 3, worker_start: 3 };

async function everything(run: DaemonRun, dir: TempDir): Promise<void> {
  await run.step("start", { load_config: 1, after_fork: 3, worker_start: 3 });

  writeConfig(dir, { version: 2 });
  await run.step("HUP", REPLACED, () => run.signal("SIGHUP"));

  await run.step("kill -9", { reap: 1, after_fork: 1, worker_start: 1 }, () => run.signalWorker("SIGKILL"));
  const respawn = { worker_term: 1, reap: 1, after_fork: 1, worker_start: 1 };
  await run.step("TERM to a worker", respawn, () => run.signalWorker("SIGTERM"));

  writeConfig(dir, { version: 3 });
  await run.step("USR2", { start_return: 1, load_config: 1 }, () => run.signal("SIGUSR2"));

  writeConfig(dir, { version: 4, failures: 6, termCode: 7 });
  const twoRoundsOfFailures = { worker_fail: 6, reap: 3 + 6, after_fork: 6 + 3, worker_start: 3 };
  await run.step("failures", { ...REPLACED, ...twoRoundsOfFailures }, () => run.signal("SIGHUP"));

  await run.step("staggered TERM", REPLACED, () => run.signal("SIGTTIN"));

  const stopped = { start_return: 1, wait_begin: 1, worker_term: 3, reap: 3, wait_done: 1 };
  await run.step("TERM", stopped, () => run.signal("SIGTERM"));
}

/** Runs a daemon until it has ended by itself, and looks at what must hold for any of them. */
async function play(
  start: StartDaemon,
  scenario: (run: DaemonRun, dir: TempDir) => Promise<void>,
  first: Partial<DaemonConfig> = {},
): Promise<DaemonRun> {
  await using dir = await tempDir();
  writeConfig(dir, { version: 1, ...first });
  await using program = start(dir.file("config.json"));
  const run = new DaemonRun(program);
  await scenario(run, dir);
  await run.end("after the end");
  assert.deepEqual(await program.status, { code: 0, signal: null }, program.report());
  assert.deepEqual(program.errorLines, [], program.report());
  assert.deepEqual(run.of("worker_start").filter(({ manager }) => manager !== program.pid), []);
  return run;
}

/** The delay between the death of a worker and the fork of the next, as the manager's own hooks saw it. */
function respawnDelay(run: DaemonRun, step: string): number {
  const [reap] = run.of("reap", step);
  const [fork] = run.of("before_fork", step);
  if (reap === undefined || fork === undefined) throw new Error(`No respawn in '${step}'\n${run.program.report()}`);
  return fork.at - reap.at;
}

/** The time between each death in a step and the next, as the manager's own hooks saw it. */
function reapGaps(run: DaemonRun, step: string): number[] {
  const times = run.of("reap", step).map(({ at }) => at);
  return times.slice(1).map((at, i) => at - (times[i] ?? NaN));
}

/** Q1: what the ancestor would tell if it told the truth. */
function withTrueStatus(ancestor: Story): Story {
  const told = "TERM: reap exit 0";
  assert.equal(ancestor.workers.filter((life) => life.endsWith(told)).length, 3, "Q1 is no more: mend the table");
  return { ...ancestor, workers: ancestor.workers.map((life) => life.replace(told, "TERM: reap exit 7")) };
}

/** Our run through the whole scenario, which two tests look at. */
let ourLife: Promise<DaemonRun> | undefined;
const playOurs = (): Promise<DaemonRun> => ourLife ??= play(startOurs, everything);

test("the ancestor is installed", { timeout: 180_000 }, async () => {
  await using perl = runCommand("/usr/bin/perl", ["-MParallel::Prefork", "-e", "print $Parallel::Prefork::VERSION"]);
  const { code } = await perl.waitForEnd();
  const advice = "The oracle tests need Perl's Parallel::Prefork: apt-get install libparallel-prefork-perl";
  assert.equal(code, 0, `${advice}\n${perl.report()}`);
  assert.equal(perl.lines[0], "0.18", "The oracle tests know the quirks of Parallel::Prefork 0.18 only");
});

test("a whole life is the same as under Parallel::Prefork", { timeout: 240_000 }, async () => {
  const [ancestor, ours] = [await play(startAncestor, everything), await playOurs()];
  assert.deepEqual(tellStory(ours, SIZED_STEPS), withTrueStatus(tellStory(ancestor, SIZED_STEPS)));
  assert.equal(tellStory(ours, SIZED_STEPS).peak, 3);
  for (const run of [ancestor, ours]) {
    const delay = respawnDelay(run, "kill -9");
    // A second, less what may lie between an event and the hook that tells of it.
    assert.ok(delay > 500, `a failed worker was replaced after ${delay} ms\n${run.program.report()}`);
  }
  // The ancestor's own gaps say nothing: a death just before it waits is seen only when something else wakes it (Q4).
  const gaps = reapGaps(ours, "staggered TERM");
  // 700 ms, less what one worker may take longer than the next to end.
  assert.ok(gaps.every((gap) => gap > 200), `staggered workers ended ${gaps} ms apart\n${ours.program.report()}`);
});

test("only failures cost time, and only their slot", { timeout: 240_000 }, async () => {
  const run = await playOurs();
  const backoffs = run.of("backoff");
  assert.deepEqual(backoffs.map(({ step }) => step), ["kill -9", ...Array<string>(6).fill("failures")]);
  for (const { failures = 0, delayMs = 0 } of backoffs) {
    const full = 1000 * 2 ** (failures - 1);
    if (failures === 1) assert.equal(delayMs, 1000);
    else assert.ok(delayMs >= full / 2 && delayMs <= full, `${failures} failures in a row cost ${delayMs} ms`);
  }
});

test("a TERM between two starts stops the pool, where the ancestor forgets it", { timeout: 180_000 }, async () => {
  const openGate = (dir: TempDir): void => writeFileSync(dir.file("gate"), "");
  const interrupted = async (run: DaemonRun, dir: TempDir): Promise<void> => {
    await run.step("start", { worker_start: 3, after_fork: 3 });
    writeConfig(dir, { version: 2, gate: dir.file("gate") });
    await run.step("HUP", { start_return: 1, loading: 1, worker_term: 3 }, () => run.signal("SIGHUP"));
    await run.step("TERM", {}, () => run.signal("SIGTERM"));
  };
  await play(startAncestor, async (run, dir) => {
    await interrupted(run, dir);
    await run.step("forgotten", { load_config: 1, reap: 3, worker_start: 3 }, () => openGate(dir));
    await run.step("TERM again", { start_return: 1, wait_done: 1 }, () => run.signal("SIGTERM"));
  });
  const ours = await play(startOurs, async (run, dir) => {
    await interrupted(run, dir);
    await run.step("stopped", { load_config: 1, start_return: 1, wait_done: 1 }, () => openGate(dir));
  });
  assert.deepEqual(ours.of("worker_start").map(({ version }) => version), [1, 1, 1]);
});

test("a second TERM does nothing to workers that were told to stop, as under Parallel::Prefork", {
  timeout: 180_000,
}, async () => {
  const toAll = (run: DaemonRun) => () => run.living().forEach((pid) => signalProcess(pid, "SIGTERM"));
  const impatient = async (run: DaemonRun): Promise<void> => {
    await run.step("start", { worker_start: 3, after_fork: 3 });
    await run.step("TERM", { worker_term: 3, start_return: 1, wait_begin: 1 }, () => run.signal("SIGTERM"));
    await run.step("second TERM", {}, () => run.signal("SIGTERM"));
    await run.step("TERM to the workers", { worker_term: 3 }, toAll(run));
    await run.step("last TERM to the workers", { worker_term: 3, reap: 3, wait_done: 1 }, toAll(run));
  };
  const [ancestor, ours] = [
    await play(startAncestor, impatient, { ignoredTerms: 2 }),
    await play(startOurs, impatient, { ignoredTerms: 2 }),
  ];
  assert.deepEqual(tellStory(ours, []), tellStory(ancestor, []));
  assert.equal(ours.of("worker_term").length, 9);
});
