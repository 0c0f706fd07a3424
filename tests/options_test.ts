import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type PreforkOptions, spareWorkers } from "../mod.ts";
import { checkOptions } from "../src/options.ts";
import { FakeHost } from "./fake_host.ts";
import { FakePool } from "./support/pool_on_fake.ts";

describe("options", () => {
  it("that are unknown name the nearest one", () => {
    // @ts-expect-error misspelt
    assert.throws(() => new FakePool({ maxWorker: 3 }), { name: "TypeError", message: /'maxWorker'.*'maxWorkers'/ });
  });

  it("are checked at once, each with a sentence", () => {
    const wrong: readonly (readonly [object, string, RegExp])[] = [
      [{ maxWorkers: -1 }, "RangeError", /'maxWorkers': it must be a whole number from 0 to 1000000, not -1/],
      [
        { maxWorkers: 1_000_001 },
        "RangeError",
        /'maxWorkers': it must be a whole number from 0 to 1000000, not 1000001/,
      ],
      [{ standby: 1e9 }, "RangeError", /'standby': it must be a whole number from 0 to 1000000, not 1000000000/],
      [{ maxWorkers: "3" }, "TypeError", /'maxWorkers': it must be a number, not '3'/],
      [{ stopTimeoutMs: NaN }, "RangeError", /'stopTimeoutMs': it must be 0 or more milliseconds, not NaN/],
      [{ trapSignals: { SIGTREM: "SIGTERM" } }, "TypeError", /'SIGTREM'.*did you mean 'SIGTERM'/],
      [{ trapSignals: { SIGHUP: "HUP" } }, "TypeError", /'HUP' as what workers get for SIGHUP.*'SIGHUP'/],
      [{ trapSignals: { SIGKILL: null } }, "TypeError", /Cannot trap SIGKILL/],
      [{ trapSignals: { SIGHUP: { signal: "SIGTERM", intervalMs: -1 } } }, "RangeError", /intervalMs/],
      [{ trapSignals: { SIGHUP: { signal: "SIGTERM", interval: 1 } } }, "TypeError", /'interval'.*'intervalMs'/],
      [{ policy: 3 }, "TypeError", /'policy'/],
      [{ policy: { decide: () => 0 } }, "TypeError", /'policy.intervalMs': it must be a number, not undefined/],
      [{ policy: { decide: () => 0, intervalMs: NaN } }, "RangeError", /'policy.intervalMs': .* not NaN/],
      [
        { policy: { decide: () => 0, intervalMs: 0, retireAfterMs: -1 } },
        "RangeError",
        /'policy.retireAfterMs': .* not -1/,
      ],
      [{ logger: {} }, "TypeError", /'logger': it must have the methods/],
      [{ beforeFork: 1 }, "TypeError", /'beforeFork': it must be a function/],
      [{ signal: "SIGTERM" }, "TypeError", /signals go to 'trapSignals'/],
      [{ readyWhen: 3 }, "TypeError", /'readyWhen': it must be as \{ http: "\/healthz" \} or .*, not 3/],
      [{ readyWhen: {} }, "TypeError", /'readyWhen': give it one of 'http' and 'tcp'/],
      [{ readyWhen: { http: "/x", tcp: "h:1" } }, "TypeError", /'readyWhen': give it one of 'http' and 'tcp'/],
      [{ readyWhen: { htpp: "/x" } }, "TypeError", /'htpp' for readyWhen; did you mean 'http'/],
      [{ readyWhen: { tcp: 9000 } }, "TypeError", /'readyWhen.tcp': it must be text, not 9000/],
      [{ readyWhen: { http: "/healthz" } }, "TypeError", /the path '\/healthz': the pool listens on nothing/],
      [{ readyWhen: { http: "/a b" } }, "TypeError", /'\/a b' is no path of a URL/],
      [{ readyWhen: { http: "//host/a" } }, "TypeError", /'\/\/host\/a' is no path of a URL/],
      [{ readyWhen: { http: "healthz" } }, "TypeError", /as in 'healthz': it is no URL/],
      [{ readyWhen: { http: "ftp://h/x" } }, "TypeError", /as in 'ftp:\/\/h\/x': it must begin with http/],
      [{ readyWhen: { tcp: "9000" } }, "TypeError", /as in '9000': give an address such as 127\.0\.0\.1:9000/],
      [{ readyWhen: { tcp: "unix:" } }, "TypeError", /as in 'unix:': give an address/],
      [{ readyWhen: { tcp: "127.0.0.1:0" } }, "TypeError", /there is no port 0/],
      [{ readyWhen: { tcp: "h:{port}" } }, "TypeError", /only \{slot\} and \{pid\} are replaced, not \{port\}/],
      [{ maxWorkers: 11, readyWhen: { tcp: "h:900{slot}" } }, "TypeError", /'h:90010': there is no port 90010/],
      [{ readyWhen: { tcp: "h:1", intervalMs: 0 } }, "RangeError", /intervalMs': it must be 1 or more/],
      [{ readyWhen: { tcp: "h:1", timeoutMs: "1" } }, "TypeError", /timeoutMs': it must be a number, not '1'/],
      [{ maxSurge: 1, readyWhen: { tcp: "h:1" } }, "RangeError", /'maxSurge' of 1 with this 'readyWhen': .*\{pid\}/],
      [
        { stopTimeoutMs: 999, drainTimeoutMs: 1000 },
        "RangeError",
        /'drainTimeoutMs' of 1000 ms with a 'stopTimeoutMs' of 999 ms: a worker would be killed/,
      ],
      [
        { reloadTimeoutMs: 999, drainTimeoutMs: 1000 },
        "RangeError",
        /'drainTimeoutMs' of 1000 ms with a 'reloadTimeoutMs' of 999 ms: a worker would be killed/,
      ],
      [{ drainTimeoutMs: "1" }, "TypeError", /'drainTimeoutMs': it must be a number, not '1'/],
      [{ name: "a/b" }, "TypeError", /Cannot name a pool 'a\/b'/],
    ];
    for (const [options, name, message] of wrong) {
      assert.throws(() => new FakePool(options), { name, message }, JSON.stringify(options));
    }
  });

  it("give a worker longer to stop than to drain, unless only the time to stop is said", () => {
    const times = (options: PreforkOptions) => {
      const { stopTimeoutMs, drainTimeoutMs } = checkOptions(options, new FakeHost());
      return [stopTimeoutMs, drainTimeoutMs];
    };
    assert.deepEqual(times({}), [30_000, 10_000]);
    assert.deepEqual(times({ drainTimeoutMs: 300 }), [30_000, 300]);
    assert.deepEqual(times({ drainTimeoutMs: 40_000 }), [70_000, 40_000]);
    assert.deepEqual(times({ drainTimeoutMs: 40_000, stopTimeoutMs: 40_000 }), [40_000, 40_000]);
    assert.deepEqual(times({ stopTimeoutMs: 500 }), [500, 10_000]);
  });

  it("of readyWhen understand addresses of every kind, which shapes how workers are replaced", () => {
    const limits = (options: PreforkOptions) => {
      const { maxSurge, maxUnavailable } = checkOptions(options, new FakeHost());
      return [maxSurge, maxUnavailable];
    };
    for (const tcp of ["h:1", "[::1]:900{slot}", "127.0.0.1:65535", "unix:/run/{slot}"]) {
      assert.deepEqual(limits({ readyWhen: { tcp } }), [0, 1], tcp);
    }
    for (const http of ["http://h/x", "https://[::1]:900{slot}/a?b"]) {
      assert.deepEqual(limits({ readyWhen: { http } }), [0, 1], http);
    }
    assert.deepEqual(limits({ readyWhen: { tcp: "unix:/run/{pid}" } }), [1, 0]);
    assert.deepEqual(limits({ readyWhen: { http: "/healthz?deep" }, listen: 0 }), [1, 0]);
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
      // @ts-expect-error not a string
      [() => pm.startModule("./w.ts", { env: { N: 1 } }), /'env': the value of N must be a string, not 1/],
      // @ts-expect-error no map
      [() => pm.startCommand({ command: "true", env: "A=1" }), /'env': it must map names to strings, not "A=1"/],
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
