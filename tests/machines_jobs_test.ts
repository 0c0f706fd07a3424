/**
 * Jobs on many machines: two Gearman servers, and three hosts with pools of workers on both runtimes. Hosts are cut off,
 * killed and brought back, workers are killed, and an upgrade goes through all of them. `PREFORK_TEST_JOBS` says how many jobs
 * there are, `PREFORK_TEST_SEED` repeats what happened: a failure tells it.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { Manager } from "./support/fleet.ts";
import { installed } from "./support/gearmand.ts";
import { JobLog } from "./support/job_log.ts";
import { type Host, openNetwork } from "./support/network.ts";
import { Random } from "./support/random.ts";
import {
  isAlive,
  otherRuntimeCommand,
  type Program,
  runtime,
  runtimeCommand,
  signalProcess,
  type TempDir,
  tempDir,
  waitFor,
} from "./support/run.ts";

const JOBS = Number(process.env["PREFORK_TEST_JOBS"] ?? 20_000);
const SEED = Number(process.env["PREFORK_TEST_SEED"] ?? Date.now() % 2 ** 32);
const worker = fileURLToPath(new URL("../examples/gearman_worker.ts", import.meta.url));
const functions = fileURLToPath(new URL("./fixtures/gearman_functions.ts", import.meta.url));

/** Of each pool. */
const WORKERS = 2;
/** In as many parts the jobs come: something happens during each. */
const PARTS = 10;
/** A worker that is cut off is known to be lost after this, and what it had is given to another. */
const KEEP_ALIVE = ["--keepalive", "--keepalive-idle", "1", "--keepalive-interval", "1", "--keepalive-count", "3"];

/** Two servers, a client, and hosts of workers. */
class Yard {
  readonly #stack: AsyncDisposableStack;
  readonly #dir: TempDir;
  readonly #random = new Random(SEED);
  readonly #client: Host;
  readonly #queues: readonly Host[];
  readonly #workshops: readonly Host[];
  readonly #logs: JobLog[] = [];
  readonly #servers: Program[];
  readonly managers: Manager[];
  readonly story: string[] = [];
  /** How many jobs may be done twice, since their worker was not heard of. */
  excused = 0;
  #given = 0;

  constructor(stack: AsyncDisposableStack, dir: TempDir, hosts: readonly Host[]) {
    const [client, ...others] = hosts;
    assert.ok(client !== undefined);
    this.#client = client;
    this.#queues = others.slice(0, 2);
    this.#workshops = others.slice(2);
    this.#stack = stack;
    this.#dir = dir;
    this.#servers = this.#queues.map((host) => this.#serve(host));
    const config = dir.file("gearman.json");
    const servers = this.#queues.map(({ address }) => address);
    writeFileSync(config, JSON.stringify({ servers, module: functions, functions: ["record"], maxWorkers: WORKERS }));
    this.managers = this.#workshops.flatMap((host) =>
      [runtimeCommand(), otherRuntimeCommand()].map(({ command, args }, which) => {
        const log = new JobLog(dir.file(`${host.name}-${which}.log`));
        this.#logs.push(log);
        const name = ["--name", `${host.name}-${which}`];
        return new Manager(stack, host, WORKERS, [...name, "--", command, ...args, worker, config], {
          GEARMAN_TEST_LOG: log.path,
        });
      })
    );
  }

  #serve(host: Host): Program {
    const files = ["--pid-file", this.#dir.file(`${host.name}.pid`), "--log-file", "stderr"];
    return this.#stack.use(host.run(installed("gearmand"), ["--listen", host.address, ...files, ...KEEP_ALIVE]));
  }

  /** What a server tells of its jobs: how many there are, and how many workers offer to do them. */
  async #statusOf(host: Host): Promise<{ readonly jobs: number; readonly workers: number }> {
    await using program = this.#client.run(installed("gearadmin"), ["--status", "-h", host.address]);
    await program.waitForEnd();
    const [, jobs = 0, , workers = 0] = program.lines.find((line) => line.startsWith("record"))?.split("\t") ?? [];
    return { jobs: Number(jobs), workers: Number(workers) };
  }

  /** Waits until each server knows all workers. */
  async begin(): Promise<void> {
    await Promise.all(this.managers.map((manager) => manager.ready()));
    const all = this.managers.length * WORKERS;
    const areThere = async (host: Host) => (await this.#statusOf(host)).workers === all;
    for (const host of this.#queues) {
      await waitFor(() => areThere(host), { what: `${all} workers at ${host.name}`, intervalMs: 100 });
    }
  }

  /** Puts so many jobs into the queues, which are of both servers in turns. */
  async give(count: number): Promise<void> {
    const ids = Array.from({ length: count }, () => this.#given++);
    for (const [index, { name, address }] of this.#queues.entries()) {
      const file = this.#dir.file(`${name}.jobs`);
      const own = ids.filter((id) => id % this.#queues.length === index);
      writeFileSync(file, own.map((id) => `job${id} ${this.#random.between(0, 3)}\n`).join(""));
      const words = [installed("gearman"), "-h", address, "-f", "record", "-N", "-b"];
      await using program = this.#client.run("/bin/sh", ["-c", 'exec "$@" < "$0"', file, ...words]);
      assert.equal((await program.waitForEnd()).code, 0, program.report());
    }
  }

  /** The jobs that were done, and how often. */
  done(): ReadonlyMap<string, number> {
    const all = new Map<string, number>();
    for (const log of this.#logs) for (const [id, times] of log.done()) all.set(id, (all.get(id) ?? 0) + times);
    return all;
  }

  async waitUntilDone(count: number): Promise<void> {
    await waitFor(() => this.done().size >= count, { what: `${count} jobs`, intervalMs: 500, timeoutMs: 180_000 })
      .catch((error) => assert.fail(`${error.message}: ${this.done().size} are done\n${this.story.join("\n")}`));
  }

  /** How many pools have done something. */
  get busy(): number {
    return this.#logs.filter((log) => log.done().size > 0).length;
  }

  #someHost(): Host {
    return this.#random.pick(this.#workshops) ?? assert.fail("no host");
  }

  #tell(what: string): void {
    this.story.push(`${Math.round(performance.now())} ms, ${this.done().size} done: ${what}`);
  }

  /** A host cannot be reached for a time. What its workers had is done again by others. */
  async cut(): Promise<void> {
    const host = this.#someHost();
    this.#tell(`${host.name} is cut off`);
    this.excused += 2 * WORKERS;
    await host.cut();
    await new Promise((resolve) => setTimeout(resolve, this.#random.between(100, 8000)));
    await host.mend();
    this.#tell(`${host.name} is there again`);
  }

  /** A host has no power for a time. */
  async kill(): Promise<void> {
    const host = this.#someHost();
    this.#tell(`${host.name} is dead`);
    this.excused += 2 * WORKERS;
    await host.kill();
    await host.mend();
    await Promise.all(this.managers.filter((manager) => manager.host === host).map((manager) => manager.restart()));
    this.#tell(`${host.name} works again`);
  }

  /** A worker dies. */
  crash(): Promise<void> {
    const all = this.managers.flatMap(({ workers }) => workers).map(Number).filter(isAlive);
    const pid = this.#random.pick(all) ?? assert.fail("no worker");
    this.#tell(`${pid} is killed`);
    this.excused++;
    signalProcess(pid, "SIGKILL");
    return Promise.resolve();
  }

  /** All managers are replaced, with all workers, a host after the other. */
  async upgrade(): Promise<void> {
    for (const manager of this.managers) {
      await manager.upgrade();
      this.#tell(`${manager.host.name} has another manager`);
    }
  }

  async end(): Promise<void> {
    await Promise.all(this.managers.map((manager) => manager.stop()));
    for (const host of this.#queues) assert.equal((await this.#statusOf(host)).jobs, 0, host.name);
    for (const server of this.#servers) server.kill("SIGTERM");
    for (const host of this.#workshops) assert.deepEqual(host.processes(), [], host.name);
  }
}

describe(`jobs on three hosts, managers on ${runtime}`, () => {
  const options = { skip: process.platform !== "linux" || process.getuid?.() !== 0, timeout: 900_000 };

  it(`are all done, whoever is cut off, killed and replaced meanwhile`, options, async () => {
    await using stack = new AsyncDisposableStack();
    const dir = stack.use(await tempDir());
    const names = ["client", "queue1", "queue2", "host1", "host2", "host3"];
    const yard = new Yard(stack, dir, await openNetwork(stack, names));
    await yard.begin();
    const acts = [
      () => yard.cut(),
      () => yard.kill(),
      () => yard.crash(),
      () => yard.upgrade(),
      () => yard.cut(),
      () => yard.kill(),
      () => yard.crash(),
    ];
    try {
      for (let part = 0; part < PARTS; part++) {
        const before = yard.done().size;
        await yard.give(JOBS / PARTS);
        await yard.waitUntilDone(before + 1);
        await acts[part]?.();
      }
      await yard.waitUntilDone(JOBS);
      assert.equal(yard.busy, yard.managers.length);
      await yard.end();
      const repeated = [...yard.done()].filter(([, times]) => times > 1);
      assert.ok(repeated.length <= yard.excused, `${repeated.length} of ${yard.excused} jobs were done again`);
    } catch (error) {
      throw new Error(`With PREFORK_TEST_SEED=${SEED}: ${error}\n${yard.story.join("\n")}`, { cause: error });
    }
  });
});
