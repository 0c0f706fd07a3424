/**
 * A daemon of Gearman workers: SIGHUP reads the configuration file again and replaces the workers, each after its job
 * in hand; SIGTERM stops.
 *
 *     deno run -A examples/gearman_daemon.ts [CONFIG]
 *     bun run examples/gearman_daemon.ts [CONFIG]
 *
 * @module
 */
import process from "node:process";
import { currentWorker, isWorker, Prefork } from "../mod.ts"; // elsewhere: "jsr:@prefork/prefork"
import { type Config, configFile, readConfig, requireConfig } from "./gearman_config.ts";
import { runWorker } from "./gearman_worker.ts";

const pm = new Prefork({
  name: "gearman",
  trapSignals: { SIGTERM: "SIGTERM", SIGHUP: "SIGTERM" }, // manager receives: workers get
});
// A worker is given its configuration by the manager: the file may be newer by then, or broken.
let config = isWorker() ? null : await requireConfig();
while (pm.signalReceived !== "SIGTERM") {
  if (pm.signalReceived === "SIGHUP") config = await reload(config);
  if (config !== null) pm.maxWorkers = config.maxWorkers;
  if (await pm.start({ data: config })) continue;
  // now in a worker process
  const worker = currentWorker<Config>();
  await runWorker(worker.data, () => worker.ready()); // stops by itself on SIGTERM
  await pm.finish();
}
await pm.waitAllChildren();

async function reload(old: Config | null): Promise<Config | null> {
  try {
    return await readConfig(configFile());
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    process.stderr.write(`${reason}; the old configuration stays in use.\n`);
    return old;
  }
}
