/**
 * What it costs to serve from a shared socket by adoption, request for request: servers on one core, wrk on another, so
 * that neither takes the other's time. The bare server stands there twice: what the second has beside the first is chance.
 *
 *     bench/run adoption
 *
 * @module
 */
import process from "node:process";
import { descendants } from "../tests/support/processes.ts";
import { findPeer } from "./peers/peers.ts";
import { meterProcessor } from "./processor.ts";
import { loadServer, type Mode, type Server, startServer } from "./servers.ts";
import { median, quantile, report } from "./table.ts";

const ROUNDS = Number(process.argv[2] ?? 9);
const SECONDS = Number(process.argv[3] ?? 0.5);

const SERVER_CORE = 0;
const CLIENT_CORE = 1;

const MODES = { "keep-alive": "keep-alive", once: "a connection each" } as const;

/** One burst. */
interface Burst {
  readonly rate: number;
  /** Processor time of a request, of all processes of the server together. */
  readonly microseconds: number;
}

interface Row {
  readonly name: string;
  readonly bursts: readonly Burst[];
}

async function burst(server: Server, mode: Mode): Promise<Burst> {
  const spent = meterProcessor(server.pids.flatMap((pid) => [pid, ...descendants(pid)]));
  const { requests, seconds } = await loadServer(server, "/", mode, SECONDS, CLIENT_CORE);
  return { rate: requests / seconds, microseconds: spent() / requests };
}

/** Servers of one runtime take turns, each round in the other order. */
async function measure(servers: ReadonlyMap<string, Server>, mode: Mode): Promise<readonly Row[]> {
  const rows = [...servers].map(([name, server]) => ({ name, server, bursts: new Array<Burst>() }));
  for (const { server } of rows) await loadServer(server, "/", mode, SECONDS, CLIENT_CORE); // to warm up
  for (let round = 0; round < ROUNDS; round++) {
    for (const { server, bursts } of round % 2 === 0 ? rows : rows.toReversed()) {
      bursts.push(await burst(server, mode));
    }
  }
  return rows;
}

/** How many times as fast as the first row, in the same round: the median, and the quartiles. */
function ratio({ bursts }: Row, base: Row, of: (one: Burst, bare: Burst) => number): string {
  const ratios = bursts.flatMap((one, round) => {
    const bare = base.bursts[round];
    return bare === undefined ? [] : [of(one, bare)];
  });
  return `${median(ratios).toFixed(2)} (${quantile(ratios, 0.25).toFixed(2)} to ${quantile(ratios, 0.75).toFixed(2)})`;
}

async function measureRuntime(title: string): Promise<readonly (readonly string[])[]> {
  const rows: string[][] = [];
  for (const workers of [1, 2]) {
    await using stack = new AsyncDisposableStack();
    const start = async (name: string): Promise<Server> =>
      stack.use(await startServer(findPeer(`${title}, ${name}`), workers, SERVER_CORE));
    const servers = new Map([
      ["bare", await start("bare")],
      ["bare again", await start("bare")],
      ["prefork", await start("prefork")],
    ]);
    for (const mode of ["keep-alive", "once"] as const) {
      const measured = await measure(servers, mode);
      for (const row of measured) {
        const [base = row] = measured;
        rows.push([
          `${title}, ${row.name}, ${workers} worker${workers === 1 ? "" : "s"}, ${MODES[mode]}`,
          median(row.bursts.map(({ rate }) => rate)).toFixed(0),
          ratio(row, base, (one, bare) => one.rate / bare.rate),
          median(row.bursts.map(({ microseconds }) => microseconds)).toFixed(2),
          ratio(row, base, (one, bare) => bare.microseconds / one.microseconds),
        ]);
      }
    }
  }
  return rows;
}

report({
  key: "adoption",
  title: `hello on a core of its own, ${ROUNDS} rounds of ${SECONDS} s: medians (and quartiles)`,
  head: ["", "requests/s", "ratio to bare", "processor µs each", "bare's to its own"],
  rows: [...await measureRuntime("Deno"), ...await measureRuntime("Bun")],
});
