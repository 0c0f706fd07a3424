/**
 * An echo by WebSocket, on either runtime. A worker that is told to stop closes its sockets with 1001, "going away":
 * the client connects again, and meets another worker.
 *
 *     deno run -A mod.ts examples/websocket.ts -l 8080
 *     bun run mod.ts examples/websocket.ts -l 8080
 */

/** What Bun passes beside the request. */
interface BunServer {
  upgrade(request: Request): boolean;
}

export default {
  fetch(request: Request, server: BunServer): Response | undefined {
    if (request.headers.get("upgrade") !== "websocket") return new Response("WebSockets only\n", { status: 426 });
    if (!("Deno" in globalThis)) return server.upgrade(request) ? undefined : new Response("no", { status: 400 });
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.addEventListener("message", ({ data }) => socket.send(data));
    return response;
  },
  /** Bun's way to handle them. */
  websocket: {
    message(socket: { send(data: string | Uint8Array): unknown }, data: string | Uint8Array): void {
      socket.send(data);
    },
  },
};
