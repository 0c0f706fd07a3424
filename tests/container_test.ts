/** A manager that is process 1 of a name space of its own, as in a container. */
import assert from "node:assert/strict";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { descendants } from "./support/processes.ts";
import { runCommand, runtime, runtimeCommand, signalProcess, waitFor } from "./support/run.ts";

const options = { skip: process.platform !== "linux" || process.getuid?.() !== 0, timeout: 60_000 };
const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));
const hello = fileURLToPath(new URL("../examples/hello.ts", import.meta.url));

describe(`a manager that is process 1, on ${runtime}`, () => {
  for (const signal of ["SIGTERM", "SIGINT", "SIGQUIT"] as const) {
    it(`serves, and stops by ${signal}`, options, async () => {
      const { command, args } = runtimeCommand();
      const words = [command, ...args, prefork, "--log-format", "plain", hello, "-l", "127.0.0.1:0", "-w", "2"];
      await using program = runCommand("unshare", ["--pid", "--fork", "--mount-proc", "--", ...words]);
      await program.waitForErrorLine(/pid=1 .* keeps 2 workers/);
      await program.waitForErrorLine("runs as process 1, which inherits the orphans of all others");
      await program.waitForErrorLine("is ready", { count: 2 });
      const line = await program.waitForErrorLine("listens on ");
      const answer = await fetch(`http://127.0.0.1:${/:(\d+)$/.exec(line)?.[1]}/`, {
        headers: { connection: "close" },
      });
      assert.equal(answer.status, 200);
      await answer.text();
      const [manager = 0] = descendants(program.pid);
      signalProcess(manager, signal);
      await program.waitForErrorLine(/ stopped$/);
      assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
      await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" });
    });
  }
});
