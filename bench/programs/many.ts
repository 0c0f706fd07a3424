// A manager of WORKERS such workers, which passes SIGUSR2 on, and replaces them by SIGHUP.
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Prefork } from "../../mod.ts";

await using pool = new Prefork({
  maxWorkers: Number(process.env["WORKERS"]),
  maxSurge: 8,
  trapSignals: { SIGTERM: "SIGTERM", SIGUSR2: "SIGUSR2", SIGHUP: { signal: "SIGTERM", replace: "before" } },
});
do await pool.startModule(fileURLToPath(new URL("./many_worker.ts", import.meta.url))); while (
  pool.signalReceived !== "SIGTERM"
);
await pool.waitAllChildren();
