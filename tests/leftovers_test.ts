/** What workers leave behind, on a host of memory. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Leftovers } from "../src/leftovers.ts";
import type { Signal } from "../src/types.ts";
import { FakeHost, type FakeProcess } from "./fake_host.ts";
import { outcome } from "./support/pool_on_fake.ts";

/** A worker that has ended and left a child behind, which ignores SIGTERM, and what was told of its group. */
class Left {
  readonly host = new FakeHost();
  readonly told: number[] = [];
  readonly gone: number[] = [];
  readonly leftovers = new Leftovers(
    this.host,
    (group) => void this.told.push(group),
    (group) => void this.gone.push(group),
  );
  readonly child: FakeProcess;
  readonly group: number;

  constructor() {
    const worker = this.host.spawn({ command: "worker", args: [], env: {} });
    this.child = this.host.fork(worker);
    this.child.ignored.add("SIGTERM");
    worker.exit(0);
    this.group = worker.pid;
  }

  /** From here on the child runs as another user, to whom this one may send nothing. */
  elude(): void {
    this.host.kill = (pid: number, signal: Signal) => {
      throw new Error(`Cannot send ${signal} to ${pid}: EPERM`);
    };
  }
}

describe("what a worker left behind", () => {
  it("is told, and killed if it does not go in time", async () => {
    const { host, leftovers, child, group, told, gone } = new Left();
    assert.equal(leftovers.sweep(group, 300), true);
    await host.advance(350);
    assert.deepEqual([child.received, told, gone], [["SIGCONT", "SIGTERM", "SIGCONT", "SIGCONT"], [group], []]);
    await host.advance(100);
    assert.deepEqual([child.alive, gone], [false, [group]]);
    assert.equal(await outcome(leftovers.gone()), undefined);
    assert.equal(host.timerCount(), 0);
  });

  it("is told, and has its time, also when the manager stood still", async () => {
    const { host, leftovers, child, group, gone } = new Left();
    leftovers.sweep(group, 300);
    host.standStill(60_000);
    await host.advance(0);
    assert.deepEqual(child.received, ["SIGCONT", "SIGTERM"]);
    await host.advance(200);
    assert.deepEqual([child.alive, gone], [true, []]);
    await host.advance(100);
    assert.deepEqual([child.alive, gone], [false, [group]]);
  });

  for (const [when, ms] of [["before it is told", 0], ["once it is told", 150]] as const) {
    it(`is let go if it comes to run as somebody else ${when}`, async () => {
      const left = new Left();
      const { host, leftovers, group, gone } = left;
      leftovers.sweep(group, 300);
      await host.advance(ms);
      left.elude();
      leftovers.kill();
      const over = leftovers.gone();
      await host.advance(100);
      assert.deepEqual([gone, await outcome(over), host.timerCount()], [[group], undefined, 0]);
    });
  }

  it("is nobody's business if it runs as somebody else from the beginning", () => {
    const left = new Left();
    left.elude();
    assert.equal(left.leftovers.sweep(left.group, 300), false);
    assert.equal(left.host.timerCount(), 0);
  });
});
