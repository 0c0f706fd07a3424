/**
 * Many workers: how long a manager takes to have them all, to pass a signal on to all, and to replace them all. Beside it
 * as many bare runtimes that a shell starts, and Parallel::Prefork, which forks.
 *
 *     bench/run many
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { currentHost } from "../runtimes/current.ts";
import { median, report } from "./table.ts";

const SIZES = (process.argv[2] ?? "4,50,500").split(",").map(Number);
const FLAGS = currentHost.name === "deno" ? ["run", "-A", "--no-check"] : ["run"];
const PATIENCE_MS = 240_000;

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const roundsOf = (size: number): number => size <= 4 ? 5 : size <= 50 ? 3 : 1;

/** A program that prints a line for each worker that is up, or got a signal. */
class Crowd implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #lines: string[] = [];
  #look = (): void => {};

  readonly #isManaged: boolean;
  readonly #begun = performance.now();

  /** @param isManaged Whether whoever is told to stop passes it on. */
  constructor(command: string, args: readonly string[], workers: number, isManaged = true) {
    this.#isManaged = isManaged;
    const env = { ...process.env, WORKERS: String(workers) };
    this.#child = spawn(command, args, { detached: true, env, stdio: ["ignore", "pipe", "ignore"] });
    this.#ended = new Promise((resolve) => this.#child.once("exit", resolve));
    let rest = "";
    this.#child.stdout?.setEncoding("utf8").on("data", (text) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      this.#lines.push(...lines);
      this.#look();
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The processes that have said so. */
  all(word: string): ReadonlySet<string> {
    return new Set(
      this.#lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1)),
    );
  }

  /**
   * Does something, and gives how many milliseconds go by until `count` have said `word`; from the start on, if there is
   * nothing to be done.
   */
  async until(word: string, count: number, act?: () => void): Promise<number> {
    const begun = act === undefined ? this.#begun : performance.now();
    if (act !== undefined) this.#lines = [];
    act?.();
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(
          new Error(`Cannot measure: only ${this.all(word).size} of ${count} were ${word} within ${PATIENCE_MS} ms`),
        );
      }, PATIENCE_MS);
      this.#look = () => {
        if (this.all(word).size < count) return;
        clearTimeout(timer);
        resolve();
      };
      this.#look();
    });
    return performance.now() - begun;
  }

  kill(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** Ends all of it, whoever it has begun. */
  async [Symbol.asyncDispose](): Promise<void> {
    process.kill(this.#isManaged ? this.pid : -this.pid, "SIGTERM");
    const timer = setTimeout(() => process.kill(-this.pid, "SIGKILL"), 30_000);
    await this.#ended;
    clearTimeout(timer);
    this.#child.stdout?.destroy();
  }
}

interface Round {
  readonly boot: number;
  readonly fanOut: number;
  /** The same where nobody passes the signal on: each worker is sent it. */
  readonly direct?: number;
  readonly reload?: number;
  /** Of a worker: what it has for itself, and its share of what it has with others. */
  readonly kb?: number;
}

/** The share of the memory that a process has with others. */
function proportionalKb(pid: string | number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Pss: +(\d+)/m.exec(text)?.[1]);
}

async function manage(size: number): Promise<Round & { readonly managerKb: number }> {
  await using crowd = new Crowd(process.execPath, [...FLAGS, here("./programs/many.ts")], size);
  const boot = await crowd.until("up", size);
  const pids = [...crowd.all("up")];
  await new Promise((resolve) => setTimeout(resolve, 500)); // so that all are ready, and the last has come to rest
  const kb = median(pids.slice(0, 50).map(proportionalKb));
  const managerKb = proportionalKb(crowd.pid);
  const fanOut = await fanOutOf(crowd, size);
  const direct = await fanOutOf(crowd, size, () => pids.forEach((pid) => process.kill(Number(pid), "SIGUSR2")));
  const reload = await crowd.until("up", size, () => crowd.kill("SIGHUP"));
  return { boot, fanOut, direct, reload, kb, managerKb };
}

async function fanOutOf(crowd: Crowd, size: number, send = () => crowd.kill("SIGUSR2")): Promise<number> {
  const times: number[] = [];
  for (let time = 0; time < 5; time++) {
    times.push(await crowd.until("got", size, send));
    await new Promise((resolve) => setTimeout(resolve, 50)); // the ancestor forgets a signal that comes on the heels of one
  }
  return median(times);
}

async function fork(size: number): Promise<Round> {
  await using crowd = new Crowd("perl", [here("./peers/many.pl")], size);
  const boot = await crowd.until("up", size);
  await new Promise((resolve) => setTimeout(resolve, 100));
  return { boot, fanOut: await fanOutOf(crowd, size) };
}

/** As many of the same program, by a shell. */
async function byHand(size: number): Promise<{ readonly boot: number; readonly kb: number }> {
  const words = [process.execPath, ...FLAGS, here("./programs/many_worker.ts"), "by-hand"];
  const script = `for i in $(seq ${size}); do "$@" & done; wait`;
  await using crowd = new Crowd("/bin/sh", ["-c", script, "sh", ...words], size, false);
  const boot = await crowd.until("up", size);
  await new Promise((resolve) => setTimeout(resolve, 500));
  return { boot, kb: median([...crowd.all("up")].slice(0, 50).map(proportionalKb)) };
}

const rows: (readonly string[])[] = [];
const figures: Record<string, number>[] = [];
for (const size of SIZES) {
  const [own, hand, perl]: [Awaited<ReturnType<typeof manage>>[], Awaited<ReturnType<typeof byHand>>[], Round[]] = [
    [],
    [],
    [],
  ];
  for (let round = 0; round < roundsOf(size); round++) {
    hand.push(await byHand(size));
    own.push(await manage(size));
    perl.push(await fork(size));
  }
  const bare = median(hand.map(({ boot }) => boot));
  const boot = median(own.map((one) => one.boot));
  const reload = median(own.map((one) => one.reload ?? NaN));
  const fanOut = median(own.map((one) => one.fanOut));
  const direct = median(own.map((one) => one.direct ?? NaN));
  const perlFanOut = median(perl.map((one) => one.fanOut));
  const kb = median(own.map((one) => one.kb ?? NaN));
  const bareKb = median(hand.map((one) => one.kb));
  const managerKb = median(own.map((one) => one.managerKb));
  figures.push({ size, bare, boot, reload, fanOut, direct, perlFanOut, kb, bareKb, managerKb });
  rows.push([
    `${size} workers`,
    bare.toFixed(0),
    `${boot.toFixed(0)} (${(boot / bare).toFixed(2)})`,
    `${reload.toFixed(0)} (${(reload / bare).toFixed(2)})`,
    median(perl.map((one) => one.boot)).toFixed(0),
    fanOut.toFixed(1),
    direct.toFixed(1),
    perlFanOut.toFixed(1),
    `${(kb / 1024).toFixed(1)} (${(bareKb / 1024).toFixed(1)})`,
    (managerKb / 1024).toFixed(1),
  ]);
}
report({
  key: "many",
  title: "ms until all run, and until all have a signal (in brackets: ratio to a shell, or the bare runtime's MB)",
  head: [
    "",
    "by a shell",
    "first start",
    "reload",
    "Perl, first start",
    "a signal",
    "sent to each worker",
    "Perl, a signal",
    "a worker, proportional MB",
    "the manager",
  ],
  rows,
  figures,
});
