/**
 * A port for whoever has to name one before it is bound.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createServer } from "node:net";

/** A port of 127.0.0.1 on which nobody listened a moment ago. */
export async function freePort(): Promise<number> {
  const { port, release } = await heldPort();
  await release();
  return port;
}

/** A port of 127.0.0.1 that nobody else is given before it is released. */
export async function heldPort(): Promise<{ readonly port: number; readonly release: () => Promise<unknown> }> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : assert.fail("no port"),
    release: () => new Promise((resolve) => server.close(resolve)),
  };
}
