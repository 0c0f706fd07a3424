/**
 * Control sockets on Deno. Part of `deno.ts`: every worker loads this, so it does nothing until it is called.
 *
 * @module
 */
import { attempt, failure, Outgoing } from "../src/host_common.ts";
import type { ControlConnection, ControlHandlers, ControlListener } from "../src/types.ts";

/** `listenControl` of the host. */
export function listenControl(
  path: string,
  accept: (connection: ControlConnection) => ControlHandlers,
): ControlListener {
  needSocket(path);
  const listener = attempt(`listen on ${path}`, () => Deno.listen({ transport: "unix", path }));
  let open = true;
  const acceptAll = async () => {
    while (open) {
      try {
        adopt(await listener.accept(), accept);
      } catch {
        // Out of descriptors: closed connections will free some.
        if (open) await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  };
  void acceptAll();
  return {
    unref: () => listener.unref(),
    [Symbol.dispose]() {
      if (!open) return;
      open = false;
      listener.close();
      try {
        Deno.removeSync(path);
      } catch {
        // Its directory went before it.
      }
    },
  };
}

/** `connectControl` of the host. */
export async function connectControl(path: string, handlers: ControlHandlers): Promise<ControlConnection> {
  needSocket(path);
  const connection = await Deno.connect({ transport: "unix", path }).catch((error) => {
    throw failure(`connect to ${path}`, error);
  });
  return adopt(connection, () => handlers);
}

/** What is read at a time, at first and at most: as long as more comes than that, it is more the next time. */
const LEAST_READ = 16_384;
const MOST_READ = 262_144;

/** Makes a control connection of a socket, and begins to read from it. */
function adopt(socket: Deno.UnixConn, accept: (connection: ControlConnection) => ControlHandlers): ControlConnection {
  let open = true;
  let isBroken = false;
  const unsent = new Outgoing();
  let writing: Promise<void> | undefined;

  const close = () => {
    if (!open) return;
    open = false;
    socket.close();
  };
  const writeUnsent = async () => {
    try {
      while (open && !unsent.isEmpty) {
        const bytes = unsent.take();
        for (let at = 0; at < bytes.length;) at += await socket.write(bytes.subarray(at));
      }
    } catch {
      // The peer is gone. What it has said before is still to be read, and the end of that closes this end.
      isBroken = true;
      unsent.clear();
    }
    writing = undefined;
  };
  const readAllOf = async (handlers: ControlHandlers) => {
    let buffer = new Uint8Array(LEAST_READ);
    while (open) {
      const length = await socket.read(buffer).catch(() => null);
      if (length === null || !open) break;
      const dealt = handlers.data(buffer.subarray(0, length));
      if (dealt) await dealt;
      if (length === buffer.length && length < MOST_READ) buffer = new Uint8Array(2 * length);
    }
    close();
    handlers.closed();
  };

  const connection: ControlConnection = {
    send(data) {
      if (!open || isBroken || data.length === 0) return;
      unsent.add(data);
      writing ??= writeUnsent();
    },
    flush: () => writing ?? Promise.resolve(),
    close,
    ref: () => open && socket.ref(),
    unref: () => open && socket.unref(),
  };
  void readAllOf(accept(connection));
  return connection;
}

/** Refuses to use a socket where that is not allowed. */
export function needSocket(path: string): void {
  const wanted: readonly [string, Deno.PermissionDescriptor][] = [
    [`--allow-read=${path}`, { name: "read", path }],
    [`--allow-write=${path}`, { name: "write", path }],
    [`--allow-net=unix:${path}`, { name: "net", host: `unix:${path}` }],
  ];
  const missing = wanted.filter(([, permission]) => !isGranted(permission)).map(([flag]) => flag);
  if (missing.length > 0) throw new Error(`Deno may not use the socket ${path}: add ${missing.join(" ")}.`);
}

/** Whether Deno allows something. Asks nobody. */
export function isGranted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}
