/** What is known of workers whose output waits to be read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Outputs } from "../src/outputs.ts";
import type { WorkerInfo } from "../src/types.ts";
import { FakePool, rest as settle } from "./support/pool_on_fake.ts";

const worker: WorkerInfo = { pid: 1, slot: 0, generation: 1, state: "ready", status: "" };

test("a worker is held back from when a reader takes its time until that is over", async () => {
  let now = 0;
  const reads: PromiseWithResolvers<void>[] = [];
  const outputs = new Outputs(() => () => {
    const read = Promise.withResolvers<void>();
    reads.push(read);
    return read.promise;
  }, () => now);
  const { stdout, stderr } = outputs.of(7, () => worker);
  assert.ok(typeof stdout === "function" && typeof stderr === "function");
  assert.equal(outputs.sinceHeldMs(7), Infinity);

  const quick = stdout(new Uint8Array(1));
  assert.equal(outputs.sinceHeldMs(7), 0);
  reads.shift()?.resolve();
  await quick;
  assert.equal(outputs.sinceHeldMs(7), Infinity, "reading alone holds nobody back");

  const slow = [stdout(new Uint8Array(1)), stderr(new Uint8Array(1))];
  now = 3000;
  reads.shift()?.resolve();
  await slow[0];
  assert.equal(outputs.sinceHeldMs(7), 0, "the other stream waits");
  now = 4000;
  reads.shift()?.resolve();
  await slow[1];
  now = 4200;
  assert.equal(outputs.sinceHeldMs(7), 200);
  outputs.forget(7);
  assert.equal(outputs.sinceHeldMs(7), Infinity);
});

test("a worker that could not be made is forgotten", async () => {
  const { forget } = Outputs.prototype;
  const forgotten: number[] = [];
  Outputs.prototype.forget = function (id) {
    forgotten.push(id);
    forget.call(this, id);
  };
  try {
    const pool = new FakePool({ maxWorkers: 1, errRespawnIntervalMs: 100, output: () => () => {} });
    pool.host.spawnFailure = ({ command }) => command === "/bin/sh" ? undefined : new Error("no process to be had");
    const started = pool.pm.start();
    await settle();
    await pool.host.advance(100);
    assert.equal(forgotten.length, pool.ofType("spawnError").length);
    assert.ok(forgotten.length >= 2);
    pool.host.spawnFailure = () => undefined;
    await pool.stop(started);
    await pool.pm[Symbol.asyncDispose]();
  } finally {
    Outputs.prototype.forget = forget;
  }
});
