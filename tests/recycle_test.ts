/** Workers are replaced before they go bad, each by one that is ready. */
import assert from "node:assert/strict";
import process from "node:process";
import { describe, it } from "node:test";
import { eventsOf, eventsOfType, runFixture, stopPool, waitForReady } from "./support/pool.ts";
import { waitFor } from "./support/run.ts";

const LONG = { timeout: 60_000 };

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
      await program.waitForLine('"type":"replace"', { timeoutMs: 30_000 });
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

  it("when it is old, not all of them at once", LONG, async () => {
    await using program = runFixture("recycle", ["age"]);
    await program.waitForLine('"type":"replace"', { count: 6, timeoutMs: 30_000 });
    let ready = 0;
    for (const event of eventsOf(program)) {
      if (event.type === "ready") ready++;
      if (event.type === "replace") ready--;
      assert.ok(event.type !== "replace" || ready >= 3, program.report());
    }
    await stopPool(program);
  });
});
