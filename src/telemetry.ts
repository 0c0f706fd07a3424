/**
 * The life of a pool as spans of OpenTelemetry. Loaded only where there is a tracer.
 *
 * @module
 */

import { describeError, type PreforkEvent } from "./events.ts";
import { Table } from "./table.ts";
import type { ExitStatus, WorkerInfo } from "./types.ts";

/** What a span says of what it stands for. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** As much of OpenTelemetry's `Span` as is used. */
export interface TracerSpan {
  /** Adds attributes. */
  setAttributes(attributes: SpanAttributes): unknown;
  /** Says how it went: 2 is an error. */
  setStatus(status: { readonly code: 2; readonly message: string }): unknown;
  /** Ends it now. */
  end(): void;
}

/** As much of OpenTelemetry's `Tracer` as is used. */
export interface Tracer {
  /** Begins a span now. */
  startSpan(name: string, options: { readonly attributes: SpanAttributes }): TracerSpan;
}

/**
 * Makes spans of events, until there are no more.
 *
 * @param pool The name of the pool, if it was given one.
 * @param threw Told when the tracer throws, which is nobody else's trouble.
 */
export async function recordSpans(
  events: AsyncIterator<PreforkEvent, undefined>,
  tracer: Tracer,
  pool: string | undefined,
  threw: (error: unknown) => void,
): Promise<void> {
  const telemetry = new Telemetry(tracer, pool);
  const attempt = (act: () => void): void => {
    try {
      act();
    } catch (error) {
      threw(error);
    }
  };
  for (let next = await events.next(); next.value !== undefined; next = await events.next()) {
    const event = next.value;
    attempt(() => telemetry.heed(event));
  }
  attempt(() => telemetry.end());
}

/** Events in, spans out. */
export class Telemetry {
  readonly #tracer: Tracer;
  readonly #common: SpanAttributes;
  /** Workers that boot, by their pid. */
  readonly #boots = new Table<number, TracerSpan>();
  /** Why workers are killed that are not gone yet, by their pid. */
  readonly #causes = new Table<number, string>();
  /** Reloads under way, by the number of their generation. */
  readonly #reloads = new Table<number, TracerSpan>();
  #upgrade: TracerSpan | undefined;

  constructor(tracer: Tracer, pool: string | undefined) {
    this.#tracer = tracer;
    this.#common = pool === undefined ? {} : { "prefork.pool": pool };
  }

  /** Something has happened. */
  heed(event: PreforkEvent): void {
    switch (event.type) {
      case "spawn":
        return this.#boots.set(event.worker.pid, this.#begin("prefork.boot", workerAttributes(event.worker)));
      case "standby":
      case "ready":
        return this.#take(this.#boots, event.worker.pid)?.end();
      case "bootTimeout":
      case "hang":
      case "protocolError":
        return this.#causes.set(event.worker.pid, event.type);
      case "reap":
        return this.#reaped(event);
      case "spawnError":
        return fail(this.#begin("prefork.boot", slotAttributes(event.slot)), describeError(event.error), "spawnError");
      case "reload": {
        const { generation, serving } = event;
        const attributes = { "prefork.generation": generation, "prefork.generation.before": serving };
        return this.#reloads.set(generation, this.#begin("prefork.reload", attributes));
      }
      case "reloaded":
        return this.#take(this.#reloads, event.generation)?.end();
      case "reloadFailed":
        return giveUp(this.#take(this.#reloads, event.generation), event);
      case "upgrade":
        this.#upgrade = this.#begin("prefork.upgrade", { "process.pid": event.pid });
        return;
      case "upgraded":
        return this.#takeUpgrade()?.end();
      case "upgradeFailed":
        return giveUp(this.#takeUpgrade(), event);
      default:
        return;
    }
  }

  /** Nothing happens any more. What is under way stays without a word of how it went. */
  end(): void {
    for (const span of [...this.#boots.values(), ...this.#reloads.values()]) span.end();
    this.#upgrade?.end();
  }

  /** The death of a worker that boots is how its boot ended; of another one it is a crash, unless it was wanted. */
  #reaped({ worker, status, expected, reason }: Extract<PreforkEvent, { type: "reap" }>): void {
    const cause = this.#take(this.#causes, worker.pid);
    const boot = this.#take(this.#boots, worker.pid);
    if (boot === undefined && expected) return;
    const span = boot ?? this.#begin("prefork.crash", workerAttributes(worker));
    span.setAttributes(exitAttributes(status));
    if (expected) span.end();
    else fail(span, reason, cause ?? (status.type === "exited" ? "exit" : status.signal));
  }

  #begin(name: string, attributes: SpanAttributes): TracerSpan {
    return this.#tracer.startSpan(name, { attributes: { ...this.#common, ...attributes } });
  }

  #take<Value>(table: Table<number, Value>, key: number): Value | undefined {
    const value = table.get(key);
    table.delete(key);
    return value;
  }

  #takeUpgrade(): TracerSpan | undefined {
    const span = this.#upgrade;
    this.#upgrade = undefined;
    return span;
  }
}

const ERROR = 2;

function fail(span: TracerSpan, message: string, type: string): void {
  span.setAttributes({ "error.type": type });
  span.setStatus({ code: ERROR, message });
  span.end();
}

/** What was given up for something else is no error. */
function giveUp(
  span: TracerSpan | undefined,
  { cause, reason }: { readonly cause: string; readonly reason: string },
): void {
  if (span === undefined) return;
  if (cause === "failed") return fail(span, reason, cause);
  span.setAttributes({ "prefork.cause": cause });
  span.end();
}

function workerAttributes({ slot, generation, pid }: WorkerInfo): SpanAttributes {
  return { ...slotAttributes(slot), "prefork.generation": generation, "process.pid": pid };
}

function slotAttributes(slot: number): SpanAttributes {
  return slot < 0 ? { "prefork.standby": true } : { "prefork.slot": slot };
}

function exitAttributes(status: ExitStatus): SpanAttributes {
  return status.type === "exited" ? { "process.exit.code": status.code } : { "prefork.exit.signal": status.signal };
}
