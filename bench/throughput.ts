/**
 * Requests a second and how long they take: this module, and what a user could take instead. All servers stand side by
 * side and take turns, each round in another order; what counts is the ratio to the bare server in the same round.
 *
 *     bench/run throughput
 *
 * The load comes from wrk, on the same machine, over 32 connections.
 *
 * @module
 */
import process from "node:process";
import { type Peer, PEERS } from "./peers/peers.ts";
import { loadServer, type Mode, type Outcome, type Path, pathsOf, type Server, startServer, WORK } from "./servers.ts";
import { median, print, quantile, report } from "./table.ts";

const ROUNDS = Number(process.argv[2] ?? 3);
const SECONDS = Number(process.argv[3] ?? 0.5);
const WORKERS = [1, 2] as const;

const MODES = { "keep-alive": "keep-alive", once: "a connection for each request" } as const;

/** Something that is asked of servers, and how. */
interface Load {
  readonly path: Path;
  readonly mode: Mode;
}

const LOADS: readonly Load[] = (["/", "/cpu", "/json", "/echo"] as const).flatMap((path) =>
  (["keep-alive", "once"] as const).map((mode) => ({ path, mode }))
);

/** One server under one load, a round after the other. */
interface Figures {
  readonly peer: Peer;
  readonly workers: number;
  readonly outcomes: readonly Outcome[];
}

/** The rest is asked for `/` alone: what they answer changes nothing of how they take a request. */
function isAskedFor({ peer }: Server, path: Path): boolean {
  return pathsOf(peer).includes(path) && (path === "/" || !/relayed|attach|parallel|unicorn/.test(peer.name));
}

let turn = 0;

async function measure(servers: readonly Server[], { path, mode }: Load): Promise<readonly Figures[]> {
  const asked = servers.filter((server) => isAskedFor(server, path));
  const outcomes = new Map<Server, Outcome[]>(asked.map((server) => [server, []]));
  if (mode === "keep-alive") { for (const server of asked) await loadServer(server, path, mode, SECONDS); } // to warm up
  for (let round = 0; round < ROUNDS; round++) {
    const shift = turn++ * 7 % asked.length;
    for (const server of [...asked.slice(shift), ...asked.slice(0, shift)]) {
      outcomes.get(server)?.push(await loadServer(server, path, mode, SECONDS));
    }
  }
  return asked.map((server) => ({ peer: server.peer, workers: server.workers, outcomes: outcomes.get(server) ?? [] }));
}

const rateOf = ({ requests, seconds }: Outcome): number => requests / seconds;

/** To the bare server of as many processes, in the same round. */
function ratiosOf({ peer, workers, outcomes }: Figures, all: readonly Figures[]): readonly number[] {
  const base = all.find((other) => other.peer.name === peer.base && other.workers === workers);
  return outcomes.map((outcome, round) => {
    const bare = base?.outcomes[round];
    if (bare === undefined) throw new Error(`Cannot compare ${peer.name}: ${peer.base} was not measured`);
    return rateOf(outcome) / rateOf(bare);
  });
}

const ms = (value: number): string => value < 10 ? value.toFixed(2) : value.toFixed(0);

function tell({ path, mode }: Load, workers: number, all: readonly Figures[]): void {
  const own = all.filter((figures) => figures.workers === workers);
  const rows = own.map((figures) => {
    const { peer: { name }, outcomes } = figures;
    const ratios = ratiosOf(figures, all);
    const of = (measure: (outcome: Outcome) => number): number => median(outcomes.map(measure));
    const failed = outcomes.reduce((sum, outcome) => sum + outcome.failed + outcome.statuses, 0);
    return {
      name,
      rate: of(rateOf),
      ratio: median(ratios),
      low: quantile(ratios, 0),
      high: quantile(ratios, 1),
      ...{
        p50: of(({ p50 }) => p50),
        p99: of(({ p99 }) => p99),
        p999: of(({ p999 }) => p999),
        max: of(({ max }) => max),
      },
      failed,
    };
  });
  report({
    key: `throughput-${path.slice(1) || "hello"}-${mode}-${workers}`,
    title: `${WORK[path]}, ${MODES[mode]}, ${workers} worker${
      workers === 1 ? "" : "s"
    }: ${ROUNDS} rounds of ${SECONDS} s`,
    head: ["", "requests/s", "ratio to bare", "least", "most", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "failed"],
    rows: rows.map(({ name, rate, ratio, low, high, p50, p99, p999, max, failed }) => [
      name,
      rate.toFixed(0),
      ...[ratio, low, high].map((value) => value.toFixed(2)),
      ...[p50, p99, p999, max].map(ms),
      `${failed}`,
    ]),
    figures: rows.map((row) => ({ ...row, workers, path, mode })),
  });
}

await using stack = new AsyncDisposableStack();
const servers: Server[] = [];
for (const peer of PEERS) {
  for (const workers of WORKERS) servers.push(stack.use(await startServer(peer, workers)));
  print(`${peer.name} serves`);
}
for (const load of LOADS) {
  const all = await measure(servers, load);
  for (const workers of WORKERS) tell(load, workers, all);
}
