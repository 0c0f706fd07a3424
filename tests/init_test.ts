/** Process 1 waits for whom it adopted, and for nobody else: with a C library that is made up. */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { currentHost } from "../runtimes/current.ts";
import { currentLibc } from "../runtimes/current_libc.ts";
import { Init } from "../src/cli/init.ts";
import type { Libc } from "../src/libc.ts";
import type { ProcessHost } from "../src/types.ts";

const P_PID = 1;

class World {
  /** Who has ended and was not waited for, the first one first. */
  readonly dead: number[] = [];
  readonly own = new Set<number>();
  readonly waits: number[] = [];
  #fire = (): void => {};

  host(pid: number): ProcessHost {
    return {
      ...currentHost,
      pid,
      isChild: (pid) => this.own.has(pid),
      onSignal: () => ({ [Symbol.dispose]() {} }),
      setTimer: (delayMs, callback) => {
        this.waits.push(delayMs);
        this.#fire = callback;
        return { unref() {}, [Symbol.dispose]: () => void (this.#fire = () => {}) };
      },
    };
  }

  /** Lets the time pass that is waited for. */
  tick(): void {
    this.#fire();
  }

  readonly libc = (): Libc => ({
    ...currentLibc(),
    waitid: (kind, id, info) => {
      const at = kind === P_PID ? this.dead.indexOf(id) : 0;
      const pid = this.dead[at];
      if (pid === undefined) return 0;
      new DataView(info.buffer).setInt32(16, pid, true);
      if (kind === P_PID) this.dead.splice(at, 1);
      return 0;
    },
  });
}

const options = { skip: process.platform !== "linux" };

test("process 1 waits for all orphans that have ended, each second", options, () => {
  const world = new World();
  using init = Init.open(world.host(1));
  init?.reap(world.libc, assert.fail);
  world.dead.push(10, 11, 12);
  world.tick();
  assert.deepEqual([world.dead, world.waits], [[], [1000, 1000]]);
});

test("it leaves its own children to the runtime, and looks again soon for those behind them", options, () => {
  const world = new World();
  using init = Init.open(world.host(1));
  init?.reap(world.libc, assert.fail);
  world.own.add(11);
  world.dead.push(10, 11, 12);
  world.tick();
  assert.deepEqual([world.dead, world.waits], [[11, 12], [1000, 50]]);
  world.dead.shift(); // by the runtime, which then tells of it
  world.own.delete(11);
  world.tick();
  assert.deepEqual([world.dead, world.waits], [[], [1000, 50, 1000]]);
});

test("it says what it cannot do, and what to do then", options, () => {
  using init = Init.open(new World().host(1));
  const warnings: string[] = [];
  const noLibc = (): Libc => {
    throw new Error("no C library was found");
  };
  init?.reap(noLibc, (text) => warnings.push(text));
  assert.match(warnings.join(), /^runs as process 1, .* cannot wait for them: no C library was found; .* --init does$/);
});

test("no other process does so", () => {
  assert.equal(Init.open(new World().host(2)), undefined);
});

test("process 1 listens for all that a manager may hear, and notes a stop", () => {
  const heard = new Map<string, () => void>();
  const host: ProcessHost = {
    ...new World().host(1),
    onSignal(signal, listener) {
      heard.set(signal, listener);
      return { [Symbol.dispose]: () => void heard.delete(signal) };
    },
  };
  {
    using init = Init.open(host);
    const all = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGTTIN", "SIGTTOU", "SIGUSR2"];
    assert.deepEqual([...heard.keys()].sort(), all);
    heard.get("SIGHUP")?.();
    assert.equal(init?.isToStop, false);
    heard.get("SIGQUIT")?.();
    assert.equal(init?.isToStop, true);
    init?.listenForTraps({ SIGALRM: null, SIGHUP: "SIGTERM" });
    assert.deepEqual([...heard.keys()].sort(), ["SIGALRM", ...all]);
  }
  assert.equal(heard.size, 0);
});
