/**
 * The synopsis of Parallel::Prefork, line by line: a daemon that reads its configuration again on SIGHUP, and stops on
 * SIGTERM. Its workers do ten pieces of work each and end; the pool replaces them.
 *
 *     deno run -A examples/synopsis.ts
 *     bun run examples/synopsis.ts
 */

import { isWorker, Prefork, type Worker } from "../mod.ts"; // from elsewhere: jsr:@prefork/prefork

interface Config {
  readonly loaded: number;
  readonly pauseMs: number;
}

const pm = new Prefork({
  maxWorkers: 3,
  trapSignals: {
    SIGTERM: "SIGTERM",
    SIGHUP: "SIGTERM",
    SIGUSR2: null,
  },
});

let loaded = 0;
while (pm.signalReceived !== "SIGTERM") {
  await pm.start(doSomeWork, { data: loadConfig() });
}
await pm.waitAllChildren();
report("manager: all workers are gone");

function loadConfig(): Config {
  loaded++;
  if (!isWorker()) report(`manager: configuration ${loaded} is loaded`);
  return { loaded, pauseMs: 200 };
}

async function doSomeWork({ data, pid, signal, ready }: Worker<Config>): Promise<void> {
  ready();
  report(`worker ${pid}: works with configuration ${data.loaded}`);
  for (let i = 0; i < 10 && !signal.aborted; i++) {
    await new Promise((resolve) => setTimeout(resolve, data.pauseMs));
  }
  report(`worker ${pid}: ends${signal.aborted ? ", as it was told" : ""}`);
}

function report(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}
