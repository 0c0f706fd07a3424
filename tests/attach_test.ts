/** Servers that are not the runtime's own, on the manager's socket: real ones, of real libraries. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { PoolSpec } from "./fixtures/lifecycle/pool.ts";
import { Client, get, SecureClient, type Where } from "./support/client.ts";
import { runPool, stopPool, waitForNobody } from "./support/pool.ts";
import { type Program, runtime, tempDir } from "./support/run.ts";
import { talk } from "./support/web_socket.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };
const module = fileURLToPath(new URL("./fixtures/serve/attach.ts", import.meta.url));
const ownWay = fileURLToPath(new URL("./fixtures/serve/own_way.ts", import.meta.url));

/** What a test asks of the worker besides the kind of its server. */
interface Wishes {
  /** The path of certificate and key, and of a socket, without its ending. */
  readonly certificate?: string;
  /** How its program ends its server. */
  readonly by?: "close" | "dispose";
  /** What its callback does when it serves, or is refused to. */
  readonly then?: "return" | "wait" | "hang" | "refuse";
}

function run(
  kind: string,
  more: PoolSpec["options"] = {},
  wishes: Wishes = {},
): Program {
  const pool: PoolSpec = {
    module,
    runtime,
    options: {
      maxWorkers: 1,
      listen: "127.0.0.1:0",
      trapSignals: { SIGTERM: "SIGTERM", SIGHUP: "SIGTERM" },
      ...more,
    },
  };
  return runPool(pool, { env: { TEST_ATTACH: JSON.stringify({ kind, ...wishes }) } });
}

async function portOf(program: Program): Promise<number> {
  const line = await program.waitForLine(/^listens /);
  await program.waitForLine(/^serves /);
  return JSON.parse(line.slice("listens ".length))[0].address.port;
}

/** Of a pool that listens twice. */
async function portsOf(program: Program): Promise<readonly [number, number]> {
  const line = await program.waitForLine(/^listens /);
  await program.waitForLine(/^serves /);
  const [{ address: one }, { address: other }] = JSON.parse(line.slice("listens ".length));
  return [one.port, other.port];
}

function saysEnd(port: number): string {
  return `the program has closed its server on 127.0.0.1:${port}: this worker ends`;
}

const HALF_BODY = "POST / HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 10\r\n\r\n";

/** A body whose end the test sends when it likes. */
function beginBody(port: number): Client {
  return new Client({ port }).send(`${HALF_BODY}half-`);
}

/** Paths, and what is expected there of the server before it answers. */
const EXPECTATIONS = [["/", "100-continue"], ["/again", "100-continue"], ["/", "something else"]] as const;

/** What a test has its server say to a handshake, and what comes of it: a WebSocket is told at once to go elsewhere. */
const HANDSHAKES = [["/yes", "101 [^]*\r\n\r\n\uFFFD\u0002\u0003"], ["/no", "401 "]] as const;

/** A connection whose end is the answer to its only word. */
async function echo(port: number, text: string): Promise<void> {
  using client = new Client({ port }).send(`${text}\n`);
  await client.waitFor(new RegExp(`^${text}\n`));
}

function upgrade(protocol: string, where: Where, more = ""): Client {
  const head = `GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: ${protocol}\r\n`;
  return new Client(where).send(`${head}${more}\r\n`);
}

/** Half a body of a client that expects something of the server before. */
function expecting(path: string, expected: string, where: Where): Client {
  const head = `POST ${path} HTTP/1.1\r\nhost: x\r\nexpect: ${expected}\r\ncontent-length: 10\r\n\r\n`;
  return new Client(where).send(`${head}half-`);
}

describe(`attach() in a worker on ${runtime}`, () => {
  for (const kind of ["http", "express", "fastify", "hono"]) {
    for (const adoption of [true, false]) {
      it(`serves and drains ${kind}${adoption ? "" : ", relayed"}`, options, async () => {
        await using program = run(kind, { adoption });
        const port = await portOf(program);
        assert.match(await program.waitForLine(/^serves /), new RegExp(`"address":"127.0.0.1".*"port":${port}`));
        using kept = new Client({ port }).send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        await kept.waitFor(new RegExp(`\r\n\r\n[^]*${kind} `));
        using inHand = beginBody(port);
        using other = new Client({ port }).send("GET / HTTP/1.1\r\nhost: x\r\n\r\n"); // accepted after the one in hand
        await other.waitFor(new RegExp(`\r\n\r\n[^]*${kind} `));
        other[Symbol.dispose]();
        program.kill("SIGHUP");
        await program.waitForLine(/^told /);
        await kept.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").waitFor(/connection: close/i);
        kept[Symbol.dispose]();
        using waiting = new Client({ port }).send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        inHand.send("whole");
        await inHand.waitFor(/half-whole/);
        await waiting.waitFor(new RegExp(`\r\n\r\n[^]*${kind} `));
        await program.waitForLine(/"type":"reap".*"exited with status 0"/);
        await stopPool(program);
      });
    }
  }

  it("serves and drains https", options, async () => {
    await using dir = await tempDir();
    const certificate = dir.file("a");
    const files = ["-keyout", `${certificate}.key`, "-out", `${certificate}.crt`];
    const command = [
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      ...files,
      "-days",
      "2",
      "-subj",
      "/CN=localhost",
    ];
    execFileSync("openssl", command, { stdio: "ignore" });
    await using program = run("https", {}, { certificate });
    const port = await portOf(program);
    using inHand = new SecureClient({ port }).send(`${HALF_BODY}half-`);
    using kept = new SecureClient({ port }).send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    await kept.waitFor(/\r\n\r\n[^]*https /);
    program.kill("SIGHUP");
    await program.waitForLine(/^told /);
    await kept.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").waitFor(/connection: close/i);
    inHand.send("whole");
    await inHand.waitFor(/connection: close[^]*half-whole/i);
    await program.waitForLine(/"type":"reap".*"exited with status 0"/);
    await stopPool(program);
  });

  for (const kind of ["ws", "late ws"]) {
    it(`tells the WebSockets of ${kind} to go elsewhere`, options, async () => {
      await using program = run(kind);
      const port = await portOf(program);
      using socket = await talk(`ws://127.0.0.1:${port}/`);
      assert.equal(await socket.ask("one"), "one");
      program.kill("SIGHUP");
      assert.equal(await socket.closed(), 1001);
      await program.waitForLine(/"type":"reap".*"exited with status 0"/);
      await stopPool(program);
    });
  }

  for (const [path, answer] of HANDSHAKES) {
    it(`waits for the answer to a WebSocket's handshake, and lets it come first (${path})`, options, async () => {
      await using program = run("asks");
      const port = await portOf(program);
      using kept = new Client({ port }).send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
      await kept.waitFor(/\r\n\r\n[^]*asks /);
      const key = "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
      using asking = upgrade("websocket", { port, allowHalfOpen: true }, key);
      await program.waitForLine("asks");
      program.kill("SIGHUP");
      await program.waitForLine(/^told /);
      kept.send(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`);
      await asking.waitFor(new RegExp(`^HTTP/1.1 ${answer}`));
      kept[Symbol.dispose]();
      asking[Symbol.dispose]();
      await program.waitForLine(/"type":"reap".*"exited with status 0"/);
      await stopPool(program);
    });
  }

  it("drains a server whose listeners were replaced after it was attached", options, async () => {
    await using program = run("replaced");
    const port = await portOf(program);
    const post = HALF_BODY.replace("/", "/engine/");
    using inHand = new Client({ port }).send(`${post}half-`);
    using other = new Client({ port }).send("GET / HTTP/1.1\r\nhost: x\r\n\r\n"); // accepted after the one in hand
    await other.waitFor(/\r\n\r\nreplaced /);
    other[Symbol.dispose]();
    program.kill("SIGHUP");
    await program.waitForLine(/^told /);
    inHand.send("whole");
    // It is told to end its connection by whoever waits for it.
    await inHand.waitFor(/connection: close[^]*replaced half-whole$/i);
    await program.waitForLine(/"type":"reap".*"exited with status 0"/);
    await stopPool(program);
  });

  it("leaves to Node.js what its program does not listen to any more", options, async () => {
    await using program = run("deserted");
    const port = await portOf(program);
    using socket = upgrade("websocket", { port });
    await socket.waitFor(/ 200 [^]*\r\n\r\ndeserted $/);
    using other = upgrade("h2c", { port });
    await other.waitFor(/ 200 [^]*\r\n\r\ndeserted $/);
    using continued = expecting("/", "100-continue", { port });
    await continued.waitFor(/ 100 Continue\r\n\r\n/);
    await continued.send("whole").waitFor(/ 200 [^]*\r\n\r\ndeserted half-whole$/);
    using refused = expecting("/", "something else", { port });
    await refused.waitFor(/ 417 /);
    await stopPool(program);
  });

  it("answers requests with expectations that its server checks by itself", options, async () => {
    await using program = run("expects");
    const port = await portOf(program);
    const clients = EXPECTATIONS.map(([path, expected]) => expecting(path, expected, { port }));
    await Promise.all(clients.slice(0, 2).map((client) => client.waitFor(/100 Continue\r\n\r\n/)));
    using other = new Client({ port }).send("GET / HTTP/1.1\r\nhost: x\r\n\r\n"); // accepted after those in hand
    await other.waitFor(/\r\n\r\nexpects /);
    other[Symbol.dispose]();
    program.kill("SIGHUP");
    await program.waitForLine(/^told /);
    for (const client of clients) {
      client.send("whole");
      await client.waitFor(/connection: close[^]*expects half-whole$/i);
    }
    await program.waitForLine(/"type":"reap".*"exited with status 0"/);
    await stopPool(program);
  });

  it("leaves alone what is no WebSocket, or none any more", options, async () => {
    await using program = run("upgrade");
    const port = await portOf(program);
    using inHand = beginBody(port);
    using refused = upgrade("websocket", { port, allowHalfOpen: true });
    using other = upgrade("other", { port });
    await refused.waitFor(/ 400 /);
    await other.waitFor(/ 101 /);
    program.kill("SIGHUP");
    await program.waitForLine(/^told /);
    inHand.send("whole");
    await inHand.waitFor(/half-whole/);
    await other.waitForEnd();
    assert.equal(other.text, "HTTP/1.1 101 Switching Protocols\r\n\r\n");
    await program.waitForLine(/"type":"reap".*"exited with status 0"/);
    await stopPool(program);
  });

  for (const by of ["close", "dispose"] as const) {
    it(`ends when its program ends its server (${by}), and has a successor`, options, async () => {
      await using program = run("http", {}, { by });
      const port = await portOf(program);
      assert.match(await get(port, "/close"), /^http/);
      await program.waitForErrorLine(saysEnd(port));
      await program.waitForLine(/"type":"reap".*"exited with status 0"/);
      await program.waitForLine("closed"); // by the worker that has ended: whoever waits for that is told
      assert.match(await get(port, "/"), /^http/);
      await stopPool(program);
    });

    for (const kind of ["net", "listen"]) {
      it(`ends when its program ends its raw server (${kind}, ${by}), and has a successor`, options, async () => {
        await using program = run(kind, {}, { by });
        const port = await portOf(program);
        await echo(port, "close");
        await program.waitForErrorLine(saysEnd(port));
        await program.waitForLine(/"type":"reap".*"exited with status 0"/);
        if (kind === "net") await program.waitForLine("closed");
        await echo(port, "one");
        await stopPool(program);
      });
    }
  }

  it("ends with all its servers when its program closes one, and asks for a successor", options, async () => {
    await using program = run("http", { listen: ["one=127.0.0.1:0", "other=127.0.0.1:0"] });
    const [port, other] = await portsOf(program);
    assert.match(await get(port, "/close"), /^http/);
    await program.waitForErrorLine(saysEnd(port));
    await program.waitForLine(new RegExp(`"type":"recycle".*"reason":"has closed its server on 127.0.0.1:${port}"`));
    await program.waitForLine(/"type":"reap".*"exited with status 0"/);
    assert.match(await get(port, "/"), /^http/);
    assert.equal(await get(other, "/"), "the other");
    await stopPool(program);
    assert.equal(program.errorLines.filter((line) => line.includes("this worker ends")).length, 1);
  });

  it("tells a callback that waits for the stop that its program has closed the server", options, async () => {
    await using program = run("http", {}, { then: "wait" });
    const port = await portOf(program);
    await get(port, "/close");
    await program.waitForLine("returns true");
    await program.waitForLine(/"type":"reap".*"exited with status 0"/);
    assert.match(await get(port, "/"), /^http/);
    await stopPool(program);
  });

  it("is killed in the end where its callback does not return after its server was closed", options, async () => {
    await using program = run("http", { reloadTimeoutMs: 300 }, { then: "hang" });
    const port = await portOf(program);
    await get(port, "/close");
    await program.waitForLine('"type":"stopTimeout"');
    await program.waitForLine(/"type":"reap".*SIGKILL/);
    assert.match(await get(port, "/"), /^http/);
  });

  for (const kind of ["http", "net"]) {
    for (const adoption of [true, false]) {
      const way = adoption ? kind : `${kind}, relayed`;
      it(
        `leaves all to others once its program closes its server, and waits for what is open (${way})`,
        options,
        async () => {
          await using program = run(kind, { maxWorkers: 2, adoption });
          const port = await portOf(program);
          await program.waitForLine(/^serves /, { count: 2 });
          const [first, rest] = kind === "http"
            ? [HALF_BODY.replace("/", "/close"), "half-whole"]
            : ["close\n", "rest"];
          using inHand = new Client({ port }).send(first);
          await program.waitForErrorLine(saysEnd(port));
          for (let i = 0; i < 20; i++) {
            if (kind === "http") assert.match(await get(port, "/"), /^http/);
            else await echo(port, `${i}`);
          }
          inHand.send(rest);
          await inHand.waitFor(new RegExp(rest));
          inHand[Symbol.dispose]();
          await program.waitForLine(/"type":"reap".*"exited with status 0"/);
          await stopPool(program);
        },
      );
    }
  }

  it("shares a listener of a runtime on a Unix socket, by a relay where it must", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("s");
    await using program = run("listen", { listen: `unix:${path}` });
    await program.waitForLine(/^serves /);
    using client = new Client({ path }).send("one\n");
    await client.waitFor(/one\n/);
    client[Symbol.dispose]();
    await stopPool(program);
    const relays = program.errorLines.filter((line) => line.includes("relays the connections"));
    assert.equal(relays.length, runtime === "deno" ? 1 : 0, program.report());
  });

  it("refuses a listener that others reach, too", options, async () => {
    await using program = run("open", { maxBootFailures: 1 });
    await program.waitForErrorLine(
      /Cannot attach a listener that is open at 0.0.0.0 port \d+, .*open it on 127.0.0.1/,
    );
    await program.waitForEnd();
    await waitForNobody(program);
  });

  it("leaves a server that it refuses to its program, which closes it as ever", options, async () => {
    const asks = { readyWhen: { http: "/healthz" }, maxBootFailures: 1 }; // what a raw server cannot answer
    await using program = run("net", asks, { then: "refuse", by: "dispose" });
    await program.waitForLine("refused true");
    await program.waitForLine("closed");
    await program.waitForEnd();
    await waitForNobody(program);
  });

  it("refuses a listener on a Unix socket of its own", options, async () => {
    await using dir = await tempDir();
    await using program = run("unix", { maxBootFailures: 1 }, { certificate: dir.file("a") });
    await program.waitForErrorLine(/TypeError: Cannot attach this: give a server of node:http, .*listen\(\)/);
    await program.waitForEnd();
    await waitForNobody(program);
  });

  for (const kind of ["http", "net"]) {
    for (const family of ["TCP", "Unix"]) {
      it(
        `relays to a server of node:${kind} that cannot accept from a ${family} socket, and leaves it open`,
        options,
        async () => {
          await using dir = await tempDir();
          const path = dir.file("s");
          await using program = run(`deaf ${kind}`, {
            listen: family === "TCP" ? "127.0.0.1:0" : `unix:${path}`,
          });
          const where = family === "TCP" ? { port: await portOf(program) } : { path };
          await program.waitForLine(/^serves /);
          await program.waitForErrorLine(/relays the connections of .* took no connection /);
          using client = new Client(where).send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
          await client.waitFor(kind === "http" ? /\r\n\r\n[^]*deaf http/ : /GET [^]*\r\n\r\n$/);
          client[Symbol.dispose]();
          assert.ok(!program.lines.includes("closed"), program.report());
          await stopPool(program);
          assert.equal(program.lines.filter((line) => line.startsWith("serves ")).length, 1, program.report());
        },
      );
    }
  }

  it("relays to a listener that cannot accept from the shared socket itself, and says why", options, async () => {
    await using program = run("deaf");
    const port = await portOf(program);
    await echo(port, "relayed");
    await program.waitForErrorLine(/relays the connections of 127.0.0.1:\d+ .* took no connection .*Nothing is lost/);
    await stopPool(program);
  });

  for (const adoption of [true, false]) {
    const way = adoption ? "" : ", relayed";
    it(`tries nothing on a raw server, which takes whoever connects for a client${way}`, options, async () => {
      await using program = run("greets", { adoption });
      const port = await portOf(program);
      using client = new Client({ port });
      await client.waitFor(/^220 ready\n/);
      client.send("QUIT\n");
      await client.waitFor(/^220 ready\nQUIT\n/);
      client[Symbol.dispose]();
      await stopPool(program);
      assert.equal(program.lines.filter((line) => line === "connection").length, 1);
    });
  }

  it("does not relay to a listener that its program has closed before", options, async () => {
    await using program = run("closed", { maxBootFailures: 1 });
    await program.waitForErrorLine(
      /Cannot relay connections to the server at 127\.0\.0\.1:\d+: nobody listens there/,
    );
    await program.waitForEnd();
    await waitForNobody(program);
  });

  for (const kind of ["net", "listen"]) {
    it(`shares a raw server (${kind}), and waits for its connections`, options, async () => {
      await using program = run(kind);
      const port = await portOf(program);
      using client = new Client({ port }).send("one\n");
      await client.waitFor(/one\n/);
      program.kill("SIGHUP");
      await program.waitForLine(/^told /);
      await client.send("two\n").waitFor(/two\n/);
      client[Symbol.dispose]();
      await program.waitForLine(/"type":"reap".*"exited with status 0"/);
      using next = new Client({ port }).send("three\n");
      await next.waitFor(/three\n/);
      next[Symbol.dispose]();
      await stopPool(program);
    });
  }

  for (const way of runtime === "bun" ? ["node", "bun"] : ["node"]) {
    it(`gives the descriptor to whoever listens by it, as ${way}'s servers do`, options, async () => {
      const listens = { listen: "127.0.0.1:0", trapSignals: { SIGTERM: "SIGTERM", SIGHUP: "SIGTERM" } } as const;
      const pool: PoolSpec = { module: ownWay, runtime, options: { maxWorkers: 2, ...listens } };
      await using program = runPool(pool, { env: { TEST_WAY: way } });
      const port = await portOf(program);
      for (const round of [1, 2]) {
        await program.waitForLine(/^serves /, { count: 2 * round });
        for (let i = 0; i < 20; i++) await echo(port, `${round}-${i}`);
        if (round === 1) program.kill("SIGHUP");
        await echo(port, "while all workers are replaced");
      }
      await stopPool(program);
    });
  }
});
