/**
 * Reads the command line: arguments in, what to do out. Pure.
 *
 * @module
 */

import type { ConfigArguments } from "./config.ts";
import { isHelp, isOrder, meantBy, readOrder } from "./parse_order.ts";
import type { Given, Request, Target } from "./request.ts";
import { isList, optionNamed } from "./run_options.ts";
import { readTokens, type Said } from "./tokens.ts";
import { UsageError } from "./usage_error.ts";
import { DEFAULT_TRAPS, parseTrap } from "./values.ts";

/**
 * Reads a command line.
 *
 * @param config What the configuration file asks for; the command line wins.
 */
export function parse(args: readonly string[], config?: ConfigArguments): Request {
  try {
    const [first, ...rest] = args;
    if (isOrder(first)) return readOrder(first, rest);
    if (first === "completion") {
      return rest.some(isHelp) ? { kind: "orderHelp" } : { kind: "completion", shell: rest[0] };
    }
    if (first !== "check") return read(args, config);
    const request = read(rest, config);
    if (request.kind === "help") return { kind: "orderHelp" };
    return request.kind === "run" ? { kind: "check", run: request } : request;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const meant = meantBy(args[0]); // what follows was meant for it, and is wrong for a worker
    return { kind: "error", message: meant === undefined ? error.message : withMeant(error.message, meant) };
  }
}

function withMeant(message: string, meant: string): string {
  if (/; did you mean [^;?]+\?$/.test(message)) return `${message.slice(0, -1)}, or ${meant}?`;
  return `${message}; did you mean ${meant}?`;
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

function split(args: readonly string[]): { readonly own: readonly string[]; readonly rest?: readonly string[] } {
  const dashes = args.indexOf("--");
  return dashes < 0 ? { own: args } : { own: args.slice(0, dashes), rest: args.slice(dashes + 1) };
}

function read(args: readonly string[], config?: ConfigArguments): Request {
  const { own, rest } = split(args);
  const typed = readTokens(own);
  if ("kind" in typed) return typed;
  const filed = config === undefined ? undefined : readFile(config);
  const target = findTarget(typed.words, rest, config);
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
  return given.filter((each) => {
    const last = given.findLast((other) => subjectOf(other) === subjectOf(each));
    return isList(each.name) ? last?.origin === each.origin : last === each;
  });
}

function subjectOf({ name, text }: Given): string {
  const option = optionNamed(name);
  switch (option?.type) {
    case "permission":
      return option.type;
    case "trap":
      return String(parseTrap(text)[0]);
    case "flag": // and its opposite
      return Object.keys(option.says).join();
    default:
      return name;
  }
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

function findTarget(words: readonly string[], rest: readonly string[] | undefined, config?: ConfigArguments): Target {
  const [module, extra] = words[0] === "run" ? words.slice(1) : words;
  if (extra !== undefined) {
    throw new UsageError(
      `Cannot use '${extra}' beside the worker ${module}: one pool runs one WORKER, and its own arguments go after --`,
    );
  }
  if (module === "") throw new UsageError("Cannot use '' as the worker: give the path or the address of a module");
  if (module !== undefined) return { type: "module", module, args: rest ?? [] };
  if (rest === undefined && config?.target !== undefined) return config.target;
  const [command, ...args] = rest ?? [];
  if (command === undefined) {
    throw new UsageError(
      config === undefined || config.target !== undefined
        ? "Cannot tell what to run: give a WORKER module, a command after --, or a prefork.config.ts; --help shows all"
        : `Cannot tell what to run: ${config.file} names neither a worker nor a command; add worker: "./app.ts" to it, ` +
          "or give one beside it",
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
