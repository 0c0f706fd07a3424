/**
 * What a Deno worker must be allowed so that it can reach its manager, and nothing more. In Deno a list beside a bare
 * `--allow-net` narrows it, a list beside a `-P` set replaces the set's own, and a list beside `-A` is an error: so the
 * control socket is added only where a list stands already, or nothing.
 *
 * Deno lets the more exact rule win: `--allow-read=/tmp/x` holds beside `--deny-read=/tmp` and even beside a bare
 * `--deny-read`; only `--deny-read=/tmp/x` itself undoes it.
 *
 * @module
 */
import { UPGRADE_VARIABLE } from "../src/handover.ts";
import { type DenoFlag, type DenoLine, inheritedFlags, isPermission, writeFlags } from "./deno_flags.ts";

/** What a worker reads from its environment. */
export const WORKER_ENV_NAMES: readonly string[] = ["PREFORK_CONTROL", "PREFORK_TOKEN", "PREFORK_PATH"];

/** The kinds of permission a worker may need for its manager. */
export type NeededKind = "net" | "read" | "write" | "env" | "import";

/**
 * Whether this process holds a permission: for one value (a path, `unix:PATH`, a variable, HOST:PORT), or in full. It
 * must not ask the user.
 */
export type Granted = (kind: NeededKind | "run" | "ffi" | "sys", value?: string) => boolean;

/** What the flags are completed for. */
export interface GrantRequest {
  /** Path of the worker's control socket. */
  readonly controlPath: string;
  /** The URL of the module loaded before the worker's own, if any. */
  readonly preload?: string;
  /** What this process may do; undefined if the flags are not its own. */
  readonly granted?: Granted;
}

/** What the flags of a worker are made of. */
export interface WorkerFlagsRequest extends GrantRequest {
  /** How the manager was started; on Deno without flags if it is not given. */
  readonly line?: DenoLine;
  /** Whether the worker runs the manager's program, or a module of its own. */
  readonly form: "self" | "module";
  /** Flags for the workers from the user, in place of the manager's permissions. */
  readonly denoArgs?: readonly string[];
  /** Whether the manager may do everything. */
  readonly holdsAll?: boolean;
}

/** One thing a worker must be allowed. */
export interface Need {
  /** What kind of permission it takes. */
  readonly kind: NeededKind;
  /** For what: a path, `unix:PATH`, a variable, HOST:PORT. */
  readonly value: string;
}

/** What the flags say of one kind of permission. */
interface Given {
  /** `-A`; a `-P` set; bare; a list; or no word of it. */
  readonly allowed: "all" | "set" | "full" | "list" | "none";
  readonly listed: readonly string[];
  readonly denied: readonly string[];
  readonly deniedInFull: boolean;
}

type Verdict = "holds" | "add" | "denied" | "not in set";

/** Where Deno imports from if it is told nothing (2.9). */
const DEFAULT_IMPORTS = "deno.land:443,jsr.io:443,esm.sh:443,raw.esm.sh:443,cdn.jsdelivr.net:443,\
raw.githubusercontent.com:443,gist.githubusercontent.com:443";

/**
 * The flags a worker is started with.
 *
 * @throws {Error} A sentence, if flags cannot let it reach its manager: a `--deny` flag or a `-P` set is in the way.
 */
export function denoWorkerFlags(request: WorkerFlagsRequest): readonly string[] {
  const { line = { subcommand: "run", flags: [] }, form, denoArgs, holdsAll = false } = request;
  const inherited = inheritedFlags(line, form, denoArgs);
  const flags = denoArgs === undefined ? withAll(inherited, holdsAll) : inherited;
  const asked = denoArgs === undefined ? request : withoutOwn(request);
  return [...writeFlags(flags), ...missingGrants(flags, needs(asked), asked)];
}

/** What the flags of a manager that is started again are made of. */
export type ManagerFlagsRequest = Required<Pick<WorkerFlagsRequest, "line" | "granted" | "holdsAll">>;

/**
 * The flags a manager is started with again: its own, and the right to be told what it takes over.
 *
 * @throws {Error} A sentence, if flags cannot give it that.
 */
export function denoManagerFlags({ line, granted, holdsAll }: ManagerFlagsRequest): readonly string[] {
  const flags = withAll(inheritedFlags(line, "self", undefined), holdsAll);
  const needed: Need = { kind: "env", value: UPGRADE_VARIABLE };
  return [...writeFlags(flags), ...missingGrants(flags, [needed], { controlPath: "", granted })];
}

/** deno eval and deno x allow everything without a word. */
function withAll(flags: readonly DenoFlag[], holdsAll: boolean): readonly DenoFlag[] {
  return holdsAll && !flags.some(isPermission) ? [...flags, { name: "--allow-all", words: ["-A"] }] : flags;
}

/** What this process may do tells nothing of flags that the user gave. */
function withoutOwn({ controlPath, preload }: GrantRequest): GrantRequest {
  return preload === undefined ? { controlPath } : { controlPath, preload };
}

/** The flags that are missing for what is needed, such as for a worker to reach its control socket. */
function missingGrants(
  flags: readonly DenoFlag[],
  needed: readonly Need[],
  request: GrantRequest,
): readonly string[] {
  const judged = needed.map((need) => ({ need, verdict: judge(need, flags, request.granted) }));
  const withVerdict = (wanted: Verdict) => judged.filter(({ verdict }) => verdict === wanted).map(({ need }) => need);
  const denied = withVerdict("denied")[0];
  if (denied !== undefined) throw new Error(deniedSentence(denied, flags));
  const notInSet = withVerdict("not in set");
  if (notInSet.length > 0) throw new Error(setSentence(notInSet, flags, request.controlPath));
  return additions(withVerdict("add"), flags);
}

/** The least a worker must be allowed. */
export function needs({ controlPath, preload }: GrantRequest): readonly Need[] {
  const found: Need[] = [
    { kind: "net", value: `unix:${controlPath}` },
    { kind: "read", value: controlPath },
    { kind: "write", value: controlPath },
    ...WORKER_ENV_NAMES.map((value): Need => ({ kind: "env", value })),
  ];
  const host = preload === undefined ? undefined : importHost(new URL(preload));
  if (host !== undefined) found.push({ kind: "import", value: host });
  return found;
}

function importHost(url: URL): string | undefined {
  if (url.protocol !== "http:" && url.protocol !== "https:") return undefined;
  return `${url.hostname}:${url.port || (url.protocol === "https:" ? "443" : "80")}`;
}

function judge(need: Need, flags: readonly DenoFlag[], granted: Granted | undefined): Verdict {
  const given = readGiven(need.kind, flags);
  const holds = granted?.(need.kind, need.value) ?? !isDenied(need, given);
  switch (given.allowed) {
    case "all":
      return holds ? "holds" : "denied";
    case "set":
      return holds ? "holds" : "not in set";
    case "full":
      if (given.deniedInFull) return given.denied.includes(need.value) ? "denied" : "add";
      return holds ? "holds" : "denied";
    case "list":
      if (given.denied.includes(need.value)) return "denied";
      return given.listed.includes(need.value) ? "holds" : "add";
    case "none":
      if (given.denied.includes(need.value)) return "denied";
      return need.kind === "import" && DEFAULT_IMPORTS.split(",").includes(need.value) ? "holds" : "add";
  }
}

function readGiven(kind: NeededKind, flags: readonly DenoFlag[]): Given {
  const named = (...names: string[]) => flags.filter((flag) => names.includes(flag.name));
  const values = (found: readonly DenoFlag[]) => found.flatMap((flag) => flag.value?.split(",") ?? []);
  const allow = named(`--allow-${kind}`);
  const deny = named(`--deny-${kind}`, `--ignore-${kind}`);
  const listed = values(allow);
  return {
    allowed: named("--allow-all").length > 0
      ? "all"
      : listed.length > 0
      ? "list"
      : allow.length > 0
      ? "full"
      : named("--permission-set").length > 0
      ? "set"
      : "none",
    listed,
    denied: values(deny),
    deniedInFull: deny.some((flag) => flag.value === undefined),
  };
}

/** Whether a deny flag covers the value where nothing more exact allows it. */
function isDenied({ kind, value }: Need, given: Given): boolean {
  if (given.deniedInFull || given.denied.includes(value)) return true;
  switch (kind) {
    case "read":
    case "write":
      return given.denied.some((path) => value.startsWith(path.endsWith("/") ? path : `${path}/`));
    case "env":
      return given.denied.some((name) => name.endsWith("*") && value.startsWith(name.slice(0, -1)));
    case "net":
    case "import":
      return false;
  }
}

function additions(needed: readonly Need[], flags: readonly DenoFlag[]): readonly string[] {
  const kinds = [...new Set(needed.map((need) => need.kind))];
  return kinds.map((kind) => {
    const values = needed.filter((need) => need.kind === kind).map((need) => need.value);
    const comma = values.find((value) => value.includes(","));
    if (comma !== undefined) {
      throw new Error(`Deno has no way to allow ${comma}, there is a comma in it: set TMPDIR to a path without one.`);
    }
    // A list of one's own takes the place of the hosts Deno allows by itself.
    if (kind === "import" && readGiven(kind, flags).allowed === "none") values.unshift(DEFAULT_IMPORTS);
    return `--allow-${kind}=${values.join(",")}`;
  });
}

function deniedSentence({ kind, value }: Need, flags: readonly DenoFlag[]): string {
  const culprits = flags.filter(({ name }) => name === `--deny-${kind}` || name === `--ignore-${kind}`)
    .map((flag) => flag.words.join(" "));
  const cause = culprits.length > 0 ? culprits.join(" ") : "this program's permissions";
  const subject = value === UPGRADE_VARIABLE
    ? "A new manager cannot be told what it takes over"
    : "A worker cannot reach its manager";
  const remedy = kind === "read" || kind === "write" ? "leave that out, or set TMPDIR elsewhere" : "leave that out";
  return `${subject}, for ${cause} would deny it ${kind} access to ${value}: ${remedy}.`;
}

function setSentence(missing: readonly Need[], flags: readonly DenoFlag[], controlPath: string): string {
  const set = flags.findLast((flag) => flag.name === "--permission-set")?.value ?? "default";
  const names = missing.filter((need) => need.kind === "env").map((need) => need.value);
  const lines = [...new Set(missing.map((need) => need.kind))].map((kind) => {
    switch (kind) {
      case "net":
        // The socket's name is new each time, and Deno knows no pattern for those.
        return '"net": true';
      case "read":
      case "write":
        return `"${kind}": ["${placeOf(controlPath)}"]`;
      case "env":
        return `"env": ${JSON.stringify(names)}`;
      case "import":
        return `"import": ${JSON.stringify(missing.filter((need) => need.kind === kind).map((need) => need.value))}`;
    }
  });
  const isManager = names.includes(UPGRADE_VARIABLE);
  const what = isManager ? "a new manager be told what it takes over" : "a worker reach its manager";
  return `The permission set "${set}" does not let ${what}, and a flag would replace what it lists: ` +
    `add ${lines.join(", ")} to "permissions": { "${set}": { ... } } in deno.json` +
    (isManager ? "." : ", or give the option denoArgs.");
}

/** The directory in which the directories of control sockets are made. */
function placeOf(controlPath: string): string {
  const made = controlPath.indexOf("/prefork-");
  if (made > 0) return controlPath.slice(0, made);
  return controlPath.slice(0, controlPath.lastIndexOf("/")) || "/";
}

/**
 * Checks that the workers of a program that `deno compile` made can reach their manager: permissions are a part of it,
 * and no flag can add to them. It is run again as it is, with its arguments.
 *
 * @throws {Error} A sentence that names what to compile it with.
 */
export function checkCompiled(grant: GrantRequest, granted: Granted): void {
  const missing = needs(grant).filter(({ kind, value }) => !granted(kind, value)).map(({ kind }) => `--allow-${kind}`);
  if (missing.length === 0) return;
  throw new Error(
    "A compiled program's workers may do what it may itself, and that is too little to reach their manager at " +
      `${grant.controlPath}: compile it with ${[...new Set(missing)].join(" ")}.`,
  );
}
