/**
 * Whatever is said on the sockets of a manager, by workers, by operators and by strangers. `PREFORK_TEST_RUNS` says how
 * much is tried, `PREFORK_TEST_SEED` what: a failure tells its own.
 */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { describe, it } from "node:test";
import fc from "fast-check";
import { currentHost } from "../runtimes/current.ts";
import { findManager } from "../src/cli/client.ts";
import { concat } from "../src/cli/lines.ts";
import type { StatusReport } from "../src/operator/report.ts";
import { end, options, ready, socketOf, start, web } from "./support/operator.ts";
import { descriptors, memoryKb } from "./support/pool.ts";
import { runtime, waitFor } from "./support/run.ts";
import { ControlServer, type ControlSink } from "../src/control_server.ts";
import type { PoolFigures } from "../src/figures.ts";
import { OperatorServer } from "../src/operator/server.ts";
import { decodeOrder, decodeReply, encodeOrder, type Order } from "../src/operator/words.ts";
import type { Input, WorkerRef } from "../src/pool_state.ts";
import { decodeWorkerMessage, encode, LineReader, type WorkerMessage } from "../src/protocol.ts";
import { isSignal } from "../src/signals.ts";
import type { ControlConnection, ControlHandlers, ControlListener } from "../src/types.ts";
import { FakeHost, settle } from "./fake_host.ts";
import { nonsense, pieces, TRIES } from "./support/nonsense.ts";
import { FakePool } from "./support/pool_on_fake.ts";

const ORDERS = [
  { version: 1, do: "status" },
  { version: 1, do: "follow" },
  { version: 1, do: "stop", now: true },
  { version: 1, do: "scale", workers: 3 },
  { version: 1, do: "signal", signal: "SIGHUP", slot: 0 },
  { version: 2, do: "reload" },
];

const WORDS = [
  { type: "begin" },
  { type: "ready" },
  { type: "waits" },
  { type: "stopping" },
  { type: "figures", requests: 7, durations: { sumMs: 12.5, counts: [0, 3, 4] } },
  { type: "status", status: "grüßt 🙂", isIdle: false },
  { type: "beat", lagMs: 3 },
  { type: "extend", delayMs: 5000 },
  { type: "checked", saw: "status 503" },
  { type: "recycle", reason: "old" },
  { type: "hello", version: 1, token: "guessed" },
];

const SECONDS = { timeout: 180_000 };
const isWhole = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0;

/** Whether that is an order, and nothing else hangs on it. */
function isOrder(order: Order): boolean {
  const { do: name, ...rest } = order;
  const keys = Object.keys(rest).sort().join();
  switch (order.do) {
    case "stop":
      return keys === "now" && typeof order.now === "boolean";
    case "scale":
      return keys === "workers" && isWhole(order.workers);
    case "signal":
      return (keys === "signal" || keys === "signal,slot" && isWhole(order.slot)) && isSignal(order.signal);
    default:
      return keys === "" && ["status", "reload", "upgrade", "reopen", "follow"].includes(name);
  }
}

/** Whether that is what a worker may say, and nothing else hangs on it. */
function isWord(message: WorkerMessage): boolean {
  const { type, ...rest } = message;
  const keys = Object.keys(rest).sort().join();
  const isText = (value: unknown): boolean => typeof value === "string";
  switch (message.type) {
    case "hello":
      return keys === "token,version" && Number.isFinite(message.version) && isText(message.token);
    case "figures":
      return keys === "durations,requests" && (message.requests === null || isWhole(message.requests)) &&
        (message.durations === null ||
          Number.isFinite(message.durations.sumMs) && message.durations.counts.every(isWhole));
    case "status":
      return isText(message.status) && (keys === "status" || keys === "isIdle,status" && message.isIdle !== undefined);
    case "beat":
      return keys === "lagMs" && Number.isFinite(message.lagMs);
    case "extend":
      return keys === "delayMs" && Number.isFinite(message.delayMs) && message.delayMs >= 0;
    case "checked":
      return keys === "saw" && isText(message.saw);
    case "recycle":
      return keys === "reason" && isText(message.reason);
    default:
      return keys === "" && ["begin", "ready", "waits", "parked", "stopping"].includes(type);
  }
}

describe("a message that comes by a socket", () => {
  const decoders: readonly (readonly [string, readonly object[], (line: string) => boolean])[] = [
    ["an order", ORDERS, (line) => isOrder(decodeOrder(line))],
    ["a worker's word", WORDS, (line) => isWord(decodeWorkerMessage(line))],
    [
      "a reply",
      [{ type: "progress", text: "x" }, { type: "status", status: { pid: 1, workers: [], standbys: [] } }],
      (line) => {
        return ["progress", "done", "failed", "status"].includes(decodeReply(line).type);
      },
    ],
  ];
  for (const [what, good, isRight] of decoders) {
    it(`is ${what} as it should be, or refused in a sentence`, SECONDS, () => {
      fc.assert(
        fc.property(nonsense(good), (line) => {
          try {
            assert.ok(isRight(line));
          } catch (error) {
            if (!(error instanceof SyntaxError)) throw error;
          }
        }),
        TRIES,
      );
    });
  }

  it("is the same wherever it is cut, and never kept beyond its limit", SECONDS, () => {
    fc.assert(
      fc.property(pieces(nonsense(WORDS)), fc.constantFrom(100, 4096, Infinity), (cut, limit) => {
        const whole = new TextDecoder().decode(concat(cut), { stream: true });
        const expected = whole.split("\n").slice(0, -1);
        const isTooLong = whole.split("\n").findIndex((line) => line.length > limit);
        const lines: string[] = [];
        const reader = new LineReader(limit);
        const read = () => cut.forEach((piece) => reader.push(piece, (line) => lines.push(line)));
        if (isTooLong < 0) read();
        else assert.throws(read, { name: "SyntaxError", message: `sent a line of more than ${limit} characters` });
        assert.deepEqual(lines, isTooLong < 0 ? expected : expected.slice(0, isTooLong));
      }),
      TRIES,
    );
  });
});

/** One end of a connection, by which nothing comes but what a test gives to its handlers itself. */
class Wire implements ControlConnection {
  sent = "";
  isClosed = false;

  send(text: string): void {
    if (!this.isClosed) this.sent += text;
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    this.isClosed = true;
  }

  ref(): void {}
  unref(): void {}
}

/** A host at whose sockets a test connects with wires, so that bytes come as they are. */
class WiredHost extends FakeHost {
  #accept: ((connection: ControlConnection) => ControlHandlers) | undefined;

  override listenControl(path: string, accept: (connection: ControlConnection) => ControlHandlers): ControlListener {
    this.#accept = accept;
    return super.listenControl(path, accept);
  }

  connect(): { readonly wire: Wire; readonly handlers: ControlHandlers } {
    const wire = new Wire();
    return { wire, handlers: this.#accept?.(wire) ?? assert.fail("nobody listens") };
  }
}

describe("an operator who talks nonsense", () => {
  it("is answered in sentences, and hung up on if there is no end to it", SECONDS, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(pieces(nonsense(ORDERS)), { minLength: 1, maxLength: 3 }), async (all) => {
        const host = new WiredHost();
        const obeyed: Order[] = [];
        new OperatorServer(host, "/fake/operator.sock", (order) => {
          obeyed.push(order);
          return Promise.resolve({ type: "done", text: "" });
        });
        for (const cut of all) {
          const { wire, handlers } = host.connect();
          for (const piece of cut) {
            handlers.data(piece);
            await settle();
          }
          const replies = wire.sent.split("\n").slice(0, -1).map(decodeReply);
          assert.ok(replies.every(({ type }) => type === "done" || type === "failed"), wire.sent);
          assert.ok(wire.sent === "" || wire.sent.endsWith("\n"));
        }
        assert.ok(obeyed.every(isOrder), JSON.stringify(obeyed));
        const { wire, handlers } = host.connect();
        handlers.data(new TextEncoder().encode(encodeOrder({ do: "status" })));
        await settle();
        assert.equal(wire.sent, '{"type":"done","text":""}\n');
      }),
      { ...TRIES, numRuns: Math.ceil(TRIES.numRuns / 10) },
    );
  });
});

/** Keeps what a manager hears. */
class Ear implements ControlSink {
  readonly heard: WorkerRef[] = [];

  post(input: Input): void {
    if ("id" in input && "slot" in input) this.heard.push({ slot: input.slot, id: input.id });
    else assert.fail(`of no worker: ${JSON.stringify(input)}`);
  }

  waits(ref: WorkerRef): void {
    this.heard.push(ref);
  }

  stopping(ref: WorkerRef): void {
    this.heard.push(ref);
  }

  figures(ref: WorkerRef): void {
    this.heard.push(ref);
  }
}

describe("a process that talks nonsense to a manager as its worker", () => {
  it("speaks for itself only, and for nobody without a token", SECONDS, async () => {
    await fc.assert(
      fc.asyncProperty(pieces(nonsense(WORDS)), pieces(nonsense(WORDS)), async (stranger, member) => {
        const [host, ear, ref] = [new WiredHost(), new Ear(), { slot: 3, id: 7 }];
        const server = await ControlServer.open(host, ear, 1000, undefined);
        server.expect({ slot: 0, id: 1 });
        const token = server.expect(ref);
        const outside = host.connect();
        for (const piece of stranger) void outside.handlers.data(piece);
        await host.advance(2000);
        assert.deepEqual([ear.heard, outside.wire.isClosed], [[], true]);
        const inside = host.connect();
        void inside.handlers.data(new TextEncoder().encode(encode({ type: "hello", version: 1, token })));
        for (const piece of member) void inside.handlers.data(piece);
        assert.ok(ear.heard.length > 0);
        for (const heard of ear.heard) assert.deepEqual({ slot: heard.slot, id: heard.id }, ref);
        server[Symbol.dispose]();
      }),
      { ...TRIES, numRuns: Math.ceil(TRIES.numRuns / 4) },
    );
  });

  it("harms no other worker, and no manager", SECONDS, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(nonsense(WORDS), { maxLength: 20 }), async (lines) => {
        const pool = new FakePool({ maxWorkers: 2, recycle: { maxLagMs: 1000 }, stopTimeoutMs: 500 });
        const started = pool.pm.start();
        await settle();
        const [rude, other] = pool.workers;
        for (const line of lines) {
          rude?.say(`${line}\n`);
          await pool.host.advance(10);
        }
        assert.equal(other?.process.alive, true);
        const { requests, workers } = await askAll(pool);
        assert.ok(isWhole(requests) && workers.every(({ requests }) => requests === null || isWhole(requests)));
        await pool.host.advance(10_000);
        // It may have asked for time beyond that, and have its heir already.
        assert.ok(pool.pm.numWorkers >= 2 && pool.pm.numWorkers <= 3, String(pool.pm.numWorkers));
        for (const { process } of pool.workers) if (process.alive) process.exit(0);
        pool.host.raise("SIGTERM");
        await pool.host.advance(60_000);
        await started;
        await pool.pm[Symbol.asyncDispose]();
      }),
      { ...TRIES, numRuns: Math.ceil(TRIES.numRuns / 20) },
    );
  });
});

async function askAll(pool: FakePool): Promise<PoolFigures> {
  const asked = pool.pm.figures();
  await pool.host.advance(1000);
  return await asked;
}

/** What changes nothing where it is understood. */
const QUESTIONS = [
  { version: 1, do: "status" },
  { version: 1, do: "follow" },
  { version: 2, do: "dance", now: true, workers: 3, signal: "SIGHUP", slot: 0 },
];

/** Says pieces to a socket, and resolves once the connection is over. */
function sayTo(path: string, cut: readonly Uint8Array[]): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(path).resume().on("error", () => {}).on("close", () => resolve());
    for (const piece of cut) socket.write(piece);
    socket.end();
  });
}

describe(`a manager on ${runtime} to whom everybody talks nonsense`, () => {
  it("answers as before, and so do its workers", options, async () => {
    await using program = start([...web, "-w", "2"]);
    await ready(program, 2);
    const operators = socketOf(program, "hello");
    const dir = readdirSync(program.temporary).find((name) => name.startsWith("prefork-")) ?? assert.fail("no socket");
    const before = await findManager(currentHost, operators);
    const open = descriptors(program.pid).length;
    const memory = memoryKb(program.pid, "status", "VmRSS");

    const seed = TRIES.seed ?? Date.now() % 2 ** 31;
    const talks = [[operators, QUESTIONS], [join(program.temporary, dir, "worker.sock"), WORDS]] as const;
    for (const [path, good] of talks) {
      const all = fc.sample(pieces(nonsense(good)), { numRuns: 250, seed });
      for (let at = 0; at < all.length; at += 20) {
        await Promise.all(all.slice(at, at + 20).map((cut) => sayTo(path, cut)));
      }
    }

    const what = `with PREFORK_TEST_SEED=${seed}`;
    const after = await findManager(currentHost, operators);
    const pids = ({ workers }: StatusReport) => workers.map(({ pid, state }) => [pid, state]);
    assert.deepEqual([pids(after), after.restarts], [pids(before), 0], what);
    await waitFor(() => descriptors(program.pid).length <= open, { what: `no more descriptors, ${what}` });
    const grown = memoryKb(program.pid, "status", "VmRSS") - memory;
    assert.ok(grown < 32 * 1024, `the memory rose by ${grown} kB ${what}`);
    await end(program);
    assert.deepEqual(program.errorLines.filter((line) => /\[(warning|error|fatal)\]/.test(line)), [], what);
  });
});
