/** What is kept of workers that come and go. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Ledger } from "../src/operator/ledger.ts";
import type { WorkerInfo } from "../src/types.ts";

function worker(pid: number, slot = 0): WorkerInfo {
  return { pid, slot, generation: 1, state: "ready", status: "" };
}

/** A ledger, and what happens to its workers. */
function open() {
  const ledger = new Ledger();
  return {
    ledger,
    spawn: (pid: number, slot?: number) => ledger.heed({ type: "spawn", worker: worker(pid, slot) }, pid * 10),
    ready: (pid: number, slot?: number) => ledger.heed({ type: "ready", worker: worker(pid, slot) }, 0),
    reap(pid: number, reason: string, slot?: number) {
      const status = { type: "exited", code: 1 } as const;
      ledger.heed({ type: "reap", worker: worker(pid, slot), status, expected: false, reason }, 0);
    },
  };
}

test("a worker that ends is booked to its slot, be it ready or not", () => {
  const { ledger, spawn, ready, reap } = open();
  spawn(1);
  assert.equal(ledger.since(1), 10);
  reap(1, "did not boot");
  assert.equal(ledger.since(1), undefined);
  assert.deepEqual(ledger.lossesOf(0), { restarts: 1, lastReason: "did not boot" });
  spawn(2);
  ready(2);
  reap(2, "crashed");
  assert.deepEqual(ledger.lossesOf(0), { restarts: 2, lastReason: "crashed" });
  assert.deepEqual(ledger.lossesOf(1), { restarts: 0, lastReason: null });
});

test("one that was replaced is booked, though its successor is ready", () => {
  const { ledger, spawn, ready, reap } = open();
  for (const pid of [1, 2]) spawn(pid), ready(pid);
  reap(1, "was replaced");
  assert.deepEqual(ledger.lossesOf(0), { restarts: 1, lastReason: "was replaced" });
});

test("a replacement that was refused is none of the losses of whose place it sought", () => {
  const { ledger, spawn, ready, reap } = open();
  spawn(1);
  ready(1);
  for (const pid of [2, 3]) {
    spawn(pid);
    reap(pid, "was refused");
  }
  assert.deepEqual(ledger.lossesOf(0), { restarts: 0, lastReason: null });
  assert.equal(ledger.restarts, 2, "all that have ended");
  reap(1, "crashed");
  assert.deepEqual(ledger.lossesOf(0), { restarts: 1, lastReason: "crashed" });
});

test("those who stand by have no slot to lose", () => {
  const { ledger, spawn, reap } = open();
  spawn(1, -1);
  reap(1, "crashed", -1);
  assert.equal(ledger.restarts, 0);
});
