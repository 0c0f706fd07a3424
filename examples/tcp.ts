/**
 * A server of its own protocol: it echoes lines. `node:net` runs on both runtimes; `worker.listeners` has the descriptor
 * for whoever wants it, as `Bun.listen({ fd })` does.
 *
 *     deno run -A mod.ts examples/tcp.ts -l 7007
 *     bun run mod.ts examples/tcp.ts -l 7007
 */
import { createServer, type Socket } from "node:net";
import type { Worker } from "../mod.ts";

export default async function (worker: Worker): Promise<void> {
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    open.add(socket);
    socket.on("error", () => {}); // The client is gone.
    socket.on("close", () => open.delete(socket));
    socket.on("data", (data) => socket.write(data));
  });
  await worker.attach(server);
  // Nobody but this program knows when a connection has said all: it ends them when it is told to stop.
  worker.signal.addEventListener("abort", () => open.forEach((socket) => socket.end("bye\n")));
}
