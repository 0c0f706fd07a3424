/**
 * How long after the SIGKILL of a worker its successor's own code runs: with a standby, and without. Beside it how long
 * it takes until the runtime tells of the death at all, the start of the same program by hand, and Parallel::Prefork,
 * which forks. All take turns in one run; what counts is the difference to the first, and the ratio to the second. When
 * its code runs, the program itself tells: this process is busy then with the next standby, and would hear of it late.
 *
 *     deno run -A bench/respawn.ts [SAMPLES]
 *     bun run bench/respawn.ts [SAMPLES]
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { connect } from "node:net";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Prefork, type PreforkEvent, type ProcessHost, type SpawnCommand } from "../mod.ts";
import { currentHost } from "../runtimes/current.ts";
import { median, quantile, report } from "./table.ts";

const WARM_UP = 5;
const SAMPLES = Number(process.argv[2] ?? 50);
const FLAGS = currentHost.name === "deno" ? ["run", "-A", "--no-prompt"] : ["run"];
const PROGRAM = fileURLToPath(new URL("./programs/respawned.ts", import.meta.url));
const SERVER = fileURLToPath(new URL("./programs/respawned_server.ts", import.meta.url));

/** From the kill on, in milliseconds. */
interface Sample {
  /** Until the runtime told of the death. */
  readonly told: number;
  /** Until the code of the next worker ran. */
  readonly up: number;
}

/** The time, for all processes of this machine. */
const now = (): number => performance.timeOrigin + performance.now();

/** When the program ran, as it tells. */
const ranAt = (chunk: Uint8Array): number => Number(/[\d.]+/.exec(new TextDecoder().decode(chunk))?.[0]);

/** A pool of one worker that is killed again and again. One that serves is asked for something each time. */
class Victim {
  readonly pool: Prefork;
  readonly #standby: number;
  readonly #serves: boolean;
  #up = Promise.withResolvers<number>();
  #told = Promise.withResolvers<number>();
  #rest = Promise.withResolvers<void>();

  constructor(standby: number, serves = false) {
    this.#standby = standby;
    this.#serves = serves;
    const host: ProcessHost = { ...currentHost, spawn: (command) => this.#spawn(command) };
    const name = `standby${standby}${serves ? "-serving" : ""}`;
    const listen = serves ? { listen: "127.0.0.1:0" } : {};
    this.pool = new Prefork({
      name,
      host,
      standby,
      maxWorkers: 1,
      trapSignals: {},
      errRespawnIntervalMs: 0,
      ...listen,
    });
    void this.#follow();
    this.pool.startModule(serves ? SERVER : PROGRAM).catch(() => {});
  }

  async sample(): Promise<Sample> {
    await this.#rest.promise;
    this.#rest = Promise.withResolvers();
    this.#up = Promise.withResolvers();
    this.#told = Promise.withResolvers();
    const begun = now();
    currentHost.kill(this.pool.workers[0]?.pid ?? 0, "SIGKILL");
    if (this.#serves) this.#ask();
    const sample = { told: await this.#told.promise - begun, up: await this.#up.promise - begun };
    await this.#rest.promise; // nothing is to boot while something else is measured
    return sample;
  }

  /** Nobody is there to take it but the next worker. */
  #ask(): void {
    const [listener] = this.pool.listeners;
    if (listener?.address.type !== "tcp") throw new Error("Cannot measure: the pool does not listen");
    const socket = connect(listener.address.port, "127.0.0.1");
    socket.on("error", () => {}).resume().write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  }

  #spawn(command: SpawnCommand): ReturnType<ProcessHost["spawn"]> {
    if (command.command === "/bin/sh") return currentHost.spawn(command);
    const stdout = (chunk: Uint8Array) => void (chunk.length > 0 && this.#up.resolve(ranAt(chunk)));
    const child = currentHost.spawn({ ...command, stdout });
    // Before the pool itself hears of it.
    void child.exited.then(() => this.#told.resolve(now()));
    return child;
  }

  async #follow(): Promise<void> {
    const last: PreforkEvent["type"] = this.#standby > 0 ? "standby" : "ready";
    for await (const { type } of this.pool) if (type === last) this.#rest.resolve();
  }
}

/** Parallel::Prefork with one worker that is killed again and again. */
class Forker {
  readonly #child: ChildProcess;
  #up = Promise.withResolvers<readonly [at: number, pid: number]>();
  #pid: Promise<number>;

  constructor() {
    const script = fileURLToPath(new URL("./peers/respawn.pl", import.meta.url));
    this.#child = spawn("perl", [script], { stdio: ["ignore", "pipe", "inherit"] });
    this.#child.stdout?.setEncoding("utf8").on("data", (line: string) => {
      const [at = "", pid = ""] = line.trim().split(" ");
      this.#up.resolve([Number(at), Number(pid)]);
    });
    this.#pid = this.#up.promise.then(([, pid]) => pid);
  }

  /** From the kill until the next one's code runs. */
  async sample(): Promise<number> {
    const victim = await this.#pid;
    this.#up = Promise.withResolvers();
    const begun = now();
    process.kill(victim, "SIGKILL");
    const [at, pid] = await this.#up.promise;
    this.#pid = Promise.resolve(pid);
    return at - begun;
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGTERM");
    await ended;
  }
}

/** The same program by hand, from its spawn until it runs. */
async function byHand(): Promise<number> {
  const up = Promise.withResolvers<number>();
  const begun = now();
  const stdout = (chunk: Uint8Array) => void (chunk.length > 0 && up.resolve(ranAt(chunk) - begun));
  const args = [...FLAGS, PROGRAM, "by-hand"];
  const child = currentHost.spawn({ command: process.execPath, args, env: {}, stdout });
  const ms = await up.promise;
  currentHost.kill(child.pid, "SIGKILL");
  await child.exited;
  return ms;
}

const withStandby = new Victim(1);
const serving = new Victim(1, true);
const without = new Victim(0);
const forker = new Forker();
const figures: {
  readonly standby: Sample;
  readonly serving: Sample;
  readonly plain: Sample;
  readonly hand: number;
  readonly perl: number;
}[] = [];
for (let round = 0; round < WARM_UP + SAMPLES; round++) {
  const sample = {
    standby: await withStandby.sample(),
    serving: await serving.sample(),
    plain: await without.sample(),
    hand: await byHand(),
    perl: await forker.sample(),
  };
  if (round >= WARM_UP) figures.push(sample);
}
await forker.end();
for (const { pool } of [withStandby, serving, without]) {
  pool.signalAllChildren("SIGKILL");
  await pool[Symbol.asyncDispose]();
}

const hand = median(figures.map((figure) => figure.hand));
const row = (what: string, of: readonly number[], ratio = ""): readonly string[] => {
  return [what, ...[0.25, 0.5, 0.75].map((q) => quantile(of, q).toFixed(2)), ratio];
};
const after = (samples: readonly Sample[]) => samples.map(({ told, up }) => up - told);
const standby = figures.map((figure) => figure.standby);
const plain = figures.map((figure) => figure.plain);
report({
  key: "respawn",
  title: `ms, ${SAMPLES} samples each`,
  head: ["", "quarter", "median", "three quarters", "ratio to by hand"],
  rows: [
    row("SIGKILL until the runtime tells of it", standby.map(({ told }) => told)),
    row("from there until the standby's code runs", after(standby)),
    row("from the same until a serving standby has the request", after(figures.map((figure) => figure.serving))),
    row("the program by hand, from its spawn on", figures.map((figure) => figure.hand), "1.00"),
    row("without a standby, told until the code runs", after(plain), (median(after(plain)) / hand).toFixed(2)),
    row("SIGKILL until the standby's code runs", standby.map(({ up }) => up)),
    row("SIGKILL until the code runs of Parallel::Prefork's next", figures.map(({ perl }) => perl)),
  ],
});
