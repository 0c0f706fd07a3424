/**
 * A manager's part in upgrades: as the one that takes over, and as the one that is taken over from.
 *
 * @module
 */

import { currentHost } from "../runtimes/current.ts";
import { checkKeys, checkTime } from "./checks.ts";
import type { EventHub } from "./event_hub.ts";
import type { PreforkEvent } from "./events.ts";
import type { PoolConfig, PoolState, PoolWorker } from "./pool_state.ts";
import type { UpgradeOptions } from "./call_options.ts";
import type { SharedSockets } from "./sockets.ts";
import type { Owner } from "./staff.ts";
import { type Takeover, takeover } from "./takeover.ts";
import { liveWorkers } from "./turn.ts";
import type { ProcessHost, Signal } from "./types.ts";
import { Upgrade } from "./upgrade.ts";

/** How long a new manager may take to come to its workers, whose own time is `bootTimeoutMs`. */
const MANAGER_BOOT_MS = 10_000;

/** How long workers that were never ready may take to end, in a pool that is not wanted any more. */
const EARLY_END_MS = 1000;

/** What a succession is made of. */
export interface SuccessionParts {
  readonly host: ProcessHost;
  readonly hub: EventHub;
  readonly owner: Owner;
  readonly config: PoolConfig;
  readonly sockets: () => SharedSockets | undefined;
  /** Stops the pool as SIGTERM does, and at once: somebody else serves. */
  stop(): void;
}

/** How a program on this host takes over from the manager that started it, if it does. */
export function takeoverOn(host: ProcessHost): Takeover | undefined {
  return host === currentHost ? takeover : undefined;
}

/** Who was there before this manager, and who comes after it. */
export class Succession {
  readonly #parts: SuccessionParts;
  readonly #takeover: Takeover | undefined;
  /** Why there is nothing to be upgraded, if there is not. */
  #idle: string | undefined = "this pool was not started yet; call start() first";
  #upgrade: Upgrade | undefined;
  /** Where the pool stands, as long as it has to prove itself. */
  #state: PoolState | undefined;
  #over: Promise<void> = Promise.resolve();

  constructor(parts: SuccessionParts) {
    this.#parts = parts;
    this.#takeover = takeoverOn(parts.host);
  }

  /** The pool begins. */
  begin(): void {
    this.#idle = undefined;
    const { owner, config, sockets, hub } = this.#parts;
    this.#takeover?.begin({
      pool: owner.key,
      stopTimeoutMs: config.stopTimeoutMs,
      kept: () => sockets()?.kept ?? [],
      takenOver(pid) {
        sockets()?.own();
        sockets()?.settle();
        hub.publish({ type: "takeover", pid });
      },
      stop: () => this.#withdraw(),
    });
  }

  /** Something has happened in the pool. */
  heed(event: PreforkEvent): void {
    if (event.type !== "reap" || !event.expected || event.worker.state === "stopping") return;
    this.#takeover?.ended(this.#parts.owner.key, event.worker);
  }

  /** The pool has made a step. */
  look(state: PoolState): void {
    if (this.#takeover === undefined) return;
    this.#state = state;
    this.#takeover.look(this.#parts.owner.key, state);
  }

  /**
   * This manager has not come to be the one, and its workers stop as ever. A signal for those that are not ready yet
   * would be held: these get it now, and are not waited for where they cannot have anything in hand.
   */
  #withdraw(): void {
    const { config, host, stop } = this.#parts;
    stop();
    for (const { pid } of this.#notReady()) this.#kill(pid, "SIGTERM");
    host.setTimer(EARLY_END_MS, () => {
      for (const { pid, channel } of this.#notReady()) if (channel && !config.settles) this.#kill(-pid, "SIGKILL");
    }).unref();
  }

  /** The workers whose own code runs, and that were not ready so far. */
  #notReady(): readonly PoolWorker[] {
    return this.#state === undefined
      ? []
      : [...liveWorkers(this.#state)].filter(({ phase, pid }) => phase === "starting" && pid !== 0);
  }

  #kill(pid: number, signal: Signal): void {
    try {
      this.#parts.host.kill(pid, signal);
    } catch {
      // Not allowed; the pool's own deadline is left.
    }
  }

  /**
   * Only one change at a time.
   *
   * @throws {Error} If an upgrade is under way.
   */
  refuseIfUpgrading(what: string): void {
    if (this.#upgrade === undefined) return;
    throw new Error(`Cannot ${what}: an upgrade is under way, and the new manager brings new workers; await it first`);
  }

  /** What is not this manager's yet cannot be handed on. */
  #refuseIfTakingOver(): void {
    const elder = this.#takeover?.elderPid;
    if (elder === undefined) return;
    throw new Error(`Cannot upgrade: this manager has yet to take over from pid=${elder}; try again when it has`);
  }

  /** Has a new manager take over, and stops this one then. */
  async upgrade(
    options: UpgradeOptions,
    { config: { bootTimeoutMs, stopTimeoutMs }, roll, everReady, endsEarly }: PoolState,
    isToReload: boolean,
  ): Promise<void> {
    const { host, hub, sockets, owner, stop } = this.#parts;
    checkKeys("upgrade", options, ["timeoutMs"]);
    const timeoutMs = checkTime("timeoutMs", options.timeoutMs ?? bootTimeoutMs + MANAGER_BOOT_MS);
    if (this.#idle !== undefined) throw new Error(`Cannot upgrade: ${this.#idle}`);
    this.#refuseIfTakingOver();
    this.refuseIfUpgrading("upgrade");
    const isReloading = roll !== null && roll.fallback !== null; // nobody can await the way back from one
    if (isReloading || isToReload) throw new Error("Cannot upgrade: a reload is under way; await its end first");
    const stays = everReady && !endsEarly;
    const upgrade = new Upgrade({ host, hub, sockets: sockets(), pool: owner.key, stays, timeoutMs, stopTimeoutMs });
    const running = upgrade.run();
    this.#upgrade = upgrade;
    this.#over = running.catch(() => {}); // told to whoever awaits upgrade()
    try {
      await running;
      stop();
    } finally {
      this.#upgrade = undefined;
    }
  }

  /** This manager is to end: whoever was to take over ends, too. */
  abandon(reason: string): void {
    this.#idle = reason;
    this.#upgrade?.abandon(reason);
  }

  /** The same, and at once. */
  kill(): void {
    this.#upgrade?.kill();
  }

  /** A signal to stop has come from outside. */
  hearStop(): void {
    this.#upgrade?.hearStop();
  }

  /** Resolves when no upgrade is under way. */
  over(): Promise<void> {
    return this.#over;
  }
}
