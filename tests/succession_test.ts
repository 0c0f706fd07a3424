/** Both sides of an upgrade on the fake host, whose clock drives every deadline. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { PreforkEvent, WorkerInfo } from "../mod.ts";
import { EventHub } from "../src/event_hub.ts";
import {
  decodeElderMessage,
  decodeTask,
  encodeMessage,
  encodeTask,
  type HandedSocket,
  type HeirMessage,
  type Task,
} from "../src/handover.ts";
import { LineReader } from "../src/protocol.ts";
import { Takeover } from "../src/takeover.ts";
import type { ControlConnection, ControlHandlers, Signal } from "../src/types.ts";
import { Upgrade } from "../src/upgrade.ts";
import { FakeHost, type FakeProcess } from "./fake_host.ts";
import { FakePool, outcome, rest } from "./support/pool_on_fake.ts";
import { waitFor } from "./support/processes.ts";
import { PoolSim } from "./support/pool_sim.ts";

const TIMEOUT_MS = 20_000;
/** When one that is late is given up: after a last look. */
const LATE_MS = TIMEOUT_MS + 100;
const STOP_MS = 3000;

/** An old manager in the middle of an upgrade, and the new one as a process and a connection. */
class Scene {
  readonly host = new FakeHost({ name: "bun", env: { HOME: "/h" } });
  readonly events: PreforkEvent[] = [];
  readonly upgrade: Upgrade;
  readonly heard: string[] = [];
  /** Set with the time at which the new manager is gone. */
  goneAt: number | undefined;
  #connection: ControlConnection | undefined;

  constructor() {
    const hub = new EventHub(undefined);
    const events = hub.subscribe();
    const listen = async (): Promise<void> => {
      for (let next = await events.next(); !next.done; next = await events.next()) this.events.push(next.value);
    };
    void listen();
    this.host.programs.set("/fake/manager", ({ exited }) => void exited.then(() => this.goneAt = this.host.now()));
    const { host } = this;
    this.upgrade = new Upgrade({
      host,
      hub,
      sockets: undefined,
      pool: "web",
      stays: false,
      timeoutMs: TIMEOUT_MS,
      stopTimeoutMs: STOP_MS,
    });
  }

  run(): Promise<void> {
    const running = this.upgrade.run();
    running.catch(() => {}); // looked at later
    return running;
  }

  /** The new manager's process. */
  get heir(): FakeProcess {
    return this.host.processes.find(({ command }) => command.command === "/fake/manager") ?? assert.fail("not started");
  }

  get leash(): FakeProcess {
    return this.host.processes.find(({ command }) => command.args.includes("prefork-leash")) ?? assert.fail("no leash");
  }

  /** All signals for a process, those that came too late among them. */
  sentTo({ pid }: FakeProcess): readonly Signal[] {
    return this.host.sent.filter((sent) => sent.pid === pid).map(({ signal }) => signal);
  }

  get task(): Task {
    return decodeTask(this.heir.env["PREFORK_UPGRADE"] ?? "");
  }

  async connect(): Promise<void> {
    const lines = new LineReader();
    this.#connection = await this.host.connectControl(`${this.task.dir}/upgrade.sock`, {
      data: (chunk) => lines.push(chunk, (line) => void this.heard.push(decodeElderMessage(line).type)),
      closed: () => void this.heard.push("closed"),
    });
  }

  async say(...messages: readonly (HeirMessage | string)[]): Promise<void> {
    for (const message of messages) {
      this.#connection?.send(typeof message === "string" ? `${message}\n` : encodeMessage(message));
    }
    await rest();
  }

  /** The new manager comes up, and has workers if so wished. */
  async boot(...messages: readonly HeirMessage[]): Promise<void> {
    await rest();
    await this.connect();
    await this.say({ type: "hello", token: this.task.token }, ...messages);
  }

  /** What is left of an upgrade but the new manager. */
  get leftovers(): readonly string[] {
    const processes = this.host.alive.filter((process) => process !== this.heir).map(({ command }) => command.command);
    return [...this.host.files.keys(), ...processes];
  }
}

async function failure(running: Promise<void>): Promise<string> {
  const error = await outcome(running);
  assert.ok(error instanceof Error && error.name === "UpgradeError", String(error));
  return error.message;
}

describe("the old manager", () => {
  it("starts its program as it was started, and gives all away once that has proved itself", async () => {
    const scene = new Scene();
    const running = scene.run();
    scene.host.env.set("HOME", "/changed since");
    await scene.boot({ type: "started" });
    const { command, env, referenced } = scene.heir;
    assert.deepEqual([command.args, command.cwd, command.clearEnv], [["run", "main.ts", "argument"], "/fake", true]);
    assert.deepEqual(Object.keys(env), ["HOME", "PREFORK_UPGRADE"]);
    assert.deepEqual({ ...scene.task, token: "", dir: "" }, {
      dir: "",
      token: "",
      pool: "web",
      pid: 1000,
      stays: false,
      sockets: [],
    });
    assert.deepEqual([await outcome(running), scene.heard, referenced], ["pending", [], true]);
    const { leash } = scene;
    assert.equal(leash.command.args.at(-1), String(scene.heir.pid));

    await scene.say({ type: "ready", kept: [] });
    await rest();
    assert.deepEqual([scene.events.at(-1)?.type, scene.heard], ["upgraded", []], "told here before it is told there");
    await scene.host.advance(0);
    assert.equal(await outcome(running), undefined);
    assert.deepEqual(scene.heard, ["yours", "closed"]);
    assert.deepEqual([scene.heir.alive, scene.heir.referenced, scene.leftovers], [true, false, []]);
    assert.deepEqual(scene.sentTo(leash), ["SIGKILL"], "once: its number may be somebody else's from then on");
    assert.deepEqual(scene.events, [
      { type: "upgrade", pid: scene.heir.pid },
      { type: "upgraded", pid: scene.heir.pid },
    ]);
    assert.equal(scene.host.timerCount(), 0);
  });

  it("goes on when the new one ends, and ends what that has left behind", async () => {
    const scene = new Scene();
    const running = scene.run();
    await rest();
    const child = scene.host.fork(scene.heir);
    scene.heir.exit(7);
    assert.equal(
      await failure(running),
      `Cannot upgrade: the new manager, pid=${scene.heir.pid}, exited with status 7 before it had proved itself; what it ` +
        "printed tells why. This manager, pid=1000, goes on",
    );
    assert.deepEqual([child.alive, scene.leftovers], [false, []]);
    assert.deepEqual(scene.events.map(({ type }) => type), ["upgrade", "upgradeFailed"]);
    assert.equal(scene.host.timerCount(), 0);
  });

  it("kills one that does not come to its pool in time", async () => {
    const scene = new Scene();
    const running = scene.run();
    await scene.boot();
    await scene.host.advance(TIMEOUT_MS - 1);
    assert.equal(await outcome(running), "pending");
    await scene.host.advance(1101);
    assert.match(await failure(running), /, did not come to start\(\) of the pool 'web' within 20000 ms\. This/);
    assert.deepEqual([scene.goneAt, scene.heard, scene.leftovers], [LATE_MS + 1000, ["stop", "closed"], []]);
  });

  it("looks once more whether it was ready, since it may have stood still itself", async () => {
    const scene = new Scene();
    const running = scene.run();
    await scene.boot({ type: "started" });
    await scene.host.advance(TIMEOUT_MS + 50);
    await scene.say({ type: "ready", kept: [] });
    await scene.host.advance(0);
    assert.equal(await outcome(running), undefined);
    assert.deepEqual([scene.heir.alive, scene.heard, scene.host.timerCount()], [true, ["yours", "closed"], 0]);
  });

  it("passes a stop on that comes while all is given away", async () => {
    const scene = new Scene();
    const running = scene.run();
    await scene.boot({ type: "started" }, { type: "ready", kept: [] });
    scene.upgrade.hearStop();
    scene.upgrade.abandon("the pool was told to stop by SIGTERM");
    await scene.host.advance(0);
    assert.equal(await outcome(running), undefined);
    assert.deepEqual([scene.heard, scene.sentTo(scene.heir)], [["yours", "closed"], ["SIGTERM"]]);
  });

  it("keeps a stop to itself that its own program asks for, since all is given away", async () => {
    const scene = new Scene();
    const running = scene.run();
    await scene.boot({ type: "started" }, { type: "ready", kept: [] });
    scene.upgrade.abandon("the pool was told to stop by SIGTERM");
    await scene.host.advance(0);
    assert.equal(await outcome(running), undefined);
    assert.deepEqual([scene.heard, scene.sentTo(scene.heir)], [["yours", "closed"], []]);
  });

  for (const isSignal of [true, false]) {
    it(`passes on what ${isSignal ? "its process" : "nobody but its pool"} is told then`, async () => {
      const stop = new AbortController();
      const pool = new FakePool({ maxWorkers: 1, signal: stop.signal });
      pool.host.programs.set("/fake/manager", () => {});
      const started = pool.pm.start();
      await rest();
      const upgraded = pool.pm.upgrade();
      await rest();
      const heir = pool.host.processes.find(({ command }) => command.command === "/fake/manager") ?? assert.fail();
      const { dir, token } = decodeTask(heir.env["PREFORK_UPGRADE"] ?? "");
      const connection = await pool.host.connectControl(`${dir}/upgrade.sock`, { data() {}, closed() {} });
      const words: readonly HeirMessage[] = [{ type: "hello", token }, { type: "started" }, {
        type: "ready",
        kept: [],
      }];
      for (const word of words) connection.send(encodeMessage(word));
      await waitFor(() => pool.ofType("upgraded").length > 0, { what: "the word of it" });
      if (isSignal) pool.host.raise("SIGTERM");
      else stop.abort();
      await pool.host.advance(0);
      await upgraded;
      await started;
      await pool.pm.waitAllChildren();
      const sent = pool.host.sent.filter(({ pid }) => pid === heir.pid).map(({ signal }) => signal);
      assert.deepEqual(sent, isSignal ? ["SIGTERM"] : []);
    });
  }

  it("asks one to stop of whose workers it has not heard yet, and one that it has not heard of at all", async () => {
    for (const isConnected of [true, false]) {
      const scene = new Scene();
      const running = scene.run();
      await rest();
      if (isConnected) await scene.boot();
      scene.upgrade.abandon("the pool was told to stop by SIGTERM");
      await rest();
      if (!isConnected) await scene.boot();
      assert.deepEqual(scene.heard, ["stop"]);
      await scene.say({ type: "started" }, { type: "stopping" });
      await scene.host.advance(2000);
      assert.deepEqual([await outcome(running), scene.heir.alive], ["pending", true]);
      scene.heir.exit(0);
      await failure(running);
      assert.deepEqual(scene.leftovers, []);
    }
  });

  it("lets one that has workers stop, for as long as they may take", async () => {
    const scene = new Scene();
    const running = scene.run();
    await scene.boot({ type: "started" });
    await scene.host.advance(LATE_MS);
    assert.deepEqual(scene.heard, ["stop"]);
    await scene.say({ type: "stopping" });
    await scene.host.advance(2000);
    assert.deepEqual([await outcome(running), scene.heir.alive], ["pending", true]);
    scene.heir.exit(0);
    assert.match(await failure(running), /, did not have its workers ready within 20000 ms\. This/);
    assert.deepEqual(scene.leftovers, []);
  });

  it("kills it when it takes longer, and sooner when it does not answer", async () => {
    for (const [answers, goneAt] of [[true, LATE_MS + STOP_MS + 5000], [false, LATE_MS + 1000]] as const) {
      const scene = new Scene();
      const running = scene.run();
      await scene.boot({ type: "started" });
      await scene.host.advance(LATE_MS);
      if (answers) await scene.say({ type: "stopping" });
      await scene.host.advance(60_000);
      await failure(running);
      assert.deepEqual([scene.goneAt, scene.leftovers], [goneAt, []]);
    }
  });

  it("gives it up when it is to stop itself, and at once when that is wanted", async () => {
    const scene = new Scene();
    const running = scene.run();
    await scene.boot({ type: "started" });
    scene.upgrade.abandon("the pool was told to stop by SIGTERM");
    await rest();
    await scene.say({ type: "ready", kept: [] }, { type: "stopping" });
    assert.deepEqual([scene.heard, scene.heir.alive], [["stop"], true]);
    scene.upgrade.kill();
    assert.equal(await failure(running), "Cannot upgrade: the pool was told to stop by SIGTERM");
    assert.deepEqual([scene.goneAt, scene.leftovers], [0, []]);
    const [, failed] = scene.events;
    assert.equal(failed?.type === "upgradeFailed" && failed.cause, "stopped");
  });

  it("hears nobody without the token, none twice, and nothing that makes no sense", async () => {
    const scene = new Scene();
    const running = scene.run();
    await rest();
    for (const message of [{ type: "hello", token: "guessed" }, { type: "ready", kept: [] }, "rubbish"] as const) {
      await scene.connect();
      await scene.say(message, { type: "started" }, { type: "ready", kept: [] });
    }
    await scene.boot();
    await scene.boot();
    assert.deepEqual(scene.heard, ["closed", "closed", "closed", "closed"]);
    assert.equal(await outcome(running), "pending");
    scene.heir.exit(1);
    await failure(running);
  });

  it("says in the words of the runtime why nothing could be started", async () => {
    const scene = new Scene();
    scene.host.spawnFailure = () => new Error("Deno may not start deno: add --allow-run.");
    assert.equal(
      await failure(scene.run()),
      "Cannot upgrade: Deno may not start deno: add --allow-run. This manager, pid=1000, goes on",
    );
    assert.deepEqual([...scene.host.files.keys()], []);
    assert.deepEqual(scene.events.map(({ type }) => type), ["upgradeFailed"]);
  });

  it("sends nothing to a leash that is gone", async () => {
    const scene = new Scene();
    const running = scene.run();
    await scene.boot({ type: "started" });
    const { leash } = scene;
    leash.exit(0);
    await scene.say({ type: "ready", kept: [] });
    await scene.host.advance(0);
    assert.equal(await outcome(running), undefined);
    assert.deepEqual(scene.sentTo(leash), []);
  });

  it("does without a leash where no shell may be run", async () => {
    const scene = new Scene();
    scene.host.spawnFailure = ({ command }) => command === "/bin/sh" ? new Error("not allowed") : undefined;
    const running = scene.run();
    await scene.boot({ type: "started" }, { type: "ready", kept: [] });
    await scene.host.advance(0);
    assert.equal(await outcome(running), undefined);
  });
});

/** A host whose program takes over from the manager on another. */
class HeirHost extends FakeHost {
  readonly #elder: FakeHost;

  constructor(elder: FakeHost) {
    super({ name: "bun" });
    this.#elder = elder;
  }

  override connectControl(path: string, handlers: ControlHandlers): Promise<ControlConnection> {
    return this.#elder.connectControl(path, handlers);
  }

  override removeDir(path: string): void {
    this.#elder.removeDir(path);
  }

  override exit(code: number): never {
    this.exitCode ??= code;
    return undefined as never; // nothing of what follows in a real process happens
  }
}

/** A new manager, the old one as a listening socket, and what happens to the pool. */
class HeirScene {
  readonly elder: FakeHost;
  readonly host: HeirHost;
  readonly heard: string[] = [];
  readonly calls: string[] = [];
  readonly sim = new PoolSim({ maxWorkers: 2 }, { eager: false });
  readonly takeover: Takeover;
  #connection: ControlConnection | undefined;

  static async open(sockets: readonly HandedSocket[] = [], isThere = true, stays = false): Promise<HeirScene> {
    const elder = new FakeHost();
    const task: Task = { dir: await elder.privateDir(), token: "abc", pool: "web", pid: 1000, stays, sockets };
    const scene = new HeirScene(elder, task, isThere);
    await rest();
    return scene;
  }

  private constructor(elder: FakeHost, task: Task, isThere: boolean) {
    this.elder = elder;
    this.host = new HeirHost(elder);
    if (isThere) elder.listenControl(`${task.dir}/upgrade.sock`, (connection) => this.#accept(connection));
    const libc = {
      fcntl: (fd: number, command: number, flags: number) => this.calls.push(`fcntl ${fd} ${command} ${flags}`),
      close: (fd: number) => this.calls.push(`close ${fd}`),
    };
    this.takeover = new Takeover(this.host, decodeTask(encodeTask(task)), () => libc);
  }

  #accept(connection: ControlConnection): ControlHandlers {
    const lines = new LineReader();
    this.#connection = connection;
    return {
      data: (chunk) => lines.push(chunk, (line) => void this.heard.push(line)),
      closed: () => void this.heard.push("closed"),
    };
  }

  begin(pool = "web"): void {
    this.takeover.begin({
      pool,
      stopTimeoutMs: STOP_MS,
      kept: () => [0],
      takenOver: (pid) => void this.calls.push(`taken over from ${pid}`),
      stop: () => void this.calls.push("stop"),
    });
    this.sim.start();
  }

  async ready(count: number): Promise<void> {
    for (const worker of [...this.sim.workers.values()].slice(0, count)) this.sim.tell(worker.id, "ready");
    this.takeover.look("web", this.sim.state);
    await rest();
  }

  async say(text: string): Promise<void> {
    this.#connection?.send(`${text}\n`);
    await rest();
  }

  async leave(): Promise<void> {
    this.#connection?.close();
    await rest();
  }
}

function ended(slot: number, state: WorkerInfo["state"] = "starting"): WorkerInfo {
  return { slot, pid: 7, generation: 1, state, status: "_" };
}

const HELLO = '{"type":"hello","token":"abc"}';
const STARTED = '{"type":"started"}';
const READY = '{"type":"ready","kept":[0]}';

describe("the new manager", () => {
  it("says when its workers are ready, closes what it does not need, and takes over when it is told", async () => {
    const handed = [64, 65].map((fd) => ({ fd, asked: `a${fd}`, bound: `b${fd}`, name: undefined, file: undefined }));
    const scene = await HeirScene.open(handed);
    scene.takeover.inheritance.claim("a64");
    scene.begin();
    await scene.ready(1);
    assert.deepEqual(scene.heard, [HELLO, STARTED]);
    await scene.ready(2);
    await scene.ready(2);
    assert.deepEqual(scene.heard, [HELLO, STARTED, READY]);
    assert.deepEqual(scene.calls, ["fcntl 64 2 1", "fcntl 65 2 1", "close 65"]);
    await scene.say('{"type":"yours"}');
    assert.deepEqual(scene.calls.slice(3), ["taken over from 1000"]);
    assert.equal(scene.heard.at(-1), "closed");
    await scene.leave();
    assert.deepEqual([scene.calls.length, scene.host.exitCode, scene.host.written], [4, undefined, []]);
  });

  it("counts workers that have ended well", async () => {
    const scene = await HeirScene.open();
    scene.takeover.ended("other", ended(0));
    scene.begin();
    scene.takeover.ended("web", ended(1));
    scene.takeover.look("web", scene.sim.state);
    await rest();
    assert.deepEqual(scene.heard, [HELLO, STARTED]);
    await scene.ready(1);
    assert.deepEqual(scene.heard, [HELLO, STARTED, READY]);
  });

  it("does not take over with workers that end at once from one whose workers stay", async () => {
    const scene = await HeirScene.open([], true, true);
    scene.begin();
    scene.takeover.ended("web", ended(0, "ready")); // it has done its day's work
    assert.deepEqual([scene.calls, scene.host.written], [[], []]);
    scene.takeover.ended("web", ended(1));
    assert.deepEqual([scene.calls, scene.host.written], [["stop"], [
      "prefork: worker=1 pid=7 has ended before it was ready, though the workers of the manager pid=1000 stay: this one " +
      "does not take over\n",
    ]]);
    await scene.ready(2);
    assert.deepEqual(scene.heard, [HELLO, STARTED]);
  });

  it("proves nothing by another pool", async () => {
    const scene = await HeirScene.open();
    scene.begin("other");
    for (const worker of scene.sim.workers.values()) scene.sim.tell(worker.id, "ready");
    scene.takeover.look("other", scene.sim.state);
    await rest();
    assert.deepEqual(scene.heard, [HELLO]);
  });

  it("stops when it is told to, even if it is ready, and ends if that takes too long", async () => {
    for (const ready of [1, 2]) {
      const scene = await HeirScene.open();
      scene.begin();
      await scene.ready(ready);
      await scene.say('{"type":"stop"}');
      assert.equal(scene.heard.at(-1), '{"type":"stopping"}');
      assert.deepEqual([scene.calls, scene.host.exitCode], [["stop"], undefined]);
      await scene.leave();
      await scene.host.advance(STOP_MS + 4999);
      assert.deepEqual([scene.calls, scene.host.exitCode], [["stop"], undefined]);
      await scene.host.advance(1);
      assert.equal(scene.host.exitCode, 1);
    }
  });

  const GONE =
    "prefork: the manager pid=1000 is gone, from which this one was to take over; this one has not proved itself " +
    "and ends, start it by itself\n";

  it("ends when the old one is gone, at once if it has no workers, and removes what that has left", async () => {
    const without = await HeirScene.open();
    await without.leave();
    assert.deepEqual([without.host.exitCode, without.host.written, without.elder.files.size], [1, [GONE], 0]);
    const late = await HeirScene.open([], false);
    assert.deepEqual([late.host.exitCode, late.host.written, late.elder.files.size], [1, [GONE], 0]);
    const scene = await HeirScene.open();
    scene.begin();
    await scene.ready(1);
    await scene.leave();
    assert.deepEqual([scene.host.exitCode, scene.calls, scene.host.written], [undefined, ["stop"], [GONE]]);
  });

  it("goes on when the old one is gone that it had proved itself to", async () => {
    const scene = await HeirScene.open();
    scene.begin();
    await scene.ready(2);
    await scene.leave();
    assert.deepEqual([scene.calls, scene.host.written, scene.host.exitCode], [["taken over from 1000"], [], undefined]);
  });
});
