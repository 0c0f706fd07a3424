/**
 * The configuration file of the Gearman examples.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import process from "node:process";
import { pathToFileURL } from "node:url";

const DEFAULT_PORT = 4730;

/** Where a Gearman server listens. */
export type ServerAddress = { readonly host: string; readonly port: number };

/** What a worker must know. A type, not an interface, so that it passes as `data` to a worker. */
export type Config = {
  /** Servers to take jobs from. In the file: `"host"`, `"host:port"` or `"[v6 address]:port"`. */
  readonly servers: readonly ServerAddress[];
  /** URL of the module that has the functions. In the file: a path, relative to the file. */
  readonly module: string;
  /** Names of the functions to offer: each is an export of the module. */
  readonly functions: readonly string[];
  /** How many workers the daemon keeps. */
  readonly maxWorkers: number;
};

const KEYS = ["servers", "module", "functions", "maxWorkers"];

/** The configuration file named by the first argument of the program, or the one beside the examples. */
export function configFile(): URL {
  const path = process.argv[2];
  return path === undefined ? new URL("./gearman.json", import.meta.url) : pathToFileURL(path);
}

/** Reads a configuration file. Throws a sentence that names the file if it is not as it must be. */
export async function readConfig(file: URL): Promise<Config> {
  try {
    return parseConfig(JSON.parse(await readFile(file, "utf8")), file);
  } catch (error) {
    throw new Error(`Cannot use ${file.pathname}: ${error instanceof Error ? error.message : error}`);
  }
}

/** Reads the configuration that a program begins with. Ends the program with that sentence if it cannot begin so. */
export async function requireConfig(): Promise<Config> {
  try {
    return await readConfig(configFile());
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
    process.exit(2);
  }
}

function parseConfig(value: unknown, file: URL): Config {
  if (!isRecord(value)) throw new TypeError(`it must hold a JSON object, not ${JSON.stringify(value)}`);
  const stray = Object.keys(value).find((key) => !KEYS.includes(key));
  if (stray !== undefined) throw new TypeError(`it has "${stray}", but only ${KEYS.join(", ")} mean something here`);
  const { maxWorkers, module } = value;
  if (typeof maxWorkers !== "number" || !Number.isSafeInteger(maxWorkers) || maxWorkers < 0) {
    throw new RangeError(`"maxWorkers" must be a whole number from 0 up, not ${JSON.stringify(maxWorkers)}`);
  }
  if (typeof module !== "string") throw new TypeError(`"module" must be a path, not ${JSON.stringify(module)}`);
  return {
    servers: names(value, "servers").map(parseAddress),
    module: new URL(module, file).href,
    functions: names(value, "functions"),
    maxWorkers,
  };
}

function names(value: Record<string, unknown>, key: string): readonly string[] {
  const list = value[key];
  if (Array.isArray(list) && list.length > 0 && list.every((name) => typeof name === "string" && name !== "")) {
    return list;
  }
  throw new TypeError(`"${key}" must be a list of one or more names, not ${JSON.stringify(list)}`);
}

function parseAddress(text: string): ServerAddress {
  const groups = /^(?:\[(?<v6>[^\]]+)\]|(?<name>[^:\s]+))(?::(?<port>\d+))?$/.exec(text)?.groups;
  const host = groups?.v6 ?? groups?.name;
  const port = Number(groups?.port ?? DEFAULT_PORT);
  if (host !== undefined && port >= 1 && port <= 65_535) return { host, port };
  throw new TypeError(`"${text}" is no server: write host, host:port or [v6 address]:port`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
