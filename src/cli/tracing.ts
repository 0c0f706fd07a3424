/**
 * The tracer of OpenTelemetry, where somebody has set one up for this process.
 *
 * @module
 */

import type { Tracer } from "../telemetry.ts";
import type { ProcessHost } from "../types.ts";
import { VERSION } from "../version.ts";

/** Where all copies of the API package meet, and the runtime that has it built in. */
const GLOBAL = Symbol.for("opentelemetry.js.api.1");

/** How long the last spans may take to be sent. */
const FLUSH_MS = 2000;

/** A tracer, and what sends what it holds back. */
export interface Tracing {
  readonly tracer: Tracer;
  flush(host: ProcessHost): Promise<void>;
}

interface Provider {
  getTracer(name: string, version: string): Tracer;
  /** The API package puts a provider in front of the one that was set up. */
  getDelegate?(): Partial<Provider>;
  forceFlush?(): Promise<unknown>;
}

/**
 * Finds it without loading anything; undefined if there is none.
 *
 * @param threw Told why there is none where somebody tried to have one.
 */
export function findTracing(threw: (error: unknown) => void, global: object = globalThis): Tracing | undefined {
  try {
    const api: unknown = Reflect.get(global, GLOBAL);
    const provider = isObject(api) ? api["trace"] : undefined;
    if (!isProvider(provider)) return undefined;
    return { tracer: provider.getTracer("prefork", VERSION), flush: (host) => flush(provider, host) };
  } catch (error) {
    threw(error);
    return undefined;
  }
}

/** Some send what they have every few seconds, and a process that exits does not ask them. */
async function flush(provider: Provider, host: ProcessHost): Promise<void> {
  const late = Promise.withResolvers<void>();
  using _timer = host.setTimer(FLUSH_MS, () => late.resolve());
  try {
    const { forceFlush } = provider;
    const owner = forceFlush === undefined ? provider.getDelegate?.() : provider;
    await Promise.race([owner?.forceFlush?.(), late.promise]);
  } catch {
    // whoever sends them tells what was wrong
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return (typeof value === "object" || typeof value === "function") && value !== null;
}

function isProvider(value: unknown): value is Provider {
  return isObject(value) && typeof value["getTracer"] === "function";
}
