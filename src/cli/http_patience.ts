/**
 * Clients of an HTTP server that hold a place and ask for nothing.
 *
 * @module
 */

import type { Server } from "node:http";
import type { Socket } from "node:net";
import type { ProcessHost, Timer } from "../types.ts";

/**
 * Hangs up on connections by which no whole head of a request has come for so long and that are not being answered. Not
 * by silence, as runtimes do it: a byte now and then, of a head or of a body that nobody wants, would hold a place for
 * ever.
 */
export function limitPatience(server: Server, host: Pick<ProcessHost, "setTimer">, patienceMs: number): void {
  const timers = new WeakMap<Socket, Timer>();
  const answer = (socket: Socket): void => timers.get(socket)?.[Symbol.dispose]();
  const awaitRequest = (socket: Socket): void => {
    answer(socket);
    if (socket.destroyed) return;
    const timer = host.setTimer(patienceMs, () => socket.destroy());
    timer.unref();
    timers.set(socket, timer);
  };
  server.on("connection", awaitRequest);
  server.on("request", ({ socket }, response) => {
    answer(socket);
    response.once("close", () => awaitRequest(socket));
  });
}
