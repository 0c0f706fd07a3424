/** Workers that listen by themselves, and are asked by their manager whether they are ready. */
import assert from "node:assert/strict";
import { renameSync, writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { PreforkOptions, ReadyWhen } from "../mod.ts";
import type { Input } from "../src/pool_state.ts";
import { Prober } from "../src/prober.ts";
import { checkReadyWhen } from "../src/ready_when.ts";
import type { PoolSpec } from "./fixtures/lifecycle/pool.ts";
import { FakeHost, settle } from "./fake_host.ts";
import { eventsOfType, liveWorkers, runPool, stopPool, waitForReady } from "./support/pool.ts";
import { type Program, runProgram, runtime, runtimeCommand, type TempDir, tempDir, waitFor } from "./support/run.ts";

const options = { timeout: 180_000 };
const LINUX = { ...options, skip: process.platform !== "linux" };
const byItself = fileURLToPath(new URL("./fixtures/by_itself.ts", import.meta.url));
const itself = fileURLToPath(new URL("./fixtures/by_itself_worker.ts", import.meta.url));
const pool = fileURLToPath(new URL("./fixtures/lifecycle/pool.ts", import.meta.url));
const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));

const RELOADS = { SIGTERM: "SIGTERM", SIGHUP: { signal: "SIGTERM", replace: "before" } } as const;

/** Runs the program that listens at `place` by itself, once the file `health` of `dir` is there. */
function run(dir: TempDir, place: string, readyWhen: ReadyWhen, pool: PreforkOptions = {}): Program {
  const { command, args } = runtimeCommand();
  const spec: PoolSpec = {
    command: [command, ...args, byItself, place, dir.file("health")],
    options: { maxWorkers: 1, trapSignals: RELOADS, readyWhen: { intervalMs: 20, ...readyWhen }, ...pool },
  };
  return runPool(spec);
}

function setHealth(dir: TempDir, status: string): void {
  writeFileSync(dir.file("next"), status);
  renameSync(dir.file("next"), dir.file("health"));
}

/** An address on the loopback interface that no other test listens at, but for its last part. */
function ownNetwork(): string {
  const part = () => 1 + Math.floor(Math.random() * 254);
  return `127.${part()}.${part()}`;
}

describe(`a command that its manager on ${runtime} asks whether it is ready`, () => {
  it("is so when it answers well at the address of its slot, and is asked no more", LINUX, async () => {
    await using dir = await tempDir();
    const host = `${ownNetwork()}.1{slot}`;
    await using program = run(dir, `${host}:9000`, { http: `http://${host}:9000/healthz?deep` }, { maxWorkers: 2 });
    await program.waitForLine(/^waits /, { count: 2 });
    setHealth(dir, "503");
    await program.waitForLine(/^listens /, { count: 2 });
    const asked = (pid: number) => program.matching(`asked ${pid}, /healthz?deep, 503`).length;
    await waitFor(() => liveWorkers(program).every(({ pid }) => asked(pid) >= 3), { what: "both to be asked" });
    assert.deepEqual(eventsOfType(program, "ready"), [], program.report());
    setHealth(dir, "200");
    const ready = await waitForReady(program, 2);
    await stopPool(program);
    for (const { pid } of ready) {
      const at = program.lines.findIndex((line) => line.startsWith('{"type":"ready"') && line.includes(`:${pid},`));
      assert.deepEqual(program.lines.slice(at).filter((line) => line.startsWith(`asked ${pid}`)), []);
    }
  });

  it("is so when it takes a connection, by whatever path its process has", options, async () => {
    await using dir = await tempDir();
    await using program = run(dir, dir.file("{pid}"), { tcp: `unix:${dir.file("{pid}")}` });
    await program.waitForLine(/^waits /);
    setHealth(dir, "200");
    const [old] = await waitForReady(program, 1);
    program.kill("SIGHUP");
    await program.waitForLine(/^connected /, { count: 2 });
    await program.waitForLine('"type":"reloaded"');
    const [ready, replaced] = [eventsOfType(program, "ready"), eventsOfType(program, "replace")];
    assert.deepEqual(replaced.map(({ worker, by }) => [worker.pid, by.pid]), [[old?.pid, ready[1]?.worker.pid]]);
    await stopPool(program);
  });

  it("waits until the one before it is gone, where both would be asked at one address", LINUX, async () => {
    await using dir = await tempDir();
    const place = `${ownNetwork()}.1{slot}:9000`;
    await using program = run(dir, place, { tcp: place });
    setHealth(dir, "200");
    const [old] = await waitForReady(program, 1);
    program.kill("SIGHUP");
    await program.waitForLine('"type":"reloaded"');
    const told = program.lines.filter((line) => /^\{"type":"(spawn|reap)"/.test(line));
    assert.deepEqual(told.map((line) => /"(?:spawn|reap)"/.exec(line)?.[0]), ['"spawn"', '"reap"', '"spawn"']);
    assert.ok(told[1]?.includes(`:${old?.pid},`));
    await stopPool(program);
  });

  it("is killed when it is not in time, with what was seen last", options, async () => {
    await using dir = await tempDir();
    const pool = { bootTimeoutMs: 5000 };
    await using program = run(dir, dir.file("s"), { tcp: `unix:${dir.file("s")}` }, pool);
    await program.waitForLine('"type":"reap"');
    assert.match(
      eventsOfType(program, "reap")[0]?.reason ?? "",
      /^was killed: it was not ready within 5000 ms: connecting to unix:\S+ failed: connect ENOENT \S+$/,
    );
    setHealth(dir, "200");
    await waitForReady(program, 1);
    await stopPool(program);
  });

  it("stops by the signal when it is told to before it is ready", options, async () => {
    await using dir = await tempDir();
    await using program = run(dir, dir.file("s"), { tcp: `unix:${dir.file("s")}` });
    await program.waitForLine(/^waits /);
    await stopPool(program);
    const [reap] = eventsOfType(program, "reap");
    assert.deepEqual([reap?.expected, reap?.status], [true, { type: "signaled", signal: "SIGTERM" }]);
  });

  it("cannot be told to ask itself", options, async () => {
    await using dir = await tempDir();
    await using program = run(dir, "", { http: "/healthz" }, { listen: "127.0.0.1:0" });
    await program.waitForErrorLine("Cannot have a command ask itself for /healthz: it listens by itself; give");
    assert.notEqual((await program.waitForEnd()).code, 0);
  });
});

describe(`a worker of the library that its manager on ${runtime} asks`, () => {
  for (const on of ["deno", "bun"] as const) {
    it(`is ready by the answer and not by its word, on ${on}`, options, async () => {
      await using dir = await tempDir();
      const env = { TEST_PLACE: dir.file("{slot}"), TEST_HEALTH_FILE: dir.file("health") };
      const readyWhen = { tcp: `unix:${dir.file("{slot}")}`, intervalMs: 20 };
      const pool = { maxWorkers: 2, readyWhen };
      await using program = runPool({ module: itself, runtime: on, options: pool }, { env });
      await program.waitForLine(/^says it is ready/, { count: 2 });
      setHealth(dir, "200");
      await waitForReady(program, 2);
      const line = (start: string) => program.lines.findIndex((each) => each.startsWith(start));
      assert.ok(line("listens ") >= 0 && line("listens ") < line('{"type":"ready"'), program.report());
      await stopPool(program);
    });
  }
});

describe("the command line", () => {
  it("asks what --ready-when says", LINUX, async () => {
    await using dir = await tempDir();
    const place = `${ownNetwork()}.1{slot}:9000`;
    const { command, args } = runtimeCommand();
    const words = ["run", "-w", "2", "--ready-when", `tcp:${place}`, "--log-format", "plain", "--", command, ...args];
    await using program = runProgram(prefork, [...words, byItself, place, dir.file("health")]);
    await program.waitForLine(/^waits /, { count: 2 });
    setHealth(dir, "200");
    await program.waitForErrorLine(/is ready$/, { count: 2 });
    await program.waitForLine(/^connected /, { count: 2 });
    program.kill("SIGTERM");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  });

  it("refuses what cannot be asked", options, async () => {
    await using program = runProgram(prefork, ["--ready-when", "/healthz", "--", "true"]);
    await program.waitForErrorLine(
      /^prefork: Cannot use --ready-when with the path '\/healthz': the pool listens on/,
    );
    assert.equal((await program.waitForEnd()).code, 2);
  });
});

describe("a manager on Deno without the permission to connect", { skip: runtime !== "deno" }, () => {
  const bare = { on: { command: process.execPath, args: ["run", "--no-prompt"] } };
  const granted = ["--allow-run", "--allow-read", "--allow-write", "--allow-env", "--allow-sys"];
  it("says what to add", options, async () => {
    for (
      const [readyWhen, sentence] of [
        [{ tcp: "127.0.0.1:9000" }, "Deno may not connect to 127.0.0.1:9000: add --allow-net=127.0.0.1."],
        [{ http: "http://[::1]:9000/" }, "Deno may not connect to [::1]:9000: add --allow-net=[::1]."],
        [{ tcp: "unix:/run/none" }, "Deno may not use the socket /run/none: add --allow-net=unix:/run/none."],
      ] as const
    ) {
      const spec: PoolSpec = { command: ["true"], options: { readyWhen } };
      await using program = runProgram(pool, [JSON.stringify(spec)], { ...bare, runtimeArgs: ["run", ...granted] });
      await program.waitForErrorLine(sentence);
      assert.notEqual((await program.waitForEnd()).code, 0);
    }
  });
});

describe("Prober", () => {
  const host = new FakeHost();

  function prober(address: string) {
    const asked: { readonly what: string; readonly signal: AbortSignal; answer(saw?: string): void }[] = [];
    const posted: Input[] = [];
    const readiness = checkReadyWhen({ tcp: address }, false, 1);
    assert.ok(readiness.by === "manager");
    const made = new Prober(readiness, host, ({ what }, { signal }) => {
      const { promise, resolve } = Promise.withResolvers<string | undefined>();
      asked.push({ what, signal, answer: resolve });
      return promise;
    });
    const probe = (slot: number, id: number) =>
      made.probe({ type: "probe", slot, id, pid: 100 + id }, (input) => posted.push(input));
    return { made, asked, posted, probe };
  }

  it("asks each worker at its own address, and posts the answers", async () => {
    const { asked, posted, probe } = prober("unix:/run/{slot}.{pid}.sock");
    probe(0, 1);
    probe(1, 2);
    assert.deepEqual(asked.map(({ what }) => what), [
      "connecting to unix:/run/0.101.sock",
      "connecting to unix:/run/1.102.sock",
    ]);
    asked[1]?.answer("no");
    asked[0]?.answer();
    await settle();
    assert.deepEqual(posted, [
      { type: "checked", slot: 1, id: 2, saw: "no" },
      { type: "checked", slot: 0, id: 1, saw: undefined },
    ]);
  });

  it("gives up what a worker is asked that is gone, and says nothing of it", async () => {
    const { made, asked, posted, probe } = prober("127.0.0.1:9000");
    probe(0, 1);
    made.end(1);
    made.end(1);
    assert.equal(asked[0]?.signal.aborted, true);
    asked[0]?.answer("given up");
    await settle();
    assert.deepEqual(posted, []);
  });

  it("tells of a slot that has no address", async () => {
    const { posted, probe } = prober("127.0.0.1:900{slot}");
    probe(10, 1);
    await settle();
    const saw = "Cannot use 'readyWhen.tcp' as in '127.0.0.1:90010': there is no port 90010";
    assert.deepEqual(posted, [{ type: "checked", slot: 10, id: 1, saw }]);
  });
});
