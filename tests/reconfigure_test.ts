/** Reloads that change the pool itself: all of it holds, or nothing has changed. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, unlinkSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import process from "node:process";
import { describe, it } from "node:test";
import type { PoolChanges } from "../mod.ts";
import { freePort } from "./support/free_port.ts";
import { keepAlive, load, oneShot } from "./support/load.ts";
import { eventsOfType, runFixture, stopPool, waitForReady } from "./support/pool.ts";
import { type RunOptions, runtimeCommand, tempDir, waitFor } from "./support/run.ts";

const SERVING = { timeout: 180_000, skip: process.platform !== "linux" };

interface Told {
  readonly listeners: readonly string[];
  readonly maxWorkers: number;
  readonly live: number;
}

interface Change {
  readonly changes: PoolChanges | Record<string, unknown>;
  readonly fails?: boolean;
  readonly overtakes?: boolean;
  readonly failsLate?: { readonly slot: number; readonly until: string };
}

/** Has a program begin with two sockets that listen, at 8 and 9. */
function given(): NonNullable<RunOptions["on"]> {
  const { command, args } = runtimeCommand();
  const listen = `use IO::Socket::INET; use POSIX; my @sockets = map {
    my $one = IO::Socket::INET->new(Listen => 10, LocalAddr => "127.0.0.1:0") or die; dup2(fileno($one), $_); $one
  } 8, 9; exec @ARGV`;
  return { command: "perl", args: ["-e", listen, command, ...args] };
}

/** A pool whose changes wait for one after the other. */
async function begin(first: PoolChanges, changes: readonly Change[], on: RunOptions["on"] = runtimeCommand()) {
  const directory = await tempDir();
  const gates = changes.map((_, index) => directory.file(`gate${index}`));
  const steps = changes.map((change, index) => ({ ...change, gate: gates[index] }));
  const program = runFixture("reconfigure", [JSON.stringify({ first, steps })], { on });
  await waitForReady(program, first.maxWorkers ?? 1);
  let done = 0;
  return {
    program,
    /** Makes the next change; gives the error and what the pool says of itself then. */
    async next(): Promise<readonly [string, Told]> {
      writeFileSync(gates[done++] ?? assert.fail("no change is left"), "");
      const line = await program.waitForLine(/^reloaded: /, { count: done });
      const [, error = "", told = "{}"] = /^reloaded: (.*) (\{.*\})$/.exec(line) ?? [];
      return [error, JSON.parse(told)];
    },
    async [Symbol.asyncDispose]() {
      await program[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}

function portOf({ listeners }: Told, name: string): number {
  const text = listeners.find((listener) => listener.startsWith(`${name}=`));
  return Number(/:(\d+)$/.exec(text ?? "")?.[1] ?? assert.fail(`nothing listens as ${name}: ${listeners}`));
}

function isRefused(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(false);
    });
    socket.once("error", () => resolve(true));
  });
}

describe("a reload with options", () => {
  it("changes the size of the pool, and where it listens, and costs no request", SERVING, async () => {
    await using directory = await tempDir();
    const path = directory.file("s");
    const a = "a=127.0.0.1:0";
    await using pool = await begin({ maxWorkers: 1, listen: a }, [
      { changes: { maxWorkers: 3, listen: [a, "b=127.0.0.1:0", `c=unix:${path}`] } },
      { changes: { maxWorkers: 1, listen: [a, "b=127.0.0.1:0", `c=unix:${path}`] } },
      { changes: { listen: "b=127.0.0.1:0" } },
    ]);
    const { program } = pool;
    const [{ address: { port } }] = JSON.parse((await program.waitForLine(/^listens /)).slice("listens ".length));
    const clients = load({ port }, [oneShot, oneShot, keepAlive(0)]);

    const [noError, grown] = await pool.next();
    assert.equal(noError, "");
    assert.deepEqual([grown.maxWorkers, grown.live, portOf(grown, "a")], [3, 3, port]);
    const second = load({ port: portOf(grown, "b") }, [oneShot]);
    const third = load({ path }, [oneShot]);
    await program.waitForLine(/"type":"reloaded"/);
    const thirdTally = await third.stop();
    assert.deepEqual(thirdTally.failures, []);

    const [, shrunk] = await pool.next();
    assert.deepEqual([shrunk.maxWorkers, portOf(shrunk, "a"), portOf(shrunk, "b")], [1, port, portOf(grown, "b")]);
    assert.equal(existsSync(path), true);
    assert.deepEqual((await clients.stop()).failures, []);

    const [, last] = await pool.next();
    assert.equal(last.listeners.length, 1);
    assert.equal(existsSync(path), false);
    await waitFor(() => isRefused(port), { what: "nobody to hold the socket any more that was given up" });
    assert.deepEqual((await second.stop()).failures, []);
    await stopPool(program);
  });

  it("listens where one that it takes the place of was the first to", SERVING, async () => {
    await using directory = await tempDir();
    const path = directory.file("s");
    const [a, b] = ["a=127.0.0.1:0", "b=127.0.0.1:0"];
    await using pool = await begin({ maxWorkers: 1, listen: a }, [
      { changes: { listen: [a, b, `unix:${path}`] }, overtakes: true },
      { changes: { listen: [a] } },
    ]);
    const [error, told] = await pool.next();
    assert.equal(error, "");
    await pool.program.waitForLine(/^overtaken: Cannot reload: generation 3 took its place$/);
    for (const where of [{ port: portOf(told, "b") }, { path }]) {
      const clients = load(where, [oneShot]);
      await waitFor(() => (clients.tally.answered["one shot"] ?? 0) > 5, { what: "answers" });
      assert.deepEqual((await clients.stop()).failures, []);
    }
    await pool.next();
    await waitFor(() => isRefused(portOf(told, "b")), { what: "nobody to listen where nobody is to any more" });
    assert.equal(existsSync(path), false);
    await stopPool(pool.program);
  });

  it("is refused an address that workers of before have yet to leave, and may have it then", SERVING, async () => {
    await using directory = await tempDir();
    const [port, until] = [await freePort(), directory.file("go")];
    const a = `a=127.0.0.1:${port}`;
    await using pool = await begin({ maxWorkers: 1, listen: "127.0.0.1:0" }, [
      { changes: { listen: a }, failsLate: { slot: -1, until } }, // whose workers take their time with ending
      { changes: { listen: "b=127.0.0.1:0" } },
      { changes: { listen: a } },
      { changes: { listen: a } },
    ]);
    const { program } = pool;
    await pool.next();
    const [, away] = await pool.next();
    const [error, told] = await pool.next();
    assert.equal(
      error,
      `Error: Cannot listen on 127.0.0.1:${port}: this pool listened there before, and its workers of then have yet to ` +
        "end; try again when they are gone, or choose another port",
    );
    assert.deepEqual(told, away);
    writeFileSync(until, "");
    await waitFor(() => eventsOfType(program, "reap").length === 2, { what: "its workers of then to be gone" });
    assert.equal(await isRefused(port), true);
    assert.equal((await pool.next())[0], "");
    await using clients = load({ port }, [oneShot]);
    await waitFor(() => clients.tally.workers.size > 0, { what: "an answer" });
    assert.deepEqual((await clients.stop()).failures, []);
    await stopPool(program);
  });

  it("listens nowhere that only a failed one was to, once its workers are gone, however late", SERVING, async () => {
    await using directory = await tempDir();
    const [path, until] = [directory.file("s"), directory.file("go")];
    const [a, b] = ["a=127.0.0.1:0", `b=unix:${path}`];
    await using pool = await begin({ maxWorkers: 2, listen: a }, [
      { changes: { listen: [a, b] }, failsLate: { slot: 1, until } },
    ]);
    assert.match((await pool.next())[0], /^ReloadError: .*Generation 1 goes on serving$/);
    await pool.program.waitForLine(/"type":"reloaded","generation":1/);
    assert.equal(existsSync(path), true, "as long as there is a worker of it");
    writeFileSync(until, "");
    await waitFor(() => !existsSync(path), { what: "the file to be gone" });
    await stopPool(pool.program);
  });

  it("has each socket once, however often one reload takes the place of another", SERVING, async () => {
    const twice = ["127.0.0.1:0", "127.0.0.1:0"];
    await using pool = await begin({ maxWorkers: 1, listen: twice[0] }, [
      { changes: { listen: twice }, overtakes: true },
      { changes: { listen: twice, bootTimeoutMs: 5000 }, overtakes: true },
    ]);
    for (const _ of [1, 2]) {
      const [error, { listeners }] = await pool.next();
      assert.deepEqual([error, new Set(listeners).size], ["", 2], listeners.join());
    }
    await stopPool(pool.program);
  });

  it("closes what the manager was given and has given up, but not what it only tried", SERVING, async () => {
    const [a, b, c] = ["a=fd:8", "b=fd:9", "c=127.0.0.1:0"];
    await using pool = await begin({ maxWorkers: 1, listen: a }, [
      { changes: { listen: [b, c], bootTimeoutMs: 5000 }, fails: true },
      { changes: { listen: [a, b, c] } },
      { changes: { listen: [b, c] } },
      { changes: { listen: c } },
      { changes: { listen: [a, c] } },
    ], given());
    const { program } = pool;
    const [{ address: { port } }] = JSON.parse((await program.waitForLine(/^listens /)).slice("listens ".length));
    assert.match((await pool.next())[0], /^ReloadError/);
    const [error, all] = await pool.next();
    assert.deepEqual([error, portOf(all, "a")], ["", port]);
    const [, fewer] = await pool.next();
    assert.equal(portOf(fewer, "b"), portOf(all, "b"));
    await waitFor(() => isRefused(port), { what: "the first socket to be closed that was given up" });
    assert.equal(await isRefused(portOf(all, "b")), false);
    await pool.next();
    await waitFor(() => isRefused(portOf(all, "b")), { what: "the second one to be closed" });
    assert.equal(
      (await pool.next())[0],
      "Error: Cannot listen on fd:8: that is no open TCP or Unix socket in this process",
    );
    await stopPool(program);
  });

  it("is refused whole if any part of it cannot be, before anything is touched", SERVING, async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const address = taken.address();
    const port = typeof address === "object" && address !== null ? address.port : assert.fail("no port");
    const a = "a=127.0.0.1:0";
    await using pool = await begin({ maxWorkers: 2, listen: a }, [
      { changes: { maxWorkers: 5, listen: [a, "b=127.0.0.1:0", `127.0.0.1:${port}`] } },
      { changes: { name: "other" } },
      { changes: { maxWorker: 3 } },
      { changes: { maxWorkers: -1 } },
      { changes: { maxWorkers: 1, stopTimeoutMs: "long" } },
      { changes: { maxWorkers: 1, listen: "b=127.0.0.1:0", bootTimeoutMs: 5000 }, fails: true },
    ]);
    for (
      const error of [
        `Error: Cannot listen on 127.0.0.1:${port}: another process listens there; stop it, or choose another port`,
        "TypeError: Cannot change 'name' by a reload: it holds for as long as the manager lives; upgrade() it, or start it anew",
        /^TypeError: .*'maxWorker'.*'maxWorkers'/,
        /^RangeError: .*'maxWorkers'.*-1/,
        /^TypeError: .*'stopTimeoutMs'/,
        /^ReloadError: Cannot reload: worker=0 gen=2 pid=\d+ exited with status 1 before it was ready\. Generation 1 goes on/,
      ]
    ) {
      const [seen, told] = await pool.next();
      if (typeof error === "string") assert.equal(seen, error);
      else assert.match(seen, error);
      assert.deepEqual([told.maxWorkers, told.live, told.listeners.length], [2, 2, 1]);
    }
    taken.close();
    assert.equal(eventsOfType(pool.program, "reload").length, 1, "but for the last, none of them began");
    assert.equal(eventsOfType(pool.program, "retire").length, 0);
    await stopPool(pool.program);
  });

  it("sets mode and backlog of a socket that stays, and only if it goes well", SERVING, async () => {
    await using directory = await tempDir();
    const path = directory.file("s");
    const address = `unix:${path}`;
    const wanted = { address, mode: 0o600, backlog: 5 };
    await using pool = await begin({ maxWorkers: 1, listen: { address, mode: 0o666 } }, [
      { changes: { listen: wanted, bootTimeoutMs: 5000 }, fails: true },
      { changes: { listen: wanted } },
    ]);
    const mode = () => (lstatSync(path).mode & 0o777).toString(8);
    assert.match((await pool.next())[0], /^ReloadError/);
    assert.equal(mode(), "666");
    assert.equal((await pool.next())[0], "");
    assert.equal(mode(), "600");
    const row = execFileSync("ss", ["-Hlxn"], { encoding: "utf8" }).split("\n").find((line) => line.includes(path));
    assert.equal(row?.split(/\s+/)[3], "5");
    await stopPool(pool.program);
  });

  it(
    "brings back a Unix socket whose file somebody has removed, also where it takes the place of one",
    SERVING,
    async () => {
      await using directory = await tempDir();
      const path = directory.file("s");
      const listen = { address: `unix:${path}`, mode: 0o660 };
      await using pool = await begin({ maxWorkers: 1, listen }, [
        { changes: { listen, bootTimeoutMs: 5000 }, fails: true },
        { changes: { listen }, overtakes: true },
      ]);
      unlinkSync(path);
      assert.match((await pool.next())[0], /^ReloadError/);
      assert.equal(existsSync(path), false, "nobody would answer there");
      assert.equal((await pool.next())[0], "");
      await using clients = load({ path }, [oneShot]);
      await waitFor(() => clients.tally.workers.size > 0, { what: "an answer" });
      assert.deepEqual((await clients.stop()).failures, []);
      await waitFor(() => eventsOfType(pool.program, "reap").length === 3, { what: "all others to be gone" });
      assert.equal(lstatSync(path).mode & 0o777, 0o660);
      await stopPool(pool.program);
      assert.equal(existsSync(path), false);
    },
  );

  it("brings the times of the pool to its new workers", SERVING, async () => {
    await using pool = await begin({ maxWorkers: 1, listen: "a=127.0.0.1:0" }, [
      { changes: { recycle: { maxLifetimeMs: 300, jitter: 0 }, hangTimeoutMs: 60_000 } },
      { changes: { recycle: undefined } },
    ]);
    await pool.next();
    await pool.program.waitForLine('"type":"recycle"', { count: 2 });
    await pool.next();
    const recycled = eventsOfType(pool.program, "recycle").length;
    await pool.program.waitForLine('"type":"reloaded"', { count: 2 });
    assert.equal(eventsOfType(pool.program, "recycle").length, recycled);
    await stopPool(pool.program);
  });
});
