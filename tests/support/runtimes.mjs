/** Runs test files on the runtimes that npm installed. For Node, which npm needs anyway. */
import { spawn } from "node:child_process";
import { delimiter, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
const bin = join(root, "node_modules", ".bin");

/** What the runtimes are run with. */
export const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}`, NO_COLOR: "1" };

/** How each runs one file, and where it reports on the cases in it. The tests know best how long they may take. */
export const RUNTIMES = {
  deno: (file, report) => ["test", "-A", "--no-check", ...report ? [`--junit-path=${report}`] : [], file],
  bun: (file, report) => [
    "test",
    "--timeout=400000",
    ...report ? ["--reporter=junit", `--reporter-outfile=${report}`] : [],
    `./${file}`,
  ],
};

/** No file takes longer, unless it hangs. */
const HANGS_MS = 15 * 60_000;

/** How long the streams of a process may outlive it. */
const LEFT_MS = 10_000;

/** Runs one file to its end; gives how it ended, and all it printed. */
export async function runFile(runtime, file, report, timeout = HANGS_MS) {
  return await runCommand(runtime, RUNTIMES[runtime](file, report), timeout);
}

/** Runs a command to its end; gives how it ended, and all it printed. */
export async function runCommand(command, args, timeout = HANGS_MS) {
  const options = { cwd: root, env, stdio: ["ignore", "pipe", "pipe"], timeout, killSignal: "SIGKILL" };
  const child = spawn(command, args, options);
  const printed = [];
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => printed.push(chunk));
  const status = await new Promise((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", (code, signal) => resolve(signal ?? code));
    // Who is left behind may hold on to the streams.
    child.on("exit", (code, signal) => setTimeout(resolve, LEFT_MS, signal ?? code).unref());
  });
  return { status, output: Buffer.concat(printed) };
}

/** Takes one after the other from a queue, several at a time, until it is empty or `isOver`. */
export async function inTurn(queue, jobs, act, isOver = () => false) {
  const work = async () => {
    while (queue.length > 0 && !isOver()) await act(queue.shift());
  };
  await Promise.all(Array.from({ length: jobs }, work));
}
