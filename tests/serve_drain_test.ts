/** The last answers of a worker that serves: whatever is open when it is told to stop, its client gets all of it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { PreforkOptions } from "../mod.ts";
import type { PoolSpec } from "./fixtures/lifecycle/pool.ts";
import { Client } from "./support/client.ts";
import { portOf, runPool, stopPool, waitForReady } from "./support/pool.ts";
import { type Program, runtime, signalProcess, tempDir, type TestRuntime, waitFor } from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };
const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/serve/${name}.ts`, import.meta.url));

function runApp(on: TestRuntime, more: PreforkOptions = {}, name = "app", env: Record<string, string> = {}): Program {
  const pool: PoolSpec = {
    module: fixture(name),
    runtime: on,
    options: {
      maxWorkers: 1,
      listen: "127.0.0.1:0",
      trapSignals: { SIGTERM: "SIGTERM", SIGHUP: "SIGTERM" },
      ...more,
    },
  };
  return runPool(pool, { env });
}

/** What a module that is written for the runtimes answers, by path. */
const ANSWERS: Readonly<Record<string, string>> = {
  "/plain": "plain",
  "/throw": "caught on purpose",
  "/reject": "caught on purpose",
};
/** What one of them takes on top: Deno whatever can be waited for, Bun routes. */
const MORE: Readonly<Record<TestRuntime, Readonly<Record<string, string>>>> = {
  deno: { "/thenable": "thenable" },
  bun: {
    "/response": "response",
    "/function": "function",
    "/method": "method",
    "/file": "file",
    "/of-method": "file",
    "/of-response": "file",
    "/absent": "absent",
    "/absent-too": "absent-too",
  },
};

/** What routes are called there. */
const ROUTES: Readonly<Record<TestRuntime, readonly string[]>> = { deno: ["none"], bun: ["routes", "static"] };

const MB = 1024 * 1024;

/** How many bytes of an answer of a size come to a client that takes about `pace` MB of it a second. */
async function readSlowly(socket: Socket, size: number, pace: number, begun: () => void): Promise<number> {
  let bytes = 0;
  socket.on("data", (chunk) => {
    if (bytes === 0) begun();
    bytes += chunk.length;
    socket.pause();
    setTimeout(() => socket.resume(), chunk.length / (pace * 1024));
  });
  socket.write(`GET /big?${size} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
  await once(socket, "close");
  return bytes;
}

/** The first answer that ends its connection tells that the worker has heard of the stop. */
async function untilItDrains(client: Client): Promise<void> {
  while (!/connection: close/i.test(client.text)) {
    client.text = "";
    client.send("GET /plain HTTP/1.1\r\nhost: x\r\n\r\n");
    await client.waitFor(/plain$/);
  }
}

/** How the answer for what a handler throws can come about. */
const WAYS: Readonly<Record<TestRuntime, readonly string[]>> = {
  deno: ["nobody", "failing", "onError"],
  bun: ["nobody", "failing", "reload"],
};

for (const on of ["deno", "bun"] as const satisfies readonly TestRuntime[]) {
  describe(`a worker on ${on} of a manager on ${runtime}, told to stop`, () => {
    it("has a slow client read its answer to the end", options, async () => {
      await using program = runApp(on, { drainTimeoutMs: 25_000 });
      const socket = connect(await portOf(program), "127.0.0.1");
      const bytes = await readSlowly(socket, 32 * MB, 8, () => program.kill("SIGTERM"));
      assert.ok(bytes > 32 * MB, `${bytes} bytes came`);
      assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
      assert.deepEqual(program.errorLines.filter((line) => line.includes("cut off")), []);
    });

    it(
      "has a slow client read to the end what a relay brings, though its server is done with it",
      options,
      async () => {
        await using dir = await tempDir();
        // A Unix socket holds little. Between server and relay the system takes all of the answer.
        const path = dir.file("a.sock");
        await using program = runApp(on, { drainTimeoutMs: 25_000, adoption: false, listen: `unix:${path}` });
        await program.waitForLine(/^serves /);
        const bytes = await readSlowly(connect({ path }), 3 * MB, 1, () => program.kill("SIGTERM"));
        assert.ok(bytes > 3 * MB, `${bytes} bytes came`);
        assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
        assert.deepEqual(program.errorLines.filter((line) => line.includes("cut off")), []);
      },
    );

    it("cuts off at the deadline what a relay cannot bring to its client, and says so", options, async () => {
      await using dir = await tempDir();
      const path = dir.file("a.sock");
      await using program = runApp(on, { drainTimeoutMs: 1500, adoption: false, listen: `unix:${path}` });
      await program.waitForLine(/^serves /);
      using client = new Client({ path }).send(`GET /big?${3 * MB} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
      await client.readFirst();
      program.kill("SIGTERM");
      await program.waitForErrorLine("prefork: 1 request is cut off: not answered 1500 ms after the stop");
      assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    });

    for (const routes of ROUTES[on]) {
      it(`ends each connection with its answer, whoever gave that (${routes})`, options, async () => {
        await using program = runApp(on, {}, "exported", { TEST_ROUTES: routes });
        const port = await portOf(program);
        using inHand = new Client({ port }).send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf-");
        const answers = Object.entries({ ...ANSWERS, ...MORE[on] });
        const clients = answers.map(([path, text]) => ({ path, text, client: new Client({ port }) }));
        for (const { client, path, text } of clients) {
          client.send(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
          assert.doesNotMatch(await client.waitFor(new RegExp(`^[^]*\r\n\r\n${text}$`)), /connection: close/i, path);
          client.text = "";
        }
        program.kill("SIGHUP");
        const [first, ...others] = clients;
        if (first !== undefined) await untilItDrains(first.client);
        for (const { client, path, text } of others) {
          client.send(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
          assert.match(await client.waitFor(new RegExp(`^[^]*\r\n\r\n${text}$`)), /connection: close/i, path);
          client[Symbol.dispose]();
        }
        inHand.send("whole");
        await inHand.waitFor(/connection: close[^]*half-whole$/i);
        await program.waitForLine(/"type":"reap".*"exited with status 0"/);
        await stopPool(program);
      });
    }

    it("takes no request for open that had a response which cannot be sent", options, async () => {
      await using program = runApp(on, { drainTimeoutMs: 5000 }, "exported");
      const port = await portOf(program);
      using inHand = new Client({ port }).send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf-");
      using first = new Client({ port });
      using kept = new Client({ port }).send("GET /plain HTTP/1.1\r\nhost: x\r\n\r\n");
      await kept.waitFor(/plain$/);
      program.kill("SIGHUP");
      await untilItDrains(first);
      kept.send("GET /error HTTP/1.1\r\nhost: x\r\n\r\n");
      await kept.waitFor(/HTTP\/1.1 500 /);
      inHand.send("whole");
      await inHand.waitFor(/half-whole$/);
      await program.waitForLine(/"type":"reap".*"exited with status 0"/);
      assert.deepEqual(program.errorLines.filter((line) => line.includes("cut off")), []);
      await stopPool(program);
    });

    it("gives a client of IPv4 on a socket of IPv6 the time for a last request", options, async () => {
      await using program = runApp(on, { listen: "[::]:0" });
      using kept = new Client({ port: await portOf(program) }).send("GET /pid HTTP/1.1\r\nhost: x\r\n\r\n");
      await kept.waitFor(/\r\n\r\n\d+$/);
      program.kill("SIGTERM");
      await program.waitForLine(/^told /);
      const told = performance.now();
      await kept.waitForEnd();
      // A second, by timers that may be early; a request sent in that time would come late on a busy machine.
      assert.ok(performance.now() - told >= 900, `its connection was ended after ${performance.now() - told} ms`);
      assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    });

    for (const way of WAYS[on]) {
      it(`ends each connection where its handler throws (${way} answers for it)`, options, async () => {
        await using program = runApp(on, {}, "unanswered", { TEST_WAY: way });
        const port = await portOf(program);
        using inHand = new Client({ port }).send("POST /later HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n");
        using first = new Client({ port });
        const clients = ["/throw", "/reject"].map((path) => ({ path, client: new Client({ port }) }));
        for (const { client, path } of clients) {
          client.send(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
          assert.doesNotMatch(await client.waitFor(/^HTTP\/1.1 500 [^]*?\r\n\r\n/), /connection: close/i, path);
        }
        program.kill("SIGHUP");
        await untilItDrains(first);
        for (const { client, path } of clients) {
          client.text = "";
          client.send(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
          assert.match(await client.waitFor(/HTTP\/1.1 500 [^]*?\r\n\r\n/), /connection: close/i, path);
          client[Symbol.dispose]();
        }
        inHand.send("later");
        assert.match(await inHand.waitFor(/^HTTP\/1.1 500 [^]*?\r\n\r\n/), /connection: close/i);
        if (way === "nobody") await program.waitForErrorLine(/^error: later|Error: later/);
        await program.waitForLine(/"type":"reap".*"exited with status 0"/);
        await stopPool(program);
      });
    }

    it("ends where its program serves by itself, in no callback", options, async () => {
      await using program = runApp(on, {}, "by_itself");
      using client = new Client({ port: await portOf(program) }).send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
      await client.waitFor(/\r\n\r\nanswered$/);
      program.kill("SIGHUP");
      await program.waitForLine("has answered all");
      await program.waitForLine(/"type":"reap".*"exited with status 0"/);
      await stopPool(program);
    });

    it("answers what it has in hand when somebody else has told it long before", options, async () => {
      await using program = runApp(on, { drainTimeoutMs: 25_000 });
      const port = await portOf(program);
      const [{ pid } = { pid: 0 }] = await waitForReady(program, 1);
      using inHand = new Client({ port }).send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf-");
      using kept = new Client({ port }).send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
      await kept.waitFor(/\r\n\r\n[^]/);
      const told = performance.now();
      signalProcess(pid, "SIGTERM");
      // By its second second it would take another stop for the impatience of whoever sent the first one.
      await waitFor(() => performance.now() - told > 1500, { what: "the time in which two stops are one to pass" });
      program.kill("SIGHUP");
      await program.waitForLine(/"type":"relay"/);
      inHand.send("whole");
      await inHand.waitFor(/connection: close[^]*half-whole$/i);
      await program.waitForLine(/"type":"reap".*"exited with status 0"/);
      await stopPool(program);
    });

    it("cuts off an answer without end at the deadline, and says so", options, async () => {
      await using program = runApp(on, { drainTimeoutMs: 300 });
      using client = new Client({ port: await portOf(program) }).send("GET /endless HTTP/1.1\r\nhost: x\r\n\r\n");
      await client.waitFor(/word/);
      program.kill("SIGTERM");
      await program.waitForErrorLine(/^prefork: .* cut off/);
      await client.waitForEnd();
      assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    });
  });
}
