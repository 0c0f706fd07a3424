/**
 * The hooks of a pool. What one of them throws, now or later, is an event, and the pool goes on.
 *
 * @module
 */

import { checkData } from "./data.ts";
import type { EventHub } from "./event_hub.ts";
import type { PreforkOptions } from "./options.ts";
import type { Prefork } from "./prefork.ts";
import type { ExitStatus, Json, ProcessHost } from "./types.ts";

/** Calls the hooks of one pool. */
export class Hooks {
  readonly #options: PreforkOptions;
  readonly #pool: Prefork;
  readonly #hub: EventHub;
  readonly #host: ProcessHost;
  readonly #timeoutMs: number;

  /** @param timeoutMs How long a hook may take that a worker waits for. */
  constructor(options: PreforkOptions, pool: Prefork, hub: EventHub, host: ProcessHost, timeoutMs: number) {
    this.#host = host;
    this.#timeoutMs = timeoutMs;
    this.#options = options;
    this.#pool = pool;
    this.#hub = hub;
  }

  /** Gives `launch` what the hook has for the next worker: at once, unless the hook takes its time. */
  beforeFork(launch: (value: Json | void) => void): void {
    const value = this.#ask();
    if (value instanceof Promise) value.then(launch);
    else launch(value);
  }

  #ask(): Json | void | Promise<Json | void> {
    try {
      const value = this.#options.beforeFork?.(this.#pool);
      if (!(value instanceof Promise)) return sendable(value);
      return this.#inTime(value).then(sendable).catch((error: unknown) => this.#threw("beforeFork", error));
    } catch (error) {
      return this.#threw("beforeFork", error);
    }
  }

  /** No worker could be made, and no reload end, if a hook never did. */
  async #inTime<T>(value: Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>();
    using _timer = this.#host.setTimer(this.#timeoutMs, () => {
      late.reject(new Error(`it has not settled within ${this.#timeoutMs} ms; the worker is made without it`));
    });
    return await Promise.race([value, late.promise]);
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

/** Refused here, what JSON cannot say costs a worker its value; in the welcome it would cost the whole worker. */
function sendable(value: Json | void): Json | void {
  checkData(value, "what it returns");
  return value;
}
