/**
 * What a manager of the command line does for an operator.
 *
 * @module
 */

import { checkWorkers } from "../checks.ts";
import { describeError, formatEvent, type PreforkEvent } from "../events.ts";
import type { Past } from "../operator/history.ts";
import { Ledger } from "../operator/ledger.ts";
import { type ManagerFacts, type ManagerState, report, type StatusReport } from "../operator/report.ts";
import type { Changes } from "./changes.ts";
import type { LogFile } from "./log_file.ts";
import { inWords } from "./system_error.ts";
import type { Order, Reply } from "../operator/words.ts";
import type { Prefork } from "../prefork.ts";
import { isStopSignal } from "../signals.ts";
import type { ProcessHost, Signal } from "../types.ts";

/** What operations are done to. */
export interface OperationParts {
  readonly pool: Prefork;
  readonly host: ProcessHost;
  readonly facts: () => Omit<ManagerFacts, "state" | "startedAt" | "logFile">;
  readonly changes: Pick<Changes, "reload" | "upgrade">;
  /** What the status page shows of the past, if there is one. */
  readonly past: () => Past | undefined;
  /** The log file, if there is one. */
  readonly logFile: LogFile | undefined;
  /** Stops as by a signal. */
  stop(): void;
}

type Tell = (progress: string) => void;

/** The operations on one pool. */
export class Operations {
  readonly #parts: OperationParts;
  readonly #ledger = new Ledger();
  readonly #startedAt: number;
  readonly #ended = Promise.withResolvers<Reply>();
  /** Those who follow what happens, some of them from a certain event on. */
  readonly #followers = new Map<Tell, PreforkEvent["type"] | undefined>();
  /** Changes that have begun and not ended, whoever asked for them: reloads by their generation. */
  readonly #reloads = new Set<number>();
  #upgrades = 0;
  #isStopping = false;
  /** The manager that has taken over. */
  #heir: number | undefined;

  constructor(parts: OperationParts) {
    this.#parts = parts;
    this.#startedAt = parts.host.now();
  }

  /** Something has happened in the pool. */
  heed(event: PreforkEvent): void {
    this.#ledger.heed(event, this.#parts.host.now());
    if (event.type === "reload") this.#reloads.add(event.generation);
    if (event.type === "reloaded" || event.type === "reloadFailed") this.#reloads.delete(event.generation);
    if (event.type === "upgrade") this.#upgrades++;
    if (event.type === "upgraded" || event.type === "upgradeFailed") this.#upgrades--;
    if (event.type === "upgraded") this.#heir = event.pid;
    if (event.type === "signal" && isStopSignal(event.signal)) this.#isStopping = true;
    if (this.#followers.size === 0) return;
    const text = formatEvent(event);
    for (const [tell, from] of this.#followers) {
      if (from !== undefined && from !== event.type) continue;
      this.#followers.set(tell, undefined);
      tell(text);
    }
  }

  /** All is over; whoever asked for it is told. */
  end(text: string): void {
    this.#ended.resolve({ type: "done", text });
  }

  /** Does what an operator asks for. */
  async obey(order: Order, tell: Tell, gone: Promise<void>): Promise<Reply> {
    const { pool } = this.#parts;
    switch (order.do) {
      case "status":
        return { type: "status", status: await this.report() };
      case "past":
        return this.#past();
      case "reload":
        return await this.#change("reload", tell, async () => {
          await this.#parts.changes.reload();
          return `generation ${pool.generation} serves, with ${count(this.#ready)}`;
        });
      case "upgrade":
        return await this.#change("upgrade", tell, async () => {
          await this.#parts.changes.upgrade();
          return "a new manager has taken over";
        });
      case "reopen":
        return await this.#reopen();
      case "follow":
        return await this.#follow(tell, gone);
      case "stop":
        return await this.#stop(order.now, tell);
      case "scale":
        return this.#scale(order.workers);
      case "signal":
        return this.#signal(order.signal, order.slot);
    }
  }

  #past(): Reply {
    const past = this.#parts.past();
    return past === undefined ? { type: "failed", reason: "there is no status page" } : { type: "past", past };
  }

  /** How long this manager has been there. */
  get uptimeMs(): number {
    return this.#parts.host.now() - this.#startedAt;
  }

  /** How the pool is. */
  report(): Promise<StatusReport> {
    const { pool, host, facts, logFile } = this.#parts;
    return report(pool, this.#ledger, host, {
      ...facts(),
      logFile: logFile?.path ?? null,
      startedAt: this.#startedAt,
      state: this.#state(),
    });
  }

  #state(): ManagerState {
    if (this.#isStopping) return "stopping";
    if (this.#upgrades > 0) return "upgrading";
    if (this.#reloads.size > 0) return "reloading";
    return this.#ready > 0 ? "running" : "starting";
  }

  /** Why this manager is to get no requests; undefined if it may. */
  notReady(): string | undefined {
    if (this.#isStopping) return "stopping";
    return this.#ready === 0 ? "no worker is ready" : undefined;
  }

  get #ready(): number {
    return this.#parts.pool.workers.filter(({ state }) => state === "ready").length;
  }

  /** What is told before it has begun would pass for its beginning. */
  async #change(begins: "reload" | "upgrade", tell: Tell, change: () => Promise<string>): Promise<Reply> {
    if (this.#isStopping) return stopping();
    this.#followers.set(tell, begins);
    try {
      return { type: "done", text: await change() };
    } catch (error) {
      const reason = describeError(error);
      return { type: "failed", reason: `${reason}${this.#whereToLook(reason)}` };
    } finally {
      this.#followers.delete(tell);
    }
  }

  /** Why a worker ended it has printed, and not to whoever asked for the change. What was not tried printed nothing. */
  #whereToLook(reason: string): string {
    const { host, logFile, facts } = this.#parts;
    if (logFile !== undefined) return `; 'prefork logs ${facts().name}' shows what was printed`;
    const hasEnded = / exited with status \d/.test(reason);
    return hasEnded ? `; what was printed is on the standard error of the manager, pid=${host.pid}` : "";
  }

  async #reopen(): Promise<Reply> {
    const { logFile } = this.#parts;
    if (logFile === undefined) return { type: "failed", reason: "it has no log file; --log-file FILE gives it one" };
    try {
      await logFile.reopen();
      return { type: "done", text: `the log goes to ${logFile.path} from now on` };
    } catch (error) {
      return { type: "failed", reason: `${logFile.path}: ${inWords(error)}; the old file is written to as before` };
    }
  }

  async #follow(tell: Tell, gone: Promise<void>): Promise<Reply> {
    this.#followers.set(tell, undefined);
    const reply = await Promise.race([this.#ended.promise, gone]);
    this.#followers.delete(tell);
    return reply ?? { type: "done", text: "" };
  }

  #stop(now: boolean, tell: Tell): Promise<Reply> {
    const { pool, stop } = this.#parts;
    this.#followers.set(tell, undefined);
    if (this.#isStopping) tell("the stop is under way already"); // the next event may be long in coming
    else stop();
    if (now) pool.signalAllChildren("SIGKILL");
    if (this.#heir !== undefined) this.#passStopOn(this.#heir);
    return this.#ended.promise;
  }

  /** Whoever asks here to stop while all is given away means the whole service. */
  #passStopOn(heir: number): void {
    try {
      this.#parts.host.kill(heir, "SIGTERM");
    } catch {
      // It runs as somebody else by now, or is gone.
    }
  }

  #scale(workers: number): Reply {
    if (this.#isStopping) return stopping();
    const before = this.#parts.pool.maxWorkers;
    this.#parts.pool.maxWorkers = checkWorkers("scale", workers);
    return { type: "done", text: `${count(workers)} from now on, ${before} before` };
  }

  #signal(signal: Signal, slot: number | undefined): Reply {
    const { pool } = this.#parts;
    if (slot === undefined) {
      pool.signalAllChildren(signal);
      return { type: "done", text: `${count(pool.numWorkers)} ${pool.numWorkers === 1 ? "gets" : "get"} ${signal}` };
    }
    if (!pool.signalChild(slot, signal)) return { type: "failed", reason: `there is no worker in slot ${slot}` };
    return { type: "done", text: `worker=${slot} gets ${signal}` };
  }
}

function stopping(): Reply {
  return { type: "failed", reason: "this manager is about to stop" };
}

function count(workers: number): string {
  return `${workers} worker${workers === 1 ? "" : "s"}`;
}
