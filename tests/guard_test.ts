/** The guard: what a manager tells it, and what its script makes of that, by a real shell. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { describe, it } from "node:test";
import { Guard } from "../src/guard.ts";
import { FakeHost } from "./fake_host.ts";
import { FakePool, rest } from "./support/pool_on_fake.ts";
import { isAlive, waitFor } from "./support/run.ts";

const LONG = { timeout: 180_000 };
const TEN_MINUTES_MS = 600_000;

/** A guard of a manager that is a test. */
function guarded(graceMs: number) {
  const host = new FakeHost();
  const guard = new Guard(host, graceMs, undefined);
  const [made] = host.processes;
  assert.ok(made !== undefined);
  return { guard, made };
}

/** A command that heeds nothing but SIGKILL, and leads a process group. */
async function stubborn(env: Record<string, string> = {}): Promise<ChildProcess> {
  const script = "trap '' TERM; echo up; while :; do sleep 1000; done";
  const child = spawn("/bin/sh", ["-c", script], {
    detached: true,
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, ...env },
  });
  await once(child.stdout ?? assert.fail("no output"), "data");
  return child;
}

/** Runs the script of a guard until it has read all that it was told. */
async function play({ command, stdin }: { command: { args: readonly string[] }; stdin: string }): Promise<void> {
  const script = spawn("/bin/sh", [...command.args], { stdio: ["pipe", "ignore", "ignore"] });
  script.stdin.end(stdin);
  await once(script, "exit");
}

function end({ pid }: ChildProcess): void {
  if (pid !== undefined && isAlive(pid)) process.kill(-pid, "SIGKILL");
}

describe("the guard", () => {
  it("gives workers as long as any of them was told that it has", async () => {
    const pool = new FakePool({ maxWorkers: 1, drainTimeoutMs: 1000 });
    const started = pool.pm.start();
    await rest();
    for (const drainTimeoutMs of [20_000, 5000]) await pool.pm.reload({ options: { drainTimeoutMs } });
    const [guard] = pool.host.processes.filter(({ command }) => command.command === "/bin/sh");
    assert.deepEqual(guard?.stdin.match(/^t .*$/gm), ["t 200"]);
    await pool.stop(started);
  });

  it("waits for so long, and no longer", LONG, async () => {
    const { guard, made } = guarded(TEN_MINUTES_MS);
    const child = await stubborn();
    try {
      guard.enter(child.pid ?? 0, "command");
      await play({ command: made.command, stdin: `${made.stdin}t 3\n` });
      await waitFor(() => !isAlive(child.pid ?? 0), { what: "the command to be gone" });
    } finally {
      end(child);
    }
  });

  it("finds the commands that were made last and are not entered, and none of before", {
    ...LONG,
    skip: process.platform !== "linux",
  }, async () => {
    const { guard, made } = guarded(300);
    const left = await stubborn(guard.mark()); // of a command that has ended, as a daemon would be
    const known = await stubborn(guard.mark());
    guard.enter(known.pid ?? 0, "command");
    const latest = await stubborn(guard.mark());
    try {
      await play(made);
      await waitFor(() => !isAlive(known.pid ?? 0) && !isAlive(latest.pid ?? 0), { what: "both to be gone" });
      assert.ok(isAlive(left.pid ?? 0));
    } finally {
      [left, known, latest].forEach(end);
    }
  });
});
