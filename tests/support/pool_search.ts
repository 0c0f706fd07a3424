/**
 * Every world that a number of moves can lead to, each met once: worlds that differ in names alone count as one.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Input, PoolWorker } from "../../src/pool_state.ts";
import { after, type Move, movesOf, type World } from "./pool_world.ts";

/** What must hold; each throws if it does not. */
export interface Checks {
  /** After every move. */
  afterMove(world: World, before: World, move: Move): void;
  /** When nothing is left to happen but what comes from outside. */
  atRest(world: World): void;
}

/** A world, and how it was come to. */
interface Place {
  readonly world: World;
  readonly name: string;
  readonly from: Place | undefined;
  readonly by: string;
}

/** So many moves lead any world to rest, or it will never be. */
const FAR = 60;

/** More worlds than this differ in something that grows without end, and would be looked at for ever. */
const MANY = 50_000;

/** Goes through all that up to `most` moves can lead to, and from each world on to rest. Tells how many worlds it met. */
export function search(world: World, most: number, checks: Checks, many = MANY): number {
  const first: Place = { world, name: nameless(world), from: undefined, by: "start" };
  const met = new Map([[first.name, first]]);
  let edge = [first];
  for (let moves = 0; moves < most && edge.length > 0; moves++) {
    edge = edge.flatMap((place) => lookAround(place, met, checks, many));
  }
  const calm = new Set<string>();
  for (const place of met.values()) comeToRest(place, calm, checks);
  return met.size;
}

/** The places next to one that nobody has been to. */
function lookAround(place: Place, met: Map<string, Place>, checks: Checks, many: number): Place[] {
  const found: Place[] = [];
  for (const move of movesOf(place.world)) {
    const next = go(place, move, checks);
    if (met.has(next.name)) continue;
    if (met.size >= many) explain(next, () => assert.fail(`There are more than ${many} worlds, as ${next.name}`));
    met.set(next.name, next);
    found.push(next);
  }
  return found;
}

/** From here on all goes well: workers boot, those told to stop do, the program calls `start` again, time goes by. */
function comeToRest(place: Place, calm: Set<string>, checks: Checks): void {
  const way: string[] = [];
  for (let at: Place | undefined = place; at && !calm.has(at.name); at = oneNearer(at, checks)) {
    way.push(at.name);
    if (way.length > FAR) explain(at, () => assert.fail("It never comes to rest"));
  }
  for (const name of way) calm.add(name);
}

function oneNearer(place: Place, checks: Checks): Place | undefined {
  const move = movesOf(place.world).find(({ isGood }) => isGood);
  if (move) return go(place, move, checks);
  explain(place, () => checks.atRest(place.world));
  return undefined;
}

function go(from: Place, move: Move, checks: Checks): Place {
  return explain({ ...from, from, by: move.name }, () => {
    const world = after(from.world, move);
    checks.afterMove(world, from.world, move);
    return { world, name: nameless(world), from, by: move.name };
  });
}

/** Says with what fails how it came to it. */
function explain<T>(place: Place, run: () => T): T {
  try {
    return run();
  } catch (error) {
    const path: string[] = [];
    for (let at: Place | undefined = place; at; at = at.from) path.unshift(at.by);
    throw new Error(`After ${path.join(", ")}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}

/** A world in words, without what changes nothing: which numbers it uses, and how often something failed. */
export function nameless({ pool, processes, timers, isStopped, isWaited, asked, begun }: World): string {
  const ids = processes.map(({ id }) => id);
  const generations: number[] = [];
  const known = (list: number[], value: number): number => {
    if (!list.includes(value)) list.push(value);
    return list.indexOf(value);
  };
  const mayServeAgain = [pool.current.number, pool.roll?.target.number, pool.roll?.fallback?.number].indexOf(begun);
  const worker = (one: PoolWorker) => [
    one.slot,
    known(ids, one.id),
    known(generations, one.generation),
    one.phase,
    one.begun,
    one.stopping,
    one.hasToEnd,
    one.held,
    one.sent,
    one.killedFor,
    one.isDue,
    mayServeAgain >= 0 && one.generation > begun,
  ];
  const { roll } = pool;
  return JSON.stringify([
    pool.mode,
    pool.maxWorkers,
    known(generations, pool.current.number),
    roll && [
      known(generations, roll.target.number),
      roll.fallback && known(generations, roll.fallback.number),
      roll.phase,
      roll.canarySlot,
      roll.cursor,
    ],
    [...pool.workers.entries()].map(([, one]) => worker(one)),
    [...pool.others.entries()].map(([, one]) => worker(one)),
    [...pool.successors.entries()].map(([slot, id]) => [slot, known(ids, id)]),
    [0, 1].map((slot) => [pool.taken.has(slot), pool.vacating.has(slot), pool.troubles.get(slot) !== undefined]),
    [pool.isMixed, pool.dueAfter > 0],
    pool.due.map(({ slot, id }) => [slot, known(ids, id)]),
    [pool.queue, pool.replaceBy, pool.everReady, pool.endsEarly, pool.degraded, pool.over],
    processes.map(({ id, stage, signals }) => [known(ids, id), stage, signals]),
    [...timers.values()].map((input) => timerName(input, ids)).sort(),
    asked.map((generation) => known(generations, generation)),
    mayServeAgain,
    isStopped,
    isWaited,
  ]);
}

function timerName(input: Input, ids: readonly number[]): string {
  const id = "id" in input ? ids.indexOf(input.id) : -1;
  const slot = "slot" in input ? input.slot : -1;
  return `${input.type} ${slot} ${id}`;
}
