// deno-lint-ignore-file no-console
// Worker code that begins when it is called, and by hand at once. Tells when it has begun, and stays.
import type { Worker } from "../../mod.ts";

export default function begin(worker?: Worker): Promise<never> {
  console.log(performance.timeOrigin + performance.now());
  worker?.ready();
  setInterval(() => {}, 2 ** 30);
  return new Promise(() => {});
}

if (process.argv[2] === "by-hand") void begin();
