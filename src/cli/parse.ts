/**
 * Reads the command line: arguments in, what to do out. Pure.
 *
 * @module
 */

import { nearest } from "../nearest.ts";
import type { ConfigArguments } from "./config.ts";
import type { ReadyWhen } from "../ready_when.ts";
import type { Relay, Signal, TrapSignals } from "../types.ts";
import { parseRlimit, parseUmask } from "./limits.ts";
import { isOrder, type OperatorRequest, readOrder } from "./parse_order.ts";
import { UsageError } from "./usage_error.ts";
import {
  DEFAULT_TRAPS,
  LOG_FORMATS,
  type LogFormat,
  OUTPUT_MODES,
  type OutputMode,
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
  parseTrap,
  type SpareRange,
} from "./values.ts";

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
  readonly adoption?: false;
  readonly watch?: true;
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
  readonly trapSignals: TrapSignals;
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

/** An option that takes a value: an example of one, and what becomes of it. */
interface ValueOption {
  readonly example: string;
  readonly read: (text: string) => RunOptions;
}

const VALUE_OPTIONS: Readonly<Record<string, ValueOption>> = {
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

const TRAP = "--trap";
const LISTEN = "--listen";
const RLIMIT = "--rlimit";
const NO_ADOPTION = "--no-adoption";
const PRINT_CONFIG = "--print-config";
const WATCH = "--watch";
/** Starts a daemon. */
export const DAEMONIZE = "--daemonize";
/** What stands in the place of it for the daemon itself; nobody types it. */
export const DAEMONIZED = "--daemonized";
/** Options that may be given several times, each with an example. */
const REPEATED: Readonly<Record<string, string>> = { [TRAP]: "HUP=reload", [LISTEN]: "8080", [RLIMIT]: "nofile=65536" };
const SHORT: Readonly<Record<string, string>> = {
  "-w": "--workers",
  "-l": LISTEN,
  "-t": TRAP,
  "-h": "--help",
  "-V": "--version",
};
const PERMISSIONS = ["read", "write", "net", "env", "run", "ffi", "sys", "import", "all"];
/** Options without a value. */
const FLAGS = [NO_ADOPTION, WATCH, PRINT_CONFIG, DAEMONIZE, "--help", "--version"];
const DENO_FLAGS = [
  "-A",
  ...PERMISSIONS.map((name) => `--allow-${name}`),
  ...PERMISSIONS.slice(0, -1).map((name) => `--deny-${name}`),
];
/** Options that take a value, by their long names. */
export const VALUED: readonly string[] = [...Object.keys(VALUE_OPTIONS), ...Object.keys(REPEATED)];

/** What there is to choose from. */
export const CHOICES: Readonly<Record<string, readonly string[]>> = {
  "--runtime": ["deno", "bun"],
  "--log-format": LOG_FORMATS,
  "--output": OUTPUT_MODES,
};

/** All options of a run, by their long names. */
export const LONG_NAMES: readonly string[] = [
  ...Object.keys(VALUE_OPTIONS),
  ...Object.keys(REPEATED),
  NO_ADOPTION,
  WATCH,
  PRINT_CONFIG,
  DAEMONIZE,
  "--help",
  "--version",
  ...DENO_FLAGS.slice(1),
];

/**
 * Reads a command line.
 *
 * @param config What the configuration file asks for; the command line wins.
 */
export function parse(args: readonly string[], config?: ConfigArguments): Request {
  try {
    const [first, ...rest] = args;
    if (isOrder(first)) return readOrder(first, rest);
    if (first === "completion") return { kind: "completion", shell: rest[0] };
    if (first !== "check") return read(args, config);
    const request = read(rest, config);
    return request.kind === "run" ? { kind: "check", run: request } : request;
  } catch (error) {
    if (error instanceof UsageError) return { kind: "error", message: error.message };
    throw error;
  }
}

/** What a command line says of configuration files: the one it names, and whether it names a worker. */
export function findConfig(args: readonly string[]): { readonly file?: string; readonly isComplete: boolean } {
  try {
    const { own, rest } = split(args[0] === "check" ? args.slice(1) : args);
    const said = readTokens(own);
    if (isOrder(args[0]) || args[0] === "completion" || "kind" in said) return { isComplete: true };
    const words = said.words[0] === "run" ? said.words.slice(1) : said.words;
    const { config: file } = said.options;
    return { ...file === undefined ? {} : { file }, isComplete: words.length > 0 || rest !== undefined };
  } catch {
    return { isComplete: true }; // which is told by whoever reads it
  }
}

/** What a row of arguments says. */
interface Said {
  readonly words: readonly string[];
  readonly options: RunOptions;
  readonly traps: TrapSignals;
  readonly denoArgs: readonly string[];
  readonly given: readonly Omit<Given, "origin">[];
}

function split(args: readonly string[]): { readonly own: readonly string[]; readonly rest?: readonly string[] } {
  const dashes = args.indexOf("--");
  return dashes < 0 ? { own: args } : { own: args.slice(0, dashes), rest: args.slice(dashes + 1) };
}

function read(args: readonly string[], config?: ConfigArguments): Request {
  const { own, rest } = split(args);
  const typed = readTokens(own);
  if ("kind" in typed) return typed;
  const filed = config === undefined ? undefined : readFile(config);
  const target = findTarget(typed.words, rest, config?.target);
  return {
    kind: "run",
    target,
    targetOrigin: target === config?.target ? config.file : "command line",
    options: { ...filed?.options, ...typed.options },
    trapSignals: { ...DEFAULT_TRAPS, ...filed?.traps, ...typed.traps },
    denoArgs: typed.denoArgs.length > 0 ? typed.denoArgs : filed?.denoArgs ?? [],
    given: whatHolds([
      ...filed?.given.map((each) => ({ ...each, origin: config?.file ?? "" })) ?? [],
      ...typed.given.map((each) => ({ ...each, origin: "command line" })),
    ]),
  };
}

/** What was said last of a thing holds; of lists, all that was said in the place where they were said last. */
function whatHolds(given: readonly Given[]): readonly Given[] {
  const about = ({ name, text }: Given): string => {
    if (DENO_FLAGS.includes(name)) return "permissions";
    return name === TRAP ? String(parseTrap(text)[0]) : name;
  };
  const isList = (each: Given): boolean => [LISTEN, RLIMIT, "permissions"].includes(about(each));
  return given.filter((each) => {
    const last = given.findLast((other) => about(other) === about(each));
    return isList(each) ? last?.origin === each.origin : last === each;
  });
}

/** What is wrong in a file is told with its name, and with the key. */
function readFile({ file, tokens }: ConfigArguments): Said {
  for (const { key, token } of tokens) {
    try {
      readTokens([token]);
    } catch (error) {
      throw error instanceof UsageError ? new UsageError(`${error.message} ('${key}' in ${file})`) : error;
    }
  }
  const said = readTokens(tokens.map(({ token }) => token));
  if ("kind" in said || said.words.length > 0) throw new UsageError(`Cannot use ${file}: it holds more than options`);
  return said;
}

function readTokens(tokens: readonly string[]): Said | { readonly kind: "help" | "version" } {
  const words: string[] = [];
  const denoArgs: string[] = [];
  const traps: [Signal, Relay][] = [];
  const given: { name: string; text: string }[] = [];
  let options: RunOptions = {};
  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at] ?? "";
    if (!token.startsWith("-") || token === "-") {
      words.push(token);
      continue;
    }
    const { name, value } = splitOption(token);
    if (FLAGS.includes(name)) {
      if (value !== undefined) throw new UsageError(`Cannot use a value for ${name}, as in ${token}: it takes none`);
      if (name === NO_ADOPTION) options = { ...options, adoption: false };
      else if (name === WATCH) options = { ...options, watch: true };
      else if (name === PRINT_CONFIG) options = { ...options, printConfig: true };
      else if (name === DAEMONIZE) options = { ...options, daemonize: true };
      else return { kind: name === "--help" ? "help" : "version" };
      given.push({ name, text: "" });
      continue;
    }
    if (name === DAEMONIZED && value !== undefined) {
      options = { ...options, daemonized: value };
      continue;
    }
    if (DENO_FLAGS.includes(name)) {
      denoArgs.push(token);
      given.push({ name, text: value ?? "" });
      continue;
    }
    const option = VALUE_OPTIONS[name];
    const example = option?.example ?? REPEATED[name];
    if (example === undefined) throw unknownOption(token, name);
    const text = value ?? valueAt(tokens, ++at, token, example);
    if (text === "") throw withoutValue(name, example);
    given.push({ name, text });
    if (option !== undefined) options = { ...options, ...option.read(text) };
    else if (name === TRAP) traps.push([...parseTrap(text)]);
    else if (name === RLIMIT) options = { ...options, rlimit: [...options.rlimit ?? [], parseRlimit(text)] };
    else options = { ...options, listen: [...options.listen ?? [], parseListen("-l", text)] };
  }
  return { words, options, traps: Object.fromEntries(traps), denoArgs, given };
}

/** `--name=value`, `-w=4` and `-w4` hold their value; short names become long ones. */
function splitOption(token: string): { readonly name: string; readonly value: string | undefined } {
  const equals = token.indexOf("=");
  const name = equals < 0 ? token : token.slice(0, equals);
  const value = equals < 0 ? undefined : token.slice(equals + 1);
  const attached = /^(-[wlt])([^=].*)$/.exec(token);
  if (attached) return { name: SHORT[attached[1] ?? ""] ?? name, value: attached[2] };
  return { name: SHORT[name] ?? name, value };
}

function valueAt(own: readonly string[], at: number, option: string, example: string): string {
  const value = own[at];
  if (value !== undefined && (!value.startsWith("-") || /^-\d/.test(value))) return value;
  throw withoutValue(option, example);
}

function withoutValue(option: string, example: string): UsageError {
  return new UsageError(`Cannot use ${option} without a value: give one, as in ${option} ${example}`);
}

function unknownOption(token: string, name: string): UsageError {
  const near = nearest(name, name.startsWith("--") ? LONG_NAMES : []);
  const hint = near === undefined ? "--help lists all" : `did you mean ${near}?`;
  return new UsageError(`Cannot understand ${token}: there is no such option; ${hint}`);
}

function findTarget(words: readonly string[], rest: readonly string[] | undefined, filed: Target | undefined): Target {
  const [module, extra] = words[0] === "run" ? words.slice(1) : words;
  if (extra !== undefined) {
    throw new UsageError(
      `Cannot use '${extra}' beside the worker ${module}: one pool runs one WORKER, and its own arguments go after --`,
    );
  }
  if (module === "") throw new UsageError("Cannot use '' as the worker: give the path or the address of a module");
  if (module !== undefined) return { type: "module", module, args: rest ?? [] };
  if (rest === undefined && filed !== undefined) return filed;
  const [command, ...args] = rest ?? [];
  if (command === undefined) {
    throw new UsageError(
      "Cannot tell what to run: give a WORKER module, a command after --, or a prefork.config.ts; --help shows all",
    );
  }
  if (command === "") throw new UsageError("Cannot use '' as the command: give its name or its path");
  if (command.startsWith("-")) {
    throw new UsageError(
      `Cannot run '${command}': no command begins with a dash; what a worker that a file names is to get, 'args' says there`,
    );
  }
  return { type: "command", command, args };
}
