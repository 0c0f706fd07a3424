/** Workers that are asked whether they are ready: when, how often, and what comes of the answers. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Manners, PoolSim } from "./support/pool_sim.ts";

type Config = ConstructorParameters<typeof PoolSim>[0];

/** A pool whose manager asks; each new worker does what the test makes it do. */
function probedPool(config: Config = {}, manners: Partial<Manners> = {}): PoolSim {
  return new PoolSim({ maxWorkers: 1, probeIntervalMs: 100, maxSurge: 1, ...config }, { ...manners, eager: false });
}

/** Answers each question by `saw` as soon as it is asked, for so long. */
function deny(sim: PoolSim, ms: number, saw = "GET /healthz was answered 503"): void {
  for (let passed = 0; passed < ms; passed += 10) {
    for (const id of [...sim.asked]) sim.answer(id, saw);
    sim.advance(10);
  }
}

function begin(sim: PoolSim, id: number): void {
  for (const what of ["connected", "begun"] as const) sim.tell(id, what);
}

describe("pool: a worker that the manager asks whether it is ready", () => {
  it("is asked from its spawn on if it is a command, else from where its own code begins", () => {
    const sim = probedPool();
    sim.start(false);
    assert.deepEqual(sim.questions.map(({ at, pid }) => [at, pid]), [[0, 100]]);
    const library = probedPool();
    library.start();
    library.advance(300);
    assert.deepEqual(library.questions, []);
    begin(library, library.inSlot(0).id);
    assert.deepEqual(library.questions.map(({ at }) => at), [300]);
  });

  it("is asked again an interval after each answer, one question at a time", () => {
    const sim = probedPool();
    sim.start(false);
    const { id } = sim.inSlot(0);
    sim.advance(5000);
    assert.equal(sim.questions.length, 1);
    sim.answer(id, "no");
    sim.advance(99);
    assert.equal(sim.questions.length, 1);
    sim.advance(1);
    sim.answer(id, "no");
    sim.advance(100);
    assert.deepEqual(sim.questions.map(({ at }) => at), [0, 5100, 5200]);
  });

  it("is ready with its first good answer, and asked no more", () => {
    const sim = probedPool();
    sim.start(false);
    const { id } = sim.inSlot(0);
    deny(sim, 3000);
    assert.deepEqual(sim.of("ready"), []);
    if (!sim.asked.has(id)) sim.advance(100);
    sim.answer(id);
    assert.equal(sim.of("ready").length, 1);
    assert.deepEqual([sim.timers, sim.asked.size], [[], 0]);
  });

  it("is ready by nothing else: neither its word nor time", () => {
    const sim = probedPool({ bootTimeoutMs: 10_000 });
    sim.start();
    const { id } = sim.inSlot(0);
    begin(sim, id);
    sim.tell(id, "ready");
    sim.advance(9999);
    assert.deepEqual(sim.of("ready"), []);
  });

  it("is killed at the boot deadline, and the reason says what was seen last", () => {
    for (const channel of [true, false]) {
      const sim = probedPool({ bootTimeoutMs: 4000 });
      sim.start(channel);
      begin(sim, sim.inSlot(0).id);
      deny(sim, 2000, "GET /healthz was answered 404");
      deny(sim, 2000);
      const [{ reason, at } = {}] = sim.of("reap");
      assert.equal(at, 4000);
      assert.equal(reason, "was killed: it was not ready within 4000 ms: GET /healthz was answered 503");
      assert.equal(sim.asked.size, 0);
    }
  });

  it("has failed if it ends before it is ready, whatever its status", () => {
    const sim = probedPool();
    sim.start(false);
    sim.exit(sim.inSlot(0).id);
    assert.deepEqual(sim.of("reap").map(({ expected, reason }) => [expected, reason]), [
      [false, "exited with status 0 before it was ready"],
    ]);
    assert.deepEqual([sim.of("backoff").length, sim.asked.size], [1, 0]);
  });

  it("gets a stop, and no other signal, a second after it began or when it says that it can, and is asked no more", () => {
    const sim = probedPool({}, { obedient: false });
    sim.start(false);
    const { id, signals } = sim.inSlot(0);
    sim.answer(id, "no");
    sim.advance(500);
    sim.send({ type: "signal", signal: "SIGTERM" });
    assert.deepEqual([signals, sim.asked.size], [[], 0]);
    sim.advance(499);
    assert.deepEqual(signals, []);
    sim.advance(1);
    assert.deepEqual(signals, ["SIGTERM"]);
    const { length } = sim.questions;
    sim.advance(5000);
    assert.equal(sim.questions.length, length);

    const library = probedPool({}, { obedient: false });
    library.start();
    const worker = library.inSlot(0);
    begin(library, worker.id);
    library.send({ type: "signalAll", signal: "SIGUSR2" });
    library.send({ type: "signal", signal: "SIGTERM" });
    library.tell(worker.id, "ready");
    assert.deepEqual([worker.signals, library.of("ready")], [["SIGTERM"], []]);
  });

  it("is no failure if it dies of such a stop", () => {
    const sim = probedPool();
    sim.start(false);
    sim.advance(2000);
    sim.send({ type: "signal", signal: "SIGTERM" });
    sim.send({ type: "wait" });
    assert.deepEqual(sim.of("reap").map(({ expected }) => expected), [true]);
    assert.deepEqual([sim.waited, sim.timers, sim.asked.size], [true, [], 0]);
  });

  it("gets the time it asks for", () => {
    const sim = probedPool({ bootTimeoutMs: 1000 });
    sim.start();
    const { id, slot } = sim.inSlot(0);
    begin(sim, id);
    deny(sim, 900);
    sim.send({ type: "extend", slot, id, delayMs: 5000 });
    deny(sim, 4900);
    assert.deepEqual(sim.of("reap"), []);
    deny(sim, 200);
    assert.equal(sim.of("reap").length, 1);
  });

  it("is the canary of a reload, which fails with what was seen", () => {
    const sim = probedPool({ bootTimeoutMs: 2000 });
    sim.start(false);
    const old = sim.inSlot(0);
    sim.answer(old.id);
    sim.send({ type: "reload", generation: { number: 2, channel: false } });
    deny(sim, 2000, "connecting to 127.0.0.1:9000 failed: ECONNREFUSED");
    assert.match(
      sim.of("reloadFailed")[0]?.reason ?? "",
      /was killed: it was not ready within 2000 ms: connecting to 127\.0\.0\.1:9000 failed: ECONNREFUSED$/,
    );
    assert.deepEqual([...sim.workers.keys()], [old.id]);
  });

  it("is asked no more when its place is taken away", () => {
    const sim = probedPool({ maxWorkers: 2 }, { obedient: false });
    sim.start(false);
    sim.send({ type: "setMaxWorkers", maxWorkers: 1 });
    assert.deepEqual([...sim.asked], [sim.inSlot(0).id]);
  });
});

describe("pool: a worker that has to say that it is ready", () => {
  const rules = { maxWorkers: 1, settles: false, bootTimeoutMs: 3000 };

  it("can be told to stop once it has run for a second, and hears nothing else before it has said so", () => {
    const sim = new PoolSim(rules, { eager: false, obedient: false });
    sim.start();
    const worker = sim.inSlot(0);
    begin(sim, worker.id);
    sim.advance(500);
    for (const signal of ["SIGUSR2", "SIGQUIT"] as const) sim.send({ type: "signalAll", signal });
    assert.deepEqual(worker.signals, []);
    sim.advance(500);
    assert.deepEqual(worker.signals, ["SIGQUIT"]);
    sim.send({ type: "signal", signal: "SIGTERM" });
    assert.deepEqual(worker.signals, ["SIGQUIT", "SIGTERM"]);
    assert.deepEqual(sim.of("ready"), []);
    sim.tell(worker.id, "ready");
    assert.deepEqual(worker.signals, ["SIGQUIT", "SIGTERM", "SIGUSR2"]);
  });

  it("is killed at the boot deadline with what it has not done", () => {
    const sim = new PoolSim(rules, { eager: false });
    sim.start();
    begin(sim, sim.inSlot(0).id);
    sim.advance(3000);
    assert.deepEqual(sim.of("reap").map(({ reason }) => reason), [
      "was killed: it was not ready within 3000 ms: it has neither begun to serve nor called ready()",
    ]);
  });
});

describe("pool: a worker that asks itself", () => {
  it("can be told to stop once it has told what it saw, and is killed with that at the boot deadline", () => {
    const sim = new PoolSim({ maxWorkers: 2, settles: false, bootTimeoutMs: 3000 }, { eager: false });
    sim.start();
    const [first, second] = [sim.inSlot(0), sim.inSlot(1)];
    for (const { id } of [first, second]) begin(sim, id);
    sim.send({ type: "checked", slot: 0, id: first.id, saw: "GET /healthz was answered 500" });
    for (const signal of ["SIGUSR2", "SIGQUIT"] as const) sim.send({ type: "signalAll", signal });
    assert.deepEqual([first.signals, second.signals], [["SIGQUIT"], []]);
    sim.tell(second.id, "ready");
    assert.deepEqual([first.signals, second.signals], [["SIGQUIT"], ["SIGUSR2", "SIGQUIT"]]);
    assert.deepEqual(sim.questions, []);
    sim.advance(3000);
    assert.deepEqual(sim.of("reap").map(({ reason }) => reason), [
      "was killed: it was not ready within 3000 ms: GET /healthz was answered 500",
    ]);
  });
});
