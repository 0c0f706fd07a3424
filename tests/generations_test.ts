/** What a pool holds of its generations, with real sockets: which are needed is told by a state made up here. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { currentHost } from "../runtimes/current.ts";
import { currentLibc } from "../runtimes/current_libc.ts";
import { Generations } from "../src/generations.ts";
import { checkOptions, type PreforkOptions } from "../src/options.ts";
import { emptyPool, type PoolState } from "../src/pool_state.ts";
import type { SharedSockets } from "../src/sockets.ts";
import { changeTerms, firstTerms, type PoolChanges, type Terms } from "../src/terms.ts";
import { tempDir } from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };

const ASKED = { type: "self", options: {} } as const;
const WORK = { command: "", args: [], cwd: undefined, env: {}, runtime: undefined, path: undefined, data: "null" };

/** A pool that serves by its first generation. */
class Scene implements Disposable {
  readonly #generations: Generations;
  #state: PoolState;

  constructor(first: PreforkOptions) {
    const terms = firstTerms(first, checkOptions(first, currentHost), currentHost);
    this.#generations = new Generations(terms);
    this.#state = emptyPool(terms.config, 1, 1);
    this.#begin(terms);
    this.serve(1);
  }

  /** What the generation listens on that serves. */
  get sockets(): SharedSockets {
    return this.#terms.sockets ?? assert.fail("it listens nowhere");
  }

  get #terms(): Terms {
    return this.#generations.termsOf(this.#state.current.number);
  }

  /** Begins one more generation, with one worker. */
  reload(changes: PoolChanges): void {
    const elsewhere = this.#generations.elsewhere(this.#terms.sockets);
    this.#begin(changeTerms(this.#terms, changes, 1, currentHost, elsewhere));
  }

  #begin(terms: Terms): void {
    const { number } = this.#generations.add(ASKED, WORK, terms);
    this.#count("spawn", number);
    this.#state = { ...this.#state, generation: number };
  }

  /** A generation serves from here on, or goes on to. */
  serve(number: number): void {
    this.#state = { ...this.#state, current: { number, channel: true } };
    this.#generations.forget(this.#state);
  }

  /** The worker of a generation is gone. */
  reap(generation: number): void {
    this.#count("reap", generation);
    this.#generations.forget(this.#state);
  }

  #count(type: "spawn" | "reap", generation: number): void {
    const worker = { slot: 0, pid: 1, generation, state: "starting", status: "_" } as const;
    const end = { status: { type: "exited", code: 0 }, expected: true, reason: "" } as const;
    this.#generations.count(type === "spawn" ? { type, worker } : { type, worker, ...end });
  }

  [Symbol.dispose](): void {
    this.#generations[Symbol.dispose]();
  }
}

const F_DUPFD_CLOEXEC = 1030;

/** What a worker has of its own: the first socket of the generation that serves, for as long as it lives. */
function holdAsWorker(sockets: SharedSockets): Disposable {
  const libc = currentLibc();
  const fd = libc.fcntl(sockets.workerListeners(true)[0]?.fd ?? -1, F_DUPFD_CLOEXEC, 64);
  return { [Symbol.dispose]: () => void libc.close(fd) };
}

function addressOf(sockets: SharedSockets): string {
  return sockets.listeners[0]?.text ?? assert.fail("it listens nowhere");
}

describe("an address that a reload has given up", () => {
  it("is said to be held by workers that have yet to end", options, () => {
    using scene = new Scene({ listen: "127.0.0.1:0" });
    const before = addressOf(scene.sockets);
    {
      using _worker = holdAsWorker(scene.sockets);
      scene.reload({}); // one more generation that has it
      scene.serve(2);
      for (const [number, listen] of [[3, "[::1]:0"], [4, undefined]] as const) {
        scene.reload({ listen });
        scene.serve(number);
        assert.throws(() => scene.reload({ listen: before }), {
          message: `Cannot listen on ${before}: this pool listened there before, and its workers of then have yet to ` +
            `end; try again when they are gone, or choose another port`,
        });
      }
      for (const number of [1, 2]) scene.reap(number);
      assert.throws(() => scene.reload({ listen: before }), {
        message: /: another process listens there; stop it, or/,
      });
    }
    scene.reload({ listen: before });
    scene.serve(5);
    assert.equal(addressOf(scene.sockets), before);
  });
});

describe("a generation that did not come to serve", () => {
  it("is said to hold an address until its workers have ended", options, () => {
    using scene = new Scene({ listen: "127.0.0.1:0" });
    scene.reload({ listen: ["127.0.0.1:0", "0.0.0.0:0"] });
    scene.serve(2);
    const port = /:(\d+)$/.exec(scene.sockets.listeners[1]?.text ?? "")?.[1];
    scene.serve(1);
    assert.throws(() => scene.reload({ listen: `127.0.0.1:${port}` }), {
      message:
        `Cannot listen on 127.0.0.1:${port}: this pool listened there before, and its workers of then have yet to ` +
        "end; try again when they are gone, or choose another port",
    });
    scene.reap(2);
    scene.reload({ listen: `127.0.0.1:${port}` });
  });

  const GIVEN: Readonly<Record<string, (sockets: SharedSockets) => void>> = {
    "the next manager": (sockets) => sockets.disown([0]),
    "whichever manager comes": (sockets) => sockets.leaveFiles(),
  };
  for (const [whom, give] of Object.entries(GIVEN)) {
    it(`takes no file with it that was left to ${whom} meanwhile, but its own`, options, async () => {
      await using dir = await tempDir();
      const [path, own] = [dir.file("a.sock"), dir.file("b.sock")];
      {
        using scene = new Scene({ listen: `unix:${path}` });
        scene.reload({ listen: [`unix:${own}`, { address: `unix:${path}`, backlog: 5 }] });
        scene.serve(1);
        give(scene.sockets);
        scene.reap(2);
        assert.deepEqual([existsSync(path), existsSync(own)], [true, false]);
      }
      assert.equal(existsSync(path), true);
    });
  }

  it("leaves a file to the one that serves, which removes it at its end", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    {
      using scene = new Scene({ listen: `unix:${path}` });
      scene.reload({ listen: { address: `unix:${path}`, backlog: 5 } });
      scene.serve(1);
      scene.reap(2);
      assert.equal(existsSync(path), true);
    }
    assert.equal(existsSync(path), false);
  });
});
