/** Many timers on one of the host's, on a virtual clock. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { Alarms } from "../src/alarms.ts";
import { Table } from "../src/table.ts";
import { FakeHost } from "./fake_host.ts";

interface Act {
  readonly key: string;
  /** Sets the alarm for so many milliseconds from now; undefined clears it. */
  readonly delay: number | undefined;
  /** Time that passes afterwards. */
  readonly pass: number;
}

const act: fc.Arbitrary<Act> = fc.record({
  key: fc.constantFrom(..."abcdefghij"),
  delay: fc.option(fc.nat(50), { nil: undefined, freq: 3 }),
  pass: fc.constantFrom(0, 0, 0, 1, 7, 30),
});

/** What must ring, in order: the plain way. */
class Model {
  readonly rung: string[] = [];
  #now = 0;
  #order = 0;
  #alarms: { readonly key: string; readonly at: number; readonly order: number; readonly input: string }[] = [];

  do({ key, delay, pass }: Act, index: number): void {
    this.#alarms = this.#alarms.filter((alarm) => alarm.key !== key);
    if (delay !== undefined) {
      this.#alarms.push({ key, at: this.#now + delay, order: this.#order++, input: `${key}${index}` });
    }
    // Nothing rings within the very call that sets it.
    if (pass > 0) this.#pass(pass);
  }

  #pass(ms: number): void {
    this.#now += ms;
    const due = this.#alarms.filter(({ at }) => at <= this.#now).sort((a, b) => a.at - b.at || a.order - b.order);
    this.#alarms = this.#alarms.filter((alarm) => !due.includes(alarm));
    this.rung.push(...due.map(({ input }) => input));
  }
}

describe("alarms", () => {
  it("ring in order, each once, whatever was set, replaced and cleared", async () => {
    await fc.assert(fc.asyncProperty(fc.array(act, { maxLength: 60 }), async (acts) => {
      const host = new FakeHost();
      const rung: string[] = [];
      const alarms = new Alarms<string>(host, (input) => rung.push(input));
      const model = new Model();
      for (const [index, each] of [...acts, { key: "a", delay: undefined, pass: 100 }].entries()) {
        if (each.delay === undefined) alarms.clear(each.key);
        else alarms.set(each.key, host.now() + each.delay, `${each.key}${index}`);
        if (each.pass > 0) await host.advance(each.pass);
        model.do(each, index);
        assert.ok(host.timerCount() <= 1);
      }
      assert.deepEqual(rung, model.rung);
      assert.equal(host.timerCount(), 0);
    }));
  });

  it("ring though one of them is set for no time at all, which rings at once", async () => {
    const host = new FakeHost();
    const rung: string[] = [];
    const alarms = new Alarms<string>(host, (input) => rung.push(input));
    for (const at of [40, 10, NaN, 30, 20, 50]) alarms.set(`at ${at}`, at, String(at));
    await host.advance(100);
    assert.deepEqual(rung, ["NaN", "10", "20", "30", "40", "50"]);
    assert.equal(host.timerCount(), 0);
  });

  it("keep no process alive, and leave no timer behind", () => {
    const host = new FakeHost();
    const alarms = new Alarms<string>(host, () => {});
    for (const at of [30, 20, 10]) alarms.set(`at ${at}`, at, "");
    assert.equal(host.timerCount(true), 0);
    assert.equal(host.timerCount(), 1);
    alarms[Symbol.dispose]();
    assert.equal(host.timerCount(), 0);
  });
});

describe("a table", () => {
  it("is a map by string or number", () => {
    const table = new Table<number | string, string>();
    table.set(2 ** 22, "pid");
    table.set("__proto__", "odd");
    table.set("__proto__", "odder");
    assert.deepEqual([table.size, table.get(2 ** 22), table.get("__proto__")], [2, "pid", "odder"]);
    assert.deepEqual(table.values(), ["pid", "odder"]);
    table.delete(2 ** 22);
    table.delete("toString");
    assert.deepEqual([table.size, table.get(2 ** 22), table.get("toString")], [1, undefined, undefined]);
  });
});
