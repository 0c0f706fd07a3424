/**
 * What a manager looks at now and then, since nothing tells it when that goes wrong: the memory of its workers, and its
 * sockets.
 *
 * @module
 */

import type { EventHub } from "./event_hub.ts";
import { Lookout } from "./lookout.ts";
import type { Input, PoolState } from "./pool_state.ts";
import type { Terms } from "./terms.ts";
import { jittered } from "./pool_watch.ts";
import { liveWorkers } from "./turn.ts";
import type { ProcessHost } from "./types.ts";

/** How often it is looked what memory the workers use. */
const MEMORY_LOOK_MS = 5000;

/** How often it is looked whether the sockets still listen. */
const SOCKET_LOOK_MS = 1000;

const NO_MEMORY =
  "no worker is replaced for its memory, which cannot be read: 'recycle.maxMemoryBytes' takes the /proc " +
  "of Linux, and on Deno --allow-all (-A), or leave it out";

/** What is looked at, and who is told. */
export interface LookoutParts {
  readonly host: ProcessHost;
  readonly hub: EventHub;
  readonly state: () => PoolState;
  readonly terms: () => Terms;
  post(input: Input): void;
  /** Told of a socket that listens no longer. */
  lost(error: unknown): void;
}

/** Looks after one pool. */
export class Lookouts implements Disposable {
  readonly #parts: LookoutParts;
  readonly #memory: Lookout;
  readonly #sockets: Lookout;
  #isWarned = false;

  constructor(parts: LookoutParts) {
    this.#parts = parts;
    this.#memory = new Lookout(parts.host, MEMORY_LOOK_MS, () => this.#lookAtMemory());
    this.#sockets = new Lookout(parts.host, SOCKET_LOOK_MS, () => this.haveSockets());
  }

  /** Looks at what there is to look at by now. */
  keep(): void {
    const { state, terms } = this.#parts;
    this.#memory.keep(state().config.recycle.maxMemoryBytes !== undefined && this.#seesMemory());
    this.#sockets.keep(terms().sockets !== undefined);
  }

  /** Whether the memory of processes can be looked at; told once if not, since the limit means nothing then. */
  #seesMemory(): boolean {
    const { host, hub } = this.#parts;
    if (host.usage(host.pid) !== undefined) return true;
    if (!this.#isWarned) hub.warn(NO_MEMORY, host);
    this.#isWarned = true;
    return false;
  }

  /** Without its sockets a pool has nothing to do: its workers look alive, and accept nothing. */
  haveSockets(): boolean {
    const { terms, lost } = this.#parts;
    try {
      terms().sockets?.check();
      return true;
    } catch (error) {
      lost(error);
      return false;
    }
  }

  /** Finds the workers that use too much memory. */
  #lookAtMemory(): void {
    const { host, state, post } = this.#parts;
    const { maxMemoryBytes = Infinity, jitter } = state().config.recycle;
    for (const worker of liveWorkers(state())) {
      const { slot, id, pid, phase } = worker;
      const used = phase === "ready" ? host.usage(pid)?.memoryBytes ?? 0 : 0;
      if (used <= jittered(maxMemoryBytes, jitter, worker)) continue;
      post({ type: "due", slot, id, reason: `uses ${(used / 2 ** 20).toFixed(1)} MiB of memory` });
    }
  }

  /** Looks at nothing any more, until it is told to again. */
  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
    this.#sockets[Symbol.dispose]();
  }
}
