/**
 * Requests a second through `worker.serve()` on the shared socket, and what a user would take instead: the runtime's own
 * server by itself, `node:cluster`. Each round runs all of them, in another order; what counts is the ratio.
 *
 *     deno run -A bench/serve.ts [ROUNDS] [SECONDS]
 *     bun run bench/serve.ts [ROUNDS] [SECONDS]
 *
 * The load comes from wrk (Debian: wrk), on the same machine, over 32 connections.
 *
 * @module
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { connect, createServer } from "node:net";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { currentHost } from "../runtimes/current.ts";
import { median, printTable, quantile } from "./table.ts";

const ROUNDS = Number(process.argv[2] ?? 5);
const SECONDS = Number(process.argv[3] ?? 3);
const FLAGS = currentHost.name === "deno" ? ["run", "-A", "--unstable-net", "--no-check"] : ["run"];

const program = (name: string) => fileURLToPath(new URL(`./programs/${name}.ts`, import.meta.url));

/** Something that serves, started anew for each measurement. */
interface Subject {
  readonly name: string;
  readonly workers: number;
  start(port: number): readonly ChildProcess[];
}

function run(name: string, ...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [...FLAGS, program(name), ...args], { stdio: ["ignore", "ignore", "inherit"] });
  child.on("error", (error) => {
    throw error;
  });
  return child;
}

const subjects = [1, 2].flatMap((workers): readonly Subject[] => [
  {
    name: workers === 1 ? "bare server" : "bare servers, reusePort",
    workers,
    start: (port) => Array.from({ length: workers }, () => run("serve_bare", `${port}`, workers > 1 ? "shared" : "")),
  },
  { name: "serve()", workers, start: (port) => [run("serve_pool", `${port}`, `${workers}`)] },
  { name: "serve(), relayed", workers, start: (port) => [run("serve_pool", `${port}`, `${workers}`, "relay")] },
  { name: "attach(node:http)", workers, start: (port) => [run("serve_attach", `${port}`, `${workers}`)] },
  { name: "node:cluster", workers, start: (port) => [run("serve_cluster", `${port}`, `${workers}`)] },
]);

const LOADS = { "keep-alive": [], "connection per request": ["-H", "Connection: close"] } as const;
type Load = keyof typeof LOADS;

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function untilAnswered(port: number): Promise<void> {
  for (let tries = 0; tries < 1000; tries++) {
    const answered = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.on("connect", () => socket.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
      socket.on("data", () => resolve(true));
      socket.on("error", () => resolve(false));
      socket.on("close", () => resolve(false));
    });
    if (answered) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`Nobody answers on port ${port}`);
}

function wrk(port: number, load: Load, seconds: number): { readonly rate: number; readonly p99: number } {
  const args = ["-t1", "-c32", `-d${seconds}`, "--latency", ...LOADS[load], `http://127.0.0.1:${port}/`];
  const text = execFileSync("wrk", args, { encoding: "utf8" });
  const rate = Number(/Requests\/sec:\s*([\d.]+)/.exec(text)?.[1]);
  const [, value = "", unit = ""] = /99%\s+([\d.]+)(us|ms|s)/.exec(text) ?? [];
  return { rate, p99: Number(value) * (unit === "us" ? 0.001 : unit === "s" ? 1000 : 1) };
}

const figures = new Map<string, { readonly rates: number[]; readonly p99s: number[] }>();
const key = ({ name, workers }: Subject, load: string) => `${name} ${workers} ${load}`;

async function measure(subject: Subject): Promise<void> {
  const port = await freePort();
  const children = subject.start(port);
  const ended = children.map((child) => new Promise((resolve) => child.on("close", resolve)));
  try {
    await untilAnswered(port);
    for (const load of ["keep-alive", "connection per request"] as const) {
      wrk(port, load, 1);
      const { rate, p99 } = wrk(port, load, SECONDS);
      const own = figures.get(key(subject, load)) ?? { rates: [], p99s: [] };
      figures.set(key(subject, load), { rates: [...own.rates, rate], p99s: [...own.p99s, p99] });
    }
  } finally {
    for (const child of children) child.kill("SIGTERM");
    await Promise.all(ended);
  }
}

for (let round = 0; round < ROUNDS; round++) {
  const shift = round % subjects.length;
  for (const subject of [...subjects.slice(shift), ...subjects.slice(0, shift)]) await measure(subject);
}

for (const load of Object.keys(LOADS)) {
  const row = (subject: Subject): readonly string[] => {
    const { rates = [], p99s = [] } = figures.get(key(subject, load)) ?? {};
    const bare = subjects.find(({ name, workers }) => name.startsWith("bare") && workers === subject.workers);
    const base = median(figures.get(key(bare ?? subject, load))?.rates ?? []);
    const spread = [0, 0.5, 1].map((q) => (quantile(rates, q) / base).toFixed(2));
    return [`${subject.workers} × ${subject.name}`, median(rates).toFixed(0), ...spread, median(p99s).toFixed(2)];
  };
  printTable(
    `requests a second, ${load}, ${ROUNDS} rounds of ${SECONDS} s`,
    ["", "median", "least ratio to bare", "median ratio", "greatest", "p99 ms"],
    subjects.map(row),
  );
}
