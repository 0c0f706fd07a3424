/** The life of a pool as spans of OpenTelemetry. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { trace } from "@opentelemetry/api";
import type { PreforkEvent, SpanAttributes, Tracer, WorkerInfo } from "../mod.ts";
import { findTracing } from "../src/cli/tracing.ts";
import { EventHub } from "../src/event_hub.ts";
import { Telemetry } from "../src/telemetry.ts";
import { FakeHost } from "./fake_host.ts";
import { options, prefork } from "./support/operator.ts";
import { waitForNobody } from "./support/pool.ts";
import { FakePool, outcome, rest } from "./support/pool_on_fake.ts";
import { type Program, runProgram, runtime, signalProcess, tempDir, waitFor } from "./support/run.ts";

interface Seen {
  readonly name: string;
  attributes: SpanAttributes;
  message: string | undefined;
  ended: number;
}

/** Keeps the spans that were begun. */
class FakeTracer implements Tracer {
  readonly spans: Seen[] = [];

  startSpan(name: string, { attributes }: { readonly attributes: SpanAttributes }) {
    const span: Seen = { name, attributes, message: undefined, ended: 0 };
    this.spans.push(span);
    return {
      setAttributes: (more: SpanAttributes) => span.attributes = { ...span.attributes, ...more },
      setStatus: ({ message }: { readonly code: 2; readonly message: string }) => span.message = message,
      end: () => span.ended++,
    };
  }

  /** In short: the name, what it says of the pool left out, and how it went. */
  get told() {
    return this.spans.map(({ name, attributes: { "prefork.pool": _, ...rest }, message, ended }) => {
      return [name, rest, ended === 0 ? "open" : message ?? "ended"];
    });
  }
}

const worker = (pid: number, slot = 0): WorkerInfo => ({ slot, generation: 1, pid, state: "ready", status: "" });
const of = (pid: number, slot = 0) => ({ "prefork.slot": slot, "prefork.generation": 1, "process.pid": pid });
const died = { type: "exited", code: 70 } as const;
const killed = { type: "signaled", signal: "SIGSEGV" } as const;
const reap = { type: "reap", expected: false, reason: "broke" } as const;

function told(...events: readonly PreforkEvent[]) {
  const tracer = new FakeTracer();
  const telemetry = new Telemetry(tracer, "web");
  for (const event of events) telemetry.heed(event);
  return { tracer, telemetry };
}

describe("the spans of a pool", () => {
  it("are boots, which end when a worker is ready, or how it dies before", () => {
    const { tracer } = told(
      { type: "spawn", worker: worker(1) },
      { type: "spawn", worker: worker(2, 1) },
      { type: "spawn", worker: worker(3, 2) },
      { type: "spawn", worker: worker(4, 3) },
      { type: "ready", worker: worker(1) },
      { ...reap, worker: worker(2, 1), status: died },
      { type: "bootTimeout", worker: worker(3, 2) },
      { ...reap, worker: worker(3, 2), status: killed },
      { ...reap, worker: worker(4, 3), status: { type: "exited", code: 0 }, expected: true },
      { type: "spawnError", slot: 4, error: new Error("no room"), delayMs: 1 },
      { type: "spawn", worker: worker(6, 5) },
    );
    assert.deepEqual(tracer.told, [
      ["prefork.boot", of(1), "ended"],
      ["prefork.boot", { ...of(2, 1), "process.exit.code": 70, "error.type": "exit" }, "broke"],
      ["prefork.boot", { ...of(3, 2), "prefork.exit.signal": "SIGSEGV", "error.type": "bootTimeout" }, "broke"],
      ["prefork.boot", { ...of(4, 3), "process.exit.code": 0 }, "ended"],
      ["prefork.boot", { "prefork.slot": 4, "error.type": "spawnError" }, "no room"],
      ["prefork.boot", of(6, 5), "open"],
    ]);
    assert.ok(tracer.spans.every(({ attributes, ended }) => attributes["prefork.pool"] === "web" && ended <= 1));
  });

  it("are crashes of workers that were ready, but no ends that were wanted", () => {
    const { tracer } = told(
      { ...reap, worker: worker(1), status: killed },
      { type: "hang", worker: worker(2), silentMs: 1, ageMs: 2, usage: undefined },
      { ...reap, worker: worker(2), status: died },
      { ...reap, worker: worker(3), status: died, expected: true },
      { ...reap, worker: worker(2), status: died },
    );
    assert.deepEqual(tracer.told, [
      ["prefork.crash", { ...of(1), "prefork.exit.signal": "SIGSEGV", "error.type": "SIGSEGV" }, "broke"],
      ["prefork.crash", { ...of(2), "process.exit.code": 70, "error.type": "hang" }, "broke"],
      ["prefork.crash", { ...of(2), "process.exit.code": 70, "error.type": "exit" }, "broke"],
    ]);
  });

  it("are standbys, whose boot ends as they stand by", () => {
    const { tracer } = told(
      { type: "spawn", worker: worker(1, -1) },
      { type: "standby", worker: worker(1, -1), usage: undefined },
      { type: "activate", worker: worker(1) },
      { type: "ready", worker: worker(1) },
    );
    const attributes = { "prefork.standby": true, "prefork.generation": 1, "process.pid": 1 };
    assert.deepEqual(tracer.told, [["prefork.boot", attributes, "ended"]]);
  });

  it("are reloads and upgrades, and why they were refused", () => {
    const reload = (generation: number) => ({ type: "reload", generation, serving: 1 }) as const;
    const failed = { type: "reloadFailed", serving: 1, reason: "it broke" } as const;
    const { tracer } = told(
      reload(2),
      { type: "reloaded", generation: 2 },
      reload(3),
      { ...failed, generation: 3, cause: "failed" },
      reload(4),
      { ...failed, generation: 4, cause: "superseded" },
      { type: "upgrade", pid: 7 },
      { type: "upgradeFailed", cause: "failed", reason: "no" },
      { type: "upgrade", pid: 8 },
      { type: "upgraded", pid: 8 },
    );
    const to = (generation: number) => ({ "prefork.generation": generation, "prefork.generation.before": 1 });
    assert.deepEqual(tracer.told, [
      ["prefork.reload", to(2), "ended"],
      ["prefork.reload", { ...to(3), "error.type": "failed" }, "it broke"],
      ["prefork.reload", { ...to(4), "prefork.cause": "superseded" }, "ended"],
      ["prefork.upgrade", { "process.pid": 7, "error.type": "failed" }, "no"],
      ["prefork.upgrade", { "process.pid": 8 }, "ended"],
    ]);
  });

  it("end with the pool at the latest", () => {
    const { tracer, telemetry } = told(
      { type: "spawn", worker: worker(1) },
      { type: "reload", generation: 2, serving: 1 },
      { type: "upgrade", pid: 7 },
    );
    telemetry.end();
    assert.deepEqual(tracer.spans.map(({ ended }) => ended), [1, 1, 1]);
  });
});

describe("a pool with a tracer", () => {
  it("makes spans from its first worker on", async () => {
    const tracer = new FakeTracer();
    const pool = new FakePool({ tracer, name: "traced" });
    const started = pool.pm.start();
    await outcome(started);
    await waitFor(() => tracer.spans.filter(({ ended }) => ended === 1).length === 2, { what: "two boots" });
    await pool.stop(started);
    await pool.pm[Symbol.asyncDispose]();
    await rest();
    assert.deepEqual(tracer.told.map(([name, , how]) => [name, how]), Array(2).fill(["prefork.boot", "ended"]));
    assert.equal(tracer.spans[0]?.attributes["prefork.pool"], "traced");
  });

  it("goes on where the tracer throws", async () => {
    const tracer: Tracer = {
      startSpan() {
        throw new Error("no collector");
      },
    };
    const pool = new FakePool({ tracer });
    const started = pool.pm.start();
    await outcome(started);
    await waitFor(() => pool.ofType("hookError").length === 2, { what: "both to be told" });
    assert.ok(
      pool.ofType("hookError").every(({ hook, error }) => hook === "tracer" && `${error}`.includes("collector")),
    );
    assert.equal(pool.ofType("ready").length, 2);
    await pool.stop(started);
    await pool.pm[Symbol.asyncDispose]();
  });

  it("is refused where that is none", () => {
    const host = new FakeHost();
    assert.throws(() => new FakePool({ host, ...JSON.parse('{"tracer":{}}') }), /Cannot use 'tracer': it must have/);
  });

  it("costs nothing without: nobody listens", async () => {
    const { subscribe } = EventHub.prototype;
    let readers = 0;
    EventHub.prototype.subscribe = function () {
      readers++;
      return subscribe.call(this);
    };
    try {
      new FakePool();
      assert.equal(readers, 1, "the test itself");
      new FakePool({ tracer: new FakeTracer() });
      assert.equal(readers, 3);
    } finally {
      EventHub.prototype.subscribe = subscribe;
    }
    await rest();
  });
});

describe("the tracer of a process", () => {
  const key = Symbol.for("opentelemetry.js.api.1");
  const refuse = (error: unknown) => assert.fail(String(error));

  it("is where the API package puts it", () => {
    const tracer: Tracer = trace.getTracer("prefork"); // which has the shape
    assert.equal(typeof tracer.startSpan, "function");
    const provider = { getTracer: () => new FakeTracer() };
    assert.ok(findTracing(refuse, { [key]: { trace: provider } })?.tracer instanceof FakeTracer);
    for (const nothing of [{}, { [key]: undefined }, { [key]: {} }, { [key]: { trace: {} } }]) {
      assert.equal(findTracing(refuse, nothing), undefined);
    }
  });

  it("is gone without, with a word, where it cannot be had", () => {
    const provider = {
      getTracer() {
        throw new Error("not set up");
      },
    };
    const errors: unknown[] = [];
    assert.equal(findTracing((error) => errors.push(error), { [key]: { trace: provider } }), undefined);
    assert.match(String(errors), /not set up/);
  });

  it("is asked for what it has, for no longer than two seconds", async () => {
    const host = new FakeHost();
    let flushes = 0;
    const delegate = {
      forceFlush() {
        flushes++;
        return new Promise<void>(() => {});
      },
    };
    const provider = { getTracer: () => new FakeTracer(), getDelegate: () => delegate };
    const flushed = findTracing(refuse, { [key]: { trace: provider } })?.flush(host);
    assert.ok(flushed);
    await host.advance(1999);
    assert.equal(await outcome(flushed), "pending");
    await host.advance(1);
    await flushed;
    assert.equal(flushes, 1);
  });
});

/** A span as it came from a real exporter. */
interface Exported {
  readonly name: string;
  readonly attributes: SpanAttributes;
  /** 2 is an error. */
  readonly code: number;
  readonly message: string;
}

interface Otlp {
  readonly resourceSpans: readonly {
    readonly scopeSpans: readonly { readonly spans: readonly OtlpSpan[] }[];
  }[];
}

interface OtlpSpan {
  readonly name: string;
  readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, string | number>> }[];
  readonly status?: { readonly code?: number; readonly message?: string };
}

function fromOtlp({ resourceSpans }: Otlp): readonly Exported[] {
  const spans = resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans));
  return spans.map(({ name, attributes, status = {} }) => ({
    name,
    attributes: Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0] ?? ""])),
    code: status.code ?? 0,
    message: status.message ?? "",
  }));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** Takes spans over HTTP, as OTLP or as the fixture sends them. */
async function collector() {
  const spans: Exported[] = [];
  const server = createServer(async (request, response) => {
    const body = JSON.parse(await bodyOf(request));
    if (Array.isArray(body)) spans.push(...body);
    else if (request.url === "/v1/traces") spans.push(...fromOtlp(body));
    response.writeHead(200, { "content-type": "application/json" }).end("{}");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  return {
    url: `http://127.0.0.1:${port}`,
    ours: (): readonly Exported[] => spans.filter(({ name }) => name.startsWith("prefork.")),
    [Symbol.asyncDispose]: () => {
      server.closeAllConnections();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** A manager whose runtime sends spans to `url`: Deno has it built in, on Bun somebody has set it up. */
function traced(args: readonly string[], cwd: string, url: string): Program {
  const preload = fileURLToPath(new URL("./fixtures/spans.ts", import.meta.url));
  return runProgram(prefork, ["--log-format", "plain", "-w", "1", ...args], {
    cwd,
    env: {
      TEST_COLLECTOR: url,
      OTEL_DENO: "true",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_ENDPOINT: url,
    },
    ...runtime === "bun" ? { runtimeArgs: ["run", "--preload", preload] } : {},
  });
}

describe("a manager where OpenTelemetry is set up", () => {
  it("tells of a crash, of a reload and of one that is refused", options, async () => {
    await using dir = await tempDir();
    await using spans = await collector();
    const save = (text: string) => writeFileSync(dir.file("app.ts"), text);
    save("await new Promise((resolve) => setTimeout(resolve, 1e8));\n");
    await using program = traced(["app.ts", "--name", "web"], dir.path, spans.url);
    const line = await program.waitForErrorLine(/ is ready$/);
    const pid = Number(/ pid=(\d+) is ready/.exec(line)?.[1]);
    signalProcess(pid, "SIGKILL");
    await program.waitForErrorLine(/ is ready$/, { count: 2 });
    program.kill("SIGHUP");
    await program.waitForErrorLine("generation 2 serves, and no other");
    save("process.exit(7);\n");
    program.kill("SIGHUP");
    await program.waitForErrorLine("the reload failed");
    program.kill("SIGTERM");
    assert.equal((await program.waitForEnd()).code, 0, program.report());
    await waitForNobody(program);

    const seen = (name: string) =>
      spans.ours().filter((span) => span.name === `prefork.${name}`)
        .sort((a, b) => Number(a.attributes["prefork.generation"]) - Number(b.attributes["prefork.generation"]));
    await waitFor(() => spans.ours().length >= 7, { what: "all spans" }).catch(() => {}); // what is missing is told below
    assert.deepEqual(seen("boot").map(({ attributes, code }) => [attributes["prefork.generation"], code]), [
      [1, 0],
      [1, 0],
      [2, 0],
      [3, 2],
    ]);
    assert.equal(seen("boot").at(-1)?.attributes["process.exit.code"], 7);
    assert.deepEqual(seen("crash"), [{
      name: "prefork.crash",
      attributes: {
        "prefork.pool": "web",
        "prefork.slot": 0,
        "prefork.generation": 1,
        "process.pid": pid,
        "prefork.exit.signal": "SIGKILL",
        "error.type": "SIGKILL",
      },
      code: 2,
      message: "was killed by SIGKILL",
    }]);
    assert.deepEqual(seen("reload").map(({ code }) => code), [0, 2]);
    assert.match(seen("reload").at(-1)?.message ?? "", /gen=3 pid=\d+ exited with status 7/);
  });
});
