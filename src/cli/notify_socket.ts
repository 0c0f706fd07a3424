/**
 * The socket that systemd listens on, sd_notify(3).
 *
 * @module
 */

import { pollOne } from "../descriptors.ts";
import type { Bytes, Libc } from "../libc.ts";
import { encodeSockaddr } from "../sockaddr.ts";

const AF_UNIX = 1;
const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0o4000 | 0o2000000;
const CLOCK_MONOTONIC = 1;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const POLLOUT = 4;

/** ENOTCONN and ECONNREFUSED: whoever listened there is gone, and this connection with it. */
const GONE = [107, 111];

/** A connection to it. */
export class NotifySocket implements Disposable {
  readonly #libc: Libc;
  readonly #fd: number;

  /** @throws {Error} If nobody listens there. */
  constructor(libc: Libc, path: string) {
    this.#libc = libc;
    this.#fd = libc.socket(AF_UNIX, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0);
    const address = encodeSockaddr({ type: "unix", path }, "linux");
    if (this.#fd >= 0 && libc.connect(this.#fd, address, address.length) === 0) return;
    const errno = libc.errno();
    if (this.#fd >= 0) libc.close(this.#fd);
    throw new Error(`NOTIFY_SOCKET is ${path}, and to connect there failed with errno ${errno}`);
  }

  /** Says whether that could be done now. Who is gone has missed nothing, lest it be tried for ever. */
  send(text: string): boolean {
    const bytes = new TextEncoder().encode(text);
    return this.#libc.write(this.#fd, bytes, bytes.length) >= 0 || GONE.includes(this.#libc.errno());
  }

  /** The same, with a descriptor. */
  sendDescriptor(text: string, fd: number): boolean {
    return this.#libc.sendmsg(this.#fd, withDescriptor(this.#libc, new TextEncoder().encode(text), fd), 0) >= 0;
  }

  /** Stands still until more can be sent, for so long at most; says whether it can. */
  awaitRoom(ms: number): boolean {
    if (ms <= 0) return false;
    return pollOne(this.#libc, this.#fd, POLLOUT, Math.ceil(ms)) !== undefined;
  }

  /** The clock that systemd compares reloads by, in microseconds. */
  monotonicUsec(): bigint {
    const time = new Uint8Array(16);
    this.#libc.clock_gettime(CLOCK_MONOTONIC, time);
    const view = new DataView(time.buffer);
    return view.getBigInt64(0, true) * 1_000_000n + view.getBigInt64(8, true) / 1000n;
  }

  [Symbol.dispose](): void {
    this.#libc.close(this.#fd);
  }
}

/**
 * A `struct msghdr` of 64 bits, and behind it in the same memory all that it points at: the `struct iovec` of the text,
 * the `struct cmsghdr` with the descriptor, the text.
 */
function withDescriptor(libc: Libc, text: Bytes, fd: number): Bytes {
  const [vector, control, content] = [56, 72, 96];
  const bytes = new Uint8Array(content + text.length);
  const view = new DataView(bytes.buffer);
  const start = libc.addressOf(bytes);
  const setLong = (offset: number, value: number | bigint): void => view.setBigUint64(offset, BigInt(value), true);
  setLong(16, start + BigInt(vector));
  setLong(24, 1);
  setLong(32, start + BigInt(control));
  setLong(40, content - control);
  setLong(vector, start + BigInt(content));
  setLong(vector + 8, text.length);
  setLong(control, 16 + 4);
  view.setInt32(control + 8, SOL_SOCKET, true);
  view.setInt32(control + 12, SCM_RIGHTS, true);
  view.setInt32(control + 16, fd, true);
  bytes.set(text, content);
  return bytes;
}
