/**
 * Clients of an HTTP server that hold a place and ask for nothing.
 *
 * @module
 */

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { ProcessHost, Timer } from "../types.ts";

/** What a server has for its clients. */
export interface Patience {
  /** For how long the head of a request may not come. */
  readonly ms: number;
  /** How many may be connected. */
  readonly places: number;
}

/** Has a client keep its place until it is answered, however many others come. */
export type Keep = (socket: Socket) => void;

/**
 * Hangs up on connections by which no whole head of a request has come for so long and that are not being answered. Not
 * by silence, as runtimes do it: a byte now and then, of a head or of a body that nobody wants, would hold a place for
 * ever. Where no place is left, whoever has asked for nothing for the longest time makes room for the one who comes: were
 * that one refused, somebody who takes all places again and again would keep everybody out.
 */
export function limitPatience(server: Server, host: Pick<ProcessHost, "setTimer">, { ms, places }: Patience): Keep {
  const open = new Set<Socket>();
  const timers = new WeakMap<Socket, Timer>();
  /** Those who may have to make room, whoever asked last at the end. */
  const loose = new Set<Socket>();
  const loosen = (socket: Socket): void => {
    loose.delete(socket);
    if (open.has(socket)) loose.add(socket);
  };
  const answer = (socket: Socket): void => timers.get(socket)?.[Symbol.dispose]();
  const forget = (socket: Socket): void => {
    answer(socket);
    open.delete(socket);
    loose.delete(socket);
  };
  const hangUp = (socket: Socket): void => {
    forget(socket);
    socket.destroy();
  };
  const awaitRequest = (socket: Socket): void => {
    answer(socket);
    if (!open.has(socket) || socket.destroyed) return;
    loosen(socket);
    const timer = host.setTimer(ms, () => hangUp(socket));
    timer.unref();
    timers.set(socket, timer);
  };
  server.on("connection", (socket) => {
    open.add(socket);
    socket.once("close", () => forget(socket));
    awaitRequest(socket);
    const [longest] = loose;
    if (open.size > places && longest !== undefined) hangUp(longest);
  });
  // Before whoever answers, and may keep it.
  server.prependListener("request", ({ socket }: IncomingMessage, response: ServerResponse) => {
    answer(socket);
    loosen(socket);
    response.once("close", () => awaitRequest(socket));
  });
  return (socket) => loose.delete(socket);
}
