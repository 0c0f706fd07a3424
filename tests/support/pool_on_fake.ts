/**
 * A `Prefork` on the fake host, with library workers that speak the control protocol as a test tells them to.
 *
 * @module
 */

import { Prefork, type PreforkEvent, type PreforkOptions } from "../../mod.ts";
import { LineReader } from "../../src/protocol.ts";
import type { ControlConnection } from "../../src/types.ts";
import { FakeHost, type FakeProcess, settle } from "../fake_host.ts";

const WORKER = "/fake/bun";

/** A library worker as the manager knows it: a process and a connection. */
export class FakeWorker {
  readonly process: FakeProcess;
  /** What the manager told it. */
  welcome: Record<string, unknown> | undefined;
  closed = false;
  #connection: ControlConnection | undefined;

  constructor(process: FakeProcess) {
    this.process = process;
  }

  async connect(host: FakeHost): Promise<void> {
    const lines = new LineReader();
    this.#connection = await host.connectControl(this.process.env["PREFORK_CONTROL"] ?? "", {
      data: (chunk) => lines.push(chunk, (line) => this.welcome = JSON.parse(line)),
      closed: () => this.closed = true,
    });
  }

  /** Says something, well-formed or not. */
  say(message: object | string): void {
    this.#connection?.send(typeof message === "string" ? message : `${JSON.stringify(message)}\n`);
  }

  async hello(host: FakeHost): Promise<void> {
    await this.connect(host);
    this.say({ type: "hello", version: 1, token: this.process.env["PREFORK_TOKEN"] });
    await settle();
  }
}

/** A pool, its host, its workers in the order they were made, and what happened. */
export class FakePool {
  readonly host = new FakeHost({ name: "bun" });
  readonly workers: FakeWorker[] = [];
  readonly events: PreforkEvent[] = [];
  readonly pm: Prefork;

  /** @param eager Whether workers come up, and are ready, by themselves. */
  constructor(options: PreforkOptions = {}, eager = true) {
    this.host.programs.set(WORKER, (process) => {
      const worker = new FakeWorker(process);
      this.workers.push(worker);
      if (eager) void this.boot(worker);
    });
    this.pm = new Prefork({ maxWorkers: 2, host: this.host, ...options });
    void this.#listen();
  }

  async boot(worker: FakeWorker): Promise<void> {
    await worker.hello(this.host);
    worker.say({ type: "begin" });
    worker.say({ type: "ready" });
    await settle();
  }

  /** The processes of workers that live; the guard is none. */
  get alive(): FakeProcess[] {
    return this.host.alive.filter(({ command }) => command.command !== "/bin/sh");
  }

  /** Stops the pool that `started` runs, and waits until nobody is left. */
  async stop(started: Promise<boolean>): Promise<void> {
    this.host.raise("SIGTERM");
    await started;
    await this.pm.waitAllChildren();
  }

  ofType<T extends PreforkEvent["type"]>(type: T): Extract<PreforkEvent, { type: T }>[] {
    return this.events.filter((event): event is Extract<PreforkEvent, { type: T }> => event.type === type);
  }

  async #listen(): Promise<void> {
    for await (const event of this.pm) this.events.push(event);
  }
}

/** Lets everything that needs no time happen, over several turns of the event loop. */
export async function rest(): Promise<void> {
  for (let i = 0; i < 5; i++) await settle();
}

/** Whether a promise has settled by now, and how. */
export async function outcome<T>(promise: Promise<T>): Promise<T | "pending" | Error> {
  let result: T | "pending" | Error = "pending";
  promise.then((value) => result = value, (error: Error) => result = error);
  await rest();
  return result;
}
