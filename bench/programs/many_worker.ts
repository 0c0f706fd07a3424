// deno-lint-ignore-file no-console
// Says when it is up, and when a signal reaches it; by hand it needs nobody for that.
import process from "node:process";
import type { Worker } from "../../mod.ts";

export default async function begin(worker?: Worker): Promise<void> {
  process.on("SIGUSR2", () => console.log(`got ${process.pid}`));
  console.log(`up ${process.pid}`);
  worker?.ready();
  await new Promise<void>((resolve) => {
    worker?.signal.addEventListener("abort", () => resolve());
    setInterval(() => {}, 2 ** 30);
  });
  process.exit(0);
}

if (process.argv[2] === "by-hand") void begin();
