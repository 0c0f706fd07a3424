/**
 * What a command line asks for, as it was read. Types only.
 *
 * @module
 */

import type { ReadyWhen } from "../ready_when.ts";
import type { Relays } from "../types.ts";
import type { OperatorRequest } from "./parse_order.ts";
import type { LogFormat, OutputMode, SpareRange } from "./values.ts";

/** What the workers are, as it was typed. */
export type Target =
  | { readonly type: "module"; readonly module: string; readonly args: readonly string[] }
  | { readonly type: "command"; readonly command: string; readonly args: readonly string[] };

/** The options of a run. What is undefined was not given. */
export interface RunOptions {
  readonly workers?: number;
  readonly spare?: SpareRange;
  readonly runtime?: string;
  readonly user?: string;
  readonly group?: string;
  readonly cwd?: string;
  /** Octal digits. */
  readonly umask?: string;
  /** Limits as they were typed, each known to be one. */
  readonly rlimit?: readonly string[];
  readonly envFile?: string;
  readonly standby?: number;
  readonly maxSurge?: number;
  readonly maxUnavailable?: number;
  readonly hangTimeoutMs?: number;
  readonly maxRequests?: number;
  readonly maxLifetimeMs?: number;
  readonly maxMemoryBytes?: number;
  readonly bootTimeoutMs?: number;
  readonly readyWhen?: ReadyWhen;
  readonly stopTimeoutMs?: number;
  readonly drainDelayMs?: number;
  readonly drainTimeoutMs?: number;
  /** Addresses as they were typed, each known to be one. */
  readonly listen?: readonly string[];
  readonly backlog?: number;
  readonly socketMode?: number;
  readonly socketOwner?: string;
  readonly adoption?: boolean;
  readonly watch?: boolean;
  readonly name?: string;
  readonly logFormat?: LogFormat;
  readonly logFile?: string;
  readonly output?: OutputMode;
  readonly control?: string;
  readonly pidFile?: string;
  readonly statusListen?: { readonly host: string; readonly port: number };
  readonly statusTokenFile?: string;
  /** The configuration file. */
  readonly config?: string;
  readonly printConfig?: true;
  readonly daemonize?: true;
  /** The socket of the process that waits for this daemon. */
  readonly daemonized?: string;
}

/** A pool to run. */
export interface RunRequest {
  readonly kind: "run";
  readonly target: Target;
  /** Who names it: the configuration file, or the command line. */
  readonly targetOrigin: string;
  readonly options: RunOptions;
  readonly trapSignals: Relays;
  /** Permission flags for workers on Deno, as they were typed. */
  readonly denoArgs: readonly string[];
  /** What was said of all that, and where. */
  readonly given: readonly Given[];
}

/** An option as somebody gave it. */
export interface Given {
  /** Its long name. */
  readonly name: string;
  readonly text: string;
  /** The configuration file, or the command line. */
  readonly origin: string;
}

/** What a command line asks for. */
export type Request =
  | RunRequest
  | { readonly kind: "check"; readonly run: RunRequest }
  | { readonly kind: "completion"; readonly shell: string | undefined }
  | OperatorRequest
  | { readonly kind: "help" }
  | { readonly kind: "version" }
  | { readonly kind: "error"; readonly message: string };
