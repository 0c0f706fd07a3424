/**
 * The worker's side of a pool of jobs: does one after the other until it is told to stop.
 *
 * @module
 */

import type { ControlConnection } from "../types.ts";
import { session, type Worker, type WorkerSession } from "../worker.ts";
import { doInJob } from "./arrival.ts";
import { decode, encode, type Encoded, encodeThrown } from "./codec.ts";
import { type Frame, sendFrame, TAKES_FILES } from "./frames.ts";
import type { JobFunction } from "./job.ts";
import { Parcels } from "./parcels.ts";
import { openStream } from "./stream.ts";

/** Jobs that a worker was given, and has not done. */
class Tray {
  readonly #frames: Frame[] = [];
  /** Those of them that nobody wants any more. */
  readonly #unwanted = new Set<number>();
  #current: { readonly id: number; readonly stop: AbortController } | undefined;
  #changed = (): void => {};
  #isOver = false;

  add(frame: Frame): void {
    this.#frames.push(frame);
    this.#changed();
  }

  /** Takes a job out; false if it has begun. */
  remove(id: number): boolean {
    const index = this.#frames.findIndex((frame) => frame.id === id);
    if (index >= 0) this.#frames.splice(index, 1);
    return index >= 0;
  }

  /** Nobody wants a job any more. */
  giveUp(id: number): void {
    if (this.#current?.id === id) this.#current.stop.abort(new Error("nobody wants this job any more"));
    else if (this.#frames.some((frame) => frame.id === id)) this.#unwanted.add(id);
  }

  /** No job is begun any more; gives the one that is being done, 0 for none. */
  end(): number {
    this.#isOver = true;
    this.#changed();
    return this.#current?.id ?? 0;
  }

  /** Resolves with the next job; undefined if there is to be none. */
  async next(): Promise<{ readonly frame: Frame; readonly signal: AbortSignal } | undefined> {
    this.#current = undefined;
    while (!this.#isOver) {
      const frame = this.#frames.shift();
      if (frame !== undefined) return this.#begin(frame);
      await new Promise<void>((resolve) => this.#changed = resolve);
    }
    return undefined;
  }

  #begin(frame: Frame) {
    const stop = new AbortController();
    this.#current = { id: frame.id, stop };
    if (this.#unwanted.delete(frame.id)) stop.abort(new Error("nobody wants this job any more"));
    return { frame, signal: stop.signal };
  }
}

/** Does jobs until the worker is told to stop, and the one that it does is done. */
export async function doJobs<Item, Result>(
  worker: Worker<unknown>,
  job: JobFunction<Item, Result>,
): Promise<void> {
  const token = session?.channel.welcome?.job?.token;
  if (session === undefined || token === undefined) {
    throw new Error("Cannot do jobs: this process is no worker for them");
  }
  const tray = new Tray();
  const asked = Promise.withResolvers<number>();
  let parcels: Parcels | undefined = undefined;
  const take = (frame: Frame): void => {
    if (frame.kind === "ok") asked.resolve(frame.id);
    else if (frame.kind === "do") tray.add(frame);
    else if (frame.kind === "end") tray.giveUp(frame.id);
    else if (frame.kind === "back" && tray.remove(frame.id)) sendFrame(connection, "back", frame.id);
  };
  const connection = await openStream(session, token, take, () => void tray.end(), () => parcels);
  const stop = (): void => sendFrame(connection, "last", tray.end());
  parcels = parcelsOf(session, await asked.promise);
  sendFrame(connection, "here", worker.pid, parcels === undefined ? undefined : TAKES_FILES);
  if (worker.signal.aborted) return stop();
  worker.signal.addEventListener("abort", stop, { once: true });
  worker.ready();
  for (let next = await tray.next(); next !== undefined; next = await tray.next()) {
    const { frame: { id, value, failure }, signal } = next;
    await answer(connection, id, parcels, () => {
      if (signal.aborted) throw signal.reason;
      if (failure !== undefined) throw failure;
      const item = decode(value) as Item; // what jobs are given is for their writer to know
      return doInJob(() => job(item, { signal, worker }));
    });
  }
}

/** Where many bytes are left for the manager, and it leaves some; nothing where this process may not. */
function parcelsOf({ controlPath }: WorkerSession, key: number): Parcels | undefined {
  const parcels = new Parcels(controlPath.slice(0, controlPath.lastIndexOf("/")), key, "worker");
  return parcels.isOpen ? parcels : undefined;
}

/** The next job is not begun before this answer is out: else the manager could not know which of them a death has cost. */
async function answer(
  connection: ControlConnection,
  id: number,
  parcels: Parcels | undefined,
  work: () => unknown,
): Promise<void> {
  let value: Encoded;
  try {
    value = encode(await work());
    sendFrame(connection, "done", id, value, parcels);
  } catch (error) {
    sendFrame(connection, "failed", id, encodeThrown(error));
  }
  await connection.flush();
}
