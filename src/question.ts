/**
 * Asks a server whether it is there and well: for a connection, or for an answer by HTTP. Loaded only where `readyWhen`
 * says so, by managers and by workers that serve.
 *
 * @module
 */

import { currentServing } from "../runtimes/current_serving.ts";
import { failure, reason } from "./host_common.ts";
import type { ProcessHost } from "./types.ts";

/** Where a server listens. A path with a NUL in front is in the abstract namespace. */
export type Place = { readonly host: string; readonly port: number } | { readonly path: string };

/** What a server is asked. */
export interface Question {
  /** The question in words: `GET /healthz`. */
  readonly what: string;
  readonly at: Place;
  /** What is to be answered with a status from 200 to 299; without it a connection is enough. */
  readonly get?: { readonly path: string; readonly isTls: boolean };
}

/** A connection, or a request, as far as it matters here. */
interface Attempt {
  on(event: "error", listener: (error: unknown) => void): unknown;
  destroy(): unknown;
}

/** The part of `node:http` and `node:https` that asking takes. */
export interface Http {
  get(options: HttpOptions, answered: (response: HttpResponse) => void): Attempt;
}

interface HttpOptions {
  readonly host?: string;
  readonly port?: number;
  readonly socketPath?: string;
  readonly path: string;
  readonly agent: false;
  readonly rejectUnauthorized: false;
}

interface HttpResponse extends Attempt {
  readonly statusCode?: number;
  on(event: "error", listener: (error: unknown) => void): unknown;
  on(event: "end", listener: () => void): unknown;
  resume(): unknown;
}

type Answer = (saw: string | undefined) => void;

/** How a question is asked. */
export interface Asking {
  readonly host: ProcessHost;
  readonly timeoutMs: number;
  /** Gives the question up. */
  readonly signal: AbortSignal;
}

/**
 * Refuses a question that may not be asked here.
 *
 * @throws {Error} Names the permission.
 */
export function checkReach({ what, at }: Question): void {
  try {
    currentServing.needReach(at);
  } catch (error) {
    throw failure(`check by ${what} whether a worker is ready`, error);
  }
}

/** Asks once. Gives what was seen in the place of a good answer, in words; undefined if the answer is good. */
export async function ask(question: Question, { host, timeoutMs, signal }: Asking): Promise<string | undefined> {
  const { what, at } = question;
  const answer = Promise.withResolvers<string | undefined>();
  using _timer = host.setTimer(timeoutMs, () => answer.resolve(`${what} took more than ${timeoutMs} ms`));
  const giveUp = (): void => answer.resolve(`${what} was given up`);
  signal.addEventListener("abort", giveUp, { once: true });
  let attempt: Attempt | undefined;
  try {
    currentServing.needReach(at);
    attempt = await begin(question, answer.resolve);
    if (signal.aborted) giveUp();
    return await answer.promise;
  } catch (error) {
    return `${what} failed: ${reason(error)}`;
  } finally {
    attempt?.destroy();
    signal.removeEventListener("abort", giveUp);
  }
}

async function begin({ what, at, get }: Question, answer: Answer): Promise<Attempt> {
  const failed = (error: unknown): void => answer(`${what} failed: ${reason(error)}`);
  if (get === undefined) {
    const connection = (await currentServing.net()).connect(at);
    connection.on("error", failed);
    connection.on("connect", () => answer(undefined));
    return connection;
  }
  const http = await currentServing.http(get.isTls);
  const place = "path" in at ? { socketPath: at.path } : at;
  const options = { ...place, path: get.path, agent: false, rejectUnauthorized: false } as const;
  const request = http.get(options, (response) => {
    const { statusCode: status = 0 } = response;
    response.on("error", failed);
    response.on("end", () => answer(status >= 200 && status < 300 ? undefined : `${what} was answered ${status}`));
    response.resume();
  });
  request.on("error", failed);
  return request;
}
