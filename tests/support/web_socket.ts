/**
 * A WebSocket that a test talks through.
 *
 * @module
 */
import { waitFor } from "./processes.ts";

/** What came through a WebSocket. */
export interface Talk extends Disposable {
  /** Sends a message and gives the answer. */
  ask(message: string): Promise<string>;
  /** The code by which the server closed it. */
  closed(): Promise<number>;
}

/** Opens a WebSocket. */
export async function talk(url: string): Promise<Talk> {
  const socket = new WebSocket(url);
  const messages: string[] = [];
  let code: number | undefined;
  let isOpen = false;
  socket.addEventListener("open", () => isOpen = true);
  socket.addEventListener("message", ({ data }) => messages.push(String(data)));
  socket.addEventListener("close", (event) => code = event.code);
  await waitFor(() => isOpen || code !== undefined, { what: `a WebSocket to ${url}` });
  return {
    async ask(message) {
      const before = messages.length;
      socket.send(message);
      return await waitFor(() => messages[before], { what: `an answer to ${message}` });
    },
    closed: () => waitFor(() => code, { what: "the server to close the WebSocket" }),
    [Symbol.dispose]: () => socket.close(),
  };
}
