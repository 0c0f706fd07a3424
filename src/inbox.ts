/**
 * Where all that happens to a manager waits for its turn, so that whoever tells it is done at once.
 *
 * @module
 */

import type { Effect, Input } from "./pool_state.ts";
import type { ProcessHost } from "./types.ts";

/** How long processes are made before the event loop gets its turn. */
const SPAWN_SLICE_MS = 20;

/** A process that is to be made. */
export type SpawnEffect = Extract<Effect, { type: "spawn" }>;

/** Gives a manager its inputs one by one, and between them the processes that it is to make. */
export class Inbox {
  readonly #host: ProcessHost;
  readonly #take: (input: Input) => void;
  readonly #spawn: (wanted: SpawnEffect) => void;
  readonly #inputs: Input[] = [];
  /** Processes still to be made. */
  readonly #spawns: SpawnEffect[] = [];
  #scheduled = false;

  /**
   * @param take Takes an input; it may not throw.
   * @param spawn Makes a process; neither may that.
   */
  constructor(host: ProcessHost, take: (input: Input) => void, spawn: (wanted: SpawnEffect) => void) {
    this.#host = host;
    this.#take = take;
    this.#spawn = spawn;
  }

  /** Enqueues an input. The inbox is emptied once the running code is done. */
  post(input: Input): void {
    this.#inputs.push(input);
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#drain());
  }

  /** Has a process made when no input is left. To be called while an input is taken. */
  spawnLater(wanted: SpawnEffect): void {
    this.#spawns.push(wanted);
  }

  /**
   * Takes all inputs, and between them makes the processes that are wanted. Making many takes long, so the event loop
   * gets its turn now and then: a stop must not wait for the last of a thousand workers.
   */
  #drain(): void {
    const sliceEnd = this.#host.now() + SPAWN_SLICE_MS;
    try {
      while (this.#takeNext() && this.#host.now() < sliceEnd);
    } finally {
      this.#scheduled = this.#inputs.length + this.#spawns.length > 0;
      if (this.#scheduled) this.#host.setTimer(0, () => this.#drain());
    }
  }

  /** Takes what has come, and has one process made; false if none is wanted. */
  #takeNext(): boolean {
    for (let input = this.#inputs.shift(); input; input = this.#inputs.shift()) this.#take(input);
    const next = this.#spawns.shift();
    if (next !== undefined) this.#spawn(next);
    return next !== undefined;
  }
}
