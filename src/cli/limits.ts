/**
 * `--umask` and `--rlimit`: what the manager sets for itself before it makes anything, and what its workers inherit.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { describeError } from "../events.ts";
import { type Bytes, errnoText, type Libc } from "../libc.ts";
import { toLimit } from "./limit_values.ts";
import { UsageError } from "./usage_error.ts";

const EPERM = 1;
const THIS_PROCESS = 0;

/** Sets what was asked for. */
export function applyLimits(
  { umask, rlimit = [] }: { readonly umask?: string; readonly rlimit?: readonly string[] },
  openLibc: () => Libc,
): void {
  if (umask !== undefined) libcFor(`--umask ${umask}`, openLibc).umask(Number.parseInt(umask, 8));
  for (const text of rlimit) setLimit(libcFor(`--rlimit ${text}`, openLibc), text);
}

function libcFor(option: string, openLibc: () => Libc): Libc {
  try {
    return openLibc();
  } catch (error) {
    throw new UsageError(`Cannot set ${option}: ${describeError(error)}`);
  }
}

function setLimit(libc: Libc, text: string): void {
  const { name, resource, soft, hard } = toLimit(text);
  const before = pair(0n, 0n);
  if (libc.prlimit(THIS_PROCESS, resource, pair(soft, hard), before) === 0) return;
  const errno = libc.errno();
  if (errno !== EPERM) throw new UsageError(`Cannot set --rlimit ${text}: ${errnoText(errno)}`);
  libc.prlimit(THIS_PROCESS, resource, null, before);
  throw new UsageError(`Cannot set --rlimit ${text}: ${whyNot(name, hard, hardOf(before))}`);
}

/** A `struct rlimit`. */
function pair(soft: bigint, hard: bigint): Bytes {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, soft, true);
  view.setBigUint64(8, hard, true);
  return bytes;
}

function hardOf(limit: Bytes): bigint {
  return new DataView(limit.buffer).getBigUint64(8, true);
}

/** More files than the system gives anybody are refused to root, too. */
function whyNot(name: string, wanted: bigint, hard: bigint): string {
  const most = name === "nofile" ? maxFiles() : undefined;
  if (most !== undefined && wanted > most) {
    return `this system gives no process more than ${most}; ask for less, or raise fs.nr_open by sysctl`;
  }
  return `the hard limit is ${hard}, which only root may raise; ask for no more than that, start the manager as root, ` +
    "or have whoever starts it raise it (in a unit of systemd by " + `Limit${name.toUpperCase()}=)`;
}

function maxFiles(): bigint | undefined {
  try {
    return BigInt(readFileSync("/proc/sys/fs/nr_open", "latin1").trim());
  } catch {
    return undefined;
  }
}
