/**
 * Control sockets on Bun. Part of `bun.ts`: every worker loads this, so it does nothing until it is called.
 *
 * @module
 */
import { attempt, failure, Outgoing } from "../src/host_common.ts";
import type { ControlConnection, ControlHandlers, ControlListener } from "../src/types.ts";
import type { BunRuntime, BunSocket, BunSocketHandlers } from "./bun_api.ts";

declare const Bun: BunRuntime;

/** `listenControl` of the host. */
export function listenControl(
  path: string,
  accept: (connection: ControlConnection) => ControlHandlers,
): ControlListener {
  const adopted = new WeakMap<BunSocket, AdoptedSocket>();
  const listener = attempt(`listen on ${path}`, () => {
    return Bun.listen({
      unix: path,
      socket: {
        ...forwardTo((socket) => adopted.get(socket)),
        open: (socket) => adopted.set(socket, adopt(socket, accept)),
      },
    });
  });
  return {
    unref: () => listener.unref(),
    // This removes the file, too.
    [Symbol.dispose]: () => listener.stop(),
  };
}

/** `connectControl` of the host. */
export async function connectControl(path: string, handlers: ControlHandlers): Promise<ControlConnection> {
  let adopted: AdoptedSocket | undefined;
  const open = (socket: BunSocket) => {
    adopted = adopt(socket, () => handlers);
  };
  const socket = { ...forwardTo(() => adopted), open };
  const connection = await Bun.connect({ unix: path, socket }).catch((error) => {
    throw failure(`connect to ${path}`, error);
  });
  adopted ??= adopt(connection, () => handlers);
  return adopted.connection;
}

/** A control connection, and what its socket is to call. */
interface AdoptedSocket {
  readonly connection: ControlConnection;
  readonly data: (chunk: Uint8Array) => void;
  readonly drain: () => void;
  readonly closed: () => void;
}

function forwardTo(find: (socket: BunSocket) => AdoptedSocket | undefined): Omit<BunSocketHandlers, "open"> {
  return {
    data: (socket, chunk) => find(socket)?.data(chunk),
    drain: (socket) => find(socket)?.drain(),
    close: (socket) => find(socket)?.closed(),
    error(_socket, error) {
      // With a code: the peer is gone, and `close` follows. Without one: a handler of ours threw.
      if (codeOf(error) === undefined) queueMicrotask(() => throwIt(error));
    },
  };
}

function throwIt(error: Error): never {
  throw error;
}

/** Makes a control connection of a socket. */
function adopt(socket: BunSocket, accept: (connection: ControlConnection) => ControlHandlers): AdoptedSocket {
  let open = true;
  const unsent = new Outgoing();
  let writing: Uint8Array = new Uint8Array();
  let flushed: PromiseWithResolvers<void> | undefined;

  const close = () => {
    if (open) socket.end();
  };
  const writeUnsent = () => {
    while (open && (writing.length > 0 || !unsent.isEmpty)) {
      if (writing.length === 0) writing = unsent.take();
      const taken = socket.write(writing);
      writing = writing.subarray(Math.max(taken, 0));
      // Bun calls `drain` when the socket takes more.
      if (writing.length > 0) return;
    }
    flushed?.resolve();
    flushed = undefined;
  };

  const connection: ControlConnection = {
    send(data) {
      if (!open || data.length === 0) return;
      unsent.add(data);
      if (writing.length === 0) writeUnsent();
    },
    flush() {
      if (!open || writing.length === 0) return Promise.resolve();
      flushed ??= Promise.withResolvers();
      return flushed.promise;
    },
    close,
    ref: () => open && socket.ref(),
    unref: () => open && socket.unref(),
  };
  const handlers = accept(connection);
  return {
    connection,
    data(chunk) {
      const dealt = open && handlers.data(chunk);
      if (!dealt) return;
      socket.pause();
      void dealt.then(() => open && socket.resume());
    },
    drain: writeUnsent,
    closed() {
      open = false;
      flushed?.resolve();
      // Bun calls this from within `close`; whoever closes is to finish first.
      queueMicrotask(() => handlers.closed());
    },
  };
}

/** The `code` of an error of the system's. */
export function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
