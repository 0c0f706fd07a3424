/** A manager compiled into one executable, whose workers are that executable again. */
import assert from "node:assert/strict";
import { chmod } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { PoolSpec } from "./fixtures/lifecycle/pool.ts";
import { commandLine, stopPool, waitForReady } from "./support/pool.ts";
import { runCommand, tempDir } from "./support/run.ts";

const bun = fileURLToPath(new URL("../node_modules/.bin/bun", import.meta.url));
const pool = fileURLToPath(new URL("./fixtures/lifecycle/pool.ts", import.meta.url));

for (const fallThrough of [true, false]) {
  const form = fallThrough ? "fall-through" : "callback";
  test(`bun build --compile makes a manager (${form} form)`, { timeout: 180_000 }, async () => {
    await using dir = await tempDir();
    const daemon = dir.file("daemon");
    await using build = runCommand(bun, ["build", "--compile", "--outfile", daemon, pool], { cwd: dir.path });
    assert.deepEqual(await build.waitForEnd(), { code: 0, signal: null }, build.report());
    await chmod(daemon, 0o755);

    const spec: PoolSpec = { options: { maxWorkers: 2 }, fallThrough };
    await using program = runCommand(daemon, [JSON.stringify(spec)]);
    const workers = await waitForReady(program, 2);
    for (const { pid } of workers) assert.ok(commandLine(pid).startsWith(`${daemon} {"options"`), commandLine(pid));
    assert.equal(program.matching(/^begun [01] 1 \d+ \{"starts":1\}$/).length, 2, program.report());
    await stopPool(program);
    assert.equal(program.matching(/^told [01] received SIGTERM/).length, 2, program.report());
  });
}
