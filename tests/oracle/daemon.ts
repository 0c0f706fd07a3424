/** The daemon of the oracle test on this library. `daemon.pl` is the same program on Parallel::Prefork, line by line. */
import { closeSync, existsSync, openSync, readFileSync, writeSync } from "node:fs";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { currentWorker, type ExitStatus, isWorker, Prefork, type Worker } from "../../mod.ts";

type Config = {
  readonly version: number;
  readonly failures: number;
  readonly ignoredTerms: number;
  readonly termCode: number;
  readonly tokens: string;
  readonly gate: string;
};

const configPath = process.argv[2] ?? "";

function emit(event: string, fields: Record<string, unknown> = {}): void {
  const at = Number(process.hrtime.bigint() / 1000n) / 1000;
  writeSync(1, `${JSON.stringify({ event, pid: process.pid, at, ...fields })}\n`);
}

function readConfig(): Config {
  return JSON.parse(readFileSync(configPath, "utf8"));
}

async function loadConfig(): Promise<Config> {
  const config = readConfig();
  emit("loading");
  while (!existsSync(config.gate)) await sleep(10);
  emit("load_config", { version: config.version });
  return config;
}

/** True for the first `config.failures` workers of this configuration, whoever comes first. */
function mustFail(config: Config): boolean {
  for (let n = 1; n <= config.failures; n++) {
    try {
      closeSync(openSync(`${config.tokens}/${n}`, "wx"));
      return true;
    } catch {
      continue;
    }
  }
  return false;
}

function statusText(status: ExitStatus): string {
  return status.type === "signaled" ? `signal ${status.signal}` : `exit ${status.code}`;
}

const pm = new Prefork({
  maxWorkers: 3,
  errRespawnIntervalMs: 1000,
  trapSignals: {
    SIGTERM: "SIGTERM",
    SIGHUP: "SIGTERM",
    SIGUSR2: null,
    SIGTTIN: { signal: "SIGTERM", intervalMs: 700 },
  },
  beforeFork: (pool) => emit("before_fork", { workers: pool.numWorkers }),
  afterFork: (_pool, child) => emit("after_fork", { child }),
  onChildReap: (_pool, child, status) => emit("reap", { child, status: statusText(status) }),
});

async function work(worker: Worker<Config>): Promise<void> {
  const config = worker.data;
  if (mustFail(config)) {
    emit("worker_fail", { version: config.version });
    await pm.finish(3);
  }
  let ignored = 0;
  process.on("SIGTERM", () => {
    emit("worker_term");
    if (ignored++ < config.ignoredTerms) return;
    void pm.finish(config.termCode);
  });
  worker.ready();
  emit("worker_start", { version: config.version, manager: worker.managerPid });
  while (true) await sleep(1_000_000);
}

/** Not in daemon.pl: the pool's own account of its back-off. */
async function tellBackoffs(): Promise<void> {
  for await (const event of pm) {
    if (event.type === "backoff") emit("backoff", { ...event });
  }
}

if (!isWorker()) {
  emit("manager");
  void tellBackoffs();
}
while (pm.signalReceived !== "SIGTERM") {
  const config = await loadConfig();
  await pm.start(() => work(currentWorker<Config>()), { data: config });
  emit("start_return", { signal: pm.signalReceived });
}
emit("wait_begin");
const left = await pm.waitAllChildren();
emit("wait_done", { left });
