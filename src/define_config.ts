/**
 * The shape of `prefork.config.ts`.
 *
 * @module
 */

/** What a configuration file may say: the options of the command line, by the same names. */
export interface PreforkConfig {
  /** The module that workers run: a path from where the manager is started, or an address. */
  readonly worker?: string;
  /** Arguments of the worker. */
  readonly args?: readonly string[];
  /** The command that workers run, with its arguments, in the place of a module. */
  readonly command?: readonly string[];
  /** How many workers there are. @default WEB_CONCURRENCY, else one for each CPU */
  readonly workers?: number;
  /** How many of them are kept idle. */
  readonly spare?: { readonly min: number; readonly max?: number };
  /** How many booted workers wait to take the place of one that ends. @default {0} */
  readonly standby?: number;
  /** What is done for signals: `{ HUP: "reload", USR2: "TERM:500" }`. */
  readonly trap?: Readonly<Record<string, string>>;
  /** How many new workers may boot beside the old ones in a reload. @default {1} */
  readonly surge?: number;
  /** How many old workers may stop before the new ones are ready. @default {0} */
  readonly unavailable?: number;
  /** How long a worker may take to be ready: `"30s"`, or milliseconds. @default {30000} */
  readonly bootTimeout?: string | number;
  /** What is asked until it is: `"/healthz"`, `"tcp:127.0.0.1:900{slot}"`. */
  readonly readyWhen?: string;
  /** How long a worker may take to stop: `"30s"`, or milliseconds. @default {30000} */
  readonly stopTimeout?: string | number;
  /** How long workers serve on after a stop before they are told: `"5s"`, or milliseconds. @default {0} */
  readonly drainDelay?: string | number;
  /** How long it may answer what is open: `"10s"`, or milliseconds. @default {10000} */
  readonly drainTimeout?: string | number;
  /** How long its event loop may stand still: `"30s"`, or milliseconds. @default any time */
  readonly hangTimeout?: string | number;
  /** A worker that has served so many requests is replaced. */
  readonly maxRequests?: number;
  /** One that has lived so long is replaced: `"1h"`, or milliseconds. */
  readonly maxLifetime?: string | number;
  /** One that uses more memory is replaced: `"512M"`. */
  readonly maxMemory?: string;
  /** Where to listen: a port, `"127.0.0.1:8080"`, `"unix:/run/app.sock"`, or a list of them. */
  readonly listen?: string | number | readonly (string | number)[];
  /** How many connections may wait. */
  readonly backlog?: number;
  /** Permissions of the files of Unix sockets: `"660"`. */
  readonly socketMode?: string;
  /** Their owner: `"www-data:www-data"`. */
  readonly socketOwner?: string;
  /** Whether native servers may accept from the sockets themselves. @default {true} */
  readonly adoption?: boolean;
  /** What workers run on: `"deno"`, `"bun"`, or the path of one. @default the manager's own */
  readonly runtime?: string;
  /** Permissions of workers on Deno: `["--allow-net"]`. @default the manager's own */
  readonly permissions?: readonly string[];
  /** The user that workers run as. */
  readonly user?: string;
  /** Their group. */
  readonly group?: string;
  /** Their directory. */
  readonly cwd?: string;
  /** The file mode creation mask of manager and workers: `"027"`. @default as it was */
  readonly umask?: string;
  /** Limits of manager and workers: `{ nofile: 65536, core: "0:unlimited" }`. @default as they were */
  readonly rlimit?: Readonly<Record<string, string | number>>;
  /** A file of variables for their environment. */
  readonly envFile?: string;
  /** Whether all workers are replaced when a file changes that they are made of. @default {false} */
  readonly watch?: boolean;
  /** What the manager is called. */
  readonly name?: string;
  /** The path of its operator's socket. */
  readonly control?: string;
  /** The file that holds its process id. */
  readonly pidFile?: string;
  /** Where its status is told over HTTP: a port, or `"0.0.0.0:9090"`. */
  readonly statusListen?: string | number;
  /** The file of what clients must know there. */
  readonly statusTokenFile?: string;
  /** The file that the log goes to, and what workers print. */
  readonly logFile?: string;
  /**
   * What becomes of what workers print: each line named by slot and process id, whole lines as they are, or not looked
   * at. @default "named" on a terminal, else "lines"
   */
  readonly output?: "named" | "lines" | "inherit";
  /** How the log looks. */
  readonly logFormat?: "pretty" | "json" | "plain" | "journal";
}

/**
 * Gives a configuration its type: the default export of `prefork.config.ts`.
 *
 * @example
 * ```ts
 * import { defineConfig } from "@prefork/prefork/config";
 *
 * export default defineConfig({ worker: "./app.ts", workers: 4, listen: 8080, readyWhen: "/healthz" });
 * ```
 */
export function defineConfig(config: PreforkConfig): PreforkConfig {
  return config;
}
