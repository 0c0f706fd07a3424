/** Workers are replaced before they go bad, each by one that is ready. */
import assert from "node:assert/strict";
import process from "node:process";
import { describe, it } from "node:test";
import { FakePool, rest as settle } from "./support/pool_on_fake.ts";
import { eventsOf, eventsOfType, runFixture, stopPool, waitForReady } from "./support/pool.ts";
import { runtime, waitFor } from "./support/run.ts";

const LONG = { timeout: 180_000 };
const NARROW = { ...LONG, skip: runtime !== "deno" };

describe("a worker is replaced, the new one ready first", () => {
  const reasons = [
    ["asked", "when it asks for it", /^has had enough$/],
    ["memory", "when it uses too much memory", /^uses (4|5)\d\d\.\d MiB of memory$/],
    ["lag", "when its event loop lags", /^is late by \d{3,} ms, again and again$/],
  ] as const;
  for (const [how, when, reason] of reasons) {
    const options = { ...LONG, skip: how === "memory" && process.platform !== "linux" };
    it(when, options, async () => {
      await using program = runFixture("recycle", [how]);
      await program.waitForLine('"type":"replace"');
      const [due] = eventsOfType(program, "recycle");
      assert.match(due?.reason ?? "", reason);
      const [{ worker, by } = {}] = eventsOfType(program, "replace");
      assert.deepEqual([worker?.pid, worker?.slot, by?.slot], [due?.worker.pid, 0, 0]);
      await waitFor(() => eventsOfType(program, "reap").length > 0, { what: "the old one to go" });
      const types = eventsOf(program).filter((event) => "worker" in event && event.worker.slot === 0)
        .map(({ type }) => type);
      assert.deepEqual(types, ["spawn", "ready", "recycle", "spawn", "ready", "replace", "relay", "reap"]);
      await waitForReady(program, 3);
      await stopPool(program);
    });
  }

  it(
    "and is not taken for one that hangs, though it asks for that all the time and none can take its place",
    LONG,
    async () => {
      await using program = runFixture("recycle", ["insists"]);
      await program.waitForLine("turned 800");
      assert.ok(eventsOfType(program, "recycle").length > 0);
      const [insists] = eventsOfType(program, "spawn");
      const killed = eventsOfType(program, "reap").filter(({ worker }) => worker.pid === insists?.worker.pid);
      assert.deepEqual(killed, []);
      await stopPool(program);
    },
  );

  it("never for its memory where that cannot be read, which is told", NARROW, async () => {
    const runtimeArgs = [
      "run",
      "--no-prompt",
      ...["net", "read", "write", "env", "run"].map((kind) => `--allow-${kind}`),
    ];
    await using program = runFixture("recycle", ["memory"], { runtimeArgs });
    await waitForReady(program, 3);
    const warning = /^prefork: no worker is replaced for its memory, .* on Deno --allow-all \(-A\)/;
    await program.waitForErrorLine(warning);
    await stopPool(program);
    assert.equal(program.errorLines.filter((line) => warning.test(line)).length, 1, program.report());
  });

  it("when it is old, not all of them at once", LONG, async () => {
    await using program = runFixture("recycle", ["age"]);
    await program.waitForLine('"type":"replace"', { count: 6 });
    let ready = 0;
    for (const event of eventsOf(program)) {
      if (event.type === "ready") ready++;
      if (event.type === "replace") ready--;
      assert.ok(event.type !== "replace" || ready >= 3, program.report());
    }
    await stopPool(program);
  });
});

describe("a limit of memory that cannot be read", () => {
  it("is told once, also to a logger that throws", async () => {
    const warnings: string[] = [];
    const warn = (text: string): never => {
      warnings.push(text);
      throw new Error("oops");
    };
    const logger = { debug: () => {}, info: () => {}, warn, error: () => {} };
    for (const isReadable of [false, true]) {
      const pool = new FakePool({ recycle: { maxMemoryBytes: 2 ** 30 }, logger });
      if (isReadable) pool.host.usages.set(pool.host.pid, { memoryBytes: 1, cpuMs: 1 });
      const started = pool.pm.start();
      await settle();
      await pool.pm.reload();
      await pool.stop(started);
      assert.equal(pool.ofType("hookError").length, isReadable ? 0 : 1);
    }
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? "", /'recycle.maxMemoryBytes' takes .* on Deno --allow-all \(-A\)/);
  });
});
