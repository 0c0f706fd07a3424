/** What a worker tells of its status, and when. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { StatusMessage } from "../src/protocol.ts";
import { StatusReporter } from "../src/status.ts";

const LONG = { timeout: 180_000 };

/** A worker's event loop, in virtual time. */
class Loop {
  time = 0;
  readonly told: (Omit<StatusMessage, "type"> & { readonly at: number })[] = [];
  readonly #timers: { readonly due: number; readonly act: () => void }[] = [];
  readonly #reporter = new StatusReporter(this, ({ status, isIdle }) => {
    this.told.push({ at: this.time, status, ...(isIdle === undefined ? {} : { isIdle }) });
  });

  now(): number {
    return this.time;
  }

  setTimer(delayMs: number, act: () => void) {
    this.#timers.push({ due: this.time + delayMs, act });
    return { unref() {}, [Symbol.dispose]() {} };
  }

  get rests(): boolean {
    return this.#timers.length === 0;
  }

  set(status: string): this {
    this.#reporter.set(status);
    return this;
  }

  flush(): void {
    this.#reporter.flush();
  }

  /** Lets time pass while the event loop turns. */
  pass(ms: number): this {
    const end = this.time + ms;
    for (let timer = this.#timers[0]; timer !== undefined && timer.due <= end; timer = this.#timers[0]) {
      this.time = Math.max(this.time, timer.due);
      this.#timers.shift();
      timer.act();
    }
    this.time = end;
    return this;
  }

  /** Lets time pass while the event loop stands still. */
  block(ms: number): this {
    this.time += ms;
    return this;
  }

  /** For which part of the time the manager takes this worker for busy: also if it leaves that open for long. */
  get busyShare(): number {
    let [busyMs, since] = [0, Infinity];
    for (const { at, isIdle } of this.told) {
      if (isIdle === true) busyMs += Math.max(0, at - since);
      since = isIdle === true ? Infinity : Math.min(since, isIdle === false ? at : at + 250);
    }
    return (busyMs + Math.max(0, this.time - since)) / this.time;
  }
}

describe("a worker's status", () => {
  it("is told at once after a rest, and whether it is busy by that once it has lasted", LONG, () => {
    const loop = new Loop().pass(5000).set("at work");
    assert.deepEqual(loop.told, [{ at: 5000, status: "at work" }]);
    loop.pass(1000);
    const [, { at = 0, ...last } = {}, ...more] = loop.told;
    assert.deepEqual([last, more, loop.rests], [{ status: "at work", isIdle: false }, [], true]);
    assert.ok(at >= 5100 && at <= 5150, `${at}`);
    loop.set("at work").pass(1000);
    assert.deepEqual([loop.told.length, loop.rests], [2, true]);
    loop.set("_").pass(1000);
    assert.deepEqual(loop.told.slice(2).map(({ status, isIdle }) => [status, isIdle]), [["_", undefined], ["_", true]]);
  });

  it("is told as it is in the end, however often it changes, at most ten times a second", LONG, () => {
    const loop = new Loop();
    for (let i = 0; i < 10_000; i++) loop.set(`job ${i}`).pass(1);
    loop.pass(1000);
    const { told } = loop;
    assert.ok(told.length >= 60 && told.length <= 101, `${told.length}`);
    assert.ok(told.every(({ at }, i) => i === 0 || at - (told[i - 1]?.at ?? 0) >= 100), JSON.stringify(told));
    assert.deepEqual([told.at(-1)?.status, told.at(-1)?.isIdle], ["job 9999", false]);
  });

  it("is told before the end, if it was held back", LONG, () => {
    const loop = new Loop().set("A").set("_");
    loop.flush();
    assert.deepEqual(loop.told.map(({ status }) => status), ["A", "_"]);
    loop.flush();
    assert.equal(loop.told.length, 2);
  });

  it("comes out right whenever it comes to rest", LONG, () => {
    for (let round = 0; round < 500; round++) {
      const loop = new Loop().pass(1000);
      for (let i = round % 7; i >= 0; i--) loop.set("A").pass(Math.random() * 90).set("_").pass(Math.random() * 90);
      if (round % 2 === 0) loop.set("A");
      loop.pass(2000);
      const { status, isIdle } = loop.told.at(-1) ?? {};
      assert.deepEqual([status, isIdle, loop.rests], round % 2 === 0 ? ["A", false, true] : ["_", true, true]);
    }
  });

  const work = {
    "and the event loop turns": (loop: Loop, ms: number) => loop.pass(ms),
    "and the event loop stands still": (loop: Loop, ms: number) => loop.block(ms).pass(0),
  };
  for (const [how, act] of Object.entries(work)) {
    for (
      const [what, workMs, idleMs, least, most] of [
        ["busy to the manager if work never ceases, though it ends again and again", 200, 0, 0.99, 1],
        ["busy to the manager if work never ceases, and takes as long as reports do", 100, 0, 0.99, 1],
        ["busy to the manager if work never ceases, and takes no time", 2, 0, 0.99, 1],
        ["idle to the manager if its work takes no time", 1, 49, 0, 0.05],
        ["busy to the manager for the part of its time that it is", 30, 30, 0.4, 0.6],
        ["busy to the manager for the part of its time that it is, if that is long", 700, 2100, 0.2, 0.3],
      ] as const
    ) {
      it(`is ${what} ${how}`, LONG, () => {
        const loop = new Loop();
        while (loop.time < 300_000) {
          loop.set("A");
          act(loop, workMs);
          loop.set("_").pass(idleMs);
        }
        assert.ok(loop.busyShare >= least && loop.busyShare <= most, `${loop.busyShare}`);
      });
    }
  }
});
