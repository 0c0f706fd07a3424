/**
 * The words of the operator's socket: one JSON message a line. An order is answered by any number
 * of `progress`, and then by `done` or `failed`; `status` and `past` by their like alone.
 *
 * @module
 */

import { isSignal } from "../signals.ts";
import type { Signal } from "../types.ts";
import type { Past } from "./history.ts";
import type { StatusReport } from "./report.ts";

/** Raised by one whenever a message changes its meaning. */
export const OPERATOR_VERSION = 1;

/** What an operator can ask for. */
export type Order =
  | { readonly do: "status" }
  /** What the status page shows of the past: for the manager that takes over. */
  | { readonly do: "past" }
  | { readonly do: "reload" }
  | { readonly do: "upgrade" }
  /** To begin the log file anew. */
  | { readonly do: "reopen" }
  /** To be told what happens, for as long as the connection is there. */
  | { readonly do: "follow" }
  /** `now` kills the workers. */
  | { readonly do: "stop"; readonly now: boolean }
  | { readonly do: "scale"; readonly workers: number }
  /** To all workers, or to the one in a slot. */
  | { readonly do: "signal"; readonly signal: Signal; readonly slot?: number };

/** What the manager answers. */
export type Reply =
  | { readonly type: "progress"; readonly text: string }
  | { readonly type: "done"; readonly text: string }
  | { readonly type: "failed"; readonly reason: string }
  | { readonly type: "status"; readonly status: StatusReport }
  | { readonly type: "past"; readonly past: Past };

/** A reply as a line. */
export function encodeReply(reply: Reply): string {
  return `${JSON.stringify(reply)}\n`;
}

/** An order as a line. */
export function encodeOrder(order: Order): string {
  return `${JSON.stringify({ version: OPERATOR_VERSION, ...order })}\n`;
}

/**
 * Reads an order.
 *
 * @throws {SyntaxError} If it makes no sense; the message is for whoever sent it.
 */
export function decodeOrder(line: string): Order {
  const message = parseObject(line);
  const { version, do: name, now, workers, signal, slot } = message;
  if (version !== OPERATOR_VERSION) {
    throw new SyntaxError(
      `this manager speaks version ${OPERATOR_VERSION} of the operator's protocol, not ${JSON.stringify(version)}; ` +
        "use the same version of prefork",
    );
  }
  switch (name) {
    case "status":
    case "past":
    case "reload":
    case "upgrade":
    case "follow":
    case "reopen":
      return { do: name };
    case "stop":
      return { do: name, now: now === true };
    case "scale":
      if (!isCount(workers)) throw new SyntaxError("'workers' must be a whole number, 0 or more");
      return { do: name, workers };
    case "signal":
      if (typeof signal !== "string" || !isSignal(signal)) throw new SyntaxError("'signal' must be a signal's name");
      if (slot === undefined) return { do: name, signal };
      if (!isCount(slot)) throw new SyntaxError("'slot' must be a whole number, 0 or more");
      return { do: name, signal, slot };
    default:
      throw new SyntaxError(`there is no order ${JSON.stringify(name)}`);
  }
}

/**
 * Reads a reply. What the manager reports is not checked further: it is this module's own, of the same version.
 *
 * @throws {SyntaxError} If it is none.
 */
export function decodeReply(line: string): Reply {
  const reply = parseObject(line);
  const types: readonly unknown[] = ["progress", "done", "failed", "status", "past"] satisfies Reply["type"][];
  if (!types.includes(reply.type)) throw new SyntaxError(`there is no reply ${JSON.stringify(reply.type)}`);
  if (reply.type === "status" && !isStatus(reply["status"])) throw new SyntaxError("that is no status");
  if (reply.type === "past" && !isPast(reply["past"])) throw new SyntaxError("that is no past");
  return reply as Reply;
}

/** As much of it as a wrong answer could do harm by. */
function isStatus(value: unknown): boolean {
  return typeof value === "object" && value !== null && "pid" in value && isCount(value.pid) && value.pid > 0 &&
    "workers" in value && Array.isArray(value.workers) && "standbys" in value && Array.isArray(value.standbys);
}

function isPast(value: unknown): boolean {
  return typeof value === "object" && value !== null && "pid" in value && isCount(value.pid) &&
    "uptimeMs" in value && typeof value.uptimeMs === "number" &&
    "samples" in value && Array.isArray(value.samples) && "events" in value && Array.isArray(value.events);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 1e9;
}

function parseObject(line: string): { readonly [key: string]: unknown } {
  const value: unknown = JSON.parse(line);
  if (typeof value === "object" && value !== null) return { ...value };
  throw new SyntaxError("a message must be an object");
}
