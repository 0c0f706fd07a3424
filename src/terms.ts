/**
 * The terms under which a generation of workers is kept: the rules of the pool, its sockets, and what workers are told.
 * A reload may bring others: all of them hold, or none.
 *
 * @module
 */

import { currentLibc } from "../runtimes/current_libc.ts";
import { checkKeys } from "./checks.ts";
import { storedOn } from "./fd_store.ts";
import { Inheritance } from "./handover.ts";
import { checkListen, type ListenOptions } from "./listen.ts";
import { type CheckedOptions, checkOptions, isOption, type PreforkOptions } from "./options.ts";
import type { PoolConfig, Rules } from "./pool_state.ts";
import type { Readiness } from "./ready_when.ts";
import { type Elsewhere, SharedSockets } from "./sockets.ts";
import { takeoverOn } from "./succession.ts";
import type { ProcessHost } from "./types.ts";

/** The names of what a reload may change. */
export type ChangeableOption =
  | "maxWorkers"
  | "spawnIntervalMs"
  | "errRespawnIntervalMs"
  | "maxRespawnIntervalMs"
  | "maxBootFailures"
  | "bootTimeoutMs"
  | "stopTimeoutMs"
  | "reloadTimeoutMs"
  | "maxSurge"
  | "maxUnavailable"
  | "drainDelayMs"
  | "drainTimeoutMs"
  | "hangTimeoutMs"
  | "recycle"
  | "standby"
  | "policy"
  | "listen"
  | "adoption";

const CHANGEABLE: Readonly<Record<ChangeableOption, true>> = {
  maxWorkers: true,
  spawnIntervalMs: true,
  errRespawnIntervalMs: true,
  maxRespawnIntervalMs: true,
  maxBootFailures: true,
  bootTimeoutMs: true,
  stopTimeoutMs: true,
  reloadTimeoutMs: true,
  maxSurge: true,
  maxUnavailable: true,
  drainDelayMs: true,
  drainTimeoutMs: true,
  hangTimeoutMs: true,
  recycle: true,
  standby: true,
  policy: true,
  listen: true,
  adoption: true,
};

/** Whether a reload may change an option. */
export function isChangeable(name: string): name is ChangeableOption {
  return Object.hasOwn(CHANGEABLE, name);
}

/** The options of {@linkcode Prefork} that a reload may change. One that is `undefined` gets its default back. */
export type PoolChanges = {
  readonly [Name in ChangeableOption]?: PreforkOptions[Name] | undefined;
};

/** What the pool's logic is to know of changes. */
export function rulesOf({ config, maxWorkers }: Terms, changes: PoolChanges): Rules {
  return { config, maxWorkers: "maxWorkers" in changes ? maxWorkers : undefined };
}

/** The terms of one generation. */
export interface Terms {
  readonly options: PreforkOptions;
  readonly maxWorkers: number;
  readonly config: PoolConfig;
  readonly drainTimeoutMs: number;
  readonly readiness: Readiness | undefined;
  readonly sockets: SharedSockets | undefined;
}

/**
 * The terms with which a pool begins.
 *
 * @throws {Error} If an address cannot be listened on.
 */
export function firstTerms(options: PreforkOptions, checked: CheckedOptions, host: ProcessHost): Terms {
  return termsOf(options, checked, checked.listen.length === 0 ? undefined : openFirst(checked.listen, host));
}

/** On what the manager before this one has open, or had left with systemd. */
function openFirst(listen: readonly ListenOptions[], host: ProcessHost): SharedSockets {
  const takeover = takeoverOn(host);
  if (takeover !== undefined) return SharedSockets.open(listen, host, currentLibc, takeover.inheritance);
  const sockets = SharedSockets.open(listen, host, currentLibc, storedOn(host));
  sockets.own(); // that manager is gone
  sockets.settle();
  return sockets;
}

/**
 * The same terms with changes. What is listened on already stays the same socket, unless it has lost its file.
 *
 * @param maxWorkers How many workers the pool has at most by now.
 * @param elsewhere Where else this pool listens.
 * @throws {TypeError} If an option is unknown, fixed, or of the wrong shape.
 * @throws {RangeError} If a number is out of range.
 * @throws {Error} If an address cannot be listened on, or this manager has yet to take over. Nothing has changed then.
 */
export function changeTerms(
  before: Terms,
  changes: PoolChanges,
  maxWorkers: number,
  host: ProcessHost,
  elsewhere: Elsewhere,
): Terms {
  checkChanges(changes);
  const options = withoutUndefined({ ...before.options, maxWorkers, ...changes });
  const checked = checkOptions(options, host);
  return termsOf(options, checked, "listen" in changes ? reopen(before, options, host, elsewhere) : before.sockets);
}

function checkChanges(changes: PoolChanges): void {
  if (typeof changes !== "object" || changes === null) {
    throw new TypeError(`Cannot reload with the options ${String(changes)}: they must be an object`);
  }
  const fixed = Object.keys(changes).find((name) => isOption(name) && !isChangeable(name));
  if (fixed !== undefined) {
    throw new TypeError(
      `Cannot change '${fixed}' by a reload: it holds for as long as the manager lives; upgrade() it, or start it anew`,
    );
  }
  checkKeys("reload.options", changes, Object.keys(CHANGEABLE));
}

function withoutUndefined(options: { readonly [Name in keyof PreforkOptions]: unknown }): PreforkOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function reopen(
  { sockets }: Terms,
  { listen }: PreforkOptions,
  host: ProcessHost,
  { others, left }: Elsewhere,
): SharedSockets | undefined {
  const wanted = checkListen(listen);
  refuseIfTakingOver(host);
  if (wanted.length === 0) return undefined;
  const [first, ...more] = sockets === undefined ? others : [sockets, ...others];
  if (first !== undefined) return first.reopen(wanted, host, { others: more, left });
  return SharedSockets.open(wanted, host, currentLibc, new Inheritance([], left));
}

/** The manager before this one is told once which of its sockets go on, and has their files until then. */
function refuseIfTakingOver(host: ProcessHost): void {
  const elder = takeoverOn(host)?.elderPid;
  if (elder === undefined) return;
  throw new Error(
    `Cannot change 'listen' by a reload: this manager has yet to take over from pid=${elder}, which has the sockets; ` +
      "try again when it has",
  );
}

function termsOf(options: PreforkOptions, checked: CheckedOptions, sockets: SharedSockets | undefined): Terms {
  const { maxWorkers, drainTimeoutMs, listen: _, readyWhen: readiness, ...config } = checked;
  return { options, maxWorkers, config, drainTimeoutMs, readiness, sockets };
}
