/**
 * Two workers, their program, their operator and their timers, in every order in which they can act. Where processes are
 * quick, and the pool keeps its size, the worlds this can lead to are few enough for all of them to be seen: what holds
 * there holds for any number of inputs. Elsewhere there are more, and so many inputs are tried as take seconds.
 */
import assert from "node:assert/strict";
import process from "node:process";
import { it } from "node:test";
import { step } from "../src/pool.ts";
import type { PoolState, PoolWorker } from "../src/pool_state.ts";
import { liveWorkers } from "../src/turn.ts";
import { type Checks, search } from "./support/pool_search.ts";
import { type Move, newWorld, type World } from "./support/pool_world.ts";

const WORKERS = 2;
const FIXED = { isQuick: true, isRecycling: false, sizes: [] };
const QUICK = { isQuick: true, isRecycling: false, sizes: [1, 2] };
const RECYCLING = { isQuick: true, isRecycling: true, sizes: [1, 2] };
const SLOW = { isQuick: false, isRecycling: false, sizes: [0, 1, 2] };

/** How many inputs are tried where workers are slow: two more take minutes. */
const INPUTS = Number(process.env.PREFORK_TEST_INPUTS ?? 6);

/** Whoever asks for more of them has more worlds, and more time. */
const [MANY, TIMEOUT_MS] = INPUTS > 6 ? [Infinity, 900_000] : [undefined, 180_000];

/** How many inputs are tried, and how many worlds they lead to at least. */
const CASES = [
  { maxSurge: 0, maxUnavailable: 1, manners: FIXED, inputs: Infinity, worlds: 11_900 },
  { maxSurge: 1, maxUnavailable: 0, manners: QUICK, inputs: 8, worlds: 12_900 },
  { maxSurge: 0, maxUnavailable: 1, manners: QUICK, inputs: 8, worlds: 8200 },
  { maxSurge: 2, maxUnavailable: 1, manners: QUICK, inputs: 8, worlds: 13_000 },
  { maxSurge: 1, maxUnavailable: 0, drainDelayMs: 1000, manners: QUICK, inputs: 7, worlds: 7600 },
  { maxSurge: 0, maxUnavailable: 1, drainDelayMs: 1000, manners: QUICK, inputs: 8, worlds: 10_400 },
  { maxSurge: 1, maxUnavailable: 0, manners: RECYCLING, inputs: 8, worlds: 18_400 },
  { maxSurge: 0, maxUnavailable: 1, manners: RECYCLING, inputs: 8, worlds: 14_200 },
  { maxSurge: 2, maxUnavailable: 1, manners: RECYCLING, inputs: 8, worlds: 19_000 },
  { maxSurge: 1, maxUnavailable: 0, manners: SLOW, inputs: INPUTS, worlds: 29_100 },
  { maxSurge: 0, maxUnavailable: 1, manners: SLOW, inputs: INPUTS, worlds: 13_700 },
  { maxSurge: 2, maxUnavailable: 1, manners: SLOW, inputs: INPUTS, worlds: 29_100 },
];

const checks: Checks = {
  afterMove(world, before, move) {
    nobodyIsLostOrKept(world);
    limitsHold(world, before);
    slotsAreFilled(world);
    nothingIsLeftToDo(world);
    nobodyIsMadeInVain(world, before);
    timersHaveAWorker(world);
    if (world.isStopped) nothingIsMade(world, before);
    if (world.isStopped && world.pool.mode !== "idle") everybodyHasToEnd(world);
    if (!mayTakeAway(world, before, move)) nobodyReadyIsMissed(world, before);
  },
  atRest(world) {
    const { pool, processes, timers, asked } = world;
    assert.deepEqual(asked, [], "reloads that are not answered");
    assert.deepEqual([pool.roll, pool.successors.size, pool.vacating.size], [null, 0, 0], "a reload that goes on");
    if (world.isStopped) {
      assert.deepEqual([processes.length, world.isWaited], [0, true], "the stop is over");
      return;
    }
    assert.equal(pool.mode, "running");
    assert.equal(pool.workers.size, pool.maxWorkers, "slots filled");
    assert.deepEqual([pool.others.size, pool.ready.size, pool.degraded], [0, pool.maxWorkers, false], "all ready");
    everybodyIsOfTheGenerationThatServes(world);
    assert.ok([...liveWorkers(pool)].every(({ isDue }) => !isDue), "somebody is due and stays");
    const watches = [...liveWorkers(pool)].map(({ slot, id }) => `beat ${slot} ${id}`);
    assert.deepEqual([...timers.keys()].sort(), watches.sort(), "timers at rest");
  },
};

function nobodyIsLostOrKept({ pool, processes }: World): void {
  const known = [...liveWorkers(pool)].map(({ id }) => id).sort((a, b) => a - b);
  assert.deepEqual(known, processes.map(({ id }) => id), "who lives");
}

/** Only a `start` lets workers of before stay beside those of its own generation. */
function everybodyIsOfTheGenerationThatServes({ pool, begun }: World): void {
  const { current: { number: current } } = pool;
  for (const { generation } of liveWorkers(pool)) {
    const mayStay = current === begun && generation < current;
    assert.ok(generation === current || mayStay, `of generation ${generation}, though ${current} serves`);
  }
}

function serving(pool: PoolState): readonly PoolWorker[] {
  return [...liveWorkers(pool)].filter(({ stopping }) => !stopping);
}

function readyOnes(pool: PoolState): number {
  return serving(pool).filter(({ phase }) => phase === "ready").length;
}

function limitsHold({ pool }: World, before: World): void {
  const { config: { maxSurge, maxUnavailable }, maxWorkers, mode } = pool;
  if (mode === "running") assert.ok(serving(pool).length <= maxWorkers + maxSurge, "more workers than allowed");
  const vacated = slotsOf(pool).filter((slot) => pool.vacating.has(slot));
  const isNew = vacated.some((slot) => !before.pool.vacating.has(slot));
  assert.ok(!isNew || vacated.length <= maxUnavailable, "more slots vacated than allowed");
}

/** Whoever is missing waits for its back-off. */
function slotsAreFilled({ pool, timers }: World): void {
  if (pool.mode !== "running") return;
  const heldBack = slotsOf(pool).filter((slot) => timers.has(`slot ${slot}`));
  assert.ok(pool.workers.size + heldBack.length >= pool.maxWorkers, "a slot without worker and back-off");
}

/** A second look changes nothing: whatever is to be done is done by the move that calls for it. */
function nothingIsLeftToDo({ pool }: World): void {
  const [, effects] = step(pool, { type: "adjust" }, 0);
  assert.deepEqual(effects.filter(({ type }) => type !== "setTimer"), [], "left to do");
}

/** Whoever is made lives on after the move. */
function nobodyIsMadeInVain({ pool, processes }: World, before: World): void {
  const born = processes.filter(({ id, signals }) => id >= before.pool.nextId && signals.length === 0);
  assert.equal(born.length, pool.nextId - before.pool.nextId, "made in vain");
}

function slotsOf({ maxWorkers }: PoolState): readonly number[] {
  return Array.from({ length: maxWorkers }, (_, slot) => slot);
}

function timersHaveAWorker({ pool, timers }: World): void {
  const workers = [...liveWorkers(pool)].map(({ id }) => id);
  for (const [key, input] of timers) {
    if ("id" in input) assert.ok(workers.includes(input.id), `timer ${key} without worker`);
    if (input.type === "slotFree") assert.equal(pool.workers.get(input.slot), undefined, `timer ${key} of a worker`);
  }
}

function nothingIsMade({ processes }: World, before: World): void {
  for (const { id } of processes) {
    assert.ok(before.processes.some((process) => process.id === id), "spawned after a stop");
  }
}

/** By its own doing, by a deadline, or since it was killed. */
function everybodyHasToEnd({ processes, timers }: World): void {
  for (const { slot, id, signals } of processes) {
    assert.ok(signals.includes("SIGKILL") || timers.has(`stop ${slot} ${id}`), `${id} may stay for good`);
  }
}

function mayTakeAway(world: World, before: World, move: Move): boolean {
  if (move.by?.becomes === "gone" || world.isStopped || move.name.startsWith("timer stop")) return true;
  return serving(before.pool).length > world.pool.maxWorkers;
}

function nobodyReadyIsMissed({ pool }: World, before: World): void {
  const missing = readyOnes(before.pool) - readyOnes(pool);
  assert.ok(missing <= pool.config.maxUnavailable, `${missing} ready workers fewer`);
}

for (const { manners, inputs, worlds, ...limits } of CASES) {
  const many = inputs === Infinity ? "any number of" : inputs;
  const late = limits.drainDelayMs === undefined ? "" : ", stops that wait";
  const fixed = manners.sizes.length === 0 ? ", a pool of one size" : "";
  const who = `${manners.isQuick ? "quick" : "slow"} workers${manners.isRecycling ? " that are due now and then" : ""}`;
  const named =
    `${many} inputs, ${who}, maxSurge ${limits.maxSurge}, maxUnavailable ${limits.maxUnavailable}${late}${fixed}`;
  it(`holds in any order: ${named}`, { timeout: TIMEOUT_MS }, () => {
    // Time stands still, so back-offs of those that are due would never be over.
    const rules = manners.isRecycling ? { ...limits, errRespawnIntervalMs: 0 } : limits;
    const met = search(newWorld(rules, WORKERS, manners), inputs, checks, MANY);
    assert.ok(met >= worlds, `only ${met} worlds were met`);
  });
}
