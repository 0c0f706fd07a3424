/**
 * What workers print, on its way to the manager's own standard output and error: whole lines, each with its worker's
 * name where that is wanted, at the pace of the reader.
 *
 * @module
 */

import type { WorkerOutput } from "../options.ts";
import type { OutputReader } from "../types.ts";
import type { OutputStream } from "./host.ts";
import { inPieces, LineSplitter } from "./lines.ts";
import type { Naming } from "./naming.ts";
import type { Outlet } from "./outlet.ts";

/** How many lines are named and written at once. */
const LINES_AT_ONCE = 512;

/** A standard stream, and how to name a worker on it. */
export interface Destination {
  readonly outlet: Outlet;
  readonly naming: Naming;
}

/** Passes on what workers print. */
export class OutputRelay {
  readonly #destinations: Readonly<Record<OutputStream, Destination>>;
  /** Live workers by process id: who owns what they print, on each stream. */
  readonly #live = new Map<number, Readonly<Record<OutputStream, object>>>();
  #open = 0;
  #allEnded: (() => void) | undefined;

  constructor(destinations: Readonly<Record<OutputStream, Destination>>) {
    this.#destinations = destinations;
  }

  /** For the option `output` of a pool. */
  readonly output: WorkerOutput = (worker, stream) => {
    const { outlet, naming } = this.#destinations[stream];
    const owner = this.#live.get(worker.pid)?.[stream] ?? {};
    if (!this.#live.has(worker.pid)) outlet.abandon(owner);
    return this.#read(outlet, owner, (block) => naming(block, worker, !outlet.isMidLine(owner)));
  };

  #read(outlet: Outlet, owner: object, name: (block: Uint8Array) => Uint8Array): OutputReader {
    const splitter = new LineSplitter();
    return (chunk) => {
      const ended = chunk.length === 0;
      if (ended) this.#streamEnded();
      const block = ended ? splitter.end() : splitter.push(chunk);
      if (block.length === 0) return;
      return this.#print(outlet, owner, block, name);
    };
  }

  /** Not all at once: a name before each of many thousand lines keeps this process from all else. */
  async #print(outlet: Outlet, owner: object, block: Uint8Array, name: (block: Uint8Array) => Uint8Array) {
    for (const piece of inPieces(block, LINES_AT_ONCE)) await outlet.print(owner, name(piece));
  }

  /** A worker was started: two streams to read to their end. */
  spawned(pid: number): void {
    this.#open += 2;
    this.#live.set(pid, { stdout: {}, stderr: {} });
  }

  /** A worker is gone. */
  reaped(pid: number): void {
    const owners = this.#live.get(pid);
    this.#live.delete(pid);
    if (owners === undefined) return;
    for (const stream of ["stdout", "stderr"] as const) this.#destinations[stream].outlet.abandon(owners[stream]);
  }

  #streamEnded(): void {
    this.#open--;
    if (this.#open <= 0) this.#allEnded?.();
  }

  /** Resolves when all that the workers printed was read, or after `patienceMs`: somebody may hold on to their pipes. */
  async ended(patienceMs: number): Promise<void> {
    if (this.#open <= 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, patienceMs);
      this.#allEnded = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
