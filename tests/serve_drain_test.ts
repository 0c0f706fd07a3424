/** The last answers of a worker that serves: whatever is open when it is told to stop, its client gets all of it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { PreforkOptions } from "../mod.ts";
import { Client } from "./support/client.ts";
import { portOf, runPool } from "./support/pool.ts";
import { type Program, runtime, type TestRuntime } from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 120_000 };
const module = fileURLToPath(new URL("./fixtures/serve/app.ts", import.meta.url));

function runApp(on: TestRuntime, more: PreforkOptions = {}): Program {
  return runPool({
    module,
    runtime: on,
    options: {
      maxWorkers: 1,
      listen: "127.0.0.1:0",
      trapSignals: { SIGTERM: "SIGTERM", SIGHUP: "SIGTERM" },
      ...more,
    },
  });
}

/** How many bytes of an answer come to a client that takes about 8 MB of it a second. */
async function readSlowly(port: number, path: string, begun: () => void): Promise<number> {
  const socket = connect(port, "127.0.0.1");
  let bytes = 0;
  socket.on("data", (chunk) => {
    if (bytes === 0) begun();
    bytes += chunk.length;
    socket.pause();
    setTimeout(() => socket.resume(), chunk.length / 8192);
  });
  socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
  await once(socket, "close");
  return bytes;
}

for (const on of ["deno", "bun"] as const satisfies readonly TestRuntime[]) {
  describe(`a worker on ${on} of a manager on ${runtime}, told to stop`, () => {
    it("has a slow client read its answer to the end", options, async () => {
      await using program = runApp(on, { drainTimeoutMs: 25_000 });
      const bytes = await readSlowly(await portOf(program), "/big", () => program.kill("SIGTERM"));
      assert.ok(bytes > 32 * 1024 * 1024, `${bytes} bytes came`);
      assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
      assert.deepEqual(program.errorLines.filter((line) => line.includes("cut off")), []);
    });

    it("cuts off an answer without end at the deadline, and says so", options, async () => {
      await using program = runApp(on, { drainTimeoutMs: 300 });
      using client = new Client({ port: await portOf(program) }).send("GET /endless HTTP/1.1\r\nhost: x\r\n\r\n");
      await client.waitFor(/word/);
      program.kill("SIGTERM");
      await program.waitForErrorLine(/^prefork: .* cut off/);
      await client.waitForEnd();
      assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    });
  });
}
