/** What fails inside the manager costs nothing else: neither the rest of a step, nor the inputs after it. */
import assert from "node:assert/strict";
import process from "node:process";
import { describe, it } from "node:test";
import { EventHub } from "../src/event_hub.ts";
import { Hooks } from "../src/hooks.ts";
import { Inbox, type SpawnEffect } from "../src/inbox.ts";
import type { Generation, Input } from "../src/pool_state.ts";
import { FakeHost, type FakeProcess } from "./fake_host.ts";
import { guards, runFixture, stopPool, strangers, waitForReady } from "./support/pool.ts";
import { FakePool, rest as settle } from "./support/pool_on_fake.ts";
import { waitFor } from "./support/run.ts";

const generation: Generation = { number: 1, channel: true };

/** Has the next text for a process fail. */
function breakPipe(process: FakeProcess | undefined): void {
  assert.ok(process);
  process.writeStdin = () => {
    Reflect.deleteProperty(process, "writeStdin");
    throw new Error("broken pipe");
  };
}

describe("what fails inside the manager", () => {
  it("costs no slot: all other effects of the step are had", async () => {
    const pool = new FakePool({ errRespawnIntervalMs: 100 });
    const started = pool.pm.start();
    await settle();
    breakPipe(pool.host.processes.find(({ command }) => command.command === "/bin/sh"));
    pool.workers[0]?.process.exit(1);
    await pool.host.advance(100);
    await settle();
    assert.match(String(pool.ofType("hookError")[0]?.error), /broken pipe/);
    assert.deepEqual(pool.pm.workers.map(({ slot, state }) => `${slot} ${state}`), ["0 ready", "1 ready"]);
    await pool.stop(started);
    assert.deepEqual(pool.host.alive, []);
  });

  it("has a worker made once, though that fails after the hook", () => {
    const { pm, host } = new FakePool();
    const hooks = new Hooks({ beforeFork: () => null }, pm, new EventHub(undefined), host, 1000);
    let calls = 0;
    const launch = (): void => {
      calls++;
      throw new Error("broken pipe");
    };
    assert.throws(() => hooks.beforeFork(launch), /broken pipe/);
    assert.equal(calls, 1);
  });

  it("leaves the inbox open", async () => {
    const host = new FakeHost();
    const taken: Input["type"][] = [];
    const inbox = new Inbox(host, ({ type }) => void taken.push(type), (wanted) => {
      host.standStill(100);
      if (wanted.slot === 1) throw new Error("oops");
    });
    const spawn = (slot: number): SpawnEffect => ({ type: "spawn", slot, id: slot, generation });
    for (const slot of [0, 1]) inbox.spawnLater(spawn(slot));
    inbox.post({ type: "stopAll" });
    await settle();
    await assert.rejects(host.advance(0), /oops/);
    inbox.post({ type: "wait" });
    await host.advance(0);
    assert.deepEqual(taken, ["stopAll", "wait"]);
  });
});

describe("a guard that is dead", () => {
  const options = { timeout: 180_000, skip: process.platform !== "linux" };
  it("costs nothing, though the manager has yet to hear of it", options, async () => {
    await using program = runFixture("guardless");
    await waitForReady(program, 2);
    await waitFor(() => guards(program).length === 1, { what: "another guard" });
    assert.deepEqual(strangers(program), []);
    await stopPool(program);
  });
});
