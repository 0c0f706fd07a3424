/**
 * Asks workers that listen by themselves whether they are ready, on behalf of a manager. The pool says when.
 *
 * @module
 */

import { describeError } from "./events.ts";
import type { Effect, Input } from "./pool_state.ts";
import { questionFor, type Readiness } from "./ready_when.ts";
import { Table } from "./table.ts";
import type { ProcessHost } from "./types.ts";
import type { Work } from "./work.ts";

type ProbeEffect = Extract<Effect, { type: "probe" }>;
type ByManager = Extract<Readiness, { by: "manager" }>;

/** Asks once, as `ask` of `question.ts`. */
type Ask = typeof import("./question.ts").ask;

/**
 * Makes what asks the workers of a pool, if it is for the manager to ask them.
 *
 * @throws {TypeError} If the workers cannot be asked so.
 * @throws {Error} Names the permission that is lacking.
 */
export async function openProber(
  readiness: Readiness | undefined,
  work: Work["type"],
  host: ProcessHost,
): Promise<Prober | undefined> {
  if (readiness?.by === "manager") {
    const { ask, checkReach } = await import("./question.ts");
    checkReach(questionFor(readiness, { slot: 0, pid: host.pid }));
    return new Prober(readiness, host, ask);
  }
  if (readiness === undefined || work !== "command") return undefined;
  throw new TypeError(
    `Cannot have a command ask itself for ${readiness.path}: it listens by itself; give 'readyWhen' the whole address, ` +
      "such as 'http://127.0.0.1:900{slot}/healthz'",
  );
}

/** Asks the workers of one manager, each one question at a time. */
export class Prober {
  readonly #readiness: ByManager;
  readonly #host: ProcessHost;
  readonly #ask: Ask;
  /** The questions that wait for their answer, by the worker's id. */
  readonly #open = new Table<number, AbortController>();

  constructor(readiness: ByManager, host: ProcessHost, ask: Ask) {
    this.#readiness = readiness;
    this.#host = host;
    this.#ask = ask;
  }

  /** Asks a worker, and posts what became of it, unless that is given up before. */
  probe({ slot, id, pid }: ProbeEffect, post: (input: Input) => void): void {
    const asking = new AbortController();
    this.#open.set(id, asking);
    void this.#attempt(slot, pid, asking.signal).then((saw) => {
      if (asking.signal.aborted) return;
      this.#open.delete(id);
      post({ type: "checked", slot, id, saw });
    });
  }

  async #attempt(slot: number, pid: number, signal: AbortSignal): Promise<string | undefined> {
    const { timeoutMs } = this.#readiness;
    try {
      return await this.#ask(questionFor(this.#readiness, { slot, pid }), { host: this.#host, timeoutMs, signal });
    } catch (error) {
      return describeError(error); // a slot for which there is no address
    }
  }

  /** Gives up what a worker is asked, if it is asked anything. */
  end(id: number): void {
    this.#open.get(id)?.abort();
    this.#open.delete(id);
  }
}
