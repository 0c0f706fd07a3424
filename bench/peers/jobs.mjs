// The same by piscina, in two threads of Node.js, with 64 jobs given at a time.
import { createRequire } from "node:module";
import process from "node:process";
import { fileURLToPath } from "node:url";

// It is there only where the suite has installed it; whoever checks types has not.
const { Piscina } = createRequire(import.meta.url)("piscina");

const WARM_UP = 200;
const AT_A_TIME = 64;

const [way, count] = process.argv.slice(2);
const filename = fileURLToPath(new URL("./job.mjs", import.meta.url));
const pool = new Piscina({ filename, minThreads: 2, maxThreads: 2 });

/** @param {number} length */
async function oneByOne(length) {
  for (let number = 0; number < length; number++) await pool.run(number);
}

/** @param {number} length */
async function all(length) {
  let next = 0;
  const give = async () => {
    while (next < length) await pool.run(next++);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, give));
}

const doAll = way === "one" ? oneByOne : all;
await doAll(WARM_UP);
const begun = performance.now();
await doAll(Number(count));
process.stdout.write(`${(performance.now() - begun) * 1000 / Number(count)}\n`);
await pool.destroy();
