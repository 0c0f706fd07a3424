/**
 * A real `gearmand` and the real `gearman` client for tests.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { connect } from "node:net";
import process from "node:process";
import { delimiter, join } from "node:path";
import { freePort } from "./free_port.ts";
import { type Program, runCommand, type TempDir, waitFor } from "./run.ts";

/** What gearmand tells of one function. */
export interface FunctionStatus {
  /** Jobs in the queue, those being done included. */
  readonly jobs: number;
  readonly running: number;
  /** Workers that are connected and offer the function. */
  readonly workers: number;
}

/** A running gearmand. */
export interface Gearmand extends AsyncDisposable {
  readonly port: number;
  readonly address: string;
  /** How a function stands: all zero if gearmand does not know it. */
  status(name: string): Promise<FunctionStatus>;
  /** Waits until so many workers offer a function. */
  waitForWorkers(name: string, count: number): Promise<void>;
  /** Runs `gearman` on a file that holds one job a line. */
  runJobs(name: string, file: string, ...flags: readonly string[]): Program;
}

/** Starts gearmand on a loopback port: a free one, or `port`. */
export async function startGearmand(dir: TempDir, port?: number): Promise<Gearmand> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const server = await tryToStart(dir, port ?? await freePort());
    if (server !== undefined) return server;
  }
  throw new Error("gearmand did not start: see what it says with 'gearmand -p 4731 -l stderr'");
}

async function tryToStart(dir: TempDir, port: number): Promise<Gearmand | undefined> {
  const files = ["--pid-file", dir.file(`gearmand.${port}.pid`), "--log-file", "stderr"];
  const program = runCommand(installed("gearmand"), ["--listen", "127.0.0.1", "--port", String(port), ...files]);
  let hasEnded = false;
  void program.status.then(() => hasEnded = true);
  // Somebody else may have taken the port: gearmand ends then, and what accepts is not gearmand.
  const accepts = await waitFor(async () => {
    const answer = await ask(port, "status").catch(() => undefined);
    return hasEnded ? "no" : answer !== undefined && "yes";
  }, { what: `gearmand on port ${port}` });
  if (accepts === "yes") return new RunningGearmand(program, port);
  await program[Symbol.asyncDispose]();
  return undefined;
}

class RunningGearmand implements Gearmand {
  readonly port: number;
  readonly address: string;
  readonly #program: Program;

  constructor(program: Program, port: number) {
    this.#program = program;
    this.port = port;
    this.address = `127.0.0.1:${port}`;
  }

  async status(name: string): Promise<FunctionStatus> {
    const lines = (await ask(this.port, "status")).split("\n").map((line) => line.split("\t"));
    const [, jobs = 0, running = 0, workers = 0] = (lines.find(([first]) => first === name) ?? []).map(Number);
    return { jobs, running, workers };
  }

  async waitForWorkers(name: string, count: number): Promise<void> {
    const what = `${count} workers for ${name} at gearmand`;
    await waitFor(async () => (await this.status(name)).workers === count, { what, intervalMs: 20 });
  }

  runJobs(name: string, file: string, ...flags: readonly string[]): Program {
    const client = [installed("gearman"), "-h", "127.0.0.1", "-p", String(this.port), "-f", name, "-N", ...flags];
    return runCommand("/bin/sh", ["-c", 'exec "$@" < "$0"', file, ...client]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program[Symbol.asyncDispose]();
  }
}

/** Asks by gearmand's administrative protocol: one line to it, lines from it up to a lone dot. */
function ask(port: number, question: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(port, "127.0.0.1", () => void socket.write(`${question}\n`));
    socket.setEncoding("utf8");
    socket.on("error", reject);
    socket.on("close", () => reject(new Error(`gearmand closed the connection after ${JSON.stringify(answer)}`)));
    socket.on("data", (text: string) => {
      answer += text;
      if (answer !== ".\n" && !answer.endsWith("\n.\n")) return;
      resolve(answer);
      socket.destroy();
    });
  });
}

/** The path of a program of Gearman's. */
export function installed(name: string): string {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"];
  const path = folders.map((folder) => join(folder, name)).find((candidate) => existsSync(candidate));
  if (path !== undefined) return path;
  throw new Error(
    `${name} is not installed, and these tests need it: apt-get install gearman-job-server gearman-tools`,
  );
}
