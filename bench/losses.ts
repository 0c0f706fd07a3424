/**
 * Requests that are lost, and the slowest one, while a server takes its program anew again and again, while its workers
 * are killed, and while the new program is broken. Of this module, and of those that a user could take instead.
 *
 *     bench/run losses
 *
 * The clients open a connection for each request, and try nothing twice.
 *
 * @module
 */
import { rmSync, writeFileSync } from "node:fs";
import process from "node:process";
import { Connection } from "../tests/support/connection.ts";
import { type Peer, PEERS } from "./peers/peers.ts";
import { ask, type Server, startServer } from "./servers.ts";
import { print, report } from "./table.ts";

const TIMES = Number(process.argv[2] ?? 10);
const WORKERS = 2;
const CLIENTS = 4;

/** How long is waited for a reload; who has none by then has refused it, or has no end of it. */
const PATIENCE_MS = 15_000;

/** How long a server is left alone, for comparison, and with a program that is broken. */
const CALM_MS = 2000;

const BROKEN = process.env["BENCH_BROKEN"] ?? "";

/** What became of the requests of some time. */
interface Tally {
  readonly sent: number;
  readonly lost: number;
  readonly slowestMs: number;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks until told to stop; gives how long each request took, and NaN for one that was lost. */
async function client(port: number, stop: AbortSignal): Promise<readonly number[]> {
  const times: number[] = [];
  while (!stop.aborted) {
    const begun = performance.now();
    const connection = new Connection({ port });
    try {
      await connection.open();
      connection.send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
      const { status, body } = await connection.answer();
      times.push(status === 200 && body === "hello" ? performance.now() - begun : NaN);
    } catch {
      times.push(NaN);
    }
    connection.close();
    await pause(2); // so that a server that refuses all is not asked a hundred thousand times
  }
  return times;
}

/** Has something done under load. */
async function under(port: number, act: () => Promise<void>): Promise<Tally> {
  const stop = new AbortController();
  const clients = Array.from({ length: CLIENTS }, () => client(port, stop.signal));
  await act();
  stop.abort();
  const times = (await Promise.all(clients)).flat();
  return {
    sent: times.length,
    lost: times.filter(Number.isNaN).length,
    slowestMs: times.reduce((most, ms) => Math.max(most, Number.isNaN(ms) ? 0 : ms), 0),
  };
}

/** The processes that answer. */
async function pidsOf(port: number): Promise<ReadonlySet<number>> {
  const pids = new Set<number>();
  for (let tries = 0; tries < 40; tries++) pids.add(Number(await ask(port, "/pid").catch(() => NaN)));
  pids.delete(NaN);
  return pids;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Waits until others answer, and those who did before are gone. */
async function isReplaced(port: number, before: ReadonlySet<number>): Promise<boolean> {
  const due = performance.now() + PATIENCE_MS;
  while (performance.now() < due) {
    if (![...before].some(isAlive) && !Number.isNaN(Number(await ask(port, "/pid").catch(() => NaN)))) return true;
    await pause(20);
  }
  return false;
}

interface Row {
  readonly peer: Peer;
  readonly calm: Tally;
  readonly reloads: Tally | undefined;
  readonly done: number;
  readonly crashes: Tally;
  readonly broken: Tally | undefined;
  /** Whether it serves again as it did once the program is mended. */
  readonly isBack: boolean;
}

async function reloadOften({ port, reload }: Server): Promise<{ readonly reloads: Tally; readonly done: number }> {
  let done = 0;
  const reloads = await under(port, async () => {
    for (let time = 0; time < TIMES; time++) {
      const before = await pidsOf(port);
      await reload();
      if (!await isReplaced(port, before)) return;
      done++;
    }
  });
  return { reloads, done };
}

async function crashOften({ port }: Server): Promise<Tally> {
  return await under(port, async () => {
    for (let time = 0; time < TIMES; time++) {
      const [victim] = await pidsOf(port);
      if (victim !== undefined) process.kill(victim, "SIGKILL");
      await pause(500);
    }
  });
}

async function breakBuild({ port, reload }: Server): Promise<Tally> {
  writeFileSync(BROKEN, "");
  try {
    return await under(port, async () => {
      await reload();
      await pause(CALM_MS);
    });
  } finally {
    rmSync(BROKEN, { force: true });
  }
}

async function measure(peer: Peer): Promise<Row> {
  await using server = await startServer(peer, WORKERS);
  const { port } = server;
  const calm = await under(port, () => pause(CALM_MS));
  const hasReload = peer.reload !== undefined;
  const { reloads, done } = hasReload ? await reloadOften(server) : { reloads: undefined, done: 0 };
  const crashes = await crashOften(server);
  const broken = hasReload && peer.isPlain !== true ? await breakBuild(server) : undefined;
  await pause(1000);
  const isBack = (await pidsOf(port).catch(() => new Set())).size > 0;
  return { peer, calm, reloads, done, crashes, broken, isBack };
}

const MEASURED = PEERS.filter(({ name, reload }) => (reload !== undefined || name.includes("cluster")));
const rows: Row[] = [];
for (const peer of MEASURED) {
  rows.push(await measure(peer));
  print(`${peer.name} was measured`);
}

const tell = (tally: Tally | undefined): string => tally === undefined ? "none" : `${tally.lost} of ${tally.sent}`;
report({
  key: "losses",
  title: `requests lost of ${CLIENTS} clients, ${WORKERS} workers, ${TIMES} reloads and ${TIMES} kills`,
  head: ["", "reloads done", "lost", "slowest ms (calm)", "lost by kills", "lost by a broken build", "serves then"],
  rows: rows.map(({ peer, calm, reloads, done, crashes, broken, isBack }) => [
    peer.name,
    reloads === undefined ? "none" : `${done}`,
    tell(reloads),
    `${reloads === undefined ? "" : `${reloads.slowestMs.toFixed(0)} `}(${calm.slowestMs.toFixed(0)})`,
    tell(crashes),
    tell(broken),
    isBack ? "yes" : "no",
  ]),
  figures: rows.map(({ peer: { name }, reloads, crashes, broken, calm, done }) => ({
    name,
    done,
    reloads: reloads?.lost ?? null,
    slowest: reloads?.slowestMs ?? null,
    calm: calm.slowestMs,
    crashes: crashes.lost,
    broken: broken?.lost ?? null,
  })),
});
