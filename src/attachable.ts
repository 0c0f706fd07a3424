/**
 * What looks like a server that can be shared, and cannot be.
 *
 * @module
 */

/**
 * Refuses what no drain could end without loss, and what is no server.
 *
 * @throws {TypeError} Says what to give in its place.
 */
export function checkAttachable(server: unknown): void {
  if ((typeof server !== "object" && typeof server !== "function") || server === null) {
    throw new TypeError(`Cannot attach ${String(server)}: give a server`);
  }
  if ("updateSettings" in server) {
    throw new TypeError(
      "Cannot attach a server of node:http2: it cannot be drained, for its clients would not be told to go elsewhere; " +
        "give one of node:https",
    );
  }
  if ("listen" in server && "address" in server && typeof server.address === "function") return;
  if ("fetch" in server || "finished" in server) {
    throw new TypeError(
      "Cannot attach what answers requests by itself, such as a server of Deno.serve() or Bun.serve(): it cannot be " +
        "drained; give its handler to worker.serve()",
    );
  }
  if ("listen" in server) {
    throw new TypeError(
      "Cannot attach an app: give the server that calls it, which is http.createServer(app) for Express, " +
        "http.createServer(app.callback()) for Koa, and Fastify's app.server",
    );
  }
}

/**
 * A listener that listens already must do so where nobody but this machine comes past the pool's own address.
 *
 * @throws {Error} If it does not.
 */
export function checkPrivate(hostname: string | undefined, port: number): void {
  if (hostname === "127.0.0.1") return;
  throw new Error(
    `Cannot attach a listener that is open at ${hostname} port ${port}, which is not the pool's: open it on 127.0.0.1, port 0`,
  );
}
