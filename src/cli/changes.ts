/**
 * New workers, and a new manager: whoever asks for them, by a signal, an order or a save.
 *
 * @module
 */

import { describeError } from "../events.ts";
import type { Prefork } from "../prefork.ts";
import type { Relay } from "../types.ts";
import type { Init } from "./init.ts";
import type { Log } from "./log.ts";
import type { RunRequest } from "./request.ts";
import type { Configuration } from "./reconfigure.ts";

/** What changes are made to, and by. */
export interface ChangesParts {
  readonly pool: Prefork;
  /** What a reload reads anew, if there is anything. */
  readonly configuration: Configuration | undefined;
  readonly init: Init | undefined;
  readonly log: Log;
  /** Told of a reload that is not even tried. */
  refused(reason: string): void;
}

/** Changes a running pool. */
export class Changes {
  readonly #parts: ChangesParts;

  constructor(parts: ChangesParts) {
    this.#parts = parts;
  }

  /** Replaces the workers, by what the configuration says now. Rejects with what the log was told already. */
  async reload(): Promise<void> {
    const { pool, configuration, log, refused } = this.#parts;
    try {
      await (configuration === undefined ? pool.reload() : configuration.reload(pool));
    } catch (error) {
      tellRefusal(error, log);
      if (!isEvent(error)) refused(describeError(error));
      throw error;
    }
  }

  /** Replaces this manager. */
  async upgrade(): Promise<void> {
    const { pool, init } = this.#parts;
    await (init === undefined ? pool.upgrade() : init.refuseUpgrade());
  }
}

/** Whether a reload by HUP is more than one of the pool alone. */
export function readsAnew({ trapSignals: { SIGHUP } }: RunRequest, configuration: Configuration | undefined): boolean {
  return configuration !== undefined && isReload(SIGHUP);
}

function isReload(relay: Relay | undefined): boolean {
  return relay !== undefined && relay !== null && typeof relay === "object" && "replace" in relay;
}

/** Tells why something was not even begun. */
export function tellRefusal(error: unknown, log: Log): void {
  if (!isEvent(error)) log.tell("warning", describeError(error));
}

/** What went wrong after it had begun is told as an event. */
function isEvent(error: unknown): boolean {
  return error instanceof Error && (error.name === "UpgradeError" || error.name === "ReloadError");
}
