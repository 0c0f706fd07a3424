/**
 * Brings connections from a shared socket to a private server by hand: for where the server cannot accept from it
 * itself. Nothing is lost by it, since the queue is shared all the same; it costs speed, and the server sees this
 * process as its client.
 *
 * @module
 */

import type { SocketAddress } from "./address.ts";
import { failure } from "./host_common.ts";
import type { Place } from "./question.ts";
import type { Acceptor, ServingHost } from "./serving.ts";

/** What both ends of a connection are asked for; `node:net` has it on both runtimes. */
export interface Duplex {
  readonly destroyed: boolean;
  readonly writableLength: number;
  pipe(to: Duplex): unknown;
  on(event: "error" | "close" | "connect", listener: (error?: unknown) => void): unknown;
  end(): unknown;
  resume(): unknown;
  destroy(): unknown;
}

/** The part of `node:net` that a relay takes. */
export interface Net {
  createServer(options: { readonly allowHalfOpen: true }, accept: (client: Duplex) => void): {
    listen(options: { readonly fd: number } | Place, listening: () => void): unknown;
    once(event: "error", listener: (error: Error & { readonly code?: string }) => void): unknown;
    close(): unknown;
  };
  connect(options: Place & { readonly allowHalfOpen?: true }): Duplex;
}

/** Accepts from the socket `shared`, and hands each connection to the server at `own`. */
export async function relay(serving: ServingHost, shared: number, own: SocketAddress): Promise<Acceptor> {
  const place = placeOf(own);
  await checkListens(serving, place);
  const net = await serving.net();
  const clients = new Set<Duplex>();
  const acceptor = net.createServer({ allowHalfOpen: true }, (client) => {
    const server = net.connect({ ...place, allowHalfOpen: true });
    let ends = 2;
    clients.add(client);
    // The other end is told all that was said before it is told of the end, and may still have something to say.
    const ended = (other: Duplex) => () => {
      other.end();
      other.resume();
      if (--ends === 0) clients.delete(client);
    };
    client.on("error", () => server.destroy());
    server.on("error", () => client.destroy());
    client.on("close", ended(server));
    server.on("close", ended(client));
    client.pipe(server);
    server.pipe(client);
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  acceptor.once("error", reject);
  acceptor.listen({ fd: shared }, resolve);
  await promise;
  return {
    leave: () => void acceptor.close(),
    connections: () => clients.size,
    behind: () => [...clients].filter(({ destroyed, writableLength }) => !destroyed && writableLength > 0).length,
    yield() {},
  };
}

/**
 * A relay that cannot reach its server would take connections and answer none. The server is there if nobody else can
 * listen in its place; who connected to find out would be a client in the eyes of its program.
 */
async function checkListens(serving: ServingHost, place: Place): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  try {
    serving.needReach(place); // or Deno would end this process by an exception that nobody can catch
    const rival = (await serving.net()).createServer({ allowHalfOpen: true }, () => {});
    rival.once("error", (error) => error.code === "EADDRINUSE" ? resolve() : reject(error));
    rival.listen(place, () => {
      rival.close();
      reject(new Error("nobody listens there"));
    });
    await promise;
  } catch (error) {
    const where = "path" in place ? place.path.replace("\0", "@") : `${place.host}:${place.port}`;
    throw failure(`relay connections to the server at ${where}`, error);
  }
}

/** Where a private server is for whoever connects to it. */
export function placeOf(own: SocketAddress): Place {
  if (own.type === "tcp") return { host: own.host, port: own.port };
  return { path: `\0${own.path.slice(1)}` }; // private paths are abstract ones
}
