import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { spareWorkers } from "../mod.ts";
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

  it("of start, startModule, startCommand and spareWorkers are checked as well", async () => {
    const { pm } = new FakePool();
    const wrong: readonly (readonly [start: () => unknown, message: RegExp])[] = [
      // @ts-expect-error misspelt
      [() => pm.start({ dta: 1 }), /Unknown option 'dta' for start; did you mean 'data'/],
      // @ts-expect-error not a list
      [() => pm.start({ denoArgs: "-A" }), /'denoArgs': it must be a list of strings, not "-A"/],
      // @ts-expect-error no such runtime
      [() => pm.startModule("./w.ts", { runtime: "bnu" }), /Cannot run workers on 'bnu'/],
      // @ts-expect-error not an object
      [() => pm.startCommand("true"), /Cannot start a command: give \{ command/],
      // @ts-expect-error misspelt
      [() => pm.startCommand({ command: "true", arg: [] }), /'arg' for startCommand; did you mean 'args'/],
      [() => pm.start({ data: { n: 10n } }), /data\.n to workers: 10n does not survive JSON/],
      // @ts-expect-error not an object
      [() => pm.waitAllChildren(5), /Cannot use 5 as the options of waitAllChildren/],
    ];
    for (const [start, message] of wrong) {
      await assert.rejects(async () => await start(), { name: "TypeError", message });
    }
    // @ts-expect-error no signal
    assert.throws(() => pm.signalReceived = "TERM", /'TERM' as the signal received.*'SIGTERM'/);
    // @ts-expect-error misspelt
    assert.throws(() => spareWorkers({ minSpare: 1, maxSpares: 2 }), /no option 'maxSpares'/);
    // @ts-expect-error not a number
    assert.throws(() => spareWorkers({ minSpare: "2" }), /'minSpare' must be a number, not "2"/);
    await pm[Symbol.asyncDispose]();
  });

  it("give each pool its own name, for as long as the program runs", async () => {
    const first = new FakePool({ name: "web" });
    assert.throws(() => new FakePool({ name: "web" }), /this program has made one before/);
    await first.pm[Symbol.asyncDispose]();
    assert.throws(() => new FakePool({ name: "web" }), /this program has made one before/);
  });
});
