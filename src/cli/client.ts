/**
 * The operator's side of the socket: asks a running manager, and hears how it goes.
 *
 * @module
 */

import type { StatusReport } from "../operator/report.ts";
import { decodeReply, encodeOrder, type Order, type Reply } from "../operator/words.ts";
import { LineReader } from "../protocol.ts";
import type { ProcessHost } from "../types.ts";
import { NEVER_MS } from "../waiting.ts";

/** How long a manager may take to answer at all; one that is stopped, or starts a thousand workers, takes its time. */
const ANSWER_MS = 10_000;

/** Why no answer came. */
export class NoAnswerError extends Error {
  /** Tells this error from others. */
  override readonly name: string = "NoAnswerError";
}

/** The manager was there, and is not any more. */
export class GoneError extends NoAnswerError {
  /** Tells this error from others. */
  override readonly name = "GoneError";
}

/** The manager is there, and does not answer. */
export class SilenceError extends NoAnswerError {
  /** Tells this error from others. */
  override readonly name = "SilenceError";
}

/** The last word on an order. */
export type Outcome = Exclude<Reply, { readonly type: "progress" }>;

/**
 * Has the manager behind a socket do something.
 *
 * @param hear Is told how it goes; whoever gives true waits for nothing more.
 * @throws {NoAnswerError} If there is no such manager, or it goes before it has answered.
 */
export async function ask(
  host: ProcessHost,
  path: string,
  order: Order,
  hear: (progress: string) => boolean = () => false,
  patienceMs = ANSWER_MS,
): Promise<Outcome | undefined> {
  const outcome = Promise.withResolvers<Outcome | undefined>();
  const lines = new LineReader();
  const isQuestion = order.do === "status" || order.do === "past";
  // Only a question is answered at once: a stop takes its time, and whoever follows is told nothing while nothing happens.
  using patience = host.setTimer(isQuestion ? patienceMs : NEVER_MS, () => {
    outcome.reject(
      new SilenceError(
        `the manager did not answer within ${patienceMs / 1000} seconds, though its socket is open: it is too busy, ` +
          "so ask again, or it was stopped, and SIGCONT has it go on",
      ),
    );
  });
  const take = (line: string): void => {
    patience[Symbol.dispose]();
    const reply = decodeReply(line);
    if (reply.type !== "progress") outcome.resolve(reply);
    else if (hear(reply.text)) outcome.resolve(undefined);
  };
  const connection = await host.connectControl(path, {
    data(chunk) {
      try {
        lines.push(chunk, take);
      } catch {
        outcome.reject(new NoAnswerError("what answers there is no manager of this version"));
      }
    },
    closed: () => outcome.reject(new GoneError("the manager has gone before it had answered")),
  }).catch((error: unknown) => {
    throw new NoAnswerError(error instanceof Error ? error.message : String(error));
  });
  try {
    connection.send(encodeOrder(order));
    return await outcome.promise;
  } finally {
    connection.close();
  }
}

/** Looks who answers at a socket. */
export async function findManager(host: ProcessHost, path: string, patienceMs = ANSWER_MS): Promise<StatusReport> {
  const reply = await ask(host, path, { do: "status" }, undefined, patienceMs);
  if (reply?.type === "status") return reply.status;
  throw new NoAnswerError(reply?.type === "failed" ? reply.reason : "the manager has answered something else");
}
