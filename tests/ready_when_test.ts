/** Workers that ask themselves whether they are ready, before they take a connection of anybody else. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { renameSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { PreforkOptions } from "../mod.ts";
import type { PoolSpec } from "./fixtures/lifecycle/pool.ts";
import type { HealthSpec } from "./fixtures/serve/health.ts";
import { Client, type Where } from "./support/client.ts";
import { load, PACED } from "./support/load.ts";
import { eventsOfType, liveWorkers, runPool, stopPool, waitForReady } from "./support/pool.ts";
import {
  otherRuntimeCommand,
  type Program,
  runProgram,
  runtime,
  type TempDir,
  tempDir,
  waitFor,
} from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };
const build = fileURLToPath(new URL("./fixtures/serve/build.ts", import.meta.url));
const fetching = fileURLToPath(new URL("./fixtures/serve/fetching.ts", import.meta.url));
const module = fileURLToPath(new URL("./fixtures/serve/health.ts", import.meta.url));
const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));

const READY_WHEN = { http: "/healthz", intervalMs: 20, timeoutMs: 5000 } as const;

/** A pool whose workers are as well as the file `health` of `dir` says. */
function run(dir: TempDir, health: Omit<HealthSpec, "file">, pool: PreforkOptions, more: PoolSpec = {}): Program {
  const all = { maxWorkers: 1, listen: "127.0.0.1:0", readyWhen: READY_WHEN, ...pool };
  return runPool({ module, options: all, ...more }, { env: environment(dir, health) });
}

function environment(dir: TempDir, health: Omit<HealthSpec, "file"> = {}): { readonly TEST_HEALTH: string } {
  return { TEST_HEALTH: JSON.stringify({ file: dir.file("health"), ...health }) };
}

function setHealth(dir: TempDir, status: string): void {
  writeFileSync(dir.file("next"), status);
  renameSync(dir.file("next"), dir.file("health")); // so that nobody reads half of it
}

async function whereOf(program: Program): Promise<Where> {
  const line = await program.waitForLine(/^listens /);
  const [{ address: { port, path } }] = JSON.parse(line.slice("listens ".length));
  return path === undefined ? { port } : { path };
}

function ask(where: Where): Client {
  return new Client(where).send("GET /word HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
}

function makeCertificate(dir: TempDir): string {
  const path = dir.file("tls");
  const words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const files = ["-keyout", `${path}.key`, "-out", `${path}.crt`];
  execFileSync("openssl", [...words, ...files, "-subj", "/CN=elsewhere.invalid"], { stdio: "ignore" });
  return path;
}

function askByTls(where: Where): Promise<string> {
  const place = "port" in where ? where : { socketPath: where.path };
  return new Promise((resolve, reject) => {
    const asked = request({ ...place, rejectUnauthorized: false, agent: false, path: "/word" }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk) => body += chunk).on("end", () => resolve(body));
    });
    asked.on("error", reject);
    asked.end();
  });
}

interface Setting {
  readonly by?: "attach";
  readonly adoption?: false;
  readonly isUnix?: true;
  readonly isTls?: true;
  readonly isBare?: true;
}

const SETTINGS: readonly (readonly [string, Setting])[] = [
  ["serve()", {}],
  ["serve(), relayed", { adoption: false }],
  ["serve() on a Unix socket", { isUnix: true }],
  ["serve() with TLS", { isTls: true }],
  ["serve() with TLS, told of as Deno has it", { isTls: true, isBare: true }],
  ["attach()", { by: "attach" }],
  ["attach(), relayed", { by: "attach", adoption: false }],
  ["attach() with TLS on a Unix socket", { by: "attach", isUnix: true, isTls: true }],
];

describe(`a worker on ${runtime} that asks itself whether it is ready`, () => {
  for (const [name, { by, adoption, isUnix, isTls, isBare = false }] of SETTINGS) {
    const skip = options.skip || (isBare && runtime !== "deno");
    it(`takes no connection before it is, by ${name}`, { ...options, skip }, async () => {
      await using dir = await tempDir();
      setHealth(dir, "503");
      const health = { isBare, ...by ? { by } : {}, ...isTls ? { certificate: makeCertificate(dir) } : {} };
      const listen = isUnix ? `unix:${dir.file("s")}` : "127.0.0.1:0";
      await using program = run(dir, health, { listen, adoption: adoption ?? true });
      const where = await whereOf(program);
      await program.waitForLine(/^asked \d+, 503/, { count: 3 });
      using waiting = ask(where);
      await waiting.connected;
      await program.waitForLine(/^asked \d+, 503/, { count: 8 });
      assert.deepEqual([waiting.text, waiting.ended, program.matching(/^served/)], ["", false, []]);
      assert.deepEqual(eventsOfType(program, "ready"), [], program.report());
      setHealth(dir, "201");
      const [{ pid } = { pid: 0 }] = await waitForReady(program, 1);
      if (isTls) assert.equal(await askByTls(where), `by ${pid}`);
      else await waiting.waitFor(new RegExp(`200 OK[^]*by ${pid}`));
      const { length } = program.matching(/^asked /);
      using other = isTls ? new Client(where) : ask(where);
      if (!isTls) await other.waitFor(/by \d+/);
      assert.equal(program.matching(/^asked /).length, length, "nobody asks any more");
      other[Symbol.dispose]();
      waiting[Symbol.dispose]();
      await stopPool(program);
    });
  }

  it("stops at once when it is told to, with nobody served", options, async () => {
    for (const health of ["500", "never"]) {
      await using dir = await tempDir();
      setHealth(dir, health);
      await using program = run(dir, {}, { readyWhen: { ...READY_WHEN, timeoutMs: 200 } });
      using waiting = ask(await whereOf(program));
      await program.waitForLine(/^asked /, { count: 2 });
      await stopPool(program);
      const [reap] = eventsOfType(program, "reap");
      assert.deepEqual([reap?.reason, reap?.expected], ["exited with status 0", true], program.report());
      assert.deepEqual([program.matching(/^served/), program.errorLines], [[], []], program.report());
      assert.equal(waiting.text, "");
    }
  });

  it("is killed when it is not well in time, with what it saw last", options, async () => {
    await using dir = await tempDir();
    setHealth(dir, "503");
    await using program = run(dir, {}, { bootTimeoutMs: 10_000 });
    await program.waitForLine('"type":"reap"');
    assert.equal(
      eventsOfType(program, "reap")[0]?.reason,
      "was killed: it was not ready within 10000 ms: GET /healthz was answered 503",
    );
    setHealth(dir, "200");
    await waitForReady(program, 1);
    await stopPool(program);
  });

  it("says so if what it attached cannot be asked", options, async () => {
    await using dir = await tempDir();
    await using program = run(dir, { by: "raw" }, {});
    await program.waitForErrorLine(
      "Cannot check by GET /healthz whether a worker is ready: what it attached does not speak HTTP",
    );
    await stopPool(program);
  });
});

describe(`a reload on ${runtime} of a build that is never well`, () => {
  for (const attach of [false, true]) {
    for (const adoption of [true, false]) {
      it(`costs no request (${attach ? "attach()" : "serve()"}${adoption ? "" : ", relayed"})`, options, async () => {
        await using dir = await tempDir();
        writeFileSync(dir.file("build"), "good");
        const env = { TEST_BUILD: dir.file("build"), TEST_LOADED: JSON.stringify({ attach }) };
        const trapSignals = { SIGTERM: "SIGTERM", SIGHUP: { signal: "SIGTERM", replace: "before" } } as const;
        const pool = { maxWorkers: 2, listen: "127.0.0.1:0", bootTimeoutMs: 10_000, adoption, trapSignals };
        await using program = runPool({ module: build, options: { ...pool, readyWhen: READY_WHEN } }, { env });
        const before = await waitForReady(program, 2);
        const clients = load(await whereOf(program), PACED);

        writeFileSync(dir.file("build"), "is never well");
        program.kill("SIGHUP");
        await program.waitForLine('"type":"reloadFailed"');
        assert.match(
          eventsOfType(program, "reloadFailed")[0]?.reason ?? "",
          /^worker=0 gen=2 pid=\d+ was killed: it was not ready within 10000 ms: GET \/healthz was answered 503$/,
        );
        await waitForReady(program, 2);
        assert.deepEqual(liveWorkers(program).map(({ pid }) => pid), before.map(({ pid }) => pid));
        const served = [...clients.tally.workers].filter((pid) => !before.some((worker) => String(worker.pid) === pid));
        assert.deepEqual(served, [], "the canary answered nobody");

        writeFileSync(dir.file("build"), "good");
        program.kill("SIGHUP");
        await program.waitForLine('"type":"reloaded","generation":3');
        await waitFor(() => clients.tally.workers.size >= 4, { what: "answers of all new workers" });
        assert.deepEqual((await clients.stop()).failures, []);
        await stopPool(program);
      });
    }
  }
});

describe("the command line", () => {
  for (const on of ["deno", "bun"] as const) {
    it(`asks a module on ${on} for what --ready-when says, and reloads by that`, options, async () => {
      await using dir = await tempDir();
      setHealth(dir, "200");
      const executable = on === runtime ? on : otherRuntimeCommand().command;
      const words = ["-l", "127.0.0.1:0", "-w", "1", "--ready-when", "/healthz", "--boot-timeout", "10s"];
      const more = ["--runtime", executable, "--log-format", "plain"];
      await using program = runProgram(prefork, [fetching, ...words, ...more], { env: environment(dir) });
      await program.waitForErrorLine(/is ready$/);
      setHealth(dir, "404");
      program.kill("SIGHUP");
      await program.waitForErrorLine(
        /\[error\] .* generation 1 goes on serving: .* not ready within 10000 ms: GET \/healthz (was answered 404|took more than 1000 ms)$/,
      );
      setHealth(dir, "200");
      program.kill("SIGHUP");
      await program.waitForErrorLine("generation 3 serves, and no other");
      program.kill("SIGTERM");
      assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    });
  }
});

describe("a worker on Deno without the permission to connect to its own server", options, () => {
  it("says what to add", options, async () => {
    await using dir = await tempDir();
    setHealth(dir, "200");
    const denoArgs = ["--allow-net=127.0.0.1:0", "--allow-read", "--allow-env", "--allow-ffi"];
    await using program = run(dir, {}, {}, { runtime: "deno", denoArgs });
    await program.waitForErrorLine(
      /GET \/healthz.*Deno may not connect to 127\.0\.0\.1:\d+: add --allow-net=127\.0\.0\.1\.$/,
    );
    await stopPool(program);
  });
});
