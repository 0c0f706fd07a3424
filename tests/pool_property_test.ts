/**
 * What must hold for any order of signals, exits, failures and timers. `PoolSim` checks after every input that nobody
 * dead is kept, nobody alive is forgotten, and that there are never more workers than allowed.
 */
import assert from "node:assert/strict";
import { it } from "node:test";
import process from "node:process";
import fc from "fast-check";
import { spareWorkers } from "../src/policy.ts";
import type { Relays, Signal } from "../src/types.ts";
import { SETTLE_MS } from "../src/pool_life.ts";
import { PoolSim } from "./support/pool_sim.ts";

/** How many random lives each property is tried on. */
const RUNS = Number(process.env["PREFORK_TEST_RUNS"] ?? 300);

type Act =
  | { readonly do: "signal"; readonly signal: Signal }
  | { readonly do: "exit"; readonly pick: number; readonly code: number }
  | { readonly do: "crash"; readonly pick: number }
  | { readonly do: "tell"; readonly pick: number; readonly what: "connected" | "parked" | "begun" | "ready" }
  | { readonly do: "answer"; readonly pick: number; readonly saw: string | undefined }
  | { readonly do: "status"; readonly pick: number; readonly isIdle: boolean | undefined }
  | { readonly do: "pass" | "sleep"; readonly ms: number }
  | { readonly do: "beat" | "due"; readonly pick: number }
  | { readonly do: "extend"; readonly pick: number; readonly ms: number }
  | { readonly do: "resize"; readonly to: number }
  | { readonly do: "reload" }
  | { readonly do: "spawns"; readonly fail: boolean }
  | { readonly do: "signalAll"; readonly signal: Signal };

const pick = fc.nat(20);
const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("signal" as const),
      signal: fc.constantFrom<Signal>("SIGHUP", "SIGUSR2", "SIGALRM", "SIGWINCH", "SIGCONT"),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("exit" as const), pick, code: fc.constantFrom(0, 0, 1, 3) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("crash" as const), pick }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("tell" as const),
      pick,
      what: fc.constantFrom("connected" as const, "parked" as const, "begun" as const, "ready" as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("answer" as const), pick, saw: fc.constantFrom(undefined, "no", "no") }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("status" as const), pick, isIdle: fc.constantFrom(undefined, true, false) }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(0, 1, 100, 999, 1000, 5000, 40_000) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("sleep" as const), ms: fc.constantFrom(300, 2000, 60_000) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("beat" as const, "due" as const), pick }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("extend" as const), pick, ms: fc.constantFrom(0, 100, 4000, 20_000) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("reload" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("resize" as const), to: fc.nat(8) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("spawns" as const), fail: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("signalAll" as const),
      signal: fc.constantFrom<Signal>("SIGUSR2", "SIGKILL"),
    }),
  },
);

const trapSignals: Relays = {
  SIGTERM: "SIGTERM",
  SIGHUP: "SIGTERM",
  SIGUSR2: { signal: "SIGUSR2", intervalMs: 500 },
  SIGALRM: { signal: "SIGTERM", intervalMs: 2000 },
  SIGWINCH: null,
  SIGCONT: { signal: "SIGTERM", replace: "before" },
};

const world = fc.record({
  maxWorkers: fc.integer({ min: 1, max: 6 }),
  spawnIntervalMs: fc.constantFrom(0, 0, 300),
  errRespawnIntervalMs: fc.constantFrom(0, 1000),
  reloadTimeoutMs: fc.constantFrom(undefined, 5000),
  limits: fc.constantFrom({}, { maxSurge: 3 }, { maxSurge: 0, maxUnavailable: 1 }, { maxSurge: 1, maxUnavailable: 2 }),
  hangTimeoutMs: fc.constantFrom(undefined, undefined, 3000),
  settles: fc.boolean(),
  standby: fc.constantFrom(0, 0, 1, 2),
  probeIntervalMs: fc.constantFrom(undefined, undefined, 700),
  eager: fc.boolean(),
  obedient: fc.boolean(),
  spare: fc.boolean(),
  acts: fc.array(act, { maxLength: 60 }),
});
type World = typeof world extends fc.Arbitrary<infer T> ? T : never;

/** A pool in the loop of a daemon: `start` again after each signal, until SIGTERM. */
class Daemon {
  readonly sim: PoolSim;
  readonly sent: { readonly signal: Signal; readonly returnedBefore: number }[] = [];
  /** For how long workers asked to be left alone. */
  readonly asks: { readonly pid: number; readonly at: number; readonly until: number }[] = [];
  stopping = false;
  #seen = 0;

  constructor({ eager, obedient, spare, limits, acts: _, ...config }: World) {
    const policy = spare ? { policy: spareWorkers({ minSpare: 1, maxSpare: 2 }) } : {};
    this.sim = new PoolSim({ ...config, ...limits, ...policy, trapSignals }, { eager, obedient });
    this.sim.start();
  }

  do(act: Act): void {
    const { sim } = this;
    const worker = "pick" in act ? [...sim.workers.values()][act.pick % Math.max(1, sim.size)] : undefined;
    switch (act.do) {
      case "signal":
        this.sent.push({ signal: act.signal, returnedBefore: sim.returned.length });
        sim.send({ type: "signal", signal: act.signal });
        break;
      case "exit":
        if (worker) sim.exit(worker.id, { type: "exited", code: act.code });
        break;
      case "crash":
        if (worker) sim.exit(worker.id, { type: "signaled", signal: "SIGSEGV" });
        break;
      case "tell":
        if (worker && (act.what === "connected" || act.what === "parked" || worker.welcomed)) {
          sim.tell(worker.id, act.what);
        }
        break;
      case "answer":
        if (worker && sim.asked.has(worker.id)) sim.answer(worker.id, act.saw);
        break;
      case "status":
        if (worker) {
          const told = act.isIdle === undefined ? {} : { isIdle: act.isIdle };
          sim.send({ type: "status", slot: worker.slot, id: worker.id, status: "A", ...told });
        }
        break;
      case "pass":
        sim.advance(act.ms);
        break;
      case "sleep":
        sim.sleep(act.ms);
        break;
      case "beat":
        if (worker) sim.send({ type: "beat", slot: worker.slot, id: worker.id, lagMs: 0 });
        break;
      case "due":
        if (worker) sim.send({ type: "due", slot: worker.slot, id: worker.id, reason: "asked for it" });
        break;
      case "extend":
        if (worker === undefined) break;
        this.asks.push({ pid: worker.pid, at: sim.now, until: sim.now + act.ms });
        sim.send({ type: "extend", slot: worker.slot, id: worker.id, delayMs: act.ms });
        break;
      case "resize":
        sim.send({ type: "setMaxWorkers", maxWorkers: act.to });
        break;
      case "reload":
        if (sim.state.mode === "running") sim.reload();
        break;
      case "spawns":
        sim.failSpawns = act.fail;
        break;
      case "signalAll":
        sim.send({ type: "signalAll", signal: act.signal });
        break;
    }
    this.loop();
  }

  /** What the program does when `start` returns. */
  loop(): void {
    while (this.#seen < this.sim.returned.length) {
      const { signal } = this.sim.returned[this.#seen++] ?? {};
      if (this.stopping) return;
      this.stopping = signal === "SIGTERM";
      if (this.stopping) this.sim.send({ type: "wait" });
      else this.sim.start();
    }
  }

  /** From here on everything works: workers boot, those told to stop do so sooner or later, and time goes by. */
  calm(): void {
    this.sim.failSpawns = false;
    for (let i = 0; i < 60; i++) {
      for (const worker of [...this.sim.workers.values()]) {
        this.sim.tell(worker.id, "connected");
        this.sim.tell(worker.id, "parked");
        if (worker.welcomed) { for (const what of ["begun", "ready"] as const) this.sim.tell(worker.id, what); }
        if (this.sim.asked.has(worker.id)) this.sim.answer(worker.id);
        if (worker.signals.includes("SIGTERM")) this.sim.exit(worker.id);
        const { slot = worker.slot, id } = this.sim.workers.get(worker.id) ?? worker;
        this.sim.send({ type: "beat", slot, id, lagMs: 0 });
      }
      this.sim.advance(2000);
      this.loop();
    }
  }
}

function spawnedAt(sim: PoolSim, pid: number): number {
  return sim.of("spawn").find(({ worker }) => worker.pid === pid)?.at ?? 0;
}

function forAnyLife(check: (daemon: Daemon, world: World) => void): void {
  fc.assert(
    fc.property(world, (world) => {
      const daemon = new Daemon(world);
      for (const act of world.acts) daemon.do(act);
      check(daemon, world);
    }),
    { numRuns: RUNS },
  );
}

it("whatever happened, the pool returns to its target and to rest", { timeout: 180_000 }, () => {
  forAnyLife((daemon, { spare, standby }) => {
    daemon.calm();
    const { state, timers } = daemon.sim;
    const target = spare ? Math.min(state.maxWorkers, 1) : state.maxWorkers;
    assert.ok(state.serving.size >= target && state.workers.size <= state.maxWorkers, `${state.workers.size}`);
    if (!spare) assert.equal(state.workers.size, state.maxWorkers);
    assert.deepEqual(timers.filter((key) => !key.startsWith("beat ")), []);
    const parked = state.standbys.map((id) => state.others.get(id)?.phase);
    assert.deepEqual(parked, state.maxWorkers === 0 ? parked : Array.from({ length: standby }, () => "standby"));
    assert.equal(state.seats.size <= state.workers.size, true, "no seat of the dead is kept");
  });
});

it(
  "no worker is killed for its silence, nor for its boot, in the time it has or asked for",
  { timeout: 180_000 },
  () => {
    forAnyLife(({ sim, asks }) => {
      sim.advance(30_000);
      for (const { type, at, worker: { pid } } of [...sim.of("hang"), ...sim.of("bootTimeout")]) {
        const spawned = spawnedAt(sim, pid);
        const asked = asks.filter((ask) => ask.pid === pid && ask.at < at).map(({ until }) => until);
        const until = Math.max(spawned + (type === "hang" ? 3000 : 30_000), ...asked);
        assert.ok(at >= until, `${pid}: ${type} at ${at}, before ${until}`);
      }
    });
  },
);

it("after the last signal sent, at least one full action starts", { timeout: 180_000 }, () => {
  forAnyLife((daemon) => {
    daemon.calm();
    for (const { signal, returnedBefore } of daemon.sent) {
      const after = daemon.sim.returned.slice(returnedBefore).map(({ signal }) => signal);
      assert.ok(after.includes(signal), `${signal} sent after ${returnedBefore} returns, then ${after}`);
    }
  });
});

it("every reload is answered, and whoever serves at the end is of the generation it says", { timeout: 180_000 }, () => {
  forAnyLife((daemon) => {
    daemon.calm();
    const { sim } = daemon;
    const begun = sim.of("reload").map(({ generation }) => generation);
    const ended = [...sim.of("reloaded"), ...sim.of("reloadFailed")].map(({ generation }) => generation);
    for (const generation of begun) assert.ok(ended.includes(generation), `reload ${generation} of ${ended}`);
    assert.deepEqual([sim.state.roll, sim.state.successors.size, sim.state.vacating.size], [null, 0, 0]);
    // Only a `start` that replaces nobody lets workers of before stay beside its own.
    const { current: { number: current }, workers } = sim.state;
    const generations = [...workers.entries()].map(([, { generation }]) => generation);
    const strangers = generations.filter((generation) => begun.includes(current) || generation > current);
    assert.deepEqual(strangers.filter((generation) => generation !== current), [], `${current} serves`);
  });
});

const STEPS = ["reload", "reload", "ready", "ready", "ready", "crash", "crash", "time"] as const;

it("reloads that fail, and take each other's place, leave workers of one generation", { timeout: 180_000 }, () => {
  const limits = fc.constantFrom({}, { maxSurge: 2 }, { maxSurge: 0, maxUnavailable: 1 });
  const life = fc.array(fc.tuple(fc.constantFrom(...STEPS), pick), { maxLength: 12 });
  fc.assert(
    fc.property(limits, life, (limits, life) => {
      const sim = new PoolSim(limits, { eager: false });
      const boot = (id: number) => (["connected", "begun", "ready"] as const).forEach((what) => sim.tell(id, what));
      sim.start();
      for (const id of [...sim.workers.keys()]) boot(id);
      for (const [step, pick] of life) {
        const id = [...sim.workers.keys()].at(-1 - pick % Math.max(1, sim.size)) ?? 0; // the newest first
        if (step === "reload") sim.reload();
        else if (step === "time") sim.advance(1100);
        else if (step === "ready") boot(id);
        else sim.exit(id, { type: "exited", code: 1 });
      }
      for (let i = 0; i < 40; i++) {
        sim.advance(5000);
        for (const id of [...sim.workers.keys()]) boot(id);
      }
      const generations = [...sim.state.workers.entries()].map(([, { generation }]) => generation);
      assert.deepEqual(generations, Array(3).fill(sim.state.current.number));
      assert.deepEqual([sim.state.roll, sim.timers], [null, []]);
    }),
    { numRuns: RUNS },
  );
});

it("a stop wins, at any instant: everything ends, and nothing comes after it", { timeout: 180_000 }, () => {
  fc.assert(
    fc.property(world, fc.nat(60), fc.array(act, { maxLength: 20 }), (world, at, after) => {
      const daemon = new Daemon(world);
      for (const act of world.acts.slice(0, at)) daemon.do(act);
      daemon.do({ do: "signal", signal: "SIGHUP" });
      daemon.sim.send({ type: "signal", signal: "SIGTERM" });
      daemon.loop();
      const spawned = daemon.sim.of("spawn").length;
      for (const act of after) daemon.do(act);
      daemon.sim.advance(30_000);
      assert.equal(daemon.sim.of("spawn").length, spawned);
      assert.deepEqual([daemon.sim.size, daemon.sim.waited, daemon.sim.timers], [0, true, []]);
    }),
    { numRuns: RUNS },
  );
});

it(
  "a relay reaches only workers that can handle it, and each of those that lived when it came",
  { timeout: 180_000 },
  () => {
    forAnyLife((daemon, { probeIntervalMs, settles }) => {
      const alive = [...daemon.sim.workers.values()].filter(({ slot }) => slot >= 0);
      daemon.do({ do: "signal", signal: "SIGHUP" });
      daemon.calm();
      for (const { id, signals } of alive) {
        assert.ok(signals.includes("SIGTERM") || signals.includes("SIGKILL") || !daemon.sim.workers.has(id));
      }
      for (const { worker, signal, at } of daemon.sim.of("relay")) {
        const isAble = worker.state === "ready" || worker.state === "stopping";
        // One that is asked whether it is ready can take signals before it is; one that is to say so, a stop, later on.
        const canTake = probeIntervalMs !== undefined ||
          (!settles && signal === "SIGTERM" && at >= spawnedAt(daemon.sim, worker.pid) + SETTLE_MS);
        assert.ok(signal === "SIGKILL" || isAble || (canTake && worker.state === "starting"));
      }
    });
  },
);
