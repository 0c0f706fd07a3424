import { strict as assert } from "node:assert";
import { readdirSync, readlinkSync } from "node:fs";
import process from "node:process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { currentHost } from "../runtimes/current.ts";
import type { Child, Signal } from "../src/types.ts";
import { hostConformance } from "./host_conformance.ts";
import { fakeRig, realRig } from "./host_rig.ts";
import { runtimeCommand, waitFor } from "./support/run.ts";

hostConformance("fake", fakeRig);
hostConformance(currentHost.name, () => realRig(currentHost));

const timeout = 180_000;

/** Runs a fixture in a process of its own, by the host under test, and gives how it ended. */
async function runFixture(name: string, ...args: readonly string[]) {
  const { command, args: runtimeArgs } = runtimeCommand();
  const path = fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));
  let output = "";
  const ended = Promise.withResolvers<void>();
  const child = currentHost.spawn({
    command,
    args: [...runtimeArgs, path, ...args],
    env: {},
    stdout(chunk) {
      output += new TextDecoder().decode(chunk);
      if (output.endsWith("end\n")) ended.resolve();
    },
  });
  const status = await child.exited;
  if (status.type === "exited" && status.code === 0) await ended.promise;
  return { status, output };
}

describe(`${currentHost.name} host, in a process of its own`, () => {
  const signals: readonly Signal[] = ["SIGHUP", "SIGINT", "SIGTERM", "SIGUSR2"];
  for (const signal of signals) {
    test(`dies of ${signal} again once nobody listens`, { timeout }, async () => {
      const { status } = await runFixture("host_unlisten.ts", signal);
      assert.deepEqual(status, { type: "signaled", signal });
    });
  }

  test("ends by itself when all it holds is unreferenced", { timeout }, async () => {
    const { status, output } = await runFixture("host_unref.ts");
    assert.deepEqual(status, { type: "exited", code: 0 }, output);
  });

  test("goes on when standard error is closed", { timeout }, async () => {
    const { status, output } = await runFixture("host_write.ts");
    assert.deepEqual(status, { type: "exited", code: 7 }, output);
  });
});

test(`the ${currentHost.name} host keeps nothing open for a process that has ended`, {
  timeout,
  skip: process.platform !== "linux",
}, async () => {
  const pipes = () => {
    const open = readdirSync("/proc/self/fd").map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return ""; // that of the directory itself
      }
    });
    return open.filter((target) => /^(pipe|socket):/.test(target)).length;
  };
  const before = pipes();
  const children: Child[] = []; // which nobody collects meanwhile
  let ended = 0;
  for (let i = 0; i < 5; i++) {
    const child = currentHost.spawn({ command: "/bin/cat", args: [], env: {}, stdin: "pipe", stdout: "null" });
    children.push(child);
    child.unref();
    currentHost.kill(child.pid, "SIGKILL");
    void child.exited.then(() => ended++);
  }
  await waitFor(() => ended === children.length, { what: "all of them to end" });
  await waitFor(() => pipes() <= before, { what: `${before} pipes and sockets` });
  for (const child of children) child.writeStdin("to nobody\n");
});
