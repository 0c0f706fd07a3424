/**
 * How long a worker takes from its spawn to the first line of its own code, and the same program by hand, spawned by
 * the same code. All take turns in one run; what counts is the ratio.
 *
 *     deno run -A bench/start.ts [SAMPLES]
 *     bun run bench/start.ts [SAMPLES]
 *
 * @module
 */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Prefork, type ProcessHost, type SpawnCommand } from "../mod.ts";
import { currentHost } from "../runtimes/current.ts";
import { median, quantile, report } from "./table.ts";

const WARM_UP = 5;
const SAMPLES = Number(process.argv[2] ?? 80);
const FLAGS = currentHost.name === "deno" ? ["run", "-A", "--no-prompt"] : ["run"];

const program = (name: string) => fileURLToPath(new URL(`./programs/${name}.ts`, import.meta.url));
const byHand = (name: string) => ({ command: process.execPath, args: [...FLAGS, program(name)], env: {} });

/** One process on its way to its first line. */
interface Run {
  readonly upMs: Promise<number>;
  readonly exited: Promise<unknown>;
  readonly pid: number;
}

/** Spawns a process and measures until it prints. */
function spawn(command: SpawnCommand) {
  const up = Promise.withResolvers<number>();
  const begun = performance.now();
  const stdout = (chunk: Uint8Array) => up.resolve(chunk.length === 0 ? NaN : performance.now() - begun);
  const child = currentHost.spawn({ ...command, stdout });
  return { child, run: { upMs: up.promise, exited: child.exited, pid: child.pid } };
}

/** Something to measure, again and again. */
interface Subject extends AsyncDisposable {
  readonly name: string;
  sample(): Promise<number>;
}

function handSubject(name: string): Subject {
  return {
    name: `${name}.ts by hand`,
    async sample() {
      const { run } = spawn(byHand(name));
      const ms = await run.upMs;
      currentHost.kill(run.pid, "SIGKILL");
      await run.exited;
      return ms;
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** A pool that is empty but for the worker that is measured. */
function poolSubject(name: string, form: "module" | "fall-through"): Subject {
  let spawned = Promise.withResolvers<Run>();
  const host: ProcessHost = {
    ...currentHost,
    selfCommand: () => Promise.resolve({ ...byHand(name), cwd: process.cwd() }),
    spawn(command) {
      if (command.command === "/bin/sh") return currentHost.spawn(command);
      const { child, run } = spawn(command);
      spawned.resolve(run);
      return child;
    },
  };
  const pool = new Prefork({ name, host, maxWorkers: 0, trapSignals: {}, stopTimeoutMs: 100 });
  const running = form === "module" ? pool.startModule(program(name)) : pool.start();
  running.catch(() => {});
  return {
    name: `${name}.ts as a ${form} worker`,
    async sample() {
      spawned = Promise.withResolvers();
      pool.maxWorkers = 1;
      const run = await spawned.promise;
      const ms = await run.upMs;
      pool.maxWorkers = 0;
      await run.exited;
      return ms;
    },
    [Symbol.asyncDispose]: () => pool[Symbol.asyncDispose](),
  };
}

const PAIRS: readonly (readonly [hand: Subject, worker: Subject])[] = [
  [handSubject("hello"), poolSubject("hello", "module")],
  [handSubject("server"), poolSubject("server", "module")],
  [handSubject("daemon"), poolSubject("daemon", "fall-through")],
];
const figures = new Map<Subject, number[]>();
for (let round = 0; round < WARM_UP + SAMPLES; round++) {
  for (const subject of PAIRS.flat()) {
    const ms = await subject.sample();
    if (Number.isNaN(ms)) throw new Error(`Cannot measure ${subject.name}: it ended without a word`);
    if (round >= WARM_UP) figures.set(subject, [...figures.get(subject) ?? [], ms]);
  }
}
for (const subject of PAIRS.flat()) await subject[Symbol.asyncDispose]();

const row = (subject: Subject, hand: Subject) => {
  const own = figures.get(subject) ?? [];
  const ratio = median(own) / median(figures.get(hand) ?? []);
  return [subject.name, ...[0.25, 0.5, 0.75].map((q) => quantile(own, q).toFixed(1)), ratio.toFixed(2)];
};
report({
  key: "start",
  title: `ms from spawn to the first line of the program's own code, ${SAMPLES} samples each`,
  head: ["", "quarter", "median", "three quarters", "ratio to by hand"],
  rows: PAIRS.flatMap(([hand, worker]) => [row(hand, hand), row(worker, hand)]),
});
