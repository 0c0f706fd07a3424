/**
 * A simulated pool, told of in the words of its model.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { PreforkEvent } from "../../src/events.ts";
import { liveWorkers } from "../../src/turn.ts";
import type { WorkerInfo } from "../../src/types.ts";
import type { Rules, Worker } from "./pool_model.ts";
import { PoolSim } from "./pool_sim.ts";

const TRAP_SIGNALS = {
  SIGTERM: "SIGTERM",
  SIGHUP: "SIGTERM",
  SIGUSR2: "SIGUSR2",
  SIGCONT: { signal: "SIGTERM", replace: "before" },
  SIGWINCH: null,
} as const;

/** A pool under the rules of its model. */
export class ToldPool {
  readonly sim: PoolSim;
  readonly #names = new Map<number, string>();
  readonly #born = new Map<number, number>();
  #read = 0;

  constructor(rules: Rules) {
    this.sim = new PoolSim({ ...rules, trapSignals: TRAP_SIGNALS }, { eager: false, obedient: false, letsGo: true });
  }

  /** What happened since this was asked last. */
  log(): string[] {
    const news = this.sim.history.slice(this.#read);
    this.#read = this.sim.history.length;
    return news.flatMap(({ at, effect }) => {
      const words = effect.type === "event"
        ? this.#inWords(effect.event)
        : effect.type === "returned"
        ? `start returns by ${effect.signal}`
        : effect.type === "waited"
        ? "all are gone"
        : undefined;
      return words === undefined ? [] : [`${at}: ${words}`];
    });
  }

  #inWords(event: PreforkEvent): string | undefined {
    switch (event.type) {
      case "spawn":
        return `${this.#baptise(event.worker)} born of generation ${event.worker.generation}`;
      case "ready":
        return `${this.name(event.worker)} ready`;
      case "reap":
        return `${this.name(event.worker)} ${event.expected ? "ended" : "failed"}`;
      case "relay":
        return `${this.name(event.worker)} gets ${event.signal}`;
      case "hang":
        return `${this.name(event.worker)} hangs`;
      case "signal":
        return `heeds ${event.signal}`;
      case "stopDelayed":
        return "serves on";
      case "reloaded":
        return `reload to ${event.generation} is done`;
      case "reloadFailed":
        return `reload to ${event.generation} ${event.cause}, ${event.serving} serves`;
      case "backoff":
        return `slot ${event.slot} waits after ${event.failures}`;
      case "giveUp":
        return "start gives up";
      case "degraded":
      case "recovered":
        return event.type;
    }
    return undefined;
  }

  #baptise({ slot, pid }: WorkerInfo): string {
    const count = this.#born.get(slot) ?? 0;
    this.#born.set(slot, count + 1);
    const name = `${slot}${String.fromCharCode(97 + count)}`;
    this.#names.set(pid, name);
    return name;
  }

  name({ pid }: { readonly pid: number }): string {
    return this.#names.get(pid) ?? `pid ${pid}`;
  }

  describe(): string[] {
    const { state } = this.sim;
    const inWords = [...liveWorkers(state)].map(({ pid, slot, id, generation, phase, stopping }) => {
      const place = state.workers.get(slot)?.id === id
        ? "holder"
        : state.successors.get(slot) === id
        ? "successor"
        : "replaced";
      return `${this.name({ pid })} of generation ${generation} is ${stopping ? "leaving" : phase}, ${place}`;
    });
    return [...inWords.sort(), `${state.mode}, generation ${state.current.number} of ${state.generation}`];
  }

  ref({ name }: Worker): { readonly slot: number; readonly id: number; readonly pid: number } {
    const worker = [...this.sim.workers.values()].find((one) => this.name(one) === name);
    assert.ok(worker, `${name} lives`);
    return worker;
  }
}
