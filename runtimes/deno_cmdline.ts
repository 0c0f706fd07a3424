/**
 * How a Deno manager learns its own flags, and the environment that it was started with. Deno does not tell a program. The system does, by `/proc`, which Deno guards:
 * reading it takes all permissions, or the right to call libc, or to run a program that may. Workers never load this.
 *
 * @module
 */
import { readEnvironment } from "../src/environment.ts";
import { type DenoLine, parseLine } from "./deno_flags.ts";
import type { Granted } from "./deno_grants.ts";

/** What a manager notes of itself as it begins; both may change later. */
export interface DenoOrigin {
  /** `Deno.execPath()`. */
  readonly executable: string;
  /** `Deno.cwd()`. */
  readonly directory: string;
}

let own: Promise<DenoLine | undefined> | undefined;

/** The command line of this process; undefined where it cannot be read. Looked up once. */
export function ownLine(origin: DenoOrigin): Promise<DenoLine | undefined> {
  return own ??= learnLine(origin);
}

async function learnLine(origin: DenoOrigin): Promise<DenoLine | undefined> {
  const argv = Deno.build.os === "linux" ? await readOwn("cmdline", origin) : await readByPs(origin);
  return argv === undefined ? undefined : parseLine(argv, Deno.args);
}

/**
 * The environment this process was started with: without what Deno read from `--env-file` since, or the program has set.
 * Undefined where it cannot be read, and where some variables may not be handed on: who may run a list of programs only
 * may not set those of the loader.
 */
export async function startEnvironment(origin: DenoOrigin): Promise<Readonly<Record<string, string>> | undefined> {
  if (Deno.build.os !== "linux" || !granted("run")) return undefined;
  const entries = await readOwn("environ", origin);
  return entries === undefined ? undefined : readEnvironment(entries);
}

/** A file of this process in `/proc`, cut at each NUL. */
async function readOwn(file: "cmdline" | "environ", origin: DenoOrigin): Promise<readonly string[] | undefined> {
  return readDirectly(`/proc/self/${file}`) ?? readByLibc(`/proc/self/${file}`) ?? await readByChild(file, origin);
}

/** Works if all is allowed; Deno throws, and never asks, where reading is allowed but not all. */
function readDirectly(path: string): readonly string[] | undefined {
  if (!granted("read", path)) return undefined;
  try {
    return splitNul(Deno.readTextFileSync(path));
  } catch {
    return undefined;
  }
}

const LIBC_NAMES: readonly string[] = ["libc.so.6", `libc.musl-${Deno.build.arch}.so.1`, "libc.so"];

function readByLibc(path: string): readonly string[] | undefined {
  if (!granted("ffi")) return undefined;
  for (const name of LIBC_NAMES) {
    try {
      const libc = Deno.dlopen(name, {
        open: { parameters: ["buffer", "i32"], result: "i32" },
        read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
        close: { parameters: ["i32"], result: "i32" },
      });
      const text = readFile(libc.symbols, path);
      libc.close();
      return splitNul(text);
    } catch {
      // Another libc, or one that stands elsewhere.
    }
  }
  return undefined;
}

interface FileCalls {
  open(path: Uint8Array<ArrayBuffer>, flags: number): number;
  read(fd: number, buffer: Uint8Array<ArrayBuffer>, length: bigint): bigint;
  close(fd: number): number;
}

function readFile(libc: FileCalls, path: string): string {
  const fd = libc.open(new TextEncoder().encode(`${path}\0`), 0);
  if (fd < 0) return "";
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(4096);
  let text = "";
  while (true) {
    const length = Number(libc.read(fd, buffer, BigInt(buffer.length)));
    if (length <= 0) break;
    text += decoder.decode(buffer.subarray(0, length), { stream: true });
  }
  libc.close(fd);
  return text;
}

/**
 * Has a child tell: the system's tool if that may be run, else another deno. The manager must be allowed to run deno in
 * any case, and `deno eval` may do everything.
 */
async function askChild(
  [tool, ...args]: readonly [string, ...string[]],
  denoProgram: string,
  origin: DenoOrigin,
): Promise<string | undefined> {
  const asks: readonly (readonly [string, readonly string[]])[] = [
    [tool, args],
    [runnable(origin), ["eval", "--quiet", "--no-config", "--no-lock", denoProgram]],
  ];
  for (const [command, words] of asks) {
    const text = granted("run", command) ? await outputOf(command, words) : "";
    if (text !== "") return text;
  }
  return undefined;
}

async function outputOf(command: string, args: readonly string[]): Promise<string> {
  try {
    const options: Deno.CommandOptions = { args: [...args], stdin: "null", stdout: "piped", stderr: "null" };
    const { success, stdout } = await new Deno.Command(command, options).output();
    return success ? new TextDecoder().decode(stdout) : "";
  } catch {
    return "";
  }
}

async function readByChild(file: string, origin: DenoOrigin): Promise<readonly string[] | undefined> {
  const path = `/proc/${Deno.pid}/${file}`;
  const program = `await new Response(Deno.readFileSync("${path}")).body.pipeTo(Deno.stdout.writable)`;
  const text = await askChild(["cat", path], program, origin);
  return text === undefined ? undefined : splitNul(text);
}

function splitNul(text: string): readonly string[] | undefined {
  return text.endsWith("\0") ? text.slice(0, -1).split("\0") : undefined;
}

/**
 * For systems without `/proc`. `ps` joins the words by spaces: the program's arguments are known, and the flags before
 * them are taken to hold none.
 */
async function readByPs(origin: DenoOrigin): Promise<readonly string[] | undefined> {
  const args = ["-ww", "-o", "args=", "-p", String(Deno.pid)];
  const program = `const { stdout } = new Deno.Command("ps", { args: ${JSON.stringify(args)} }).outputSync();` +
    "await new Response(stdout).body.pipeTo(Deno.stdout.writable)";
  const line = (await askChild(["ps", ...args], program, origin))?.replace(/\n$/, "");
  const tail = Deno.args.map((word) => ` ${word}`).join("");
  if (line === undefined || !line.endsWith(tail)) return undefined;
  return [...line.slice(0, line.length - tail.length).split(" "), ...Deno.args];
}

/** What this process may do, by {@linkcode Deno.permissions}. A value it holds in part is not held in full. */
export const granted: Granted = (kind, value) => {
  const status = Deno.permissions.querySync(descriptor(kind, value));
  return status.state === "granted" && (value !== undefined || !status.partial);
};

function descriptor(kind: Parameters<Granted>[0], value: string | undefined): Deno.PermissionDescriptor {
  if (value === undefined) return { name: kind };
  switch (kind) {
    case "read":
    case "write":
    case "ffi":
      return { name: kind, path: value };
    case "net":
    case "import":
      return { name: kind, host: value };
    case "env":
      return { name: kind, variable: value };
    case "run":
      return { name: kind, command: value };
    case "sys":
      return { name: kind };
  }
}

/** Whether this process may do everything. */
export function holdsAll(): boolean {
  return (["read", "write", "net", "env", "run", "ffi", "sys", "import"] as const).every((kind) => granted(kind));
}

/**
 * The executable under a name that may be run: `--allow-run=deno` allows what `PATH` has, which may be a link to it.
 * Where none may be, the executable's own.
 */
export function runnable({ executable, directory }: DenoOrigin): string {
  if (granted("run", executable)) return executable;
  const argv0 = invokedAs();
  const invoked = argv0.includes("/") && !argv0.startsWith("/") ? `${directory}/${argv0}` : argv0;
  return [invoked, "deno"].find((name) => granted("run", name)) ?? executable;
}

/** The name this process was started by. Only the global of Node.js has it; touching that costs milliseconds. */
function invokedAs(): string {
  const process: unknown = Reflect.get(globalThis, "process");
  if (typeof process !== "object" || process === null || !("argv0" in process)) return "deno";
  return typeof process.argv0 === "string" && process.argv0 !== "" ? process.argv0 : "deno";
}
