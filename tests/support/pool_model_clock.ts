/**
 * Time in the model of a pool.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { PoolModel, Worker } from "./pool_model.ts";
import { follow, hear } from "./pool_model_size.ts";

/** Lets time pass; alarms ring in order. */
export function pass(model: PoolModel, ms: number): void {
  const end = model.now + ms;
  for (let next = nextAlarm(model, end); next; next = nextAlarm(model, end)) {
    model.now = next.at;
    model.alarms.delete(next.key);
    next.ring();
    if (model.news.length > 0) hear(model);
    else follow(model);
  }
  model.now = end;
}

function nextAlarm(model: PoolModel, end: number) {
  const [first] = [...model.alarms].map(([key, alarm]) => ({ key, ...alarm })).sort((a, b) => a.at - b.at);
  return first && first.at <= end ? first : undefined;
}

export function ringIn(model: PoolModel, ms: number, key: string, ring: () => void): void {
  model.alarms.delete(key);
  model.alarms.set(key, { at: model.now + ms, ring });
}

export function forget(model: PoolModel, what: string, worker: Worker): void {
  model.alarms.delete(`${what} ${worker.id}`);
}

export function say(model: PoolModel, what: string): void {
  model.log.push(`${model.now}: ${what}`);
}

/** The first wait is exact; each further one is twice as long, less a jitter of up to half, up to a limit. */
export function waitFor(model: PoolModel, of: string, failures: number, floor = 0): number {
  const { errRespawnIntervalMs: first, maxRespawnIntervalMs } = model.rules;
  const full = failures === 1 || first === 0
    ? first
    : Math.min(first * 2 ** (failures - 1), Math.max(first, maxRespawnIntervalMs));
  const [least, most] = [failures === 1 ? full : full / 2, full].map((ms) => Math.max(ms, floor));
  const seen = model.waits.findIndex((wait) => wait.of === of);
  const ms = seen < 0 ? NaN : model.waits.splice(seen, 1)[0]?.ms ?? NaN;
  assert.ok(
    least !== undefined && most !== undefined && ms >= least && ms <= most,
    `${of} waits ${ms} ms, not ${least} to ${most}`,
  );
  return ms;
}
