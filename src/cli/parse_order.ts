/**
 * Reads the words for a manager that runs already: `prefork status`, `prefork reload --wait`. Pure.
 *
 * @module
 */

import { nearest } from "../nearest.ts";
import type { Order } from "../operator/words.ts";
import { UsageError } from "./usage_error.ts";
import { parseCount, parseSignal } from "./values.ts";

/** The commands, and what they take. */
const COMMANDS = {
  status: { words: [], flags: ["--json", "--watch"] },
  top: { words: [], flags: [] },
  reopen: { words: [], flags: [] },
  logs: { words: [], flags: ["--follow"] },
  list: { words: [], flags: ["--json"] },
  reload: { words: [], flags: ["--wait"] },
  upgrade: { words: [], flags: ["--wait"] },
  stop: { words: [], flags: ["--wait", "--now"] },
  scale: { words: ["N"], flags: [] },
  signal: { words: ["SIG"], flags: [] },
} as const satisfies Readonly<Record<string, Shape>>;

interface Shape {
  /** What must follow it, before the name of a manager. */
  readonly words: readonly string[];
  readonly flags: readonly string[];
}

type Command = keyof typeof COMMANDS;

/** Options with a value that are for one command. */
const ONLY_FOR: Readonly<Record<string, Command>> = { "--slot": "signal", "--lines": "logs" };

/** The commands, and the options of each. */
export const COMMAND_FLAGS: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  Object.entries(COMMANDS).map(([name, { flags }]) => {
    return [name, [...flags, ...Object.keys(ONLY_FOR).filter((option) => ONLY_FOR[option] === name)]];
  }),
);

/** Something to be asked of a manager. */
export interface OrderRequest {
  readonly kind: "order";
  readonly order: Order;
  /** The manager's name; undefined for the only one there is. */
  readonly name: string | undefined;
  /** Its socket, where that is not found by the name. */
  readonly control: string | undefined;
  /** Wait until it is done. */
  readonly wait: boolean;
  readonly json: boolean;
  readonly watch: boolean;
}

/** What is asked with one of these commands. */
export type OperatorRequest =
  | OrderRequest
  | { readonly kind: "top"; readonly name: string | undefined; readonly control: string | undefined }
  | LogsRequest
  | { readonly kind: "list"; readonly json: boolean }
  | { readonly kind: "orderHelp" };

/** To see the log of a manager. */
export interface LogsRequest {
  readonly kind: "logs";
  readonly name: string | undefined;
  readonly control: string | undefined;
  readonly lines: number;
  readonly follows: boolean;
}

/** All words that stand first, besides a worker. */
export const COMMAND_NAMES: readonly string[] = ["run", "check", "completion", ...Object.keys(COMMANDS)];

/** What others call a command. */
const SYNONYMS = new Map([
  ["start", "run"],
  ["serve", "run"],
  ["ps", "list"],
  ["ls", "list"],
  ["info", "status"],
  ["show", "status"],
  ["monitor", "top"],
  ["tail", "logs"],
  ["restart", "reload"],
  ["update", "upgrade"],
  ["resize", "scale"],
  ["kill", "stop"],
  ["quit", "stop"],
  ["shutdown", "stop"],
  ["test", "check"],
]);

/** What stands first and is no command, but asks for one thing as an option does. */
const QUESTIONS = ["help", "version"];

/** What a word was meant for that is near to a command, or what others call it; what has a dot or a slash is a file. */
export function meantBy(word = ""): string | undefined {
  if (!/^\w+$/.test(word) || COMMAND_NAMES.includes(word)) return undefined;
  if (QUESTIONS.includes(word)) return `--${word}`;
  const command = SYNONYMS.get(word) ?? nearest(word, COMMAND_NAMES);
  return command && `the command '${command}'`;
}

/** Whether a word asks what there is to say. */
export function isHelp(word: string): boolean {
  return word === "--help" || word === "-h";
}

/** Whether a word is one of these commands; a file of that name is written `./status`. */
export function isOrder(word: string | undefined): word is Command {
  return word !== undefined && Object.hasOwn(COMMANDS, word);
}

/**
 * Reads what follows a command.
 *
 * @throws {UsageError} If it makes no sense.
 */
export function readOrder(command: Command, args: readonly string[]): OperatorRequest {
  const words: string[] = [];
  const flags = new Set<string>();
  const values: { "--name"?: string; "--control"?: string; "--slot"?: string; "--lines"?: string } = {};
  for (let at = 0; at < args.length; at++) {
    const token = args[at] ?? "";
    if (isHelp(token)) return { kind: "orderHelp" };
    const [option = "", value] = token.split(/=(.*)/s);
    const long = SHORT[option] ?? option;
    if (isValued(long) && isFor(long, command)) values[long] = value ?? args[++at] ?? "";
    else if (flagsOf(command).includes(long)) flags.add(long);
    else if (token.startsWith("-") && !/^-\d/.test(token)) throw unknownFlag(command, token);
    else words.push(token);
  }
  for (const [option, value] of Object.entries(values)) {
    if (value === "") {
      throw new UsageError(`Cannot use ${option} without a value: give one, as in ${option} ${EXAMPLES[option]}`);
    }
  }
  if (command === "list") {
    const [extra] = words;
    if (extra !== undefined) throw new UsageError(`Cannot list '${extra}' alone: list shows all; status shows one`);
    return { kind: "list", json: flags.has("--json") };
  }
  if (command === "top" || command === "logs") {
    const [name = values["--name"], extra] = words;
    if (extra !== undefined) throw unknownWord(command, extra);
    const control = values["--control"];
    if (command === "top") return { kind: command, name, control };
    const lines = parseCount("--lines", values["--lines"] ?? "20");
    return { kind: command, name, control, lines, follows: flags.has("--follow") };
  }
  const { order, name } = readWords(command, words, values["--slot"], flags.has("--now"));
  if (name !== undefined && values["--name"] !== undefined) throw unknownWord(command, name);
  return {
    kind: "order",
    order,
    name: values["--name"] ?? name,
    control: values["--control"],
    wait: flags.has("--wait"),
    json: flags.has("--json"),
    watch: flags.has("--watch"),
  };
}

const EXAMPLES: Readonly<Record<string, string>> = {
  "--name": "web",
  "--control": "/run/web.sock",
  "--slot": "0",
  "--lines": "100",
};

const SHORT: Readonly<Record<string, string>> = { "-f": "--follow", "-n": "--lines" };

function isFor(option: string, command: Command): boolean {
  return (ONLY_FOR[option] ?? command) === command;
}

/** What all of them take. */
export const ORDER_OPTIONS: readonly string[] = ["--name", "--control"];

function isValued(option: string): option is "--name" | "--control" | "--slot" | "--lines" {
  return Object.hasOwn(EXAMPLES, option);
}

function flagsOf(command: Command): readonly string[] {
  return COMMANDS[command].flags;
}

interface ReadWords {
  readonly order: Order;
  readonly name: string | undefined;
}

function readWords(
  command: Exclude<Command, "list" | "top" | "logs">,
  words: readonly string[],
  slot: string | undefined,
  now: boolean,
): ReadWords {
  const needed: readonly string[] = COMMANDS[command].words;
  const [first = ""] = words;
  if (words.length < needed.length) {
    throw new UsageError(
      `Cannot ${command} without ${needed[0]}: ${command === "scale" ? "scale 4" : "signal USR2"}, for one`,
    );
  }
  const [name, extra] = words.slice(needed.length);
  if (extra !== undefined) throw unknownWord(command, extra);
  switch (command) {
    case "scale":
      return { order: { do: command, workers: parseCount("scale", first) }, name };
    case "signal": {
      const signal = parseSignal(first, `signal ${first}`);
      return {
        order: { do: command, signal, ...slot === undefined ? {} : { slot: parseCount("--slot", slot) } },
        name,
      };
    }
    case "stop":
      return { order: { do: command, now }, name };
    case "status":
    case "reload":
    case "upgrade":
    case "reopen":
      return { order: { do: command }, name };
  }
}

function unknownWord(command: Command, word: string): UsageError {
  return new UsageError(
    `Cannot understand '${word}' after ${command}: one manager is asked at a time; --help shows how`,
  );
}

function unknownFlag(command: Command, token: string): UsageError {
  const near = nearest(token, ["--name", "--control", "--help", ...flagsOf(command)]);
  const hint = near === undefined ? `'prefork ${command} --help' lists all` : `did you mean ${near}?`;
  return new UsageError(`Cannot understand ${token} after ${command}: there is no such option; ${hint}`);
}
