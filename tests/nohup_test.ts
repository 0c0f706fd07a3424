import assert from "node:assert/strict";
import { it } from "node:test";
import { fileURLToPath } from "node:url";
import { runCommand, runtimeCommand } from "./support/run.ts";

it("a manager under nohup survives the hang-up that nohup ignores", { timeout: 180_000 }, async () => {
  const { command, args } = runtimeCommand();
  const pool = fileURLToPath(new URL("./fixtures/lifecycle/pool.ts", import.meta.url));
  const daemon = [command, ...args, pool, JSON.stringify({ options: { maxWorkers: 1 } })];
  await using program = runCommand("sh", ["-c", 'trap "" HUP; exec "$@"', "sh", ...daemon]);
  await program.waitForLine(/"type":"ready"/);
  program.kill("SIGHUP");
  program.kill("SIGTERM");
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
});
