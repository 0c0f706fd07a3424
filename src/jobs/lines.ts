/**
 * The workers of a pool of jobs, each at the end of the stream that it has opened: what they are given, and what they say.
 *
 * @module
 */

import type { ControlConnection, ControlHandlers, ProcessHost, Timer } from "../types.ts";
import { decode, encode } from "./codec.ts";
import { Dispatcher, type Job, type Outcome } from "./dispatcher.ts";
import { type Frame, sendFrame, TAKES_FILES } from "./frames.ts";
import { JobDiedError } from "./job.ts";
import { Parcels } from "./parcels.ts";
import { byFrames } from "./stream.ts";

/** A worker's stream. */
interface Line {
  readonly connection: ControlConnection;
  pid: number;
  /** Where many bytes go, unless its worker cannot use files. */
  parcels: Parcels | undefined;
}

/** What becomes of jobs, by their numbers. */
export interface LinesEffects {
  /** A worker was given a job. */
  given(): void;
  /** A worker has come to a job. */
  begins(id: number): void;
  /** A job waits again that a worker had. */
  returns(id: number): void;
  /** What a job gave, or what it threw, or why nothing came of it. */
  over(id: number, isDone: boolean, value: unknown): void;
  /** There may be more jobs that no worker has, or fewer workers. */
  left(): void;
}

/** A worker that is at a job for longer than this has back what it was given in advance. */
const LOOK_MS = 20;

/** Gives jobs to workers as they come and go. */
export class Lines {
  readonly #host: ProcessHost;
  readonly #killAfterMs: number;
  readonly #effects: LinesEffects;
  readonly #dispatcher: Dispatcher<Line>;
  /** How many there have been. */
  #made = 0;
  #looking: Timer | undefined;

  /** @param killAfterMs How long a job that nobody wants any more has to heed its signal. */
  constructor(host: ProcessHost, killAfterMs: number, effects: LinesEffects) {
    this.#host = host;
    this.#killAfterMs = killAfterMs;
    this.#effects = effects;
    this.#dispatcher = new Dispatcher({
      give: ({ connection, parcels }, { id, item }) => {
        sendFrame(connection, "do", id, item, parcels);
        effects.given();
      },
      begins: (_, { id }) => effects.begins(id),
      returns: ({ id }) => effects.returns(id),
      settle: (job, outcome) => this.#settle(job, outcome),
    }, () => host.now());
  }

  /** How many jobs no worker has. */
  get waiting(): number {
    return this.#dispatcher.waiting;
  }

  /** How many jobs workers have. */
  get running(): number {
    return this.#dispatcher.running;
  }

  /** How many jobs a worker has at most. */
  get depth(): number {
    return this.#dispatcher.depth;
  }

  /** A job is to be done. */
  add(job: Job): void {
    this.#dispatcher.add(job);
    this.#look();
  }

  /** Nobody wants a job any more: it does not begin, or may heed its signal, or its worker is killed. */
  cancel(id: number): void {
    const line = this.#dispatcher.cancel(id);
    if (line === undefined) return;
    sendFrame(line.connection, "end", id);
    this.#host.setTimer(this.#killAfterMs, () => {
      if (this.#dispatcher.isAt(line, id)) this.#host.kill(-line.pid, "SIGKILL");
    }).unref();
  }

  /** Takes out all jobs that no worker has. */
  takeAll(): readonly Job[] {
    return this.#dispatcher.takeAll();
  }

  /** A worker has opened its stream. */
  take(connection: ControlConnection, dir: string): ControlHandlers {
    const line: Line = { connection, pid: 0, parcels: undefined };
    const key = ++this.#made;
    sendFrame(connection, "ok", key);
    return {
      data: byFrames((frame) => {
        if (frame.kind !== "here") return this.#hear(line, frame);
        line.pid = frame.id;
        if (frame.value.text === TAKES_FILES.text) line.parcels = new Parcels(dir, key, "manager");
        this.#dispatcher.join(line);
      }, () => line.parcels),
      closed: () => {
        this.#dispatcher.leave(line);
        line.parcels?.clear();
        this.#effects.left();
      },
    };
  }

  #hear(line: Line, { kind, id, value, failure }: Frame): void {
    if (kind === "last") this.#dispatcher.close(line, id);
    else if (kind === "back") {
      this.#dispatcher.giveBack(line, id);
      this.#effects.left();
    } else if (kind === "done" || kind === "failed") {
      this.#dispatcher.answer(line, id, failure === undefined ? { type: kind, value } : unread(failure));
    }
  }

  /** Now and then, as long as there are jobs: what waits behind a job that takes long is for somebody else to do. */
  #look(): void {
    if (this.#looking !== undefined) return;
    this.#looking = this.#host.setTimer(LOOK_MS, () => {
      this.#looking = undefined;
      for (const { worker, jobs } of this.#dispatcher.behind(LOOK_MS)) {
        for (const { id } of jobs) sendFrame(worker.connection, "back", id);
      }
      if (this.waiting + this.running > 0) this.#look();
    });
    this.#looking.unref();
  }

  #settle({ id }: Job, outcome: Outcome): void {
    if (outcome.type === "died") return this.#effects.over(id, false, new JobDiedError(outcome.times));
    let value: unknown;
    try {
      value = decode(outcome.value);
    } catch (error) {
      return this.#effects.over(id, false, error); // of what cannot be read here
    }
    this.#effects.over(id, outcome.type === "done", value);
  }
}

/** What comes of a job whose answer cannot be had. */
function unread(failure: unknown): Outcome {
  const error = new Error("Cannot read what this job gave: it came in a file, which could not be read", {
    cause: failure,
  });
  return { type: "failed", value: encode(error) };
}
