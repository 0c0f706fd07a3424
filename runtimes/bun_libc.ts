/**
 * The C library on Bun. Loaded only by what shares a listening socket.
 *
 * @module
 */
import { type Bytes, type Libc, openFirst } from "../src/libc.ts";

type Place = number & { readonly place: never };

declare const Bun: {
  readonly FFI: {
    dlopen(name: string, calls: typeof CALLS): {
      readonly symbols: Omit<Libc, "errno" | "addressOf"> & { __errno_location(): Place };
    };
    ptr(bytes: Bytes): number;
    readonly read: { i32(place: Place, offset: number): number };
  };
};
declare const process: { readonly platform: string; readonly arch: string };

/** A `size_t` is passed as the lower half of its register; the upper one is cleared by that. */
const CALLS = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
  listen: { args: ["i32", "i32"], returns: "i32" },
  connect: { args: ["i32", "ptr", "u32"], returns: "i32" },
  getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
  dup3: { args: ["i32", "i32", "i32"], returns: "i32" },
  shutdown: { args: ["i32", "i32"], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
  open: { args: ["ptr", "i32"], returns: "i32" },
  read: { args: ["i32", "ptr", "u32"], returns: "i32" },
  write: { args: ["i32", "ptr", "u32"], returns: "i32" },
  sendmsg: { args: ["i32", "ptr", "i32"], returns: "i32" },
  clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
  poll: { args: ["ptr", "u32", "i32"], returns: "i32" },
  epoll_ctl: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  umask: { args: ["u32"], returns: "i32" },
  chmod: { args: ["ptr", "u32"], returns: "i32" },
  fchownat: { args: ["i32", "ptr", "u32", "u32", "i32"], returns: "i32" },
  waitid: { args: ["i32", "i32", "ptr", "i32"], returns: "i32" },
  prlimit: { args: ["i32", "i32", "ptr", "ptr"], returns: "i32" },
  unlinkat: { args: ["i32", "ptr", "i32"], returns: "i32" },
  flock: { args: ["i32", "i32"], returns: "i32" },
  statx: { args: ["i32", "ptr", "i32", "u32", "ptr"], returns: "i32" },
  __errno_location: { args: [], returns: "ptr" },
} as const;

/**
 * Binds the calls.
 *
 * @throws {NoLibcError} If that cannot be.
 */
export function openLibc(): Libc {
  return openFirst(process.platform, process.arch, bind);
}

function bind(name: string): Libc {
  const { __errno_location, ...calls } = Bun.FFI.dlopen(name, CALLS).symbols;
  return {
    ...calls,
    errno: () => Bun.FFI.read.i32(__errno_location(), 0),
    addressOf: (bytes) => BigInt(Bun.FFI.ptr(bytes)),
  };
}
