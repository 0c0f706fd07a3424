/**
 * The options of a run: what each takes, and what becomes of it.
 *
 * @module
 */

import { parseRlimit, parseUmask } from "./limit_values.ts";
import type { RunOptions } from "./request.ts";
import {
  LOG_FORMATS,
  OUTPUT_MODES,
  parseBacklog,
  parseCount,
  parseDuration,
  parseListen,
  parseLogFormat,
  parseMode,
  parseOutput,
  parseReadyWhen,
  parseSize,
  parseSpare,
  parseStatusListen,
} from "./values.ts";

/** An option that takes a value. */
interface ValueOption {
  readonly example: string;
  /** What it says, after what was said before. */
  readonly read: (text: string, before: RunOptions) => RunOptions;
}

const VALUES: Readonly<Record<string, ValueOption>> = {
  "--workers": { example: "4", read: (text) => ({ workers: parseCount("--workers", text) }) },
  "--spare": { example: "3:8", read: (text) => ({ spare: parseSpare(text) }) },
  "--runtime": { example: "bun", read: (text) => ({ runtime: text }) },
  "--user": { example: "www-data", read: (text) => ({ user: text }) },
  "--group": { example: "www-data", read: (text) => ({ group: text }) },
  "--cwd": { example: "/srv/app", read: (text) => ({ cwd: text }) },
  "--env-file": { example: ".env", read: (text) => ({ envFile: text }) },
  "--umask": { example: "027", read: (text) => ({ umask: parseUmask(text) }) },
  "--standby": { example: "1", read: (text) => ({ standby: parseCount("--standby", text) }) },
  "--surge": { example: "2", read: (text) => ({ maxSurge: parseCount("--surge", text) }) },
  "--unavailable": { example: "1", read: (text) => ({ maxUnavailable: parseCount("--unavailable", text) }) },
  "--hang-timeout": { example: "30s", read: (text) => ({ hangTimeoutMs: parseDuration("--hang-timeout", text) }) },
  "--max-requests": { example: "10000", read: (text) => ({ maxRequests: parseCount("--max-requests", text) }) },
  "--max-lifetime": { example: "1h", read: (text) => ({ maxLifetimeMs: parseDuration("--max-lifetime", text) }) },
  "--max-memory": { example: "512M", read: (text) => ({ maxMemoryBytes: parseSize("--max-memory", text) }) },
  "--boot-timeout": { example: "30s", read: (text) => ({ bootTimeoutMs: parseDuration("--boot-timeout", text) }) },
  "--ready-when": { example: "/healthz", read: (text) => ({ readyWhen: parseReadyWhen(text) }) },
  "--stop-timeout": { example: "30s", read: (text) => ({ stopTimeoutMs: parseDuration("--stop-timeout", text) }) },
  "--drain-delay": { example: "5s", read: (text) => ({ drainDelayMs: parseDuration("--drain-delay", text) }) },
  "--drain-timeout": { example: "10s", read: (text) => ({ drainTimeoutMs: parseDuration("--drain-timeout", text) }) },
  "--backlog": { example: "4096", read: (text) => ({ backlog: parseBacklog(text) }) },
  "--socket-mode": { example: "660", read: (text) => ({ socketMode: parseMode(text) }) },
  "--socket-owner": { example: "www-data:www-data", read: (text) => ({ socketOwner: text }) },
  "--name": { example: "web", read: (text) => ({ name: text }) },
  "--control": { example: "/run/web/control.sock", read: (text) => ({ control: text }) },
  "--pid-file": { example: "/run/web.pid", read: (text) => ({ pidFile: text }) },
  "--status-listen": { example: "9090", read: (text) => ({ statusListen: parseStatusListen(text) }) },
  "--status-token-file": { example: "/etc/web.token", read: (text) => ({ statusTokenFile: text }) },
  "--config": { example: "prefork.config.ts", read: (text) => ({ config: text }) },
  "--log-file": { example: "/var/log/web.log", read: (text) => ({ logFile: text }) },
  "--output": { example: "named", read: (text) => ({ output: parseOutput(text) }) },
  "--log-format": { example: "json", read: (text) => ({ logFormat: parseLogFormat(text) }) },
};

/** What may be given several times, and holds all of it. */
const LISTS: Readonly<Record<string, ValueOption>> = {
  "--listen": { example: "8080", read: (text, { listen = [] }) => ({ listen: [...listen, parseListen("-l", text)] }) },
  "--rlimit": {
    example: "nofile=65536",
    read: (text, { rlimit = [] }) => ({ rlimit: [...rlimit, parseRlimit(text)] }),
  },
};

/** Starts a daemon. */
export const DAEMONIZE = "--daemonize";
/** What stands in the place of it for the daemon itself. */
export const DAEMONIZED = "--daemonized";

/** What nobody types. */
const HIDDEN: Readonly<Record<string, ValueOption>> = {
  [DAEMONIZED]: { example: "/tmp/daemon.sock", read: (text) => ({ daemonized: text }) },
};

/** Options without a value. What a file may say has an opposite, so that what is typed wins. */
const FLAGS: Readonly<Record<string, RunOptions>> = {
  "--adoption": { adoption: true },
  "--no-adoption": { adoption: false },
  "--watch": { watch: true },
  "--no-watch": { watch: false },
  "--print-config": { printConfig: true },
  [DAEMONIZE]: { daemonize: true },
};

/** What is asked for in the place of a run. */
const QUESTIONS: Readonly<Record<string, "help" | "version">> = { "--help": "help", "--version": "version" };

/** What is done for a signal: no option like the others, since each signal has its own. */
const TRAP = "--trap";

const PERMISSIONS = ["read", "write", "net", "env", "run", "ffi", "sys", "import", "all"];
/** What workers on Deno may do. */
const DENO_FLAGS = [
  "-A",
  ...PERMISSIONS.map((name) => `--allow-${name}`),
  ...PERMISSIONS.slice(0, -1).map((name) => `--deny-${name}`),
];

/** Options that take a value, by their long names. */
export const VALUED: readonly string[] = [...Object.keys(VALUES), TRAP, ...Object.keys(LISTS)];

/** All options of a run, by their long names. */
export const LONG_NAMES: readonly string[] = [
  ...VALUED,
  ...Object.keys(FLAGS),
  ...Object.keys(QUESTIONS),
  ...DENO_FLAGS.slice(1),
];

/** What there is to choose from. */
export const CHOICES: Readonly<Record<string, readonly string[]>> = {
  "--runtime": ["deno", "bun"],
  "--log-format": LOG_FORMATS,
  "--output": OUTPUT_MODES,
};

/** What stands behind a name. */
export type NamedOption =
  | ({ readonly type: "value" } & ValueOption)
  | { readonly type: "trap"; readonly example: string }
  | { readonly type: "flag"; readonly says: RunOptions }
  | { readonly type: "question"; readonly kind: "help" | "version" }
  | { readonly type: "permission" };

/** Finds an option by its long name, or `-A`. */
export function optionNamed(name: string): NamedOption | undefined {
  const value = VALUES[name] ?? LISTS[name] ?? HIDDEN[name];
  if (value !== undefined) return { type: "value", ...value };
  if (name === TRAP) return { type: "trap", example: "HUP=reload" };
  const says = FLAGS[name];
  if (says !== undefined) return { type: "flag", says };
  const kind = QUESTIONS[name];
  if (kind !== undefined) return { type: "question", kind };
  return DENO_FLAGS.includes(name) ? { type: "permission" } : undefined;
}

/** Whether all that is said of it in one place holds together. */
export function isList(name: string): boolean {
  return name in LISTS || DENO_FLAGS.includes(name);
}
