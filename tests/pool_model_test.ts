/**
 * The pool beside its model (`support/pool_model.ts`): whatever is done to both, the same must come of it, at the same
 * time. Waits that are drawn by lot must lie within the bounds that the model knows.
 */
import assert from "node:assert/strict";
import process from "node:process";
import { it } from "node:test";
import fc from "fast-check";
import type { WorkerRef } from "../src/pool_state.ts";
import type { ExitStatus } from "../src/types.ts";
import { describe as describeModel, newModel, type PoolModel, type Rules, type Worker } from "./support/pool_model.ts";
import { pass } from "./support/pool_model_clock.ts";
import * as predict from "./support/pool_model_inputs.ts";
import type { PoolSim } from "./support/pool_sim.ts";
import { ToldPool } from "./support/pool_told.ts";

/** How many random lives are tried. */
const RUNS = Number(process.env["PREFORK_TEST_RUNS"] ?? 300);
/** What they begin with, if it is to be the same as before: a run that fails tells its seed. */
const SEED = process.env["PREFORK_TEST_SEED"];

type Command = fc.Command<PoolModel, ToldPool>;

function doToBoth(model: PoolModel, told: ToldPool, toPool: (sim: PoolSim) => void, toModel: () => void): void {
  toPool(told.sim); // first, since it draws the lots
  model.waits = told.sim.waits.splice(0);
  toModel();
  assert.deepEqual(told.log().sort(), model.log.splice(0).sort());
  assert.deepEqual(told.describe(), describeModel(model));
  assert.deepEqual(model.waits, [], "waits that nobody expects");
}

/** What the program, the operator or time does. */
interface Deed {
  readonly name: string;
  readonly in?: PoolModel["mode"];
  readonly pool: (sim: PoolSim) => void;
  readonly model: (model: PoolModel) => void;
}

function deed({ name, in: mode, pool, model: predicted }: Deed): Command {
  return {
    check: (model) => mode === undefined || model.mode === mode,
    run: (model, told) => doToBoth(model, told, pool, () => predicted(model)),
    toString: () => name,
  };
}

/** What one of the workers does, if it can. */
interface WorkerDeed {
  readonly name: string;
  readonly can?: (worker: Worker) => boolean;
  readonly pool: (sim: PoolSim, ref: WorkerRef) => void;
  readonly model: (model: PoolModel, worker: Worker) => void;
}

function workerDeed({ name, can = () => true, pool, model: predicted }: WorkerDeed): fc.Arbitrary<Command> {
  const able = (model: Readonly<PoolModel>) => model.workers.filter(can).sort((a, b) => a.name < b.name ? -1 : 1);
  return fc.nat(7).map((pick) => {
    let who = "";
    return {
      check: (model) => able(model).length > 0,
      run: (model, told) => {
        const candidates = able(model);
        const worker = candidates[pick % candidates.length];
        assert.ok(worker);
        who = worker.name;
        const ref = told.ref(worker);
        doToBoth(model, told, (sim) => pool(sim, ref), () => predicted(model, worker));
      },
      toString: () => `${who} ${name}`,
    };
  });
}

const START = deed({ name: "start", in: "idle", pool: (sim) => sim.start(), model: predict.start });

const PROGRAM: fc.Arbitrary<Command> = fc.oneof(
  { weight: 3, arbitrary: fc.constant(START) },
  fc.constant(deed({ name: "wait", in: "idle", pool: (sim) => sim.send({ type: "wait" }), model: predict.wait })),
  fc.constant(
    deed({ name: "unwait", in: "waiting", pool: (sim) => sim.send({ type: "unwait" }), model: predict.unwait }),
  ),
);

const OPERATOR: fc.Arbitrary<Command> = fc.oneof(
  fc.constant(deed({ name: "reload", in: "running", pool: (sim) => sim.reload(), model: predict.reload })),
  fc.constantFrom("SIGHUP", "SIGCONT", "SIGUSR2", "SIGWINCH", "SIGTERM").map((signal) =>
    deed({
      name: signal,
      pool: (sim) => sim.send({ type: "signal", signal }),
      model: (model) => predict.signal(model, signal),
    })
  ),
  fc.nat(4).map((maxWorkers) =>
    deed({
      name: `resize to ${maxWorkers}`,
      pool: (sim) => sim.send({ type: "setMaxWorkers", maxWorkers }),
      model: (model) => predict.resize(model, maxWorkers),
    })
  ),
  fc.boolean().map((failSpawns) =>
    deed({
      name: failSpawns ? "spawns fail" : "spawns work",
      pool: (sim) => void (sim.failSpawns = failSpawns),
      model: (model) => void (model.failSpawns = failSpawns),
    })
  ),
);

const BEAT_MS = 1019;

const TIME: fc.Arbitrary<Command> = fc.oneof(
  fc.constantFrom(1, 99, 100, 997, 1013, 4003, 5101, 31_013).map((ms) =>
    deed({ name: `${ms} ms pass`, pool: (sim) => sim.advance(ms), model: (model) => pass(model, ms) })
  ),
  fc.constantFrom(1, 5, 40).map((times) => deed({ name: `${times} beats of all hearts`, ...beats(times) })),
);

function beats(times: number): Pick<Deed, "pool" | "model"> {
  return {
    pool: (sim) => {
      for (let i = 0; i < times; i++) {
        sim.advance(BEAT_MS);
        for (const { slot, id } of [...sim.workers.values()]) sim.send({ type: "beat", slot, id, lagMs: 0 });
      }
    },
    model: (model) => {
      for (let i = 0; i < times; i++) {
        pass(model, BEAT_MS);
        for (const worker of [...model.workers]) predict.beat(model, worker);
      }
    },
  };
}

const BOOT = {
  connects: workerDeed({
    name: "connects",
    can: ({ phase }) => phase === "booting",
    pool: (sim, { id }) => sim.tell(id, "connected"),
    model: predict.connected,
  }),
  begins: workerDeed({
    name: "begins",
    can: ({ phase, hasBegun }) => phase === "starting" && !hasBegun,
    pool: (sim, { id }) => sim.tell(id, "begun"),
    model: predict.begun,
  }),
  isReady: workerDeed({
    name: "is ready",
    can: ({ phase }) => phase === "starting",
    pool: (sim, { id }) => sim.tell(id, "ready"),
    model: predict.ready,
  }),
  boots: workerDeed({
    name: "boots",
    can: ({ phase }) => phase === "booting",
    pool: (sim, { id }) => (["connected", "begun", "ready"] as const).forEach((what) => sim.tell(id, what)),
    model: (model, worker) => {
      for (const input of [predict.connected, predict.begun, predict.ready]) input(model, worker);
    },
  }),
};

function ends(name: string, status: ExitStatus, end: predict.End): fc.Arbitrary<Command> {
  return workerDeed({
    name,
    pool: (sim, { id }) => sim.exit(id, status),
    model: (model, worker) => predict.exit(model, worker, end),
  });
}

const WORKERS: fc.Arbitrary<Command> = fc.oneof(
  ...Object.values(BOOT),
  BOOT.boots,
  ends("returns", { type: "exited", code: 0 }, { code: 0 }),
  workerDeed({
    name: "does a short job",
    can: ({ phase }) => phase === "booting",
    pool: (sim, { id }) => {
      for (const what of ["connected", "begun"] as const) sim.tell(id, what);
      sim.exit(id);
    },
    model: (model, worker) => {
      for (const input of [predict.connected, predict.begun]) input(model, worker);
      predict.exit(model, worker, { code: 0 });
    },
  }),
  ends("exits with 3", { type: "exited", code: 3 }, { code: 3 }),
  ends("crashes", { type: "signaled", signal: "SIGSEGV" }, { signal: "SIGSEGV" }),
  workerDeed({
    name: "beats",
    pool: (sim, { slot, id }) => sim.send({ type: "beat", slot, id, lagMs: 0 }),
    model: predict.beat,
  }),
  fc.constantFrom(503, 9001).chain((delayMs) =>
    workerDeed({
      name: `asks for ${delayMs} ms`,
      can: ({ phase }) => phase !== "booting",
      pool: (sim, { slot, id }) => sim.send({ type: "extend", slot, id, delayMs }),
      model: (model, worker) => predict.extend(model, worker, delayMs),
    })
  ),
  workerDeed({
    name: "is due",
    can: ({ phase }) => phase !== "booting",
    pool: (sim, { slot, id }) => sim.send({ type: "due", slot, id, reason: "asked for it" }),
    model: predict.due,
  }),
);

const COMMANDS: fc.Arbitrary<Command>[] = [PROGRAM, OPERATOR, TIME, WORKERS, WORKERS, WORKERS];

/** Times are primes, so that no two things fall due at once by chance. */
const RULES: fc.Arbitrary<Rules> = fc.record({
  maxWorkers: fc.integer({ min: 1, max: 3 }),
  maxSurge: fc.nat(2),
  maxUnavailable: fc.nat(2),
  settles: fc.boolean(),
  spawnIntervalMs: fc.constantFrom(0, 0, 307),
  errRespawnIntervalMs: fc.constantFrom(1009, 0),
  maxRespawnIntervalMs: fc.constantFrom(10_007, 3001),
  bootTimeoutMs: fc.constantFrom(30_011, 4001),
  stopTimeoutMs: fc.constantFrom(20_011, 2999),
  drainDelayMs: fc.constantFrom(0, 1511, 6007),
  reloadTimeoutMs: fc.constantFrom(undefined, 7001),
  hangTimeoutMs: fc.constantFrom(undefined, 4999),
  maxBootFailures: fc.constantFrom(undefined, 3),
}).filter(({ maxSurge, maxUnavailable }) => maxSurge + maxUnavailable > 0);

it("does what its model does, whatever happens", { timeout: 180_000 }, () => {
  fc.assert(
    fc.property(RULES, fc.commands(COMMANDS, { maxCommands: 60, size: "max" }), (rules, commands) => {
      fc.modelRun(() => {
        const [model, real] = [newModel(rules), new ToldPool(rules)];
        START.run(model, real);
        return { model, real };
      }, commands);
    }),
    { numRuns: RUNS, ...(SEED === undefined ? {} : { seed: Number(SEED) }) },
  );
});
