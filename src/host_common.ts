/**
 * What both runtimes' hosts check and say alike.
 *
 * @module
 */
import type { OutputReader, ProcessHost, ProcessUsage, Signal, Timer } from "./types.ts";

/** Does `action`; an error becomes "Cannot start x: reason". */
export function attempt<T>(what: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw failure(what, error);
  }
}

/** An error that says what could not be done, and why. */
export function failure(what: string, error: unknown): Error {
  return refusal(new Error(`Cannot ${what}: ${reason(error)}`, { cause: error }));
}

const refusals = new WeakSet<Error>();

/** Marks an error whose words tell all there is to tell, so that the place in this library need not be shown. */
export function refusal<T extends Error>(error: T): T {
  refusals.add(error);
  return error;
}

/** Whether an error is one of those. */
export function isRefusal(error: Error): boolean {
  return refusals.has(error);
}

/** The words of an error. */
export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Refuses the numbers by which kill(2) means several processes at once.
 *
 * @throws {RangeError} If `pid` is neither a process nor a group.
 */
export function checkPid(pid: number): void {
  if (Number.isInteger(pid) && pid !== 0 && pid !== -1) return;
  throw new RangeError(`Cannot signal process ${pid}: give a process id, or a process group's as a negative number.`);
}

/** Those that `nohup` and its kin ignore. `signals.ts` has all numbers, but workers load this file and not that one. */
const SIGNAL_NUMBERS: Partial<Record<Signal, number>> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGTERM: 15 };

/** Whether the text that `readStatus` gets from `/proc/PID/status` says that a process ignores a signal. */
export function ignores(signal: Signal, readStatus: () => string): boolean {
  const number = SIGNAL_NUMBERS[signal];
  if (number === undefined) return false;
  try {
    const mask = /^SigIgn:\s*([0-9a-f]+)/m.exec(readStatus())?.[1];
    return mask !== undefined && (BigInt(`0x${mask}`) >> BigInt(number - 1) & 1n) === 1n;
  } catch {
    return false;
  }
}

/** Writes a whole text by a call that may take a part of it; what cannot be written is dropped. */
export function writeText(text: string, write: (bytes: Uint8Array) => number): void {
  try {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += write(bytes.subarray(at));
  } catch {
    // Nobody is left to tell: standard error is closed, full, or its disk is.
  }
}

/** Where chunks come from: the reader of a stream. */
export interface ChunkSource {
  /** The next chunk; none at the end. */
  read(): Promise<{ readonly value?: Uint8Array | undefined }>;
}

/** Hands what a process prints to a reader, at its pace; the empty chunk is the end. */
export async function readAll(source: ChunkSource, reader: OutputReader): Promise<void> {
  while (true) {
    const { value } = await source.read().catch(() => ({ value: undefined }));
    try {
      await reader(value ?? new Uint8Array(0));
    } catch {
      // The reader's own trouble; stopping here would block the process in its next write.
    }
    if (value === undefined) return;
  }
}

/** The longest delay that a timer of the runtimes can hold. */
const MAX_DELAY_MS = 2 ** 31 - 1;

type TimerId = ReturnType<typeof setTimeout>;

/** A timer of any length that never fires early. */
export function makeTimer(delayMs: number, callback: () => void, unref: (timer: TimerId) => void): Timer {
  const due = performance.now() + delayMs;
  let referenced = true;
  let id: TimerId;
  const arm = () => {
    const leftMs = Math.ceil(due - performance.now());
    id = setTimeout(fire, Math.min(Math.max(leftMs, 0), MAX_DELAY_MS));
    if (!referenced) unref(id);
  };
  const fire = () => performance.now() < due ? arm() : callback();
  arm();
  return {
    unref() {
      referenced = false;
      unref(id);
    },
    [Symbol.dispose]: () => clearTimeout(id),
  };
}

/**
 * Makes a directory for the control sockets at the first place that can hold one.
 *
 * @throws {Error} If there is none; names those tried.
 */
// deno-lint-ignore require-await
export async function makePrivateDir(host: ProcessHost, make: (parent: string) => string): Promise<string> {
  const tried: string[] = [];
  for (const parent of [host.getEnv("TMPDIR"), "/tmp", host.getEnv("XDG_RUNTIME_DIR")]) {
    if (parent === undefined || parent === "") continue;
    try {
      const path = make(parent);
      if (holdsSockets(path)) return path;
      tried.push(`${parent} (its name is too long for a socket)`);
      host.removeDir(path);
    } catch (error) {
      tried.push(`${parent} (${reason(error)})`);
    }
  }
  throw new Error(`Found no place for the control sockets; tried ${tried.join(", ")}. Set TMPDIR to one.`);
}

/** A path has 107 bytes at most, and the longest name we give a socket has 20. */
function holdsSockets(directory: string): boolean {
  return new TextEncoder().encode(directory).length <= 107 - 20;
}

/** Calls both. */
export function both(first: () => void, second: () => void): () => void {
  return () => {
    first();
    second();
  };
}

/** The unit of times in `/proc/PID/stat`, the same on every Linux, in milliseconds. */
const TICK_MS = 10;

/** Reads `/proc/PID/stat` and `/proc/PID/status` of a process (proc(5)); undefined if they cannot be read. */
export function readUsage(pid: number, read: (path: string) => string): ProcessUsage | undefined {
  try {
    const stat = read(`/proc/${pid}/stat`);
    // The name of the program, in parentheses, may hold anything; utime and stime are the 14th and 15th field.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const kib = /^VmRSS:\s*(\d+) kB$/m.exec(read(`/proc/${pid}/status`))?.[1] ?? "0";
    return { memoryBytes: Number(kib) * 1024, cpuMs: (Number(fields[11]) + Number(fields[12])) * TICK_MS };
  } catch {
    return undefined;
  }
}

/** What is to be sent through a connection, in order: text in a row is encoded at once. */
export class Outgoing {
  readonly #encoder = new TextEncoder();
  #text = "";
  /** What comes before that. */
  readonly #before: Uint8Array[] = [];

  /** Whether there is nothing more. */
  get isEmpty(): boolean {
    return this.#text === "" && this.#before.length === 0;
  }

  /** Adds to it. */
  add(data: string | Uint8Array): void {
    if (typeof data === "string") return void (this.#text += data);
    if (this.#text !== "") this.#before.push(this.#encode());
    this.#before.push(data);
  }

  /** Takes the next bytes. */
  take(): Uint8Array {
    return this.#before.shift() ?? this.#encode();
  }

  /** Forgets all. */
  clear(): void {
    this.#text = "";
    this.#before.length = 0;
  }

  #encode(): Uint8Array {
    const bytes = this.#encoder.encode(this.#text);
    this.#text = "";
    return bytes;
  }
}
