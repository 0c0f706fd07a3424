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
import { type JobEvent, JobLog } from "./support/job_log.ts";
import { hasNetworks, type Host, openNetwork } from "./support/network.ts";
import { Random } from "./support/random.ts";
import {
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
/** So many come several times a second, as long as something happens. */
const GIVEN_AT_A_TIME = 200;
/** A job that takes so long is in hand still when its worker is not heard of any more. */
const HELD_MS = 3000;
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
  #files = 0;
  readonly managers: Manager[];
  readonly story: string[] = [];
  /** Jobs that may be done once more, since their worker was not heard of. */
  readonly #excused: string[] = [];
  given = 0;

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
    const ids = Array.from({ length: count }, () => this.given++);
    for (const [index, queue] of this.#queues.entries()) {
      const own = ids.filter((id) => id % this.#queues.length === index);
      await this.#put(queue, own.map((id) => `job${id} ${this.#random.between(0, 3)}\n`));
    }
  }

  /** The name of one more, which takes so long. */
  async #giveOne(ms: number): Promise<string> {
    const id = `job${this.given++}`;
    await this.#put(this.#random.pick(this.#queues) ?? assert.fail("no queue"), [`${id} ${ms}\n`]);
    return id;
  }

  async #put({ name, address }: Host, jobs: readonly string[]): Promise<void> {
    const file = this.#dir.file(`${name}.${this.#files++}`);
    writeFileSync(file, jobs.join(""));
    const words = [installed("gearman"), "-h", address, "-f", "record", "-N", "-b"];
    await using program = this.#client.run("/bin/sh", ["-c", 'exec "$@" < "$0"', file, ...words]);
    assert.equal((await program.waitForEnd()).code, 0, program.report());
  }

  /** Gives jobs for as long as something happens, and sees that some are done meanwhile. */
  async during(act: () => Promise<void>): Promise<void> {
    const before = this.done().size;
    let isOver = false;
    const acting = act().finally(() => isOver = true);
    while (!isOver) {
      await this.give(GIVEN_AT_A_TIME);
      await Promise.race([acting, new Promise((resolve) => setTimeout(resolve, 300))]);
    }
    await acting;
    await this.waitUntilDone(before + 1);
  }

  /** The jobs that were done, and how often. */
  done(): ReadonlyMap<string, number> {
    const all = new Map<string, number>();
    for (const log of this.#logs) for (const [id, times] of log.done()) all.set(id, (all.get(id) ?? 0) + times);
    return all;
  }

  async waitUntilDone(count: number): Promise<void> {
    await waitFor(() => this.done().size >= count, { what: `${count} jobs`, intervalMs: 500, timeoutMs: 180_000 })
      .catch((error) => assert.fail(`${error.message}: ${this.done().size} are done\n${this.#report()}`));
  }

  /** What happened, and what the servers say that are there now. */
  #report(): string {
    return [...this.story, ...this.#servers.map((server) => server.report())].join("\n");
  }

  /** How many pools have done something. */
  get busy(): number {
    return this.#logs.filter((log) => log.done().size > 0).length;
  }

  #tell(what: string): void {
    this.story.push(`${Math.round(performance.now())} ms, ${this.done().size} done: ${what}`);
  }

  /** Gives a job that takes its time, and waits until somebody is at it: that is whose host something happens to. */
  async #hold(): Promise<{ readonly id: string; readonly pid: number; readonly host: Host }> {
    const id = await this.#giveOne(HELD_MS);
    const pid = await this.#begunBy(id);
    const host = this.#workshops.find((one) => one.processes().includes(pid)) ?? assert.fail(`nobody is at ${id}`);
    return { id, pid, host };
  }

  #begunBy(id: string, not?: number): Promise<number> {
    const isIt = (line: JobEvent) => line.event === "begun" && line.id === id && line.pid !== not;
    const find = () => this.#logs.flatMap((log) => log.events()).find(isIt)?.pid;
    return waitFor(find, { what: `${id} to begin`, intervalMs: 100 });
  }

  /** Whoever was not heard of any more may have had a job in hand: the one that it began last. */
  #excuse(pids: readonly number[]): void {
    for (const log of this.#logs) {
      const last = new Map(log.events().filter(({ event }) => event === "begun").map(({ id, pid }) => [pid, id]));
      for (const pid of pids) {
        const id = last.get(pid);
        if (id !== undefined) this.#excused.push(id);
      }
    }
  }

  /** A host cannot be reached until what its workers had is given to others, and then can again. */
  async cut(): Promise<void> {
    const { id, pid, host } = await this.#hold();
    const pids = host.processes();
    await host.cut();
    this.#tell(`${host.name} is cut off`);
    const heir = await this.#begunBy(id, pid);
    this.#excuse(pids);
    await host.mend();
    this.#tell(`${host.name} is there again: ${id} went from ${pid} to ${heir}`);
  }

  /** A host has no power until what its workers had is given to others, and begins again. */
  async kill(): Promise<void> {
    const { id, pid, host } = await this.#hold();
    const pids = host.processes();
    await host.kill();
    this.#excuse(pids);
    this.#tell(`${host.name} is dead`);
    const heir = await this.#begunBy(id, pid);
    await host.mend();
    await Promise.all(this.managers.filter((manager) => manager.host === host).map((manager) => manager.restart()));
    this.#tell(`${host.name} works again: ${id} went from ${pid} to ${heir}`);
  }

  /** A worker dies, and another has its job. */
  async crash(): Promise<void> {
    const { id, pid } = await this.#hold();
    signalProcess(pid, "SIGKILL");
    this.#excuse([pid]);
    this.#tell(`${pid} is killed: ${id} went to ${await this.#begunBy(id, pid)}`);
  }

  /** All managers are replaced, with all workers, a host after the other. */
  async upgrade(): Promise<void> {
    for (const manager of this.managers) {
      await manager.upgrade();
      this.#tell(`${manager.host.name} has another manager`);
    }
  }

  /** Each job was done, and again only as often as somebody was not heard of any more who had begun it. */
  expectOnceEach(): void {
    const times = this.done();
    assert.equal(times.size, this.given);
    const more = [...times].filter(([id, count]) => count > 1 + this.#excused.filter((one) => one === id).length);
    assert.deepEqual(more, [], `done too often; excused are ${this.#excused.join(", ")}`);
  }

  async end(): Promise<void> {
    await Promise.all(this.managers.map((manager) => manager.stop()));
    for (const host of this.#queues) assert.equal((await this.#statusOf(host)).jobs, 0, host.name);
    for (const server of this.#servers) server.kill("SIGTERM");
    for (const host of this.#workshops) assert.deepEqual(host.processes(), [], host.name);
  }
}

describe(`jobs on three hosts, managers on ${runtime}`, () => {
  const options = { skip: !hasNetworks, timeout: 900_000 };

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
      for (const act of acts) await yard.during(act);
      while (yard.given < JOBS) await yard.give(Math.min(1000, JOBS - yard.given));
      await yard.waitUntilDone(yard.given);
      assert.equal(yard.busy, yard.managers.length);
      await yard.end();
      yard.expectOnceEach();
      if (process.env["PREFORK_TEST_SEED"] !== undefined) process.stdout.write(`${yard.story.join("\n")}\n`);
    } catch (error) {
      throw new Error(`With PREFORK_TEST_SEED=${SEED}: ${error}\n${yard.story.join("\n")}`, { cause: error });
    }
  });
});
