/**
 * A manager whose workers talk all the time, while operators look on and workers come and go. `PREFORK_TEST_CHATTER_MS`
 * says for how long, `PREFORK_TEST_SEED` repeats what happened: a failure tells it.
 */
import assert from "node:assert/strict";
import { createReadStream, existsSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { currentHost } from "../runtimes/current.ts";
import { ask, findManager, type Outcome } from "../src/cli/client.ts";
import type { StatusReport } from "../src/operator/report.ts";
import { Audience, nameOf, VOICES } from "./support/chatter.ts";
import { atRate, keepAlive, load } from "./support/load.ts";
import { end, socketOf, start } from "./support/operator.ts";
import { memoryKb } from "./support/pool.ts";
import { Random } from "./support/random.ts";
import { type Program, runtime, signalProcess, type TempDir, tempDir, waitFor } from "./support/run.ts";

const CHATTER_MS = Number(process.env["PREFORK_TEST_CHATTER_MS"] ?? 10_000);
const SEED = Number(process.env["PREFORK_TEST_SEED"] ?? Date.now() % 2 ** 32);
const worker = fileURLToPath(new URL("./fixtures/chatter.ts", import.meta.url));

const WORKERS = 5;
/** Of each stream of each worker. */
const LINES_PER_SECOND = 100;
const REQUESTS_PER_SECOND = 100_000 / WORKERS;
/** Of clients, who are there, and no more: what is served at full speed is shown elsewhere. */
const CLIENTS = [atRate(() => 100), keepAlive(10)];

/** Does something again and again until told to stop. */
class Routine implements AsyncDisposable {
  readonly #end = new AbortController();
  readonly #running: Promise<void>;

  constructor(what: () => Promise<unknown>, pauseMs: () => number) {
    this.#running = this.#run(what, pauseMs);
    this.#running.catch(() => {}); // told at the end
  }

  async #run(what: () => Promise<unknown>, pauseMs: () => number): Promise<void> {
    const { signal } = this.#end;
    while (!signal.aborted) {
      await what();
      await sleep(pauseMs(), undefined, { signal }).catch(() => {});
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await this.#running;
  }
}

/** Where what is printed can be read. */
interface Outlet {
  /** What was printed in the beginning. */
  readonly text: () => string;
  /** Has the audience hear what was printed since, and forgets it. */
  readonly hear: (audience: Audience) => Promise<void>;
}

/** A manager of chatty workers, and all who look on. */
class Gathering {
  readonly program: Program;
  readonly audience: Audience;
  readonly killed = new Set<string>();
  readonly memoriesKb: number[] = [];
  looks = 0;
  /** The workers whose end somebody was told of who followed what happens. */
  readonly ended = new Set<string>();
  readonly #dir: TempDir;
  readonly #outlet: Outlet;
  readonly #random = new Random(SEED);

  constructor(program: Program, dir: TempDir, audience: Audience, outlet: Outlet) {
    this.program = program;
    this.audience = audience;
    this.#dir = dir;
    this.#outlet = outlet;
  }

  status(): Promise<StatusReport> {
    return findManager(currentHost, socketOf(this.program, "chatter"));
  }

  /** Waits until all are there; gives where the manager tells its status, and where its workers serve. */
  async begin(): Promise<{ readonly url: string; readonly port: number }> {
    const { text } = this.#outlet;
    const url = () => /tells its status at (http:[\d.:/]+)/.exec(text())?.[1];
    await waitFor(() => text().match(/ is ready\b/g)?.length === WORKERS, { what: "all workers" });
    const { listeners } = await this.status();
    return { url: url() ?? assert.fail(text()), port: Number(listeners[0]?.address.split(":")[1]) };
  }

  /** Is told what happens, to the end. */
  follow(): Promise<Outcome | undefined> {
    return ask(currentHost, socketOf(this.program, "chatter"), { do: "follow" }, (event) => {
      const [, generation, pid] = /^worker=\d+ gen=(\d+) pid=(\d+) (?:exited|was killed)/.exec(event) ?? [];
      if (pid !== undefined) this.ended.add(nameOf({ generation: Number(generation), pid: Number(pid) }));
      return false;
    });
  }

  /** Lets everything happen for a time. */
  async pass(ms: number, url: string): Promise<void> {
    const routines: readonly [() => Promise<unknown>, () => number][] = [
      [() => this.#look(`${url}metrics`), () => 200],
      [() => this.#kill(), () => this.#random.between(2000, 6000)],
      [() => this.#reload(), () => this.#random.between(10_000, 20_000)],
      [() => this.#outlet.hear(this.audience), () => this.#random.between(300, 1000)],
    ];
    await using stack = new AsyncDisposableStack();
    for (const [what, pauseMs] of routines) stack.use(new Routine(what, pauseMs));
    const until = performance.now() + ms;
    while (performance.now() < until) {
      this.memoriesKb.push(memoryKb(this.program.pid, "status", "VmRSS"));
      await sleep(100);
    }
  }

  async #look(metrics: string): Promise<void> {
    const text = () => fetch(metrics).then((response) => response.text());
    const [{ pid }, told] = await Promise.all([this.status(), text()]);
    assert.equal(pid, this.program.pid);
    assert.match(told, /^prefork_requests_total \d+$/m);
    this.looks++;
  }

  async #reload(): Promise<void> {
    await ask(currentHost, socketOf(this.program, "chatter"), { do: "reload" });
  }

  async #kill(): Promise<void> {
    const { workers } = await this.status();
    const victim = this.#random.pick(workers.filter(({ state }) => state === "ready"));
    if (victim !== undefined && signalProcess(victim.pid, "SIGKILL")) this.killed.add(nameOf(victim));
  }

  /** Each line of each worker was heard, whole and in its turn; of those that were killed as many as they had said. */
  async expectAllHeard(): Promise<void> {
    const { audience, killed } = this;
    await this.#outlet.hear(audience);
    assert.deepEqual(audience.problems, []);
    for (const name of audience.names) {
      for (const voice of VOICES) {
        const { lines, said, isTorn } = audience.heardOf(voice, name);
        const least = this.#account(`${voice} ${name}`);
        assert.ok(
          lines >= least,
          `${voice} ${name} had said ${least} lines, and ${lines} were heard`,
        );
        if (!killed.has(name)) assert.deepEqual([lines, isTorn], [said, undefined], `${voice} ${name}`);
      }
    }
  }

  /** The memory of the manager, as it is in the first, the second and the last third of the time. */
  get thirdsKb(): readonly [number, number, number] {
    const count = Math.floor(this.memoriesKb.length / 3);
    const third = (index: number) => median(this.memoriesKb.slice(index * count, (index + 1) * count));
    return [third(0), third(1), third(2)];
  }

  /** How many requests the workers made up. */
  get requests(): number {
    return this.audience.names.reduce((sum, name) => sum + this.#account(`requests ${name}`), 0);
  }

  #account(name: string): number {
    return Number(readFileSync(this.#dir.file(name), "utf8"));
  }
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN;
}

function run(args: readonly string[], dir: TempDir): Program {
  const directory = dir.path;
  const rates = { linesPerSecond: LINES_PER_SECOND, requestsPerSecond: REQUESTS_PER_SECOND };
  const common = ["-l", "127.0.0.1:0", "-w", String(WORKERS), "--status-listen", "0"];
  return start([worker, ...common, ...args], { env: { TEST_CHATTER: JSON.stringify({ directory, ...rates }) } });
}

/** The streams of the manager. */
function streamsOf({ lines, errorLines }: Program): Outlet {
  return {
    text: () => errorLines.join("\n"),
    hear(audience) {
      for (const line of [...lines.splice(0), ...errorLines.splice(0)]) audience.hear(line);
      return Promise.resolve();
    },
  };
}

/** The log file of the manager, which is moved away and begun anew each time. */
function fileOf(program: Program, log: string): Outlet {
  return {
    text: () => existsSync(log) ? readFileSync(log, "utf8") : "",
    async hear(audience) {
      const moved = `${log}.1`;
      renameSync(log, moved);
      const isAlive = await reopen(program);
      if (isAlive) await waitFor(() => statSync(log).size > 0, { what: "the next log file to be written to" });
      for await (const line of linesOf(moved)) audience.hear(printed(line));
      rmSync(moved);
    },
  };
}

/** Whether there is still a manager to do so. */
async function reopen(program: Program): Promise<boolean> {
  const path = socketOf(program, "chatter");
  if (!existsSync(path)) return false;
  const outcome = await ask(currentHost, path, { do: "reopen" });
  assert.equal(outcome?.type, "done", JSON.stringify(outcome));
  return true;
}

/** What a worker has printed, of which that is the record; or that itself. */
function printed(line: string): string {
  const { message, properties } = JSON.parse(line);
  return properties.event === "output" ? message : line;
}

async function* linesOf(file: string): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of createReadStream(file, "utf8")) {
    const parts = `${rest}${chunk}`.split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
  if (rest !== "") yield rest;
}

const CASES = [
  ["on its streams, with a plain log", "plain", false],
  ["as JSON in a log file that is begun anew again and again", "json", true],
] as const;

/** Whether that is a whole line of the log, and not one of those that tell of lost ones. */
function isLog(line: string): boolean {
  return /^\d{4}-\d\d-\d\dT\S+ \[\w+\] prefork: |^\{"@timestamp":.*\}$/.test(line) && !line.includes("were dropped");
}

/**
 * The most that the memory of a manager may rise from the second third of the time to the last one: what garbage and a
 * warming runtime do to it. V8 takes steps of 25 to 70 MB, the last one at any time. In ten seconds fifteen kilobytes lost
 * for each line are more than that, in 75 seconds two, in an hour forty bytes.
 */
const RISE_KB = 48 * 1024;

describe(`workers that talk all the time on ${runtime}`, () => {
  const options = { timeout: CHATTER_MS + 180_000, skip: process.platform !== "linux" };

  for (const [where, format, isFile] of CASES) {
    it(`cost no line and no memory, ${where}`, options, async () => {
      await using dir = await tempDir();
      const log = dir.file("log");
      await using program = run(
        ["--log-format", format, ...isFile ? ["--log-file", log, "--output", "named"] : []],
        dir,
      );
      const audience = new Audience(isLog);
      const gathering = new Gathering(program, dir, audience, isFile ? fileOf(program, log) : streamsOf(program));
      try {
        const { url, port } = await gathering.begin();
        const before = await gathering.status();
        const followed = gathering.follow();
        const clients = load({ port }, CLIENTS);
        await gathering.pass(CHATTER_MS, url);
        await clients.stop();
        const after = await gathering.status();
        await end(program, "chatter");
        assert.deepEqual(await followed, { type: "done", text: "stopped" });
        assert.ok(gathering.killed.isSubsetOf(gathering.ended), "whoever followed was not told of all kills");
        await gathering.expectAllHeard();
        tellFigures(gathering, before, after);
        const [, second, last] = gathering.thirdsKb;
        assert.ok(last - second <= RISE_KB, `the memory rose from ${second} to ${last} kB`);
      } catch (error) {
        throw new Error(`With PREFORK_TEST_SEED=${SEED}: ${error}`, { cause: error });
      }
    });
  }
});

/** Long runs are made to be read. */
function tellFigures(gathering: Gathering, before: StatusReport, after: StatusReport): void {
  if (process.env["PREFORK_TEST_CHATTER_MS"] === undefined) return;
  const { audience: { lines, bytes }, thirdsKb, killed, looks, requests, memoriesKb } = gathering;
  const seconds = (after.uptimeMs - before.uptimeMs) / 1000;
  const cpu = ((after.cpuMs ?? 0) - (before.cpuMs ?? 0)) / 10 / seconds;
  process.stdout.write(
    `seed ${SEED}, ${seconds.toFixed(0)} s: ${lines} lines, ${bytes} bytes, ${after.requests} requests served, ` +
      `${Math.round(requests / seconds)} made up a second, ${looks} looks, ${killed.size} kills, ` +
      `${after.restarts} ends; manager: ${cpu.toFixed(1)} % of a CPU, ${thirdsKb.join(" -> ")} kB, ` +
      `from ${memoriesKb[0]} to ${memoriesKb.at(-1)} kB, at most ${Math.max(...memoriesKb)} kB\n`,
  );
}
