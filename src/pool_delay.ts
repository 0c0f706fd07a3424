/**
 * Between a stop and its relay: a pool that is to leave the lists of its balancers first. It serves on for a while, as if
 * nothing had come, but for what would be in vain so late: nobody is replaced who need not be.
 *
 * @module
 */

import { dismissSuccessors, endRoll } from "./pool_roll.ts";
import { actOnSignal, enqueueSignal, returnBy, tellSignal } from "./pool_signals.ts";
import { adjust } from "./pool_size.ts";
import { ECHO_MS, isStopSignal } from "./signals.ts";
import { effect, setTimer, tell, type Turn, update } from "./turn.ts";
import type { Signal } from "./types.ts";

const TIMER = "delay";

/** A signal came inside `start`. */
export function heed(turn: Turn, received: Signal, isUrgent: boolean): void {
  if (turn.pool.delayed !== null) return heedMore(turn, received);
  if (!isStopSignal(received)) return actOnSignal(turn, received);
  endRoll(turn, "stopped", `the pool was told to stop by ${received}`);
  const { config: { drainDelayMs }, everReady } = turn.pool;
  if (isUrgent || drainDelayMs === 0 || !everReady) return actOnSignal(turn, received);
  tellSignal(turn, received);
  tell(turn, { type: "stopDelayed", signal: received, delayMs: drainDelayMs });
  dismissSuccessors(turn);
  update(turn, { delayed: { signal: received, since: turn.now } });
  setTimer(turn, TIMER, drainDelayMs, { type: "delayOver" });
  adjust(turn);
}

/** What comes after a stop waits for the next `start`, as ever; but a second stop is not to wait. */
function heedMore(turn: Turn, received: Signal): void {
  const { delayed } = turn.pool;
  if (!isStopSignal(received)) return enqueueSignal(turn, received);
  if (delayed?.signal === received && turn.now - delayed.since < ECHO_MS) return;
  cancelDelay(turn);
  actOnSignal(turn, received);
}

/** The workers have served on for long enough, or shall not any longer. */
export function endDelay(turn: Turn): void {
  const { delayed } = turn.pool;
  cancelDelay(turn);
  if (delayed !== null) returnBy(turn, delayed.signal);
}

/** The stop takes another way. */
export function cancelDelay(turn: Turn): void {
  if (turn.pool.delayed === null) return;
  effect(turn, { type: "clearTimer", key: TIMER });
  update(turn, { delayed: null });
}
