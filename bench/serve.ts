/**
 * Requests a second through `worker.serve()` on the shared socket, and what a user would take instead: the runtime's own
 * server by itself, `node:cluster`. All of them stand side by side and take turns in short bursts, each round in another
 * order; what counts is the ratio to the bare server in the same round. Each batch starts them anew.
 *
 *     deno run -A bench/serve.ts [BATCHES] [ROUNDS] [SECONDS]
 *     bun run bench/serve.ts [BATCHES] [ROUNDS] [SECONDS]
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

const BATCHES = Number(process.argv[2] ?? 3);
const ROUNDS = Number(process.argv[3] ?? 7);
const SECONDS = Number(process.argv[4] ?? 1);
const FLAGS = currentHost.name === "deno" ? ["run", "-A", "--unstable-net", "--no-check"] : ["run"];

const program = (name: string) => fileURLToPath(new URL(`./programs/${name}.ts`, import.meta.url));

/** Something that serves. */
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

type Running = Subject & AsyncDisposable & { readonly port: number };

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

interface Figures {
  readonly rates: number[];
  /** To the bare server, in the same round. */
  readonly ratios: number[];
  readonly p99s: number[];
}

const figures = new Map<string, Figures>();
const key = ({ name, workers }: Subject, load: Load) => `${name} ${workers} ${load}`;

async function start(subject: Subject): Promise<Running> {
  const port = await freePort();
  const children = subject.start(port);
  const ended = children.map((child) => new Promise((resolve) => child.on("close", resolve)));
  await untilAnswered(port);
  for (const load of Object.keys(LOADS).filter(isLoad)) wrk(port, load, 1); // to warm up
  return {
    ...subject,
    port,
    async [Symbol.asyncDispose]() {
      for (const child of children) child.kill("SIGTERM");
      await Promise.all(ended);
    },
  };
}

function isLoad(name: string): name is Load {
  return name in LOADS;
}

function measure(running: readonly Running[], load: Load): void {
  const results = new Map(running.map((subject) => [subject, wrk(subject.port, load, SECONDS)]));
  for (const [subject, { rate, p99 }] of results) {
    const bare = running.find(({ name, workers }) => name.startsWith("bare") && workers === subject.workers);
    const base = bare && results.get(bare)?.rate;
    if (base === undefined) throw new Error("The bare server was not measured");
    const own = figures.get(key(subject, load)) ?? { rates: [], ratios: [], p99s: [] };
    figures.set(key(subject, load), own);
    own.rates.push(rate);
    own.ratios.push(rate / base);
    own.p99s.push(p99);
  }
}

let turn = 0;
for (let batch = 0; batch < BATCHES; batch++) {
  await using stack = new AsyncDisposableStack();
  const running: Running[] = [];
  for (const subject of subjects) running.push(stack.use(await start(subject)));
  for (let round = 0; round < ROUNDS; round++) {
    const shift = turn++ % running.length;
    const order = [...running.slice(shift), ...running.slice(0, shift)];
    for (const load of Object.keys(LOADS).filter(isLoad)) measure(order, load);
  }
}

for (const load of Object.keys(LOADS).filter(isLoad)) {
  const row = (subject: Subject): readonly string[] => {
    const { rates, ratios, p99s } = figures.get(key(subject, load)) ?? { rates: [], ratios: [], p99s: [] };
    const spread = [0.25, 0.5, 0.75].map((q) => quantile(ratios, q).toFixed(2));
    return [`${subject.workers} × ${subject.name}`, median(rates).toFixed(0), ...spread, median(p99s).toFixed(2)];
  };
  printTable(
    `requests a second, ${load}, ${BATCHES} × ${ROUNDS} rounds of ${SECONDS} s`,
    ["", "median", "a quarter below", "median ratio to bare", "a quarter above", "p99 ms"],
    subjects.map(row),
  );
}
