/**
 * The hooks of a pool. What one of them throws, now or later, is an event, and the pool goes on.
 *
 * @module
 */

import type { EventHub } from "./event_hub.ts";
import type { PreforkOptions } from "./options.ts";
import type { Prefork } from "./prefork.ts";
import type { ExitStatus, Json } from "./types.ts";

/** Calls the hooks of one pool. */
export class Hooks {
  readonly #options: PreforkOptions;
  readonly #pool: Prefork;
  readonly #hub: EventHub;

  constructor(options: PreforkOptions, pool: Prefork, hub: EventHub) {
    this.#options = options;
    this.#pool = pool;
    this.#hub = hub;
  }

  /** Gives `launch` what the hook has for the next worker: at once, unless the hook takes its time. */
  beforeFork(launch: (value: Json | void) => void): void {
    try {
      const value = this.#options.beforeFork?.(this.#pool);
      if (!(value instanceof Promise)) return launch(value);
      value.catch((error: unknown) => this.#threw("beforeFork", error)).then(launch);
    } catch (error) {
      launch(this.#threw("beforeFork", error));
    }
  }

  /** A worker was made. */
  afterFork(pid: number): void {
    this.#call("afterFork", () => this.#options.afterFork?.(this.#pool, pid));
  }

  /** A worker is gone. */
  onChildReap(pid: number, status: ExitStatus): void {
    this.#call("onChildReap", () => this.#options.onChildReap?.(this.#pool, pid, status));
  }

  #call(hook: string, call: () => unknown): void {
    try {
      const result = call();
      if (result instanceof Promise) result.catch((error: unknown) => this.#threw(hook, error));
    } catch (error) {
      this.#threw(hook, error);
    }
  }

  #threw(hook: string, error: unknown): undefined {
    this.#hub.publish({ type: "hookError", hook, error });
  }
}
