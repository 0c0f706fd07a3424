/**
 * The words of the control channel: one JSON message a line.
 *
 * @module
 */

import type { SocketAddress } from "./address.ts";
import type { Durations } from "./latency.ts";
import type { WorkerListener } from "./serving.ts";
import type { Json, Signal } from "./types.ts";

/** Raised by one whenever a message changes its meaning; both ends must speak the same. */
export const PROTOCOL_VERSION = 1;

/** What a worker says. */
export type WorkerMessage =
  | { readonly type: "hello"; readonly version: number; readonly token: string }
  | { readonly type: "begin" | "ready" }
  /** It is a module whose work begins with its default export; or it stands by, and can go no further. */
  | { readonly type: "waits" | "parked" }
  /** It was told to stop. */
  | { readonly type: "stopping" }
  | FiguresMessage
  | StatusMessage
  /** Its event loop turns; the timer that says so came `lagMs` late. */
  | { readonly type: "beat"; readonly lagMs: number }
  | { readonly type: "extend"; readonly delayMs: number }
  /** It asked itself whether it is ready: what it saw in the place of a good answer. */
  | { readonly type: "checked"; readonly saw: string }
  | { readonly type: "recycle"; readonly reason: string };

/** What a worker does. */
export interface StatusMessage {
  readonly type: "status";
  readonly status: string;
  /** Whether it counts as idle; open if it is not said: it will be in no time, if the worker's event loop turns. */
  readonly isIdle?: boolean;
}

/** What a worker has done so far: the answer to an `ask`, and its last word. */
export interface FiguresMessage {
  readonly type: "figures";
  /** How many requests it has served; null if it serves none by this library. */
  readonly requests: number | null;
  /** How long they took; null if that is not known. */
  readonly durations: Durations | null;
}

/** Where another pool of the program stood when a worker was spawned. */
export interface PoolSnapshot {
  readonly signalReceived: Signal | "";
  /** Inside `start`, which is still to return. */
  readonly starting: boolean;
  /** `start` was called at least once. */
  readonly started: boolean;
}

/** A socket that a worker inherited, as it is told of it. */
export interface ListenerMessage {
  readonly name: string | null;
  readonly address: SocketAddress;
  readonly text: string;
  readonly fd: number;
}

/** What a worker asks its own server until it is ready. */
export interface SelfCheckMessage {
  readonly path: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

/** What a worker is told of itself. */
export interface WorkerFacts {
  readonly slot: number;
  readonly generation: number;
  readonly managerPid: number;
  readonly forkValue: Json | null;
  readonly data: Json | null;
}

/** Where a worker serves, and how. */
export interface ServingFacts {
  /** The sockets it has inherited. */
  readonly listeners: readonly ListenerMessage[];
  /** What it asks its own server until it is ready; null for nothing. */
  readonly selfCheck: SelfCheckMessage | null;
  /** Whether a native server may accept from the sockets itself. */
  readonly adoption: boolean;
}

/** What a process is told that is there for jobs. */
export interface JobFacts {
  /** If it is there for one: what stands for the name it was started by. The program must come to the same one. */
  readonly ident: string | null;
  /** What opens a stream for what jobs are given and what they give. */
  readonly token: string;
}

/** What the manager tells a worker before anything of its own may run. */
export interface Welcome extends WorkerFacts, ServingFacts {
  readonly type: "welcome";
  readonly version: number;
  /** Signals that tell this worker to stop. */
  readonly stopSignals: readonly Signal[];
  /** How long the worker may take to end once its manager is gone, in milliseconds. */
  readonly drainTimeoutMs: number;
  /** How often it says that its event loop turns; null for never. */
  readonly beatMs: number | null;
  /** How many requests it serves before it asks to be replaced; null for any number. */
  readonly maxRequests: number | null;
  /** Where the other pools of the manager's program stand. */
  readonly pools: Readonly<Record<string, PoolSnapshot>>;
  /** What the managers on the way to this worker were told when they were made, outermost first. */
  readonly via: readonly WorkerFacts[];
  /** Of a process that is there for jobs. */
  readonly job?: JobFacts;
}

/** What the manager tells a worker that is to stand by until its welcome. */
export interface Hold extends ServingFacts {
  readonly type: "hold";
  readonly version: number;
  /** Whether the program of a module may run up to its default export. */
  readonly runsModule: boolean;
}

/** The manager wants to know what the worker has done. */
export interface Ask {
  readonly type: "ask";
  readonly version: number;
}

/** What the manager says. */
export type ManagerMessage = Hold | Welcome | Ask;

/** An `ask` as a line. */
export const ASK: string = `${JSON.stringify({ type: "ask", version: PROTOCOL_VERSION } satisfies Ask)}\n`;

/** The part of a welcome that a worker's own workers are told, too. */
export function factsOf({ slot, generation, managerPid, forkValue, data }: Welcome): WorkerFacts {
  return { slot, generation, managerPid, forkValue, data };
}

/** The sockets that a worker is told of. */
export function listenersOf({ listeners }: ServingFacts): readonly WorkerListener[] {
  return listeners.map(({ name, ...listener }) => ({ ...listener, name: name ?? undefined }));
}

/** A message as a line. */
export function encode(message: WorkerMessage): string {
  return `${JSON.stringify(message)}\n`;
}

/** A hold as a line. */
export function encodeHold(hold: Omit<Hold, "type" | "version">): string {
  return `${JSON.stringify({ type: "hold", version: PROTOCOL_VERSION, ...hold })}\n`;
}

/** A welcome as a line, with `data` already as JSON, since all workers of a generation share it. */
export function encodeWelcome(welcome: Omit<Welcome, "data" | "type" | "version">, data: string): string {
  const head = JSON.stringify({ type: "welcome", version: PROTOCOL_VERSION, ...welcome });
  return `${head.slice(0, -1)},"data":${data}}\n`;
}

/**
 * Reads what a worker said.
 *
 * @throws {SyntaxError} If it makes no sense.
 */
export function decodeWorkerMessage(line: string): WorkerMessage {
  const message = parseObject(line);
  const { type, version, token, status, isIdle, lagMs, delayMs, saw, reason, requests, durations } = message;
  if (type === "begin" || type === "ready" || type === "waits" || type === "parked" || type === "stopping") {
    return { type };
  }
  if (
    type === "figures" && (requests === null || isCount(requests)) &&
    (durations === undefined || durations === null || isDurations(durations))
  ) {
    return { type, requests, durations: durations ?? null };
  }
  if (type === "status" && typeof status === "string") {
    return { type, status, ...(typeof isIdle === "boolean" ? { isIdle } : {}) };
  }
  if (type === "beat" && isNumber(lagMs)) return { type, lagMs };
  if (type === "extend" && isNumber(delayMs) && delayMs >= 0) return { type, delayMs };
  if (type === "checked" && typeof saw === "string") return { type, saw };
  if (type === "recycle" && typeof reason === "string") return { type, reason };
  if (type === "hello" && isNumber(version) && typeof token === "string") return { type, version, token };
  throw new SyntaxError(`sent a message that is not known: ${shorten(line)}`);
}

/** JSON can say numbers that are none here: `1e999`. */
function isNumber(value: unknown): value is number {
  return Number.isFinite(value);
}

function isCount(value: unknown): value is number {
  return isNumber(value) && Number.isSafeInteger(value) && value >= 0;
}

function isDurations(value: unknown): value is Durations {
  return typeof value === "object" && value !== null && "sumMs" in value && isNumber(value.sumMs) &&
    "counts" in value && Array.isArray(value.counts) && value.counts.every(isCount);
}

function parseObject(line: string): { readonly [key: string]: unknown } {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new SyntaxError(`sent a line that is no JSON: ${shorten(line)}`);
  }
  if (typeof value === "object" && value !== null) return { ...value };
  throw new SyntaxError(`sent a line that is no message: ${shorten(line)}`);
}

function shorten(line: string): string {
  return JSON.stringify(line.length > 60 ? `${line.slice(0, 60)}...` : line);
}

/** Cuts a stream of bytes into lines. */
export class LineReader {
  readonly #decoder = new TextDecoder();
  readonly #limit: number;
  #rest: string[] = [];
  #length = 0;

  /** @param limit The longest line, in characters. */
  constructor(limit: number = Infinity) {
    this.#limit = limit;
  }

  /**
   * Gives the lines that `chunk` completes, one by one, to `take`.
   *
   * @throws {SyntaxError} If a line is longer than the limit; those before it are given.
   */
  push(chunk: Uint8Array, take: (line: string) => void): void {
    const parts = this.#decoder.decode(chunk, { stream: true }).split("\n");
    const last = parts.pop() ?? "";
    for (const part of parts) {
      this.#keep(part);
      const line = this.#rest.join("");
      this.#rest = [];
      this.#length = 0;
      take(line);
    }
    this.#keep(last);
  }

  #keep(part: string): void {
    this.#length += part.length;
    if (this.#length > this.#limit) throw new SyntaxError(`sent a line of more than ${this.#limit} characters`);
    this.#rest.push(part);
  }
}
