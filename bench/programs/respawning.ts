// deno-lint-ignore-file no-console
// Commands that end at once, in a pool, or "by-hand" to compare; rests at certain counts of ends, and tells there how many
// kilobytes its objects take, until it is told to go on. Wants a runtime that lets its garbage be collected when asked.
import process from "node:process";
import { Prefork } from "../../mod.ts";

declare const Bun: {
  gc(force: boolean): void;
  spawn(words: readonly string[]): { readonly exited: Promise<number> };
};
declare const gc: () => void;

const WORKERS = 8;
const REST_MS = 10_000;
const COMMAND = "/bin/true";
const [list = "[]", way] = process.argv.slice(2);
const marks: number[] = JSON.parse(list);
const isBun = "Bun" in globalThis;

let ends = 0;

/** Whether it is time to rest. */
function isMark(): boolean {
  if (++ends !== marks[0]) return false;
  marks.shift();
  setTimeout(tell, REST_MS);
  return true;
}

async function tell(): Promise<void> {
  for (let times = 0; times < 2; times++) {
    if (isBun) Bun.gc(true);
    else gc();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  console.log(Math.round(process.memoryUsage().heapUsed / 1024));
}

async function byHand(): Promise<void> {
  let waiting = Promise.withResolvers<void>();
  waiting.resolve();
  process.stdin.on("data", () => marks.length > 0 ? waiting.resolve() : process.exit());
  const keep = async (): Promise<void> => {
    while (true) {
      await waiting.promise;
      await (isBun ? Bun.spawn([COMMAND]).exited : new Deno.Command(COMMAND).spawn().status);
      if (isMark()) waiting = Promise.withResolvers<void>();
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, keep));
}

async function inPool(): Promise<void> {
  const pm = new Prefork({
    maxWorkers: WORKERS,
    onChildReap(pool) {
      if (isMark()) pool.maxWorkers = 0;
    },
  });
  process.stdin.on("data", () => {
    if (marks.length > 0) pm.maxWorkers = WORKERS;
    else process.exit();
  });
  await pm.startCommand({ command: COMMAND });
}

await (way === "by-hand" ? byHand() : inPool());
