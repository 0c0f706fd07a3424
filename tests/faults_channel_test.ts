/**
 * Whatever is said on the control channel, and whoever says it: the manager stays small and quick, the others serve on,
 * and who breaks the rules goes. With real processes, under load.
 */
import assert from "node:assert/strict";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { freezeForGood, isHeld } from "./support/held.ts";
import { keepAlive, load, oneShot, post } from "./support/load.ts";
import {
  descriptors,
  eventsOfType,
  liveWorkers,
  memoryKb,
  portOf,
  runPool,
  stopPool,
  waitForReady,
} from "./support/pool.ts";
import { type Program, runtime, runtimeCommand, signalProcess, tempDir, waitFor } from "./support/run.ts";

const SERVING = { timeout: 180_000, skip: process.platform !== "linux" };
const module = fileURLToPath(new URL("./fixtures/serve/loaded.ts", import.meta.url));
const executable = fileURLToPath(new URL("./fixtures/channel/runtime.sh", import.meta.url));
const CLIENTS = [oneShot, keepAlive(0), post];

/** The most that a manager may grow by whatever is said to it. */
const GROWTH_KB = 32 * 1024;

/** A pool of which those workers are rude whose slot has a file in `rude`. */
function run(rude: string, maxWorkers: number): Program {
  const { command, args } = runtimeCommand();
  return runPool({
    module,
    runtime,
    executable,
    options: {
      maxWorkers,
      listen: "127.0.0.1:0",
      bootTimeoutMs: 4000,
      hangTimeoutMs: 4000,
      errRespawnIntervalMs: 1000,
      maxRespawnIntervalMs: 1000,
    },
  }, { env: { TEST_RUDE: rude, TEST_RUNTIME: [command, ...args].join(" ") } });
}

/** How workers misbehave, one in each slot, and what is said of it. */
const RUDE: readonly (readonly [string, RegExp])[] = [
  ["nothing", /was killed: it did not begin within \d+ ms$/],
  ["half a hello", /was killed: it did not begin within \d+ ms$/],
  ["ready before hello", /was killed: it did not begin within \d+ ms$/],
  ["half a line", /was killed: it did not begin within \d+ ms$/],
  ["hello twice", /was killed: it said hello twice$/],
  ["rubbish", /was killed: it sent a line that is no JSON: "rubbish"$/],
  ["no line", /was killed: it sent a line of more than 65536 characters$/],
  ["no text", /was killed: it sent a line that is no JSON: /],
];

/** Waits until those workers are ready that are not rude. */
async function waitForPolite(program: Program, slots: readonly number[]): Promise<void> {
  const ready = () => liveWorkers(program).filter(({ state, slot }) => state === "ready" && slots.includes(slot));
  await waitFor(() => ready().length === slots.length, { what: "the polite workers" });
}

describe("a worker that says what it should not", () => {
  it("is killed, with the reason, and the others serve on", SERVING, async () => {
    await using dir = await tempDir();
    for (const [slot, [how]] of RUDE.entries()) writeFileSync(dir.file(String(slot)), how);
    await using program = run(dir.path, RUDE.length + 2);
    await waitForPolite(program, [RUDE.length, RUDE.length + 1]);
    const before = memoryKb(program.pid, "status", "VmRSS");
    const clients = load({ port: await portOf(program) }, CLIENTS);
    const endIn = (slot: number) => eventsOfType(program, "reap").find(({ worker }) => worker.slot === slot);
    await waitFor(() => RUDE.every((_, slot) => endIn(slot)), { what: `all to be killed\n${program.report()}` });
    for (const [slot, [how, reason]] of RUDE.entries()) assert.match(endIn(slot)?.reason ?? "", reason, how);
    assert.ok(memoryKb(program.pid, "status", "VmRSS") - before < GROWTH_KB);

    for (const slot of RUDE.keys()) rmSync(dir.file(String(slot)));
    await waitForReady(program, RUDE.length + 2);
    const { failures, answered } = await clients.stop();
    assert.deepEqual(failures, []);
    assert.ok((answered["one shot"] ?? 0) > 10, JSON.stringify(answered));
    await stopPool(program);
  });

  it("is read at a pace if there is no end to it, and hangs for all its manager knows", SERVING, async () => {
    await using dir = await tempDir();
    writeFileSync(dir.file("0"), "no end");
    await using program = run(dir.path, 3);
    await waitForReady(program, 3);
    const before = memoryKb(program.pid, "status", "VmRSS");
    const port = await portOf(program);
    const clients = load({ port }, CLIENTS);
    const [, { pid } = { pid: 0 }] = liveWorkers(program);
    const kill = await freezeForGood(pid, port);
    signalProcess(pid, "SIGKILL");
    const isHeir = () =>
      liveWorkers(program).some((heir) => heir.slot === 1 && heir.pid !== pid && heir.state === "ready");
    await waitFor(isHeir, { what: `the next worker in slot 1\n${program.report()}` });
    await program.waitForLine('"type":"hang"');
    assert.equal(eventsOfType(program, "hang")[0]?.worker.slot, 0);
    assert.ok(memoryKb(program.pid, "status", "VmRSS") - before < GROWTH_KB);
    rmSync(dir.file("0"));
    await waitFor(() => eventsOfType(program, "reap").some(({ worker }) => worker.slot === 0), {
      what: "it to be gone",
    });
    await waitForReady(program, 3);
    const { failures } = await clients.stop();
    assert.deepEqual(failures.filter((failure) => !isHeld(failure, [kill])), []);
    await stopPool(program);
  });
});

/** A process that has no business at the socket where the manager expects its workers, and that never hangs up itself. */
class Stranger implements Disposable {
  isDropped = false;
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket.resume();
    for (const event of ["end", "error", "close"]) socket.on(event, () => this.isDropped = true);
  }

  static async connect(program: Program): Promise<Stranger> {
    const dir = readdirSync(program.temporary).find((name) => name.startsWith("prefork-")) ?? assert.fail("no socket");
    const socket = connect({ path: join(program.temporary, dir, "worker.sock"), allowHalfOpen: true });
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    return new Stranger(socket);
  }

  say(text: string): void {
    if (text !== "") this.#socket.write(text);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

describe("a stranger at the workers' socket", () => {
  const SAYINGS = ["", "rubbish\n", '{"type":"hello","version":1,"token":"guessed"}\n', "x".repeat(1_000_000)];

  it("is dropped, whatever it says and however often it comes", SERVING, async () => {
    await using dir = await tempDir();
    await using program = run(dir.path, 2);
    await waitForReady(program, 2);
    const before = { memory: memoryKb(program.pid, "status", "VmRSS"), descriptors: descriptors(program.pid).length };
    using strangers = new DisposableStack();
    const say = async (text: string): Promise<Stranger> => {
      const stranger = strangers.use(await Stranger.connect(program));
      stranger.say(text);
      return stranger;
    };
    const all = await Promise.all([...SAYINGS, ...Array.from({ length: 100 }, () => "half a line")].map(say));
    await waitFor(() => all.every(({ isDropped }) => isDropped), { what: "all of them to be dropped" });
    await waitFor(() => descriptors(program.pid).length <= before.descriptors, { what: "as many descriptors" });
    assert.ok(memoryKb(program.pid, "status", "VmRSS") - before.memory < GROWTH_KB);
    for (const type of ["reap", "protocolError"] as const) assert.deepEqual(eventsOfType(program, type), []);
    await stopPool(program);
  });
});
