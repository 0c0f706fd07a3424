/**
 * The worker's end of the control channel: what the manager tells this worker, and what the worker says.
 *
 * @module
 */

import {
  encode,
  type FiguresMessage,
  type Hold,
  LineReader,
  type ManagerMessage,
  PROTOCOL_VERSION,
  type Welcome,
  type WorkerMessage,
} from "./protocol.ts";
import { StatusReporter } from "./status.ts";
import type { ControlConnection, ProcessHost } from "./types.ts";

/** The longest status, and the longest of other texts, in characters. */
const MAX_TEXT = 1024;

type Figures = Omit<FiguresMessage, "type">;

/** Talks with the manager of this worker. */
export class ControlClient {
  /** Resolves by the word that this worker's own code may run. */
  readonly welcomed: Promise<Welcome>;
  readonly #host: ProcessHost;
  readonly #status: StatusReporter;
  readonly #figures: () => Figures;
  /** Resolves by the first word of the manager: to begin, or to stand by. */
  readonly #admitted = Promise.withResolvers<void>();
  #connection: ControlConnection | undefined;
  #welcome: Welcome | undefined;
  #hold: Hold | undefined;
  #staysAlive = false;
  /** What is said once. */
  readonly #said = new Set<string>();

  /**
   * Connects at once.
   *
   * @param path The manager's socket.
   * @param figures What this worker has done.
   * @param closed Told when the manager is gone.
   */
  constructor(host: ProcessHost, path: string, token: string, figures: () => Figures, closed: () => void) {
    this.#host = host;
    this.#figures = figures;
    this.#status = new StatusReporter(host, (message) => this.say(message));
    this.welcomed = this.#connect(path, token, closed);
  }

  /** What the manager said when this worker's own code was to run. */
  get welcome(): Welcome | undefined {
    return this.#welcome;
  }

  /** What the manager said if this worker is to stand by; undefined if it may begin. */
  async held(): Promise<Hold | undefined> {
    this.stayAlive(true);
    await this.#admitted.promise;
    return this.#welcome === undefined ? this.#hold : undefined;
  }

  /**
   * Whether the line to the manager keeps this process alive: while its own code is still to come, or waits to be told
   * to stop. Else a program that has nothing left to do ends, as it would by hand.
   */
  stayAlive(stays: boolean): void {
    this.#staysAlive = stays;
    if (stays) this.#connection?.ref();
    else this.#connection?.unref();
  }

  async #connect(path: string, token: string, closed: () => void): Promise<Welcome> {
    const { promise, resolve, reject } = Promise.withResolvers<Welcome>();
    const lines = new LineReader();
    const take = (line: string): void => {
      const message: ManagerMessage = JSON.parse(line);
      if (message.type === "ask") return this.tellFigures();
      this.#admitted.resolve();
      if (message.version !== PROTOCOL_VERSION) {
        const seen =
          `the manager speaks version ${message.version} of the control protocol, this worker ${PROTOCOL_VERSION}`;
        return reject(new Error(`Cannot work in this pool: ${seen}; use the same version of prefork for both`));
      }
      if (message.type === "hold") return void (this.#hold = message);
      this.#welcome = message;
      if (this.#hold !== undefined) this.#host.setEnv("PREFORK_SLOT", String(message.slot));
      resolve(message);
    };
    try {
      this.#connection = await this.#host.connectControl(path, { data: (chunk) => lines.push(chunk, take), closed });
    } catch (error) {
      this.#host.write(`prefork: cannot reach the manager at ${path}: ${String(error)}\n`);
      return this.#host.exit(1);
    }
    this.stayAlive(this.#staysAlive);
    this.say({ type: "hello", version: PROTOCOL_VERSION, token });
    return promise;
  }

  /** Says something now. */
  say(message: WorkerMessage): void {
    this.#connection?.send(encode(message));
  }

  /** Not before the code after it has had its turn, which may be the one to look at `signal` first. */
  ready(): void {
    this.#sayOnce({ type: "ready" });
  }

  /** As late as `ready`, so that what is said in that order is heard in that order. */
  recycle(reason: string): void {
    this.#sayOnce({ type: "recycle", reason: String(reason).slice(0, MAX_TEXT) });
  }

  /** Once changes everything, and again nothing; but whoever says it all the time would not be heard to beat. */
  #sayOnce(message: WorkerMessage): void {
    if (this.#said.has(message.type)) return;
    this.#said.add(message.type);
    queueMicrotask(() => this.say(message));
  }

  /** Tells what a check saw in the place of a good answer. */
  checked(saw: string): void {
    this.say({ type: "checked", saw: saw.slice(0, MAX_TEXT) });
  }

  /** Says again and again that the event loop turns. */
  beat(intervalMs: number): void {
    const due = this.#host.now() + intervalMs;
    this.#host.setTimer(intervalMs, () => {
      this.say({ type: "beat", lagMs: Math.round(this.#host.now() - due) });
      this.beat(intervalMs);
    }).unref();
  }

  /** Tells what this worker has done so far. */
  tellFigures(): void {
    this.say({ type: "figures", ...this.#figures() });
  }

  /** Asks for time. Resolves when the manager will hear of it. */
  async extendDeadline(delayMs: number): Promise<void> {
    if (typeof delayMs !== "number") {
      throw new TypeError(`Cannot put a deadline off by ${delayMs}: it must be a number of milliseconds`);
    }
    if (!(delayMs >= 0 && delayMs < Infinity)) {
      throw new RangeError(`Cannot put a deadline off by ${delayMs}: it must be 0 or more milliseconds`);
    }
    this.say({ type: "extend", delayMs });
    await this.#connection?.flush();
  }

  /** Tells what this worker does, when there is time for it. */
  setStatus(status: string): void {
    if (typeof status !== "string") {
      throw new TypeError(`Cannot set a worker's status to ${status}: it must be a string`);
    }
    if (status.length > MAX_TEXT) {
      throw new RangeError(`Cannot set a worker's status of ${status.length} characters: it has at most ${MAX_TEXT}`);
    }
    this.#status.set(status);
  }

  /** Resolves when all that was said is on its way. */
  async flush(): Promise<void> {
    this.#status.flush();
    if (this.#figures().requests !== null) this.tellFigures();
    await undefined; // what ready() has put off
    await this.#connection?.flush();
  }
}
