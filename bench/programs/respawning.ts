// deno-lint-ignore-file no-console
// A pool of commands that end at once, which rests at certain counts of ends, until it is told to go on.
import process from "node:process";
import { Prefork } from "../../mod.ts";

const WORKERS = 8;
const marks: number[] = JSON.parse(process.argv[2] ?? "[]");

let ends = 0;
const pm = new Prefork({
  maxWorkers: WORKERS,
  onChildReap(pool) {
    if (++ends !== marks[0]) return;
    pool.maxWorkers = 0;
    console.log(marks.shift());
  },
});
process.stdin.on("data", () => {
  if (marks.length > 0) pm.maxWorkers = WORKERS;
  else process.exit();
});
await pm.startCommand({ command: "/bin/true" });
