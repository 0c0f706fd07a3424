/** Workers that serve on the manager's socket: real processes, real connections. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { begin, Client, get } from "./support/client.ts";
import { descriptors, eventsOfType, runPool, stopPool, waitForNobody, waitForReady } from "./support/pool.ts";
import type { PoolSpec } from "./fixtures/lifecycle/pool.ts";
import {
  type Program,
  type RunOptions,
  runProgram,
  runtime,
  signalProcess,
  tempDir,
  type TestRuntime,
  waitFor,
} from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };
const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/serve/${name}.ts`, import.meta.url));
const app = fixture("app");

const RELOADS = { SIGTERM: "SIGTERM", SIGHUP: "SIGTERM" } as const;

function runApp(spec: PoolSpec, run?: RunOptions): Program {
  const { options: pool, ...rest } = spec;
  const base = { maxWorkers: 1, listen: "127.0.0.1:0", trapSignals: RELOADS, errRespawnIntervalMs: 100 };
  return runPool({ module: app, options: { ...base, ...pool }, ...rest }, run);
}

/** A module that cannot be served. */
function refused({ options: pool, ...rest }: PoolSpec): PoolSpec {
  return { module: fixture("refused"), options: { maxBootFailures: 1, ...pool }, ...rest };
}

/** What is said of a module that cannot be served, which is to be one line. */
async function saidOf(spec: PoolSpec, option = ""): Promise<string> {
  await using program = runApp(refused(spec), { env: { TEST_OPTION: option } });
  const line = await program.waitForErrorLine(/^prefork: (?!relays )/);
  await program.waitForEnd();
  const end = program.errorLines.findIndex((each) => each.includes("BootFailureError"));
  assert.deepEqual(program.errorLines.slice(0, end).filter((each) => /^\s+at /.test(each)), [], program.report());
  await waitForNobody(program);
  return line;
}

interface Told {
  readonly name?: string;
  readonly text: string;
  readonly address: { readonly type: "tcp"; readonly port: number } | { readonly type: "unix"; readonly path: string };
}

async function listenersOf(program: Program): Promise<readonly Told[]> {
  return JSON.parse((await program.waitForLine(/^listens /)).slice("listens ".length));
}

async function portOf(program: Program): Promise<number> {
  const address = (await listenersOf(program))[0]?.address;
  assert(address?.type === "tcp");
  return address.port;
}

for (const worker of ["deno", "bun"] as const satisfies readonly TestRuntime[]) {
  describe(`a worker on ${worker} of a manager on ${runtime}`, () => {
    it("serves on each socket of the pool, and inherits nothing else", options, async () => {
      await using dir = await tempDir();
      const path = dir.file("a.sock");
      await using program = runApp({
        runtime: worker,
        options: { maxWorkers: 2, listen: ["127.0.0.1:0", "six=[::1]:0", `unix:${path}`] },
      });
      await program.waitForLine(/^serves /, { count: 2 });
      const told = await listenersOf(program);
      const port = await portOf(program);
      assert.equal(await get(port, "/runtime"), worker);
      const six = told[1]?.address;
      assert(six?.type === "tcp");
      assert.equal(await (await fetch(`http://[::1]:${six.port}/runtime`)).text(), worker);
      using client = new Client({ path }).send("GET /runtime HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
      await client.waitFor(new RegExp(`\r\n\r\n${worker}$`));

      const own = passedOn(program.pid);
      for (const { pid } of await waitForReady(program, 2)) {
        const shared = passedOn(pid).filter((inode) => own.includes(inode));
        // Each at its inherited number, and once more in place of the server's own.
        assert.equal(new Set(shared).size, 3, program.report());
        assert.equal(shared.length, 6, program.report());
      }
      const inherited = await get(port, "/leaks");
      for (const inode of own) assert(!inherited.includes(inode), inherited);
      assert.doesNotMatch(await get(port, "/environment"), /^(LISTEN_\w+|SERVER_STARTER_PORT)=/m);
      await stopPool(program);
    });

    it("serves on all sockets of one name", options, async () => {
      await using program = runApp({
        runtime: worker,
        module: fixture("named"),
        options: { listen: ["web=127.0.0.1:0", "web=127.0.0.1:0", "other=127.0.0.1:0"] },
      });
      assert.equal(await program.waitForLine(/^serves on /), "serves on 2");
      for (const { address } of (await listenersOf(program)).slice(0, 2)) {
        assert(address.type === "tcp");
        assert.equal(await get(address.port, "/"), "served");
      }
      await stopPool(program);
    });

    it("tells sockets of one name apart by their addresses", options, async () => {
      await using program = runApp({
        runtime: worker,
        module: fixture("by_address"),
        options: { listen: ["web=127.0.0.1:0", "web=127.0.0.1:0"], maxBootFailures: 1 },
      });
      await program.waitForLine("serves both");
      const answers = (await listenersOf(program)).map(({ address }) => {
        return address.type === "tcp" ? get(address.port, "/") : assert.fail("no port");
      });
      assert.deepEqual(await Promise.all(answers), ["attached", "served"]);
      await stopPool(program);
    });

    it("says of its server what is true", options, async () => {
      await using program = runApp({ runtime: worker });
      const port = await portOf(program);
      await program.waitForLine(/^serves /);
      const told = worker === "deno"
        ? [{ transport: "tcp", hostname: "127.0.0.1", port }]
        : [`http://127.0.0.1:${port}/`];
      assert.deepEqual(JSON.parse(await get(port, "/address")), told);
      assert.equal(await get(port, "/throw"), "caught on purpose");
      await stopPool(program);
    });

    it("leaves to an app of Hono what is the app's, such as its onError", options, async () => {
      await using program = runApp({ runtime: worker, module: fixture("hono") });
      const port = await portOf(program);
      assert.equal(await get(port, "/error"), "the app caught on purpose");
      await get(port, "/string"); // Hono lets the runtime answer for what is no Error
      assert.equal(await get(port, "/error"), "the app caught on purpose");
      await stopPool(program);
    });

    it("answers what it has in hand before it ends, and leaves the rest to its successor", options, async () => {
      await using program = runApp({ runtime: worker });
      const port = await portOf(program);
      await program.waitForLine(/^serves /);
      using inHand = await begin({ port });
      using idle = new Client({ port }).send("GET /pid HTTP/1.1\r\nhost: x\r\n\r\n");
      await idle.waitFor(/\r\n\r\n\d+/);
      program.kill("SIGHUP");
      await program.waitForLine(/^told /);
      // It takes no new connection once it drains; a connection it has is told to go with the next answer.
      await idle.send("GET /redirect HTTP/1.1\r\nhost: x\r\n\r\n").waitFor(/302[^]*connection: close/i);
      idle[Symbol.dispose]();
      using waiting = new Client({ port }).send("GET /pid HTTP/1.1\r\nhost: x\r\n\r\n");
      assert.equal(eventsOfType(program, "reap").length, 0, program.report());
      assert.equal(waiting.text, "");
      inHand.send("whole");
      await inHand.waitFor(/connection: close[^]*half-whole$/i);
      await program.waitForLine(/"type":"reap".*"exited with status 0"/);
      await waiting.waitFor(/\r\n\r\n\d+$/);
      await stopPool(program);
    });

    it("answers the connections it has while others never cease to come", options, async () => {
      await using program = runApp({ runtime: worker });
      const port = await portOf(program);
      await program.waitForLine(/^serves /);
      using kept = new Client({ port });
      let done = false;
      const flood = async (): Promise<void> => {
        while (!done) {
          using one = new Client({ port }).send("GET /burn HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
          await one.waitForEnd();
        }
      };
      const floods = Array.from({ length: 32 }, flood);
      try {
        for (let count = 1; count <= 5; count++) {
          kept.send("GET /runtime HTTP/1.1\r\nhost: x\r\n\r\n");
          await kept.waitFor(new RegExp(`(${worker}[^]*){${count}}`));
        }
      } finally {
        done = true;
        await Promise.all(floods);
      }
      await stopPool(program);
    });

    it(
      "answers what it has in hand when all processes are told to stop, and its manager tells it once more",
      options,
      async () => {
        await using program = runApp({ runtime: worker });
        const port = await portOf(program);
        const pid = Number((await program.waitForLine(/^serves /)).split(" ")[1]);
        using inHand = await begin({ port });
        signalProcess(pid, "SIGTERM");
        await program.waitForLine(`told ${pid}`);
        program.kill("SIGTERM");
        await program.waitForLine('"type":"relay"');
        signalProcess(pid, "SIGTERM");
        inHand.send("whole");
        await inHand.waitFor(/half-whole$/);
        assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
        await program.waitForLine(/"type":"reap".*"code":0/);
      },
    );

    it("ends at once when it is told again, some time later, to stop", options, async () => {
      await using program = runApp({ runtime: worker });
      const port = await portOf(program);
      const pid = Number((await program.waitForLine(/^serves /)).split(" ")[1]);
      using inHand = await begin({ port });
      const toldAt = performance.now();
      const isGone = () => {
        signalProcess(pid, "SIGTERM");
        return inHand.ended;
      };
      await waitFor(isGone, { what: "it to have enough of it", intervalMs: 100 });
      assert.ok(performance.now() - toldAt >= 950, `it ended after ${performance.now() - toldAt} ms`);
      await program.waitForLine(/"type":"reap".*"code":143/);
      await stopPool(program);
    });

    it("lets a response stream to its end, however seldom a word of it comes", options, async () => {
      await using program = runApp({ runtime: worker });
      using client = new Client({ port: await portOf(program) });
      client.send("GET /drip HTTP/1.1\r\nhost: x\r\n\r\n");
      await client.waitFor(/first/);
      program.kill("SIGTERM");
      await client.waitFor(/last\r\n0\r\n\r\n$/);
      assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null });
      assert.deepEqual(program.errorLines.filter((line) => line.includes("cut off")), []);
    });

    it("cuts off at the deadline what is still open, and says so", options, async () => {
      await using program = runApp({ runtime: worker, options: { drainTimeoutMs: 300 } });
      using inHand = await begin({ port: await portOf(program) });
      program.kill("SIGTERM");
      await program.waitForErrorLine("prefork: 1 request is cut off: not answered 300 ms after the stop");
      await inHand.waitForEnd();
      assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null });
      await waitForNobody(program);
    });

    it("answers what it has in hand when its manager is killed, and then ends", options, async () => {
      await using program = runApp({ runtime: worker });
      const port = await portOf(program);
      using inHand = await begin({ port });
      program.kill("SIGKILL");
      await program.status;
      inHand.send("whole");
      await inHand.waitFor(/half-whole$/);
      await waitForNobody(program);
    });

    it(
      "relays connections where adoption is switched off, says so once, and drains all the same",
      options,
      async () => {
        await using program = runApp({ runtime: worker, options: { adoption: false } });
        const port = await portOf(program);
        await program.waitForLine(/^serves /);
        const own = passedOn(program.pid);
        const inherited = await get(port, "/leaks");
        for (const inode of own) assert(!inherited.includes(inode), inherited);
        assert.doesNotMatch(await get(port, "/environment"), /^(LISTEN_\w+|SERVER_STARTER_PORT)=/m);
        using inHand = await begin({ port });
        program.kill("SIGHUP");
        await program.waitForLine(/^told /);
        using waiting = new Client({ port }).send("GET /pid HTTP/1.1\r\nhost: x\r\n\r\n");
        inHand.send("whole");
        await inHand.waitFor(/half-whole$/);
        await waiting.waitFor(/\r\n\r\n\d+$/);
        await stopPool(program);
        const relays = "to the server, since it cannot accept them itself: adoption is switched off.";
        const workers = 2; // each says it once
        assert.equal(program.errorLines.filter((line) => line.includes(relays)).length, workers, program.report());
      },
    );

    it("relays where its server takes no connection from the shared socket, and says so", options, async () => {
      await using program = runApp({ runtime: worker, module: fixture("deaf") });
      const port = await portOf(program);
      assert.equal(await get(port, "/"), "by relay");
      await stopPool(program);
      assert.deepEqual(
        program.errorLines.filter((line) => line.startsWith("prefork: relays ")),
        [
          `prefork: relays the connections of 127.0.0.1:${port} to the server, since it cannot accept them itself: the server ` +
          "took no connection from a socket put in its own's place. Nothing is lost by that but speed and the addresses of " +
          "clients",
        ],
      );
    });

    it("says what it costs to relay a Unix socket", options, async () => {
      await using dir = await tempDir();
      const path = dir.file("a.sock");
      await using program = runApp({ runtime: worker, module: fixture("deaf"), options: { listen: `unix:${path}` } });
      const line = await program.waitForErrorLine(/^prefork: relays /);
      assert.match(
        line,
        /What is lost by that is speed, and the protection of the socket's mode: .* where every user of this machine/,
      );
      assert.match(await fetchUnix(path), /by relay$/);
      await stopPool(program);
    });

    it("says what is wrong with its socket, and does not look alive", options, async () => {
      await using program = runApp({ runtime: worker, module: fixture("closes"), options: { maxBootFailures: 1 } });
      const text = (await listenersOf(program))[0]?.text;
      await program.waitForErrorLine(
        new RegExp(`Cannot serve on ${text}: descriptor \\d+ is not its socket any more; something closed it`),
      );
      await program.waitForEnd();
      await waitForNobody(program);
    });

    it("leaves no server behind where another socket of its cannot be served", options, async () => {
      const listen = ["127.0.0.1:0", "127.0.0.1:0"];
      await using program = runApp({ runtime: worker, module: fixture("half_way"), options: { listen } });
      await program.waitForLine(/^failed Error: Cannot serve on .*: descriptor \d+ is not its socket any more/);
      await program.waitForLine("left nothing");
      await stopPool(program);
    });

    for (const kind of ["TCP", "Unix"] as const) {
      it(`ends with its pool, and a sentence, when its ${kind} socket is shut down under it`, options, async () => {
        await using dir = await tempDir();
        const path = dir.file("a.sock");
        const listen = kind === "Unix" ? `unix:${path}` : "127.0.0.1:0";
        await using program = runApp({ runtime: worker, options: { maxWorkers: 2, listen } });
        await waitForReady(program, 2);
        const [told] = await listenersOf(program);
        using client = new Client(kind === "Unix" ? { path } : { port: await portOf(program) });
        client.send("GET /shutdown HTTP/1.1\r\nhost: x\r\n\r\n");
        const sentence =
          `LostSocketError: the socket that listens on ${told?.text} was closed in the manager or shut down`;
        await program.waitForErrorLine(sentence);
        await program.waitForEnd();
        assert.equal(program.errorLines.filter((line) => line.includes(sentence)).length, 1, program.report());
        await waitForNobody(program);
      });
    }

    for (const by of ["close", "dispose"]) {
      it(`ends when its program ends its server (${by}), and has a successor`, options, async () => {
        await using program = runApp({ runtime: worker });
        const port = await portOf(program);
        assert.equal(await get(port, `/${by}`), "closed ");
        await program.waitForErrorLine(`the program has closed its server on 127.0.0.1:${port}: this worker ends`);
        await program.waitForLine(/"type":"reap".*"exited with status 0"/);
        await get(port, "/pid");
        await stopPool(program);
      });
    }

    for (const adoption of [true, false]) {
      const way = adoption ? "" : ", relayed";
      it(
        `leaves all to others once its program closes its server, and answers what is open${way}`,
        options,
        async () => {
          await using program = runApp({ runtime: worker, options: { maxWorkers: 2, adoption } });
          await waitForReady(program, 2);
          const port = await portOf(program);
          using inHand = new Client({ port }).send(
            "POST /close HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf-",
          );
          await program.waitForErrorLine(`the program has closed its server on 127.0.0.1:${port}: this worker ends`);
          for (let i = 0; i < 20; i++) assert.match(await get(port, "/pid"), /^\d+$/);
          assert.ok(!program.lines.includes("closed"), program.report());
          inHand.send("whole");
          await inHand.waitFor(/connection: close[^]*closed half-whole$/i);
          await program.waitForLine("closed");
          await program.waitForLine(/"type":"reap".*"exited with status 0"/);
          await stopPool(program);
        },
      );
    }

    it("says why a module cannot be served, and shows no place in this library", options, async () => {
      const line = await saidOf({ runtime: worker }, "signal");
      assert.match(line, /^prefork: Cannot use 'signal' in a worker: the manager decides where it listens/);
    });

    it("shows where a module fails that is asked for its options", options, async () => {
      await using program = runApp(refused({ runtime: worker }), { env: { TEST_OPTION: "throws" } });
      await program.waitForErrorLine(/^(error: )?Error: no certificate$/);
      await program.waitForErrorLine(/^\s+at .*refused\.ts:\d+/);
      await program.waitForEnd();
      await waitForNobody(program);
    });

    it("refuses what cannot be, by sentences that name it", options, async () => {
      await using program = runApp({
        runtime: worker,
        module: fixture("mistakes"),
        options: { listen: ["a=127.0.0.1:0", "admin=127.0.0.1:0"] },
      });
      await program.waitForLine("tried all");
      const line = (name: string) => program.lines.find((each) => each.startsWith(`${name}: `)) ?? "";
      assert.match(
        line("port"),
        /^port: TypeError: Cannot use 'port' in a worker: the manager decides where it listens/,
      );
      assert.match(
        line("none"),
        /^none: TypeError: Cannot serve on no socket: name one, or leave 'listener' out for all$/,
      );
      assert.match(line("twice"), /^twice: TypeError: Cannot serve twice on a \([\d.:]+\): name each socket once$/);
      assert.match(
        line("name"),
        /^name: TypeError: Cannot serve on 'amdin': the sockets are a \(127\.0\.0\.1:\d+\), admin \(127\.0\.0\.1:\d+\)$/,
      );
      assert.match(line("attach"), /^attach: Error: Cannot attach a server that listens already: leave out its listen/);
      assert.match(
        line("own"),
        /^own: TypeError: Cannot attach what answers .*; give its handler to worker.serve\(\)$/,
      );
      assert.match(line("fetch"), /^fetch: TypeError: Cannot attach what answers .*; give its handler/);
      assert.match(line("express"), /^express: TypeError: Cannot attach an app: .* http.createServer\(app\)/);
      assert.match(line("fastify"), /^fastify: TypeError: Cannot attach an app: .* Fastify's app.server/);
      assert.match(
        line("http2"),
        /^http2: TypeError: Cannot attach a server of node:http2: .* give one of node:https$/,
      );
      assert.match(line("nothing"), /^nothing: TypeError: Cannot attach undefined: give a server$/);
      assert.match(
        line("several"),
        /^several: TypeError: Cannot attach one server to several sockets: .* of a \([\d.:]+\), admin \([\d.:]+\)$/,
      );
      assert.match(line("tls"), /^tls: Error: Cannot serve: /);
      await stopPool(program);
    });
  });
}

describe(`a manager on ${runtime}`, () => {
  it("gives a command its sockets at 3 and up, by both protocols, and nothing else", options, async () => {
    await using dir = await tempDir();
    const script = 'echo "pid $$ $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES $SERVER_STARTER_PORT"; exec sleep 60';
    await using program = runPool({
      command: ["/bin/sh", "-c", script],
      options: { maxWorkers: 1, listen: ["web=127.0.0.1:0", `unix:${dir.file("a.sock")}`] },
    });
    const [, pid, ...said] = (await program.waitForLine(/^pid /)).split(" ");
    const [first] = await listenersOf(program);
    assert.deepEqual(said, [pid, "2", "web:unknown", `${first?.text}=3;${dir.file("a.sock")}=4`]);
    const sockets = passedOn(Number(pid));
    assert.equal(sockets.length, 2);
    const at = descriptors(Number(pid)).filter((line) => sockets.some((each) => line.endsWith(each)));
    assert.deepEqual(at.map((line) => line.split(" ")[0]), ["3", "4"]);
    await stopPool(program);
  });

  it("outlives a command with sockets that dies of a signal without a name", options, async () => {
    await using program = runPool({
      command: ["/bin/sh", "-c", "kill -34 $$"],
      options: { maxWorkers: 1, listen: "127.0.0.1:0", errRespawnIntervalMs: 0 },
    });
    await program.waitForLine(/"type":"reap".*"code":162/, { count: 3 });
    await stopPool(program);
  });

  it("passes nothing to the commands of a pool that does not listen", options, async () => {
    await using program = runPool({
      command: ["/bin/sh", "-c", 'echo "has ${LISTEN_FDS-no} ${SERVER_STARTER_PORT-no}"; exec sleep 60'],
      options: { maxWorkers: 1 },
    });
    assert.equal(await program.waitForLine(/^has /), "has no no");
    const [worker] = await waitForReady(program, 1);
    assert.deepEqual(passedOn(worker?.pid ?? 0), []);
    await stopPool(program);
  });

  it("refuses to start a worker that serves where the pool listens on nothing", options, async () => {
    await using program = runPool({ module: app, options: { maxWorkers: 1, maxBootFailures: 1 } });
    await program.waitForErrorLine(/Cannot serve: this pool listens on nothing; give it an address/);
    await program.waitForEnd();
    await waitForNobody(program);
  });
});

describe("without the permission to call the C library", () => {
  it("a worker on Deno relays, and says what to add", options, async () => {
    await using program = runApp({
      runtime: "deno",
      denoArgs: ["--allow-net=127.0.0.1", "--allow-run=env", "--allow-env"],
    });
    const port = await portOf(program);
    await program.waitForErrorLine(
      /^prefork: relays the connections of .*: Deno may not call the C library: add --allow-ffi/,
    );
    assert.doesNotMatch(await get(port, "/environment"), /^(LISTEN_\w+|SERVER_STARTER_PORT)=/m);
    using inHand = await begin({ port });
    program.kill("SIGHUP");
    await program.waitForLine(/^returned SIGHUP/);
    inHand.send("whole");
    await inHand.waitFor(/half-whole$/);
    await program.waitForLine(/^serves /, { count: 2 });
    assert.equal(await get(port, "/runtime"), "deno");
    await stopPool(program);
  });

  it(
    "a worker on Deno that may not listen where it likes relays a Unix socket, and says what to add",
    options,
    async () => {
      await using dir = await tempDir();
      const path = dir.file("a.sock");
      const all = ["--allow-read", "--allow-write", "--allow-ffi", "--allow-env"];
      for (const net of ["--allow-net=127.0.0.1", "--allow-net"]) {
        await using program = runApp({
          runtime: "deno",
          denoArgs: [...all, net],
          options: { listen: `unix:${path}`, maxWorkers: 1 },
        });
        await program.waitForLine(/^serves /);
        using client = new Client({ path }).send("GET /runtime HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        await client.waitFor(/\r\n\r\ndeno$/);
        const relays =
          /^prefork: relays the connections of unix:.*: Deno may not serve, .*: add --allow-net --allow-read --allow-write\./;
        assert.equal(program.errorLines.some((line) => relays.test(line)), net !== "--allow-net", program.report());
        assert.equal(program.errorLines.some((line) => line.includes("relays")), net !== "--allow-net");
        await stopPool(program);
      }
    },
  );

  it("a worker on Deno that may not reach its own server either ends with what to add", options, async () => {
    await using program = runApp({ runtime: "deno", denoArgs: ["--allow-read"], options: { maxBootFailures: 1 } });
    await program.waitForErrorLine(/Deno may not serve, .*: add --allow-net=127.0.0.1:0\.$/);
    await program.waitForEnd();
    await waitForNobody(program);
  });

  it("a module on Deno is told in one line what to add, whatever it lacks", options, async () => {
    const said = (net: string, more: PoolSpec["options"] = {}): Promise<string> => {
      return saidOf({ runtime: "deno", denoArgs: ["--allow-read", "--allow-env", net], options: more });
    };
    assert.match(
      await said("--allow-net=127.0.0.2"),
      /^prefork: Deno may not serve, .*: add --allow-net=127.0.0.1:0\.$/,
    );
    const own = "--allow-net=127.0.0.1:0";
    assert.match(
      await said(own),
      /^prefork: Cannot relay connections to the server at 127\.0\.0\.1:\d+: Deno may not connect /,
    );
    const readyWhen = { http: "/healthz" };
    assert.match(
      await said(own, { readyWhen }),
      /^prefork: Cannot check by GET \/healthz whether a worker is ready: Deno may not connect to .*: add --allow-net/,
    );
  });

  it(
    "a manager on Deno refuses to listen, and says what to add",
    { ...options, skip: runtime !== "deno" },
    async () => {
      const runtimeArgs = ["run", "--no-prompt", "--allow-read", "--allow-env", "--allow-run"];
      const spec = JSON.stringify({ options: { listen: 0 } });
      await using program = runProgram(new URL("./fixtures/lifecycle/pool.ts", import.meta.url), [spec], {
        runtimeArgs,
      });
      await program.waitForErrorLine(
        /Cannot share listening sockets: Deno may not call the C library: add --allow-ffi, or -A/,
      );
      assert.notEqual((await program.waitForEnd()).code, 0);
    },
  );
});

/** The sockets of a process but for its standard streams, which whoever runs the tests may have made sockets. */
function passedOn(pid: number): readonly string[] {
  const all = descriptors(pid).map((line) => line.split(" "));
  const standard = all.filter(([fd]) => Number(fd) < 3).map(([, target]) => target);
  return all.flatMap(([, target = ""]) => target.startsWith("socket:") && !standard.includes(target) ? [target] : []);
}

describe(`a program on ${runtime} that ends without disposing of its pool`, () => {
  it("leaves no file of a Unix socket", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    await using program = runProgram(new URL("./fixtures/lifecycle/undisposed.ts", import.meta.url), [path]);
    await waitFor(() => fetchUnix(path).then((text) => text.endsWith("served")), { what: "an answer" });
    program.kill("SIGTERM");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    assert.equal(existsSync(path), false);
  });
});

async function fetchUnix(path: string): Promise<string> {
  if (!existsSync(path)) return "";
  using client = new Client({ path }).send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  return await client.waitForEnd().then(() => client.text, () => "");
}
