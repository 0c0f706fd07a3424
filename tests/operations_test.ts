/** What a manager of the command line does for an operator. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { PreforkEvent } from "../mod.ts";
import { Operations } from "../src/cli/operations.ts";
import { FakePool, outcome } from "./support/pool_on_fake.ts";

/** Operations on a pool that nobody starts. */
function operate(
  { pm, host }: FakePool,
  reload = () => Promise.resolve(),
): { readonly operations: Operations; readonly stops: string[] } {
  const stops: string[] = [];
  const operations = new Operations({
    pool: pm,
    host,
    facts: () => ({ name: "app", runtime: "deno", work: "app.ts" }),
    changes: { reload, upgrade: async () => {} },
    past: () => undefined,
    logFile: undefined,
    stop: () => void stops.push("stop"),
  });
  return { operations, stops };
}

const stop = { do: "stop", now: false } as const;

describe("a stop that an operator asks for", () => {
  for (
    const { when, events, passedOn } of [
      { when: "is this manager's where an upgrade has failed", events: ["upgrade", "upgradeFailed"], passedOn: [] },
      { when: "reaches the new manager, too, which takes over now", events: ["upgrade", "upgraded"], passedOn: [77] },
    ] as const
  ) {
    it(when, async () => {
      const pool = new FakePool();
      const { operations, stops } = operate(pool);
      for (const type of events) {
        const event: PreforkEvent = type === "upgradeFailed"
          ? { type, cause: "failed", reason: "it ended" }
          : { type, pid: 77 };
        operations.heed(event);
      }
      const asked = operations.obey(stop, () => {}, new Promise(() => {}));
      assert.equal(await outcome(asked), "pending");
      assert.deepEqual(stops, ["stop"]);
      assert.deepEqual(pool.host.sent, passedOn.map((pid) => ({ pid, signal: "SIGTERM" })));
      operations.end("stopped");
      assert.deepEqual(await asked, { type: "done", text: "stopped" });
      await pool.pm[Symbol.asyncDispose]();
    });
  }

  it("is told at once where another is under way, and asks for nothing then", async () => {
    const pool = new FakePool();
    const { operations, stops } = operate(pool);
    operations.heed({ type: "signal", signal: "SIGTERM", relay: "SIGTERM" });
    const told: string[] = [];
    const asked = operations.obey(stop, (text) => told.push(text), new Promise(() => {}));
    assert.deepEqual([told, stops], [["the stop is under way already"], []]);
    operations.end("stopped");
    assert.deepEqual(await asked, { type: "done", text: "stopped" });
    await pool.pm[Symbol.asyncDispose]();
  });
});

describe("a reload that an operator asks for", () => {
  it("tells where to look for what a worker printed, if one has ended", async () => {
    const pool = new FakePool();
    const reasons = ["worker=0 gen=2 pid=7 exited with status 1 before it was ready", "it asks for help"];
    const told = await Promise.all(reasons.map(async (reason) => {
      const { operations } = operate(pool, () => Promise.reject(new Error(reason)));
      const reply = await operations.obey({ do: "reload" }, () => {}, new Promise(() => {}));
      return reply.type === "failed" ? reply.reason.slice(reason.length) : reply;
    }));
    assert.deepEqual(told, [`; what was printed is on the standard error of the manager, pid=${pool.host.pid}`, ""]);
    await pool.pm[Symbol.asyncDispose]();
  });
});

describe("the state of a manager", () => {
  it("is that of a reload until that ends, also where a way back has ended without a beginning", async () => {
    const pool = new FakePool();
    const { operations } = operate(pool);
    const state = async () => (await operations.report()).state;
    const end = { generation: 2, serving: 1, cause: "failed", reason: "it ended" } as const;
    operations.heed({ type: "reload", generation: 2, serving: 1 });
    operations.heed({ type: "reloadFailed", ...end });
    operations.heed({ type: "reloaded", generation: 1 });
    assert.equal(await state(), "starting");
    operations.heed({ type: "reload", generation: 3, serving: 1 });
    assert.equal(await state(), "reloading");
    operations.heed({ type: "reloaded", generation: 3 });
    assert.equal(await state(), "starting");
    await pool.pm[Symbol.asyncDispose]();
  });
});
