/**
 * The configuration file: the same options as on the command line, by the same names and in the same words.
 *
 * @module
 */

import { existsSync, readFileSync } from "node:fs";
import { extname, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { PreforkConfig } from "../define_config.ts";
import { describeError } from "../events.ts";
import { nearest } from "../nearest.ts";
import type { ProcessHost } from "../types.ts";
import { capture, type Captured } from "./capture.ts";
import { FAILED, READ } from "./config_marks.ts";
import { requireFile } from "./files.ts";
import type { Target } from "./request.ts";
import { UsageError } from "./usage_error.ts";

/** What a file asks for, as if it had been typed. */
export interface ConfigArguments {
  /** The file, as it was named. */
  readonly file: string;
  readonly target: Target | undefined;
  /** An argument for each option, with the key that it stands for. */
  readonly tokens: readonly { readonly key: string; readonly token: string }[];
}

/** How long a file may take to run. */
const CONFIG_MS = 20_000;

/** Files that are looked for where no worker is named. */
const CONFIG_FILES: readonly string[] = ["prefork.config.ts", "prefork.config.js", "prefork.config.json"];

/** The first of them that is there. */
export function findConfigFile(cwd: string): string | undefined {
  return CONFIG_FILES.find((file) => existsSync(resolve(cwd, file)));
}

/** Options that take a value, by their key; those of times may be numbers of milliseconds. */
const VALUES = {
  workers: "--workers",
  runtime: "--runtime",
  user: "--user",
  group: "--group",
  cwd: "--cwd",
  envFile: "--env-file",
  standby: "--standby",
  surge: "--surge",
  unavailable: "--unavailable",
  maxRequests: "--max-requests",
  maxMemory: "--max-memory",
  readyWhen: "--ready-when",
  backlog: "--backlog",
  socketMode: "--socket-mode",
  socketOwner: "--socket-owner",
  name: "--name",
  control: "--control",
  pidFile: "--pid-file",
  statusListen: "--status-listen",
  statusTokenFile: "--status-token-file",
  logFormat: "--log-format",
  logFile: "--log-file",
  output: "--output",
} as const satisfies Partial<Record<keyof PreforkConfig, string>>;

const TIMES = {
  hangTimeout: "--hang-timeout",
  maxLifetime: "--max-lifetime",
  bootTimeout: "--boot-timeout",
  stopTimeout: "--stop-timeout",
  drainDelay: "--drain-delay",
  drainTimeout: "--drain-timeout",
} as const satisfies Partial<Record<keyof PreforkConfig, string>>;

const OTHERS = [
  "worker",
  "args",
  "command",
  "listen",
  "spare",
  "trap",
  "umask",
  "rlimit",
  "adoption",
  "watch",
  "permissions",
] as const satisfies readonly (keyof PreforkConfig)[];

/** Options that are for whoever types them. */
const TYPED = ["daemonize", "config", "printConfig", "help", "version"];

const KEYS: readonly string[] = [...Object.keys(VALUES), ...Object.keys(TIMES), ...OTHERS];

/**
 * Reads a configuration file. One that is a program is run on its own, with nothing but the right to read files and the
 * environment, and anew each time.
 *
 * @throws {UsageError} Names the file, the key, and what is wrong with it.
 */
export async function readConfig(host: ProcessHost, file: string, cwd: string): Promise<ConfigArguments> {
  const path = requireFile("the configuration file", file, cwd);
  const value = extname(path) === ".json"
    ? parseJson(file, readFileSync(path, "utf8"))
    : await runConfig(host, file, path);
  return toArguments(file, value);
}

async function runConfig(host: ProcessHost, file: string, path: string): Promise<unknown> {
  const { href, protocol } = new URL("./config_loader.ts", import.meta.url);
  const loader = protocol === "file:" ? fileURLToPath(href) : href;
  const flags = host.name === "deno" ? ["run", "--no-prompt", "--allow-read", "--allow-env"] : ["run"];
  const args = [...flags, loader, pathToFileURL(path).href, String(host.pid)];
  const answer = await capture(host, process.execPath, args, { timeoutMs: CONFIG_MS, stderr: "inherit" });
  const last = answer?.text.trimEnd().split("\n").at(-1) ?? "";
  if (last.startsWith(READ)) return parseJson(file, last.slice(READ.length));
  throw new UsageError(`Cannot use ${file}: ${last.startsWith(FAILED) ? last.slice(FAILED.length) : whyNot(answer)}`);
}

function whyNot(answer: Captured | undefined): string {
  if (answer === undefined) return `${process.execPath} could not be run to read it; on Deno that takes --allow-run`;
  if (answer.isLate) {
    return `it had not exported anything after ${CONFIG_MS / 1000} s: it may wait for what never comes`;
  }
  if (answer.code === 0) return "it ended the process by itself, and had not exported anything yet";
  return `its process ended with status ${answer.code}, and had not exported anything yet`;
}

function parseJson(file: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`Cannot use ${file}: it is no JSON: ${describeError(error)}`);
  }
}

/**
 * Turns what a file exports into arguments.
 *
 * @throws {UsageError} If a key is unknown, or of the wrong shape.
 */
export function toArguments(file: string, value: unknown): ConfigArguments {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UsageError(
      `Cannot use ${file}: it must export an object by default, as defineConfig({ worker: "./app.ts" })`,
    );
  }
  const config: Readonly<Record<string, unknown>> = { ...value };
  for (const key of Object.keys(config)) {
    if (!KEYS.includes(key)) throw unknownKey(file, key);
  }
  const tokens = Object.entries(config).filter(([, each]) => each !== undefined)
    .flatMap(([key, each]) => toTokens(file, key, each).map((token) => ({ key, token })));
  return { file, tokens, target: toTarget(file, config) };
}

function unknownKey(file: string, key: string): UsageError {
  if (TYPED.includes(key)) {
    return new UsageError(`Cannot use '${key}' in ${file}: it is for the command line only; leave it out, and type it`);
  }
  const near = nearest(key, KEYS);
  const hint = near === undefined ? "docs/operating.md lists all" : `did you mean '${near}'?`;
  return new UsageError(`Cannot understand '${key}' in ${file}: there is no such option; ${hint}`);
}

function toTokens(file: string, key: string, value: unknown): readonly string[] {
  const wrong = (wanted: string): UsageError => {
    return new UsageError(`Cannot use ${JSON.stringify(value)} for '${key}' in ${file}: it must be ${wanted}`);
  };
  const text = (value: unknown, wanted = "text or a number"): string => {
    if (typeof value === "string" || typeof value === "number") return String(value);
    throw wrong(wanted);
  };
  const list = (value: unknown): readonly unknown[] => Array.isArray(value) ? value : [value];
  switch (key) {
    case "worker":
    case "args":
    case "command":
      return [];
    case "listen":
      return list(value).map((each) => `--listen=${text(each, "an address or a list of them")}`);
    case "permissions":
      return list(value).map((each) => {
        if (typeof each === "string" && /^(-A|--(allow|deny)-[a-z]+(=.*)?)$/s.test(each)) return each;
        throw wrong("flags of Deno, such as ['--allow-net']");
      });
    case "adoption":
      if (typeof value !== "boolean") throw wrong("true or false");
      return value ? [] : ["--no-adoption"];
    case "watch":
      if (typeof value !== "boolean") throw wrong("true or false");
      return value ? ["--watch"] : [];
    case "spare": {
      if (typeof value !== "object" || value === null) return [`--spare=${text(value, "{ min: 3, max: 8 }")}`];
      const { min, max, ...others } = { min: undefined, max: undefined, ...value };
      if (Object.keys(others).length > 0) throw wrong("{ min: 3, max: 8 }");
      return [
        `--spare=${text(min, "{ min: 3, max: 8 }")}${max === undefined ? "" : `:${text(max, "{ min: 3, max: 8 }")}`}`,
      ];
    }
    case "umask":
      if (typeof value !== "string") throw wrong("text of octal digits, such as '027'");
      return [`--umask=${value}`];
    case "rlimit":
      if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong("{ nofile: 65536 }");
      return Object.entries(value).map(([name, limit]) => `--rlimit=${name}=${text(limit, "{ nofile: 65536 }")}`);
    case "trap":
      if (typeof value !== "object" || value === null) throw wrong("{ HUP: 'reload' }");
      return Object.entries(value).map(([signal, action]) => `--trap=${signal}=${text(action, "{ HUP: 'reload' }")}`);
  }
  if (isKeyOf(TIMES, key)) return [`${TIMES[key]}=${typeof value === "number" ? `${value}ms` : text(value)}`];
  return isKeyOf(VALUES, key) ? [`${VALUES[key]}=${text(value)}`] : [];
}

function toTarget(file: string, { worker, command, args = [] }: Readonly<Record<string, unknown>>): Target | undefined {
  const wrong = (key: string, wanted: string): UsageError => {
    return new UsageError(`Cannot use '${key}' in ${file}: it must be ${wanted}`);
  };
  if (worker !== undefined && command !== undefined) throw wrong("command", "left out beside 'worker'");
  if (!isTexts(args)) throw wrong("args", "a list of texts");
  if (worker !== undefined) {
    if (typeof worker !== "string" || worker === "") throw wrong("worker", "the path or the address of a module");
    return { type: "module", module: worker, args };
  }
  if (command === undefined) return undefined;
  if (!isTexts(command)) throw wrong("command", "a list of texts, as ['./worker.py', '--queue', 'mail']");
  const [name, ...own] = command;
  if (name === undefined || name === "") throw wrong("command", "a list of texts, the command first");
  return { type: "command", command: name, args: [...own, ...args] };
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === "string");
}

function isKeyOf<T extends object>(object: T, key: PropertyKey): key is keyof T {
  return Object.hasOwn(object, key);
}
