/**
 * What can be said for `--umask` and `--rlimit`. Pure, and loaded by every command: what sets them is in `limits.ts`.
 *
 * @module
 */

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

/** `RLIM_INFINITY`. */
const UNLIMITED = 2n ** 64n - 1n;

/** A limit of a resource: what holds, and how far a process may raise that by itself. */
export interface Limit {
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

/** What such a text says. */
export function toLimit(text: string): Limit {
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
