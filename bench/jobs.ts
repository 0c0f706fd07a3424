/**
 * What a job costs that has nothing to do: through the workers of a pool, in a process of its own, by Perl's
 * Parallel::ForkManager, and by piscina, which has threads of Node.js. And what a command costs that does nothing, beside GNU
 * parallel and xargs. Each has two processes or threads; all take turns.
 *
 *     bench/run jobs
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { median, quantile, report } from "./table.ts";

const ROUNDS = Number(process.argv[2] ?? 3);

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** A way to have jobs done: a command that does `count` of them. */
interface Way {
  readonly name: string;
  readonly count: number;
  readonly words: readonly string[];
  /** Whether it tells how many microseconds a job took; who does not is measured whole, its start included. */
  readonly isTold: boolean;
}

const RUNTIMES = [
  ["Deno", [here("../node_modules/.bin/deno"), "run", "-A", "--no-check"]],
  ["Bun", [here("../node_modules/.bin/bun"), "run"]],
] as const;

function own(way: "one" | "all" | "fork" | "command", name: string, count: number): readonly Way[] {
  return RUNTIMES.map(([runtime, words]) => ({
    name: `${runtime}, ${name}`,
    count,
    words: [...words, here("./programs/jobs.ts"), way, String(count)],
    isTold: true,
  }));
}

function peer(name: string, count: number, ...words: readonly string[]): Way {
  return { name, count, words: [...words, String(count)], isTold: true };
}

/** Commands come over the standard input, as many as there are numbers. */
function runner(name: string, count: number, script: string): Way {
  return { name, count, words: ["/bin/sh", "-c", `seq ${count} | ${script}`], isTold: false };
}

const PISCINA = ["node", here("./peers/jobs.mjs")] as const;
const PERL = "Perl, Parallel::ForkManager, a fork for each";

const TABLES: readonly { readonly key: string; readonly title: string; readonly ways: readonly Way[] }[] = [
  {
    key: "jobs-one",
    title: "µs for an empty job, each given when the one before is done",
    ways: [
      ...own("one", "JobPool, run()", 10_000),
      peer("Node.js, piscina", 10_000, ...PISCINA, "one"),
      peer(PERL, 1000, "perl", here("./peers/jobs.pl"), "1"),
    ],
  },
  {
    key: "jobs-all",
    title: "µs for an empty job, given as fast as they are taken",
    ways: [
      ...own("all", "JobPool, map()", 40_000),
      ...own("fork", "ForkManager, a process for each", 30),
      peer("Node.js, piscina", 40_000, ...PISCINA, "all"),
      peer(PERL, 1000, "perl", here("./peers/jobs.pl"), "2"),
    ],
  },
  {
    key: "jobs-commands",
    title: "µs for `/bin/true`",
    ways: [
      ...own("command", "JobPool, a job runs it", 500),
      runner("xargs -P 2", 500, "xargs -P 2 -n 1 /bin/true"),
      runner("GNU parallel -j 2", 500, "parallel -j 2 /bin/true"),
    ],
  },
];

/** How many microseconds a job took. */
function measure({ words: [command = "", ...args], count, isTold }: Way): number {
  const begun = performance.now();
  const text = execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  return isTold ? Number(text) : (performance.now() - begun) * 1000 / count;
}

for (const { key, title, ways } of TABLES) {
  const figures = ways.map((way) => ({ way, times: new Array<number>() }));
  for (let round = 0; round < ROUNDS; round++) {
    for (const { way, times } of round % 2 === 0 ? figures : figures.toReversed()) times.push(measure(way));
  }
  report({
    key,
    title: `${title}: ${ROUNDS} rounds`,
    head: [
      "",
      "median",
      "least",
      "most",
      ...ways.filter(({ name }) => isBase(name)).map(({ name }) => `times ${name}`),
    ],
    rows: figures.map(({ way, times }) => [
      way.name,
      ...[median(times), Math.min(...times), Math.max(...times)].map((time) => time.toFixed(1)),
      ...figures.filter((other) => isBase(other.way.name)).map((base) => ratio(times, base.times)),
    ]),
  });
}

function isBase(name: string): boolean {
  return /^(Node|Perl|xargs|GNU)/.test(name);
}

/** How many times as long as the other took, in the same round. */
function ratio(times: readonly number[], base: readonly number[]): string {
  return quantile(times.map((time, round) => time / (base[round] ?? NaN)), 0.5).toFixed(3);
}
