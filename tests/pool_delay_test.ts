/** `drainDelayMs`: a stop of which workers are told later. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Signal } from "../src/types.ts";
import { PoolSim } from "./support/pool_sim.ts";

const DELAY_MS = 5000;
const traps = { SIGTERM: "SIGTERM", SIGINT: "SIGQUIT", SIGHUP: "SIGTERM", SIGUSR2: "SIGUSR2" } as const;

function running(more: ConstructorParameters<typeof PoolSim>[0] = {}): PoolSim {
  const sim = new PoolSim({ drainDelayMs: DELAY_MS, trapSignals: traps, maxWorkers: 2, ...more });
  sim.start();
  return sim;
}

function signal(sim: PoolSim, signal: Signal): void {
  sim.send({ type: "signal", signal });
}

const sent = (sim: PoolSim) => sim.kills.map(({ at, signal }) => [at, signal]);
const toBoth = (at: number, signal: Signal) => [[at, signal], [at, signal]];

describe("pool: a stop that waits", () => {
  it("is told of at once, and workers get it when the delay is over, at which start returns", () => {
    const sim = running();
    sim.advance(100);
    signal(sim, "SIGTERM");
    assert.deepEqual(sim.of("signal").map(({ at, signal }) => [at, signal]), [[100, "SIGTERM"]]);
    assert.deepEqual(sim.of("stopDelayed"), [{ type: "stopDelayed", signal: "SIGTERM", delayMs: DELAY_MS, at: 100 }]);
    sim.advance(DELAY_MS - 1);
    assert.deepEqual([sent(sim), sim.returned], [[], []]);
    sim.advance(1);
    assert.deepEqual(sent(sim), toBoth(5100, "SIGTERM"));
    assert.deepEqual(sim.returned, [{ at: 5100, signal: "SIGTERM" }]);
    assert.equal(sim.of("signal").length, 1);
  });

  it("counts the time that workers may take from when they are told", () => {
    const sim = new PoolSim({ drainDelayMs: DELAY_MS, stopTimeoutMs: 1000, maxWorkers: 1 }, { obedient: false });
    sim.start();
    signal(sim, "SIGTERM");
    sim.advance(60_000);
    assert.deepEqual(sent(sim), [[DELAY_MS, "SIGTERM"], [DELAY_MS + 1000, "SIGKILL"]]);
  });

  it("leaves a pool that replaces who dies, and has the size that is asked for", () => {
    const sim = running();
    signal(sim, "SIGTERM");
    sim.advance(1000);
    sim.exit(sim.inSlot(1).id, { type: "signaled", signal: "SIGSEGV" });
    sim.advance(1000);
    assert.equal(sim.of("ready").length, 3);
    sim.send({ type: "setMaxWorkers", maxWorkers: 1 });
    assert.deepEqual(sent(sim), [[2000, "SIGTERM"]]);
    sim.advance(DELAY_MS);
    assert.deepEqual([sim.size, sim.returned.length], [0, 1]);
  });

  it("replaces nobody who is due, nor one that stood by", () => {
    const sim = running({ standby: 1 });
    sim.advance(100);
    assert.equal(sim.size, 3);
    signal(sim, "SIGTERM");
    const { slot, id } = sim.inSlot(0);
    sim.send({ type: "due", slot, id, reason: "asked for it" });
    sim.exit(sim.inSlot(1).id);
    sim.advance(1000);
    assert.deepEqual([sim.of("activate").length, sim.of("spawn").length, sim.size], [1, 3, 2]);
  });

  it("ends by a second stop, whichever it is", () => {
    const sim = running();
    signal(sim, "SIGTERM");
    sim.advance(1000);
    signal(sim, "SIGINT");
    assert.deepEqual(sent(sim), toBoth(1000, "SIGQUIT"));
    sim.advance(60_000);
    assert.deepEqual(sim.returned, [{ at: 1000, signal: "SIGINT" }]);
    assert.deepEqual(sent(sim).filter(([, what]) => what === "SIGTERM"), []);
  });

  it("takes the same signal in no time for the first one's echo", () => {
    const sim = running();
    signal(sim, "SIGTERM");
    sim.advance(4);
    signal(sim, "SIGTERM");
    assert.deepEqual(sent(sim), []);
    sim.advance(1);
    signal(sim, "SIGTERM");
    assert.deepEqual(sent(sim), toBoth(5, "SIGTERM"));
  });

  it("ends when all workers are killed, and nobody replaces them", () => {
    const sim = running();
    signal(sim, "SIGTERM");
    sim.send({ type: "signalAll", signal: "SIGKILL" });
    sim.advance(60_000);
    assert.deepEqual([sim.size, sim.of("spawn").length, sim.returned.length], [0, 2, 1]);
  });

  it("keeps other signals for the next start", () => {
    const sim = running();
    signal(sim, "SIGTERM");
    signal(sim, "SIGUSR2");
    sim.advance(DELAY_MS);
    assert.deepEqual(sim.returned.map(({ signal }) => signal), ["SIGTERM"]);
    sim.start();
    assert.deepEqual(sim.returned.map(({ signal }) => signal), ["SIGTERM", "SIGUSR2"]);
  });

  it("gives up a reload under way, whose workers go, and refuses another", () => {
    const sim = new PoolSim({ drainDelayMs: DELAY_MS, maxWorkers: 1 }, { eager: false });
    sim.start();
    const old = sim.inSlot(0);
    sim.tell(old.id, "connected");
    sim.tell(old.id, "ready");
    sim.reload();
    assert.equal(sim.size, 2);
    signal(sim, "SIGTERM");
    assert.deepEqual([...sim.workers.keys()], [old.id]);
    sim.reload();
    assert.deepEqual(sim.of("reloadFailed").map(({ cause }) => cause), ["stopped", "stopped"]);
    assert.match(sim.of("reloadFailed")[1]?.reason ?? "", /^the pool was told to stop$/);
    assert.equal(sim.size, 1);
  });

  it("fills at once a slot that was kept for a reload", () => {
    const sim = new PoolSim({ drainDelayMs: DELAY_MS, maxWorkers: 1, maxSurge: 0, maxUnavailable: 1 }, {
      eager: false,
    });
    sim.start();
    const old = sim.inSlot(0);
    sim.tell(old.id, "connected");
    sim.tell(old.id, "ready");
    sim.reload();
    signal(sim, "SIGTERM");
    assert.equal(sim.inSlot(0).id, old.id + 1);
  });

  it("goes its own way when the pool is disposed of", () => {
    const sim = running();
    signal(sim, "SIGTERM");
    sim.send({ type: "stopAll" });
    assert.deepEqual(sent(sim), toBoth(0, "SIGTERM"));
    sim.advance(60_000);
    assert.deepEqual([sim.returned, sim.timers], [[], []]);
  });

  it("waits too if it came between two starts", () => {
    const sim = running();
    signal(sim, "SIGHUP");
    signal(sim, "SIGTERM");
    sim.start();
    assert.equal(sim.of("stopDelayed").length, 1);
    sim.advance(DELAY_MS);
    assert.deepEqual(sim.returned.map(({ at, signal }) => [at, signal]), [[0, "SIGHUP"], [DELAY_MS, "SIGTERM"]]);
  });
});

describe("pool: no stop waits", () => {
  it("in a pool in which nobody was ever ready", () => {
    const sim = new PoolSim({ drainDelayMs: DELAY_MS, maxWorkers: 1 }, { eager: false });
    sim.start();
    signal(sim, "SIGTERM");
    assert.deepEqual([sim.returned.length, sim.of("stopDelayed").length], [1, 0]);
  });

  it("that is urgent, since another manager serves", () => {
    const sim = running();
    sim.send({ type: "signal", signal: "SIGTERM", isUrgent: true });
    assert.deepEqual(sent(sim), toBoth(0, "SIGTERM"));
  });

  it("of a relay that is none", () => {
    const sim = running();
    signal(sim, "SIGHUP");
    assert.deepEqual([sent(sim), sim.returned.length], [toBoth(0, "SIGTERM"), 1]);
  });

  it("for workers that are replaced by a reload", () => {
    const sim = running();
    sim.reload();
    sim.advance(100);
    assert.equal(sim.of("reloaded").length, 1);
    assert.deepEqual(sent(sim), toBoth(0, "SIGTERM"));
  });
});
