// Jobs in workers: the factors of numbers, in their order.
//
//     deno run -A examples/jobs.ts 91 97 1000000007
//     bun run examples/jobs.ts 91 97 1000000007
import process from "node:process";
import { JobPool } from "../src/jobs/mod.ts";

function factor(n: number): readonly number[] {
  for (let divisor = 2; divisor * divisor <= n; divisor++) {
    if (n % divisor === 0) return [divisor, ...factor(n / divisor)];
  }
  return [n];
}

await using pool = new JobPool(factor, { maxProcs: 2 });
const numbers = process.argv.slice(2).map(Number);
let index = 0;
for await (const factors of pool.map(numbers)) {
  process.stdout.write(`${numbers[index++]} = ${factors.join(" * ")}\n`);
}
