/**
 * `--umask` and `--rlimit`: what the manager sets for itself before it makes anything, and what its workers inherit.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { describeError } from "../events.ts";
import { type Bytes, errnoText, type Libc } from "../libc.ts";
import { nearest } from "../nearest.ts";
import { UsageError } from "./usage_error.ts";
import { parseSize } from "./values.ts";

/** The numbers of Linux, but on MIPS and SPARC, for which neither runtime is made. */
const RESOURCES: Readonly<Record<string, number>> = {
  cpu: 0,
  fsize: 1,
  data: 2,
  stack: 3,
  core: 4,
  rss: 5,
  nproc: 6,
  nofile: 7,
  memlock: 8,
  as: 9,
  locks: 10,
  sigpending: 11,
  msgqueue: 12,
  nice: 13,
  rtprio: 14,
  rttime: 15,
};

const EPERM = 1;
const THIS_PROCESS = 0;
/** `RLIM_INFINITY`. */
const UNLIMITED = 2n ** 64n - 1n;

/** A limit of a resource: what holds, and how far a process may raise that by itself. */
interface Limit {
  readonly name: string;
  readonly resource: number;
  readonly soft: bigint;
  readonly hard: bigint;
}

/** Reads a file mode creation mask: gives it back if it is one that leaves the user their own files. */
export function parseUmask(text: string): string {
  if (/^0{0,2}[0-7]{2}$/.test(text)) return text;
  throw new UsageError(
    `Cannot use '${text}' for --umask: it must be octal digits, such as 027, and leave this user all rights`,
  );
}

/** Reads `NAME=LIMIT` or `NAME=SOFT:HARD`: gives it back if it is that. */
export function parseRlimit(text: string): string {
  toLimit(text);
  return text;
}

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

function toLimit(text: string): Limit {
  const [, name = "", first = "", second = first] = /^([^=]+)=([^:]+)(?::([^:]+))?$/.exec(text) ?? [];
  if (first === "") {
    throw new UsageError(
      `Cannot use '${text}' for --rlimit: it must be NAME=LIMIT or NAME=SOFT:HARD, such as nofile=65536`,
    );
  }
  const resource = Object.hasOwn(RESOURCES, name) ? RESOURCES[name] : undefined;
  if (resource === undefined) throw unknownResource(name, text);
  const [soft, hard] = [toValue(first, text), toValue(second, text)];
  if (soft <= hard) return { name, resource, soft, hard };
  throw new UsageError(
    `Cannot use '${text}' for --rlimit: SOFT must not be more than HARD, as in ${name}=${second}:${first}`,
  );
}

function unknownResource(name: string, text: string): UsageError {
  const names = Object.keys(RESOURCES);
  const near = nearest(name.toLowerCase().replace(/^rlimit_/, ""), names);
  const hint = near === undefined ? `they are ${names.join(", ")}` : `did you mean ${near}?`;
  return new UsageError(`Cannot use '${text}' for --rlimit: there is no such limit as '${name}'; ${hint}`);
}

function toValue(value: string, text: string): bigint {
  if (value === "unlimited") return UNLIMITED;
  if (/^\d{1,19}$/.test(value)) return BigInt(value);
  if (/^\d+(\.\d+)?[KMG]/i.test(value)) return BigInt(parseSize(`--rlimit ${text}`, value));
  throw new UsageError(
    `Cannot use '${value}' in --rlimit ${text}: it must be a whole number, a size such as 512M, or unlimited`,
  );
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
