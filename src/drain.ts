/**
 * How a server ends without losing a request: first it takes no connection more, then it answers what is open and has
 * each response end its connection, and when all is quiet it closes.
 *
 * @module
 */

import type { SharedServer } from "./serve.ts";
import type { ProcessHost } from "./types.ts";

/** How often it is looked whether all is quiet. */
const LOOK_MS = 10;

/** How many times as long as it took the next look is put off: with thousands of connections one may take 100 ms. */
const REST = 10;

/**
 * How long a connection that nobody uses is kept: its client may be about to send a request, and learns only by the
 * answer that it should go elsewhere. The way of the last answer to a client and of its next request back is in this time,
 * and whatever holds up either: where a machine was as busy as can be, half a second was not enough.
 */
const IDLE_MS = 1000;

/** A look that comes later than this was held up by something that stopped this process or its machine. */
const STANDSTILL_MS = 100;

/** How long closing what is left may take. */
const CLOSE_MS = 1000;

/** Ends servers that share sockets. Resolves when nothing is open, or the time is up. */
export async function drain(host: ProcessHost, servers: readonly SharedServer[], timeoutMs: number): Promise<void> {
  const start = host.now();
  const deadline = start + timeoutMs;
  for (const { acceptor } of servers) acceptor.leave();
  for (const { native } of servers) native.drain();
  let quietMs = 0;
  let pulse = -1;
  while (host.now() < deadline) {
    const begun = host.now();
    const beat = servers.reduce((sum, { native }) => sum + native.pulse, 0);
    const isBusy = countOpen(servers) > 0;
    if (isBusy || beat !== pulse) quietMs = 0;
    pulse = beat;
    if (!isBusy && servers.every(({ acceptor }) => acceptor.connections() === 0)) {
      return void await close(host, servers, deadline);
    }
    if (quietMs >= IDLE_MS) break;
    const rest = Math.min(Math.max(LOOK_MS, (host.now() - begun) * REST), IDLE_MS);
    const due = host.now() + rest;
    await pause(host, Math.min(rest, deadline - host.now()));
    // Time in which this process did not run is not counted: what came meanwhile is still to be read.
    quietMs = host.now() - due > STANDSTILL_MS ? 0 : quietMs + rest;
  }
  const left = countOpen(servers);
  if (left > 0) {
    const noun = servers.some(({ native }) => native.isRaw) ? "connection" : "request";
    const what = left === 1 ? `1 ${noun} is` : `${left} ${noun}s are`;
    host.write(`prefork: ${what} cut off: not answered ${timeoutMs} ms after the stop\n`);
  }
  const unanswered = servers.reduce((sum, { native }) => sum + native.unanswered, 0);
  if (unanswered > 0) {
    const what = unanswered === 1 ? "1 handshake of a WebSocket is" : `${unanswered} handshakes of WebSockets are`;
    host.write(`prefork: ${what} cut off: nobody has answered for five seconds\n`);
  }
  if (await close(host, servers, deadline) || left > 0) return;
  host.write(`prefork: what was on its way ${timeoutMs} ms after the stop is cut off\n`);
}

function countOpen(servers: readonly SharedServer[]): number {
  return servers.reduce((sum, server) => sum + openOf(server), 0);
}

/** A server may have handed over what a relay has still to bring to a client: the same requests, or others. */
function openOf({ native, acceptor }: SharedServer): number {
  return native.isRaw ? acceptor.connections() : Math.max(native.open, acceptor.behind());
}

/** Closes what is left; tells whether servers that finish answers have done so in time. */
export async function close(
  host: ProcessHost,
  servers: readonly SharedServer[],
  deadline: number = host.now(),
): Promise<boolean> {
  const finishing = servers.filter(({ native }) => native.finishes);
  const closing = new Map(servers.map((server) => [server, server.native.close().catch(() => {})]));
  await within(host, CLOSE_MS, Promise.all(closing.values()));
  const finished = Promise.all(finishing.map((server) => closing.get(server)));
  const isFinished = await within(host, Math.max(0, deadline - host.now()), finished);
  // What was said last, such as the close frame of a WebSocket, may still be on its way through a relay.
  const end = host.now() + CLOSE_MS;
  while (host.now() < end && servers.some(({ acceptor }) => acceptor.connections() > 0)) await pause(host, LOOK_MS);
  return isFinished;
}

/** Whether something is done in time. Leaves no timer behind, which would keep the process alive. */
async function within(host: ProcessHost, delayMs: number, done: Promise<unknown>): Promise<boolean> {
  const late = Promise.withResolvers<boolean>();
  using _timer = host.setTimer(delayMs, () => late.resolve(false));
  return await Promise.race([done.then(() => true), late.promise]);
}

function pause(host: ProcessHost, delayMs: number): Promise<void> {
  return new Promise((resolve) => void host.setTimer(delayMs, resolve));
}
