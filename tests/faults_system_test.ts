/**
 * A system that has run out: of descriptors, of processes, of the program itself, of room on the disk. The pool serves on
 * with what it has, says what failed, and is whole again once there is more. With real processes, under load.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, renameSync, rmSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { PoolSpec } from "./fixtures/lifecycle/pool.ts";
import { freezeForGood, isHeld, type Kill } from "./support/held.ts";
import { keepAlive, type Load, load, oneShot, post } from "./support/load.ts";
import {
  descriptors,
  eventsOfType,
  liveWorkers,
  portOf,
  runPool,
  stopPool,
  strangers,
  waitForReady,
  zombies,
} from "./support/pool.ts";
import {
  type Program,
  type RunOptions,
  runtime,
  runtimeCommand,
  signalProcess,
  tempDir,
  waitFor,
} from "./support/run.ts";

const SERVING = { timeout: 180_000, skip: process.platform !== "linux" };
const module = fileURLToPath(new URL("./fixtures/serve/loaded.ts", import.meta.url));
const CLIENTS = [oneShot, keepAlive(0), post];

/** A pool of two workers under load, which is short of something now and then. */
class Needy implements AsyncDisposable {
  readonly program: Program;
  readonly #kills: Kill[] = [];
  #clients: Load | undefined;
  #port = 0;

  constructor(spec: PoolSpec = {}, options: RunOptions = {}) {
    const pool = {
      maxWorkers: 2,
      listen: "127.0.0.1:0",
      errRespawnIntervalMs: 150,
      maxRespawnIntervalMs: 150,
      ...spec.options,
    };
    this.program = runPool({ module, ...spec, options: pool }, options);
  }

  async begin(): Promise<void> {
    await waitForReady(this.program, 2);
    this.#port = await portOf(this.program);
    this.#clients = load({ port: this.#port }, CLIENTS);
  }

  /** Kills the worker in slot 0; the next one is made after a while. */
  async kill(): Promise<void> {
    const reaped = eventsOfType(this.program, "reap").length;
    const pid = liveWorkers(this.program)[0]?.pid ?? assert.fail("no worker");
    this.#kills.push(await freezeForGood(pid, this.#port));
    signalProcess(pid, "SIGKILL");
    await waitFor(() => eventsOfType(this.program, "reap").length > reaped, { what: `${pid} to be reaped` });
  }

  /** Waits until some more requests were answered. */
  async answers(): Promise<void> {
    const { answered } = this.#clients?.tally ?? assert.fail("no clients");
    const before = answered["post"] ?? 0;
    await waitFor(() => (answered["post"] ?? 0) >= before + 5, { what: `answers\n${this.program.report()}` });
  }

  /** Why workers could not be made so far. */
  get errors(): string[] {
    return eventsOfType(this.program, "spawnError").map(({ error }) => String(error));
  }

  async expectRecovery(): Promise<void> {
    await waitForReady(this.program, 2);
    await waitFor(() => strangers(this.program).length === 0, {
      what: `nobody but the workers\n${strangers(this.program).join("\n")}`,
    });
    await waitFor(() => zombies(this.program.pid).length === 0, { what: "no zombies" });
    await this.answers();
  }

  async end(): Promise<void> {
    const { failures } = await this.#clients?.stop() ?? assert.fail("no clients");
    assert.deepEqual(failures.filter((failure) => !isHeld(failure, this.#kills)).slice(0, 10), []);
    await stopPool(this.program);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]();
    await this.#clients?.stop();
  }
}

/** Sets how many descriptors a process that runs may have; undefined gives it all that are allowed. */
function limitDescriptors(pid: number, most: number | undefined): void {
  const prlimit = (...args: string[]) => execFileSync("prlimit", ["--pid", String(pid), ...args], { encoding: "utf8" });
  prlimit(`--nofile=${most ?? prlimit("--nofile", "--output=HARD", "--noheadings").trim()}:`);
}

/** What refuses new processes to a program that runs, until it is disposed of. */
class Refusal implements AsyncDisposable {
  readonly #strace: ChildProcess;

  private constructor(strace: ChildProcess) {
    this.#strace = strace;
  }

  /** Has the system answer with `error` from here on. Threads are made by another call, and go on. */
  static async begin(pid: number, error: "ENOMEM" | "EAGAIN"): Promise<Refusal> {
    const calls = "clone,?fork,?vfork";
    const rules = ["-e", `trace=${calls}`, "-e", `inject=${calls}:error=${error}`];
    const strace = spawn("strace", ["-f", "-p", String(pid), "-o", "/dev/null", ...rules], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    strace.stderr?.on("data", (text) => said += text);
    await waitFor(() => said.includes("attached"), { what: "strace to be attached" })
      .catch((error) => assert.fail(`${error.message}: ${said}`));
    return new Refusal(strace);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#strace.once("exit", resolve));
    if (this.#strace.exitCode === null && this.#strace.kill("SIGINT")) await ended;
  }
}

/** The limit that leaves a process none but its first four, which it keeps, whatever else it closes. */
const FIRST_FEW = 4;

/** The limit that leaves a process so many descriptors: those that are open beyond it stay. */
function limitThatLeaves(pid: number, spare: number): number {
  const used = new Set(descriptors(pid).map((line) => Number(line.split(" ")[0])));
  let left = spare;
  for (let fd = 0;; fd++) if (!used.has(fd) && left-- === 0) return fd;
}

const hasStrace = spawnSync("strace", ["-o", "/dev/null", "true"]).status === 0;

/**
 * A limit of processes would do for Deno. Bun, which cannot live without the threads that count there, too, gives up by
 * SIGABRT sooner or later.
 */
const REFUSALS = [
  ["no process left", "EAGAIN", /^Cannot start .*temporarily unavailable/],
  ["no memory left for a process", "ENOMEM", /^Cannot start .*(Cannot allocate|not enough) memory/],
] as const;

/**
 * How many descriptors are left to a manager that makes a worker: from the number with which it can do nothing to the one
 * with which it lacks nothing.
 */
const SPARE = runtime === "deno" ? [0, 2, 4, 5] : [0, 1, 2];

describe("a pool goes on, and is whole again later, when its manager has", () => {
  it("no descriptor left, or too few of them", SERVING, async () => {
    await using pool = new Needy();
    const { program } = pool;
    await pool.begin();
    const before = descriptors(program.pid).length;
    for (const spare of SPARE) {
      const [errors, ready] = [pool.errors.length, eventsOfType(program, "ready").length];
      if (spare === 0) limitDescriptors(program.pid, FIRST_FEW);
      await pool.kill();
      if (spare > 0) limitDescriptors(program.pid, limitThatLeaves(program.pid, spare));
      const isOver = () => pool.errors.length > errors || eventsOfType(program, "ready").length > ready;
      // A process may be made that cannot be heard: of that there is nothing to be seen.
      if (spare === 0) await waitFor(isOver, { what: `a failure\n${program.report()}` });
      else await waitFor(isOver, { what: "something to be said", timeoutMs: 1000 }).catch(() => {});
      if (spare === 0) assert.match(pool.errors.at(-1) ?? "", /^Cannot start .*too many open files/i, program.report());
      await pool.answers();
      limitDescriptors(program.pid, undefined);
      await pool.expectRecovery();
      await waitFor(() => descriptors(program.pid).length === before, {
        what: `${before} descriptors after ${spare} were left`,
      });
    }
    await pool.end();
  });

  for (const [what, error, said] of REFUSALS) {
    it(what, { ...SERVING, skip: SERVING.skip || !hasStrace }, async () => {
      await using pool = new Needy();
      await pool.begin();
      await using refusal = await Refusal.begin(pool.program.pid, error);
      await pool.kill();
      await waitFor(() => pool.errors.length >= 2, { what: `two failures\n${pool.program.report()}` });
      assert.match(pool.errors[0] ?? "", said);
      await pool.answers();
      assert.deepEqual(eventsOfType(pool.program, "recovered"), []);
      await refusal[Symbol.asyncDispose]();
      await pool.expectRecovery();
      await pool.program.waitForLine('"type":"recovered","ready":2');
      await pool.end();
    });
  }

  const LOST = [
    ["no program to run any more", (file: string) => renameSync(file, `${file}.away`)],
    ["no right to run its program any more", (file: string) => chmodSync(file, 0o600)],
  ] as const;
  for (const [what, lose] of LOST) {
    it(what, SERVING, async () => {
      await using dir = await tempDir();
      const executable = dir.file("runtime");
      const make = () => {
        copyFileSync(fileURLToPath(new URL("./fixtures/channel/runtime.sh", import.meta.url)), executable);
        chmodSync(executable, 0o700);
      };
      make();
      const env = { TEST_RUDE: dir.file("none"), TEST_RUNTIME: runtimeCommand().command };
      await using pool = new Needy({ runtime, executable }, { env });
      await pool.begin();
      lose(executable);
      await pool.kill();
      await waitFor(() => pool.errors.length >= 2, { what: `two failures\n${pool.program.report()}` });
      assert.ok(pool.errors[0]?.startsWith(`Cannot start ${executable}: `), pool.program.report());
      await pool.answers();
      rmSync(executable, { force: true });
      make();
      await pool.expectRecovery();
      await pool.end();
    });
  }
});
