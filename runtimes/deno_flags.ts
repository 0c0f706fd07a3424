/**
 * How the flags of a Deno manager become those of its workers: words in, words out. Nothing here asks Deno anything, so
 * a manager on Bun can use it for its Deno workers.
 *
 * @module
 */

/** One flag, written alone: `-RW` has become `-R` and `-W`. */
export interface DenoFlag {
  /** Its long name (`--allow-read` for `-R`). */
  readonly name: string;
  /** Its value, however it was attached. */
  readonly value?: string;
  /** The words that write it. */
  readonly words: readonly string[];
}

/** The command line of a process of Deno, taken apart. */
export interface DenoLine {
  /** The subcommand; `run` where it was left out. */
  readonly subcommand: string;
  /** The flags of the runtime, in order. */
  readonly flags: readonly DenoFlag[];
  /** The program as it was named; undefined where the subcommand runs none, or several. */
  readonly script?: string;
}

const SHORT: Readonly<Record<string, string>> = {
  A: "--allow-all",
  c: "--config",
  E: "--allow-env",
  h: "--help",
  I: "--allow-import",
  L: "--log-level",
  N: "--allow-net",
  P: "--permission-set",
  q: "--quiet",
  R: "--allow-read",
  r: "--reload",
  S: "--allow-sys",
  t: "--tunnel",
  V: "--version",
  W: "--allow-write",
};

/** Flags whose value may stand in a word of its own. All others take `=` or nothing (Deno 2.9). */
const TAKES_WORD = new Set(
  "--cert --conditions --config --cpu-prof-dir --cpu-prof-interval --cpu-prof-name --ext --host --import --import-map \
--inspect-publish-uid --location --log-level --min-dep-age --minimum-dependency-age --node-modules-linker --port \
--preload --require --seed --unstable-node-conditions".split(" "),
);

/** What `deno run` knows besides permissions: what may be carried over from another subcommand. */
const RUN_FLAGS = new Set(
  "--allow-scripts --cached-only --cert --conditions --config --env --env-file --frozen --frozen-lockfile --import \
--import-map --location --lock --log-level --min-dep-age --minimum-dependency-age --no-check --no-code-cache \
--no-config --no-lock --no-npm --no-prompt --no-remote --node-modules-dir --node-modules-linker --preload --quiet \
--require --seed --trace-ops --unsafely-ignore-certificate-errors --use-env-proxy --v8-flags --vendor".split(" "),
);

/**
 * What belongs to the manager alone: a watcher would restart a worker by itself, inspectors and profiles want one port
 * or file each, fetching and checking was done once, and a tunnel ends in one place.
 */
const MANAGER_ONLY =
  /^--((watch|hmr|unstable-hmr|inspect|cpu-prof)(-.*)?|no-clear-screen|reload|check|coverage|lock-write|tunnel|connected)$/;

const PERMISSION = /^--(allow-all|permission-set|(allow|deny|ignore)-(read|write|net|env|sys|run|ffi|import))$/;

/** Whether a flag says what the program may do. */
export function isPermission(flag: DenoFlag): boolean {
  return PERMISSION.test(flag.name);
}

/** Takes flags apart. A word that is no flag belongs to the flag before it, or is left out. */
export function parseFlags(words: readonly string[], strays: "attach" | "leave out" = "attach"): readonly DenoFlag[] {
  const flags: DenoFlag[] = [];
  for (let at = 0; at < words.length;) {
    const [found, taken] = readFlag(words, at);
    if (found.length > 0) flags.push(...found);
    else if (strays === "attach") attach(flags, words[at] ?? "");
    at += taken;
  }
  return flags;
}

/** The flags that begin at a word, none if it is no flag, and how many words they take. */
function readFlag(words: readonly string[], at: number): readonly [readonly DenoFlag[], number] {
  const word = words[at] ?? "";
  const next = words[at + 1];
  if (!word.startsWith("-") || word === "-") return [[], 1];
  if (!word.startsWith("--")) return readShorts(word, next);
  const [name = "", ...rest] = word.split("=");
  if (rest.length > 0) return [[{ name, value: rest.join("="), words: [word] }], 1];
  const takesNext = next !== undefined &&
    (TAKES_WORD.has(name) || (name === "--lock" && !next.startsWith("-")));
  if (takesNext) return [[{ name, value: next, words: [word, next] }], 2];
  return [[{ name, words: [word] }], 1];
}

function readShorts(word: string, next: string | undefined): readonly [readonly DenoFlag[], number] {
  const flags: DenoFlag[] = [];
  for (let at = 1; at < word.length; at++) {
    const letter = word[at] ?? "";
    const name = SHORT[letter] ?? `-${letter}`;
    const rest = word.slice(at + 1);
    if (TAKES_WORD.has(name) && rest === "" && next !== undefined) {
      return [[...flags, { name, value: next, words: [`-${letter}`, next] }], 2];
    }
    // `-R/tmp`, `-R=/tmp`: what is no flag is the value. Deno reads it so.
    if (rest !== "" && (TAKES_WORD.has(name) || SHORT[rest.charAt(0)] === undefined)) {
      return [[...flags, { name, value: rest.replace(/^=/, ""), words: [`-${letter}${rest}`] }], 1];
    }
    flags.push({ name, words: [`-${letter}`] });
  }
  return [flags, 1];
}

function attach(flags: DenoFlag[], word: string): void {
  const last = flags.pop();
  if (last !== undefined) flags.push({ ...last, words: [...last.words, word] });
}

const SUBCOMMANDS = new Set("run watch serve x eval repl test bench jupyter lsp task compile".split(" "));

/**
 * Takes the command line of a Deno process apart. Where its flags end is known without knowing every flag: what follows
 * the program are its arguments, to the letter.
 *
 * @param argv The whole command line, the executable first.
 * @param programArgs `Deno.args`.
 * @returns Undefined if the two do not fit: the line is then not to be trusted.
 */
export function parseLine(argv: readonly string[], programArgs: readonly string[]): DenoLine | undefined {
  const scriptAt = argv.length - programArgs.length - 1;
  if (scriptAt < 0 || programArgs.some((word, index) => word !== argv[scriptAt + 1 + index])) return undefined;
  const subcommandAt = firstOperand(argv);
  const named = argv[subcommandAt] ?? "";
  const subcommand = SUBCOMMANDS.has(named) ? named : "run";
  const words = argv.slice(1, scriptAt).filter((_, index) => index + 1 !== subcommandAt || subcommand !== named);
  const script = argv[scriptAt];
  if (["run", "watch", "serve", "x"].includes(subcommand) && script !== undefined) {
    return { subcommand, script, flags: parseFlags(words) };
  }
  const all = argv.slice(1);
  const end = all.indexOf("--");
  return { subcommand, flags: parseFlags(end < 0 ? all : all.slice(0, end), "leave out") };
}

function firstOperand(argv: readonly string[]): number {
  for (let at = 1; at < argv.length;) {
    const [found, taken] = readFlag(argv, at);
    if (found.length === 0) return at;
    at += taken;
  }
  return -1;
}

/**
 * The flags of a manager that its workers keep.
 *
 * @param denoArgs What the user gave for the workers: replaces the manager's permissions and the flags of equal name.
 */
export function inheritedFlags(
  line: DenoLine,
  form: "self" | "module",
  denoArgs: readonly string[] | undefined,
): readonly DenoFlag[] {
  const given = denoArgs === undefined ? [] : parseFlags(denoArgs);
  const replaced = new Set(given.map((flag) => flag.name));
  const sameCommand = ["run", "watch"].includes(line.subcommand);
  const kept = line.flags.filter((flag) =>
    !MANAGER_ONLY.test(flag.name) &&
    !(denoArgs !== undefined && isPermission(flag)) &&
    !replaced.has(flag.name) &&
    (sameCommand || isPermission(flag) || RUN_FLAGS.has(flag.name) || flag.name.startsWith("--unstable-")) &&
    // It names the type of the manager's program, not that of another module.
    !(form === "module" && flag.name === "--ext")
  );
  return [...kept, ...given];
}

/** Writes flags down, `--no-prompt` among them: a worker has nobody to ask. */
export function writeFlags(flags: readonly DenoFlag[]): readonly string[] {
  const words = flags.flatMap((flag) => flag.words);
  return flags.some((flag) => flag.name === "--no-prompt") ? words : [...words, "--no-prompt"];
}

/**
 * Refuses programs that cannot be run again.
 *
 * @throws {Error} A sentence that says why.
 */
export function checkRepeatable(line: DenoLine | undefined, mainModule: string): void {
  const subcommand = line?.subcommand ?? "run";
  const unnamed = /\/\$deno\$(\w+)\.\w+$/.exec(mainModule)?.[1] ?? (line?.script === "-" ? "stdin" : undefined);
  if (unnamed !== undefined) {
    throw new Error(`A program from ${unnamed} cannot be run again as a worker: put it into a file.`);
  }
  switch (subcommand) {
    case "run":
    case "watch":
    case "x":
      return;
    case "test":
    case "bench":
      throw new Error(
        `A program under deno ${subcommand} cannot be run again as a worker, it would run the tests again: ` +
          "use startModule or startCommand there.",
      );
    case "serve":
      throw new Error(
        "A program under deno serve cannot be run again as a worker, each would bind the same port: use deno run.",
      );
    default:
      throw new Error(`A program under deno ${subcommand} cannot be run again as a worker: use deno run.`);
  }
}
