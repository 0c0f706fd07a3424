/**
 * The process that was told to `--daemonize`, as the daemon sees it: it is told what goes wrong, and in the end that all
 * is well. What passes is one JSON message a line.
 *
 * @module
 */

import { dirname } from "node:path";
import { describeError, formatEvent, type PreforkEvent } from "../events.ts";
import type { WorkerOutput } from "../options.ts";
import type { Prefork } from "../prefork.ts";
import type { ControlConnection, ProcessHost } from "../types.ts";
import { countsAsReady } from "./readiness.ts";
import { UsageError } from "./usage_error.ts";

/** What a daemon says. */
export type DaemonMessage =
  /** What whoever typed the command should read, if it comes to nothing. */
  | { readonly type: "said"; readonly text: string }
  /** It is ready: who, and where. */
  | { readonly type: "ready"; readonly text: string };

/** How much of what workers print is passed on, in characters: the first is what tells. */
const MAX_PRINTED = 65_536;

/** Where a daemon has its starter's socket. */
export function starterSocket(dir: string): string {
  return `${dir}/daemon.sock`;
}

/** Who waits for this daemon. */
export class Starter implements Disposable {
  readonly #connection: ControlConnection;
  #isWaiting = true;
  #left = MAX_PRINTED;

  /**
   * Finds the starter at a socket.
   *
   * @param gone Called if it goes before it has heard that all is well: then this daemon is not wanted.
   * @throws {UsageError} If it is gone already.
   */
  static async find(host: ProcessHost, path: string, gone: () => void): Promise<Starter> {
    let starter: Starter | undefined;
    const closed = (): void => {
      if (starter !== undefined && !starter.#isWaiting) return;
      host.removeDir(dirname(path)); // which it would have done itself
      gone();
    };
    try {
      return starter = new Starter(await host.connectControl(path, { data: () => {}, closed }));
    } catch (error) {
      throw new UsageError(`Cannot become a daemon: nobody waits for it at ${path}: ${describeError(error)}`);
    }
  }

  private constructor(connection: ControlConnection) {
    this.#connection = connection;
    connection.unref();
  }

  /** Tells what it will show if this daemon comes to nothing. */
  say(text: string): void {
    if (this.#isWaiting) this.#send({ type: "said", text });
  }

  /** Has it hear what workers print, too. */
  listeningTo(output: WorkerOutput): WorkerOutput {
    return (worker, stream) => {
      const read = output(worker, stream);
      const decoder = new TextDecoder();
      return (chunk) => {
        if (this.#isWaiting && this.#left > 0) this.#print(decoder.decode(chunk, { stream: chunk.length > 0 }));
        return read(chunk);
      };
    };
  }

  #print(text: string): void {
    this.say(text.slice(0, this.#left));
    this.#left -= text.length;
  }

  /** What of the events it wants to hear. */
  watching(pool: Prefork, describe: () => string): { heed(event: PreforkEvent): void } {
    const look = (event?: PreforkEvent): void => {
      if (this.#isWaiting && countsAsReady(pool, event)) this.#ready(describe());
    };
    look();
    return {
      heed: (event) => {
        look(event);
        if (event.type === "giveUp" || event.type === "spawnError") this.say(`prefork: ${formatEvent(event)}\n`);
      },
    };
  }

  #ready(text: string): void {
    this.#isWaiting = false;
    this.#send({ type: "ready", text });
  }

  #send(message: DaemonMessage): void {
    this.#connection.send(`${JSON.stringify(message)}\n`);
  }

  /** Resolves when it could read all that was said. */
  told(): Promise<void> {
    return this.#connection.flush();
  }

  [Symbol.dispose](): void {
    this.#isWaiting = false;
    this.#connection.close();
  }
}
