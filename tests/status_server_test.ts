/** What a manager tells over HTTP: to probes, to Prometheus, to scripts. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import process from "node:process";
import { describe, it, test } from "node:test";
import { fileURLToPath } from "node:url";
import { formatMetrics } from "../src/operator/metrics.ts";
import type { StatusReport } from "../src/operator/report.ts";
import { freePort } from "./support/free_port.ts";
import { begin, Client } from "./support/client.ts";
import { keepAlive, load, oneShot } from "./support/load.ts";
import { type Program, type RunOptions, runProgram, runtime, signalProcess, tempDir, waitFor } from "./support/run.ts";
import { statusOf } from "./support/status_report.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };
const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));
const app = fileURLToPath(new URL("./fixtures/serve/app.ts", import.meta.url));
const loaded = fileURLToPath(new URL("./fixtures/serve/loaded.ts", import.meta.url));
const hello = fileURLToPath(new URL("../examples/hello.ts", import.meta.url));

/** Reads the text format of Prometheus, strictly: each sample after its HELP and TYPE, each name once. */
function parseMetrics(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  const seen = new Set<string>();
  let current = "";
  let isHistogram = false;
  let helped = "";
  assert.ok(text.endsWith("\n"));
  for (const line of text.slice(0, -1).split("\n")) {
    const [, help] = /^# HELP ([a-z_]+) \S.*$/.exec(line) ?? [];
    if (help !== undefined) {
      assert.ok(!seen.has(help), `${help} stands in two places`);
      seen.add(help);
      helped = help;
      continue;
    }
    const [, name, type] = /^# TYPE ([a-z_]+) (gauge|counter|histogram)$/.exec(line) ?? [];
    if (name !== undefined) {
      assert.equal(name, helped);
      assert.equal(name.endsWith("_total"), type === "counter", name);
      current = name;
      isHistogram = type === "histogram";
      continue;
    }
    const [, sample = "", labels = "", value = ""] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    assert.equal(isHistogram ? sample.replace(/_(bucket|sum|count)$/, "") : sample, current, line);
    assert.match(labels, /^(?:[a-z]+="(?:[^"\\]|\\["\\n])*"(?:,(?!$)|$))*$/, line);
    assert.ok(Number.isFinite(Number(value)), line);
    const key = labels === "" ? sample : `${sample}{${labels}}`;
    assert.ok(!samples.has(key), `${key} is told twice`);
    samples.set(key, Number(value));
  }
  return samples;
}

/** Prometheus itself reads it, and knows no better. */
function expectPrometheusReads(text: string): void {
  const { status, stdout, stderr, error } = spawnSync("promtool", ["check", "metrics"], {
    input: text,
    encoding: "utf8",
  });
  assert.equal(error, undefined, "promtool is missing: apt-get install prometheus");
  assert.deepEqual([status, stdout, stderr], [0, "", ""], text);
}

test("formatMetrics() writes what Prometheus reads", () => {
  const text = formatMetrics(statusOf([7, null], { name: 'a "b" \\ c\nd', memoryBytes: null, cpuMs: null }));
  const samples = parseMetrics(text);
  expectPrometheusReads(text);
  const expected: readonly [string, number | undefined][] = [
    ['prefork_info{name="a \\"b\\" \\\\ c\\nd",version="0.1.0",runtime="deno 2.9.6"}', 1],
    ["prefork_uptime_seconds", 2.5],
    ["prefork_requests_total", 7],
    ["prefork_worker_exits_total", 5],
    ['prefork_workers{state="ready"}', 1],
    ['prefork_workers{state="booting"}', 1],
    ['prefork_workers{state="stopping"}', 0],
    ['prefork_worker_requests_total{slot="0",pid="100"}', 7],
    ['prefork_worker_requests_total{slot="1",pid="101"}', undefined],
    ['prefork_worker_lag_seconds{slot="0",pid="100"}', 0.0005],
    ['prefork_worker_cpu_seconds_total{slot="1",pid="101"}', 0.25],
    ["prefork_manager_memory_bytes", undefined],
    ['prefork_request_duration_seconds_bucket{le="0.001"}', 0],
    ['prefork_request_duration_seconds_bucket{le="0.002"}', 4],
    ['prefork_request_duration_seconds_bucket{le="0.016"}', 6],
    ['prefork_request_duration_seconds_bucket{le="65.536"}', 6],
    ['prefork_request_duration_seconds_bucket{le="+Inf"}', 7],
    ["prefork_request_duration_seconds_sum", 0.06],
    ["prefork_request_duration_seconds_count", 7],
  ];
  for (const [name, value] of expected) assert.equal(samples.get(name), value, name);
});

function start(args: readonly string[], more: RunOptions = {}, worker = hello): Program {
  return runProgram(prefork, ["--log-format", "plain", worker, "-l", "127.0.0.1:0", "-w", "2", ...args], more);
}

interface Place {
  readonly status: string;
  readonly port: number;
}

async function placesOf(program: Program): Promise<Place> {
  const line = await program.waitForErrorLine("tells its status at ");
  const listens = await program.waitForErrorLine("listens on ");
  await program.waitForErrorLine(/ is ready$/, { count: 2 });
  return { status: /http:\S+/.exec(line)?.[0] ?? "", port: Number(/:(\d+)$/.exec(listens)?.[1]) };
}

async function get(url: string, more: RequestInit = {}): Promise<readonly [number, string]> {
  const response = await fetch(url, more);
  return [response.status, (await response.text()).trim()];
}

async function stop(program: Program): Promise<void> {
  program.kill("SIGTERM");
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
}

describe(`a manager that tells its status on ${runtime}`, () => {
  for (const attach of [false, true]) {
    it(`agrees with its clients to the request, by ${attach ? "attach" : "serve"}()`, options, async () => {
      const env = { TEST_LOADED: JSON.stringify({ attach }) };
      await using program = start(["--status-listen", "0"], { env }, loaded);
      const { status, port } = await placesOf(program);
      assert.match(status, /^http:\/\/127\.0\.0\.1:\d+\/$/);
      await using clients = load({ port }, [oneShot, keepAlive(0), keepAlive(0)]);
      await waitFor(() => total(clients.tally.answered) > 1000, { what: "a thousand answers" });
      const { sent, failures } = await clients.stop();
      assert.deepEqual(failures, []);
      const count = total(sent);
      const [code, text] = await get(`${status}status.json`);
      assert.equal(code, 200);
      const told: StatusReport = JSON.parse(text);
      assert.deepEqual([told.schema, told.pid, told.requests], [1, program.pid, count]);
      assert.ok(Math.abs(told.latency.count - count) < 0.05 * count, `${told.latency.count} of ${count} were timed`);
      assert.ok(told.workers.every(({ p50Ms, p99Ms }) => p50Ms !== null && p99Ms !== null && p50Ms <= p99Ms), text);
      const metrics = `${(await get(`${status}metrics`))[1]}\n`;
      expectPrometheusReads(metrics);
      const samples = parseMetrics(metrics);
      assert.equal(samples.get("prefork_requests_total"), count);
      assert.equal(samples.get('prefork_workers{state="ready"}'), 2);
      await stop(program);
    });
  }

  it("is alive and ready as Kubernetes means it: who drains is not ready", options, async () => {
    await using program = start(["--status-listen", "127.0.0.1:0", "--drain-timeout", "20s"], {}, app);
    const { status, port } = await placesOf(program);
    assert.deepEqual(await get(`${status}healthz`), [200, "ok"]);
    assert.deepEqual(await get(`${status}readyz`), [200, "ready"]);
    using inHand = await begin({ port });
    program.kill("SIGTERM");
    await program.waitForErrorLine("received SIGTERM");
    await waitFor(async () => (await get(`${status}readyz`))[0] === 503, { what: "not to be ready" });
    assert.deepEqual(await get(`${status}readyz`), [503, "stopping"]);
    assert.deepEqual(await get(`${status}healthz`), [200, "ok"]);
    inHand.send("whole");
    await inHand.waitFor(/half-whole/);
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  });

  it("is not ready before a worker is", options, async () => {
    await using dir = await tempDir();
    const script = dir.file("gate");
    await using program = runProgram(prefork, [
      "--log-format",
      "plain",
      "--status-listen",
      "0",
      "--ready-when",
      `unix:${dir.file("late.sock")}`,
      "-w",
      "1",
      "--unavailable",
      "1",
      "--surge",
      "0",
      "--",
      "/bin/sh",
      "-c",
      `while [ ! -e ${script} ]; do sleep 0.05; done; exec perl -e 'use IO::Socket::UNIX; ` +
      `my $s = IO::Socket::UNIX->new(Local => "${dir.file("late.sock")}", Listen => 5); sleep 1000'`,
    ]);
    const line = await program.waitForErrorLine("tells its status at ");
    const status = /http:\S+/.exec(line)?.[0] ?? "";
    await program.waitForErrorLine("spawned");
    assert.deepEqual(await get(`${status}readyz`), [503, "no worker is ready"]);
    assert.deepEqual(await get(`${status}healthz`), [200, "ok"]);
    writeFileSync(script, "");
    await waitFor(async () => (await get(`${status}readyz`))[0] === 200, { what: "to be ready" });
    await stop(program);
  });

  it("tells those who know the token, and nobody's page", options, async () => {
    await using dir = await tempDir();
    const token = dir.file("token");
    writeFileSync(token, "s3cret\n", { mode: 0o600 });
    await using program = start(["--status-listen", "0", "--status-token-file", token]);
    const { status } = await placesOf(program);
    for (const authorization of ["", "Bearer", "Bearer wrong", "Basic s3cret", "Bearer s3cret2"]) {
      const response = await fetch(`${status}status.json`, { headers: { authorization } });
      assert.deepEqual([response.status, response.headers.get("www-authenticate")], [401, "Bearer"], authorization);
      await response.text();
    }
    const known = await fetch(`${status}status.json`, { headers: { authorization: "Bearer s3cret" } });
    assert.equal(known.status, 200);
    assert.match(known.headers.get("content-security-policy") ?? "", /^default-src 'none'/);
    assert.equal(known.headers.get("cross-origin-resource-policy"), "same-origin");
    assert.equal(known.headers.get("access-control-allow-origin"), null);
    await known.text();
    assert.equal((await get(`${status}healthz`))[0], 200, "a probe has no token");
    assert.equal((await get(`${status}nothing`, { headers: { authorization: "Bearer s3cret" } }))[0], 404);
    assert.equal((await get(`${status}healthz`, { method: "POST" }))[0], 405);
    assert.equal(await statusByName(status, "evil.example"), 421);
    assert.equal(await statusByName(status, "localhost"), 200);
    assert.equal(program.errorLines.join("\n").includes("s3cret"), false);
    await stop(program);
  });

  it("warns of an address that is not only this machine's, unless one must know a token", options, async () => {
    await using dir = await tempDir();
    const token = dir.file("token");
    writeFileSync(token, "s3cret\n", { mode: 0o600 });
    const cases = [
      [["--status-listen", "0.0.0.0:0"], 1],
      [["--status-listen", "0.0.0.0:0", "--status-token-file", token], 0],
      [["--status-listen", "[::1]:0"], 0],
    ] as const;
    for (const [args, expected] of cases) {
      await using program = start([...args]);
      await placesOf(program);
      await stop(program);
      const warnings = program.errorLines.filter((line) => line.includes("is told its status"));
      assert.equal(warnings.length, expected, args.join(" "));
      if (expected === 1) assert.match(warnings[0] ?? "", /whoever reaches 0\.0\.0\.0:\d+ .* by --status-token-file/);
    }
  });

  it("gives its page to everybody, and what that shows to nobody else's", options, async () => {
    await using dir = await tempDir();
    const token = dir.file("token");
    writeFileSync(token, "s3cret\n", { mode: 0o600 });
    await using program = start(["--status-listen", "0", "--status-token-file", token]);
    const { status } = await placesOf(program);
    const page = await fetch(status);
    const text = await page.text();
    assert.equal(page.status, 200);
    const headers: readonly [string, RegExp | null][] = [
      ["content-type", /^text\/html; charset=utf-8$/],
      ["content-security-policy", /^default-src 'none'; script-src 'self'; .*base-uri 'none'; form-action 'none'; /],
      ["content-security-policy", /frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'$/],
      ["x-content-type-options", /^nosniff$/],
      ["referrer-policy", /^no-referrer$/],
      ["cross-origin-resource-policy", /^same-origin$/],
      ["cross-origin-opener-policy", /^same-origin$/],
      ["cache-control", /^no-store$/],
      ["access-control-allow-origin", null],
    ];
    for (const [name, expected] of headers) {
      const value = page.headers.get(name);
      if (expected === null) assert.equal(value, null, name);
      else assert.match(value ?? "", expected, name);
    }
    const parts = [...text.matchAll(/(?:href|src)="([a-z.]+\.(?:js|css|svg))"/g)].map(([, part]) => part ?? "");
    const modules = ["format.js", "plot.js", "plots.js", "stream.js", "table.js"];
    assert.deepEqual(parts, ["icon.svg", "page.css", "page.js"]);
    for (const part of [...parts, ...modules]) {
      const response = await fetch(`${status}${part}`);
      assert.equal(response.status, 200, part);
      assert.match(response.headers.get("content-type") ?? "", /javascript|css|svg/, part);
      assert.doesNotMatch(await response.text(), /https?:\/\/(?!www\.w3\.org)/, `${part} loads nothing from elsewhere`);
    }
    assert.doesNotMatch(text, /<script(?! type="module" src=)|<style| style=| on[a-z]+=/, "nothing inline");
    assert.equal((await get(`${status}events`))[0], 401);
    await stop(program);
  });

  it("answers no page from elsewhere", options, async () => {
    await using program = start(["--status-listen", "0"]);
    const { status } = await placesOf(program);
    const own = new URL(status).host;
    const visit = "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nsec-fetch-dest: ";
    const cases: readonly [string, string, number][] = [
      ["/status.json", "", 200],
      ["/status.json", "sec-fetch-site: same-origin", 200],
      ["/status.json", "sec-fetch-site: none", 200],
      ["/status.json", `origin: http://${own}`, 200],
      ["/status.json", "sec-fetch-site: cross-site", 403],
      ["/status.json", "sec-fetch-site: same-site", 403],
      ["/events", "sec-fetch-site: same-site", 403],
      ["/metrics", "origin: http://evil.example", 403],
      ["/status.json", "origin: null", 403],
      ["/status.json", "origin: http://127.0.0.1:1", 403],
      ["/healthz", "origin: http://evil.example", 403],
      ["/", `${visit}document`, 200],
      ["/", `${visit}iframe`, 403],
      ["/status.json", `${visit}document`, 403],
      ["/page.js", "sec-fetch-site: cross-site", 403],
    ];
    for (const [path, header, code] of cases) {
      using client = new Client({ port: Number(new URL(status).port) });
      client.send(`GET ${path} HTTP/1.1\r\nhost: ${own}\r\n${header}${header === "" ? "" : "\r\n"}\r\n`);
      assert.equal(await client.waitFor(/^HTTP\/1.1 \d+/), `HTTP/1.1 ${code}`, `${path} ${header}`);
    }
    await stop(program);
  });

  it("has so many watchers and no more, and leaves none of them waiting when it stops", options, async () => {
    await using program = start(["--status-listen", "0"]);
    const { status } = await placesOf(program);
    const port = Number(new URL(status).port);
    const watch = () => new Client({ port }).send("GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    const watchers: Client[] = [];
    for (let count = 0; count < 16; count++) {
      watchers.push(watch());
      await watchers.at(-1)?.waitFor(/^HTTP\/1.1 200 [^]*data: .*"ready":2/);
    }
    using late = watch();
    await late.waitFor(/^HTTP\/1.1 503 [^]*watchers enough/);
    assert.equal((await get(`${status}readyz`))[0], 200);
    watchers.shift()?.[Symbol.dispose]();
    await waitFor(async () => {
      using next = watch();
      return (await next.waitFor(/^HTTP\/1.1 \d+/)).endsWith("200");
    }, { what: "room for another" });
    await stop(program);
    for (const watcher of watchers) await watcher.waitForEnd();
  });

  it("has room for so many clients, and no more: probes and those who know the token find it", options, async () => {
    await using dir = await tempDir();
    const file = dir.file("token");
    writeFileSync(file, "secret");
    await using program = start(["--status-listen", "0", "--status-token-file", file]);
    const { status } = await placesOf(program);
    const port = Number(new URL(status).port);
    using watcher = new Client({ port });
    watcher.send("GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer secret\r\n\r\n");
    await watcher.waitFor(/data: .*"ready":2/);
    const begun = performance.now();
    const clients = Array.from({ length: 300 }, () => new Client({ port }).send("GET /healthz HTTP/1.1\r\n"));
    await waitFor(() => clients.filter(({ ended }) => ended).length >= 300 - 255, {
      what: "those who are too many to go",
    });
    if (performance.now() - begun < 4000) { // before the silent ones are hung up on, too
      assert.equal(clients.filter(({ ended }) => ended).length, 300 - 255);
    }
    for (const path of ["healthz", "readyz"]) assert.equal((await get(`${status}${path}`))[0], 200, path);
    assert.equal(watcher.ended, false);
    for (const client of clients) client[Symbol.dispose]();
    await waitFor(async () => (await get(`${status}healthz`).catch(() => [0]))[0] === 200, { what: "room again" });
    await stop(program);
  });

  it("goes to the manager that takes over", options, async () => {
    const port = await freePort();
    await using program = start(["--status-listen", String(port)]);
    const { status } = await placesOf(program);
    program.kill("SIGUSR2");
    await program.waitForErrorLine("tells its status at ", { count: 2 });
    assert.deepEqual(await program.status, { code: 0, signal: null }, program.report());
    const { pid }: StatusReport = JSON.parse((await get(`${status}status.json`))[1]);
    assert.notEqual(pid, program.pid);
    signalProcess(pid, "SIGTERM");
    await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" });
  });

  it("says what is wrong with what it was given", options, async () => {
    await using dir = await tempDir();
    writeFileSync(dir.file("empty"), "\n");
    writeFileSync(dir.file("umlaut"), "gr\u00fcn\n");
    writeFileSync(dir.file("lines"), "a b\nc\n");
    const taken = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => taken.once("listening", resolve));
    const address = taken.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const cases: readonly [readonly string[], RegExp][] = [
      [
        ["--status-listen", String(port)],
        new RegExp(
          `Cannot listen on 127.0.0.1:${port} for --status-listen: another process listens there; stop it, or choose ` +
            "another port$",
        ),
      ],
      [
        ["--status-listen", "198.51.100.1:80"],
        /Cannot listen on 198.51.100.1:80 for --status-listen: this machine has no such address; choose another address$/,
      ],
      [["--status-listen", "unix:/x"], /Cannot use 'unix:\/x' for --status-listen: it must be PORT, HOST:PORT/],
      [
        ["--status-listen", "0", "--status-token-file", dir.file("none")],
        /Cannot find the --status-token-file '.*none'/,
      ],
      [["--status-listen", "0", "--status-token-file", dir.file("empty")], /it is empty; write a secret into it/],
      [
        ["--status-listen", "0", "--status-token-file", dir.file("umlaut")],
        /Cannot use .*umlaut for --status-token-file: no client can send character 3 of what it holds in an HTTP header; /,
      ],
      [["--status-listen", "0", "--status-token-file", dir.file("lines")], /no client can send character 4 /],
    ];
    for (const [args, message] of cases) {
      await using program = start(args);
      assert.equal((await program.waitForEnd()).code, 2, program.report());
      assert.match(program.errorLines.join("\n"), message);
    }
    await new Promise((resolve) => taken.close(resolve));
  });
});

function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

/** The status of an answer to somebody who takes the server for another. */
async function statusByName(status: string, name: string): Promise<number> {
  const { port } = new URL(status);
  const head = `GET /status.json HTTP/1.1\r\nhost: ${name}\r\nauthorization: Bearer s3cret\r\n\r\n`;
  using client = new Client({ port: Number(port) }).send(head);
  return Number((await client.waitFor(/^HTTP\/1.1 \d+/)).slice("HTTP/1.1 ".length));
}
