import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { FakePool } from "./support/pool_on_fake.ts";

describe("options", () => {
  it("that are unknown name the nearest one", () => {
    // @ts-expect-error misspelt
    assert.throws(() => new FakePool({ maxWorker: 3 }), { name: "TypeError", message: /'maxWorker'.*'maxWorkers'/ });
  });

  it("are checked at once, each with a sentence", () => {
    const wrong: readonly (readonly [object, string, RegExp])[] = [
      [{ maxWorkers: -1 }, "RangeError", /'maxWorkers': it must be a whole number from 0 on, not -1/],
      [{ maxWorkers: "3" }, "TypeError", /'maxWorkers': it must be a number, not '3'/],
      [{ stopTimeoutMs: NaN }, "RangeError", /'stopTimeoutMs': it must be 0 or more milliseconds, not NaN/],
      [{ trapSignals: { SIGTREM: "SIGTERM" } }, "TypeError", /'SIGTREM'.*did you mean 'SIGTERM'/],
      [{ trapSignals: { SIGHUP: "HUP" } }, "TypeError", /'HUP' as what workers get for SIGHUP.*'SIGHUP'/],
      [{ trapSignals: { SIGKILL: null } }, "TypeError", /Cannot trap SIGKILL/],
      [{ trapSignals: { SIGHUP: { signal: "SIGTERM", intervalMs: -1 } } }, "RangeError", /intervalMs/],
      [{ trapSignals: { SIGHUP: { signal: "SIGTERM", interval: 1 } } }, "TypeError", /'interval'.*'intervalMs'/],
      [{ policy: 3 }, "TypeError", /'policy'/],
      [{ logger: {} }, "TypeError", /'logger': it must have the methods/],
      [{ beforeFork: 1 }, "TypeError", /'beforeFork': it must be a function/],
      [{ signal: "SIGTERM" }, "TypeError", /signals go to 'trapSignals'/],
      [{ name: "a/b" }, "TypeError", /Cannot name a pool 'a\/b'/],
    ];
    for (const [options, name, message] of wrong) {
      assert.throws(() => new FakePool(options), { name, message }, JSON.stringify(options));
    }
  });

  it("give each pool its own name", async () => {
    const first = new FakePool({ name: "web" });
    assert.throws(() => new FakePool({ name: "web" }), /there is one already/);
    await first.pm[Symbol.asyncDispose]();
    await new FakePool({ name: "web" }).pm[Symbol.asyncDispose]();
  });
});
