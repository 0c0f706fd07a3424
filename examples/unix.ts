/**
 * A server on a Unix socket that a web server in front may use, written as a program of its own: HUP replaces the
 * workers, TERM stops them.
 *
 *     deno run -A examples/unix.ts /tmp/app.sock
 *     bun run examples/unix.ts /tmp/app.sock
 */
import process from "node:process";
import { Prefork } from "../mod.ts";

const path = process.argv[2] ?? "/tmp/app.sock";

await using pool = new Prefork({
  maxWorkers: 2,
  listen: { address: `unix:${path}`, mode: 0o660 },
  trapSignals: { SIGTERM: "SIGTERM", SIGHUP: "SIGTERM" },
});
while (pool.signalReceived !== "SIGTERM") {
  await pool.start((worker) => worker.serve(() => new Response(`Hello from worker ${worker.slot}\n`)));
}
await pool.waitAllChildren();
