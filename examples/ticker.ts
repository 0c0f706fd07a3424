// deno-lint-ignore-file no-console
/**
 * A worker that knows nothing of prefork: it prints a line now and then, and stops by itself on SIGTERM.
 *
 *     deno run -A mod.ts examples/ticker.ts -w 2
 *     bun run mod.ts examples/ticker.ts -w 2
 */

import process from "node:process";

let ticks = 0;
const timer = setInterval(() => console.log(`tick ${++ticks}`), 1000);

process.once("SIGTERM", () => {
  console.log(`stopping after ${ticks} ticks`);
  clearInterval(timer);
});
console.log("started");
