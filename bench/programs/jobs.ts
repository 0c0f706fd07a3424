/**
 * Does so many empty jobs one way, in two processes, and prints how many microseconds each took.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { ForkManager, JobPool } from "../../src/jobs/mod.ts";

const WARM_UP = 200;

const [way = "", count = ""] = process.argv.slice(2);
const numbers = (length: number): Iterable<number> => Array(length).keys();

async function time(doAll: (length: number) => Promise<void>, warmUp: number): Promise<void> {
  await doAll(warmUp);
  const begun = performance.now();
  await doAll(Number(count));
  process.stdout.write(`${(performance.now() - begun) * 1000 / Number(count)}\n`);
}

async function oneByOne(pool: JobPool<number, number>, length: number): Promise<void> {
  for (const number of numbers(length)) await pool.run(number);
}

async function all(pool: JobPool<number, number>, length: number): Promise<void> {
  for await (const _ of pool.map(numbers(length)));
}

if (way === "fork") {
  const manager = new ForkManager<number>(2);
  await time(async (length) => {
    for (const number of numbers(length)) {
      if (await manager.start(number)) continue;
      await manager.finish();
    }
    await manager.waitAllChildren();
  }, 2);
} else {
  const isCommand = way === "command";
  await using pool = new JobPool((number: number) => {
    if (isCommand) spawnSync("/bin/true");
    return number;
  }, { maxProcs: 2 });
  await time((length) => way === "one" ? oneByOne(pool, length) : all(pool, length), isCommand ? 20 : WARM_UP);
}
