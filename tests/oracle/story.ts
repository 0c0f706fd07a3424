/**
 * Makes the events of two daemons comparable. Pids are gone: a worker is what happened to it. What may legally happen in
 * any order (the workers of one batch among each other) is sorted; what has an order (the manager's own path, the life
 * of each worker) keeps it.
 *
 * @module
 */
import type { DaemonRun, StepEvent } from "./daemon_run.ts";

/** What is compared. */
export interface Story {
  /** The manager's own path through its program. */
  readonly manager: readonly string[];
  /** The life of each worker, sorted. */
  readonly workers: readonly string[];
  /** How many workers there were before each fork, in the steps where that does not depend on a race. */
  readonly poolSizes: readonly string[];
  /** The most workers alive at any moment. */
  readonly peak: number;
}

const MANAGER_EVENTS = ["manager", "loading", "load_config", "start_return", "wait_begin", "wait_done"];

/** Tells the story of a run. `sizedSteps` are the steps whose forks have no race among them. */
export function tellStory(run: DaemonRun, sizedSteps: readonly string[]): Story {
  const manager = run.program.pid;
  return {
    manager: run.events.filter((event) => event.pid === manager && MANAGER_EVENTS.includes(event.event)).map(describe),
    workers: run.of("after_fork").map((fork) => life(run, fork)).sort(),
    poolSizes: run.of("before_fork").filter(({ step }) => sizedSteps.includes(step)).map(describe),
    peak: peak(run.events),
  };
}

/** The fork comes first in a worker's life, even where the worker was quicker than the manager to tell. */
function life(run: DaemonRun, fork: StepEvent): string {
  const rest = run.events.filter((event) =>
    (event.pid === fork.child && event.event.startsWith("worker_")) ||
    (event.child === fork.child && event !== fork)
  );
  return [fork, ...rest].map(describe).join(", ");
}

function describe(event: StepEvent): string {
  const { step, event: name, version, signal, status, workers, left } = event;
  const details = [version === undefined ? undefined : `v${version}`, signal, status, workers, left];
  return `${step}: ${[name, ...details].filter((detail) => detail !== undefined).join(" ")}`;
}

function peak(events: readonly StepEvent[]): number {
  let alive = 0;
  let most = 0;
  for (const { event } of events) {
    if (event === "after_fork") alive++;
    if (event === "reap") alive--;
    most = Math.max(most, alive);
  }
  return most;
}
