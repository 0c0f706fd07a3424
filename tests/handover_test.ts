/** What two managers tell each other in an upgrade, and what counts as a proof. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  askedFor,
  decodeElderMessage,
  decodeHeirMessage,
  decodeTask,
  encodeMessage,
  encodeTask,
  type HandedSocket,
  type HeirMessage,
  Inheritance,
  type Task,
} from "../src/handover.ts";
import { readEnvironment } from "../src/environment.ts";
import { spareWorkers } from "../src/policy.ts";
import { hasProved } from "../src/proof.ts";
import { SlotSet } from "../src/slot_set.ts";
import { PoolSim } from "./support/pool_sim.ts";

function socket(fd: number, asked: string, bound = asked, more: Partial<HandedSocket> = {}): HandedSocket {
  return { fd, asked, bound, name: undefined, file: undefined, ...more };
}

describe("a task", () => {
  const task: Task = {
    stays: true,
    dir: "/tmp/prefork-1",
    token: "abc",
    pool: "0",
    pid: 42,
    sockets: [
      socket(64, "127.0.0.1:0", "127.0.0.1:40000", { name: "web" }),
      socket(65, "unix:/a b", "unix:/a b", { file: "/a b" }),
    ],
  };

  it("crosses the environment as it is", () => {
    assert.deepEqual(decodeTask(encodeTask(task)), task);
  });

  it("of another version, or of nobody, is refused by a sentence", () => {
    const other = JSON.stringify({ ...JSON.parse(encodeTask(task)), version: 2 });
    assert.throws(() => decodeTask(other), {
      message: "Cannot take over from the manager before: it hands over by version 2 of the protocol, this one by 1; " +
        "stop it, and start this one by itself",
    });
    for (const text of ["", "yes", "[]", '{"version":1}', encodeTask({ ...task, pid: NaN })]) {
      assert.throws(() => decodeTask(text), {
        name: "TypeError",
        message: /^Cannot use PREFORK_UPGRADE='.*only a manager/,
      });
    }
    const without = JSON.stringify({ ...JSON.parse(encodeTask(task)), sockets: [{ fd: 64 }] });
    assert.throws(() => decodeTask(without), { message: 'Cannot use PREFORK_UPGRADE: {"fd":64} is no socket' });
  });
});

describe("a message", () => {
  it("is a line, and comes as it went", () => {
    const messages: readonly HeirMessage[] = [
      { type: "hello", token: "abc" },
      { type: "started" },
      { type: "ready", kept: [0, 2] },
      { type: "stopping" },
    ];
    for (const message of messages) {
      const line = encodeMessage(message);
      assert.deepEqual([line.indexOf("\n"), decodeHeirMessage(line)], [line.length - 1, message]);
    }
    for (const type of ["yours", "stop"] as const) {
      assert.deepEqual(decodeElderMessage(encodeMessage({ type })), { type });
    }
  });

  it("that makes no sense is an error", () => {
    for (
      const line of ["", "rubbish", '{"type":"hello"}', '{"type":"ready","kept":["a"]}', '{"type":"yours"}', "null"]
    ) {
      assert.throws(() => decodeHeirMessage(line), SyntaxError);
    }
    assert.throws(() => decodeElderMessage('{"type":"ready","kept":[]}'), SyntaxError);
  });
});

describe("an address that was asked for", () => {
  it("is written in one way only", () => {
    for (const text of ["8080", "web=8080", "*:8080", "0.0.0.0:8080"]) {
      assert.equal(askedFor(text, "/srv"), "0.0.0.0:8080");
    }
    assert.equal(askedFor("localhost:80", "/srv"), "127.0.0.1:80");
    assert.equal(askedFor("[0:0::1]:80", "/srv"), "[::1]:80");
    assert.equal(askedFor("unix:a.sock", "/srv"), "unix:/srv/a.sock");
    assert.equal(askedFor("unix:/a.sock", "/srv"), "unix:/a.sock");
    assert.equal(askedFor("fd:7", "/srv"), "fd:7");
    assert.equal(askedFor("inherit", "/srv"), "inherit");
  });
});

describe("an inheritance", () => {
  const places = (claimed: readonly { readonly place: number }[]): readonly number[] =>
    claimed.map(({ place }) => place);

  it("gives each socket once: to who asks in the same words, else to who asks for its place", () => {
    const inheritance = new Inheritance([
      socket(64, "127.0.0.1:0", "127.0.0.1:40000"),
      socket(65, "127.0.0.1:0", "127.0.0.1:40001"),
      socket(66, "0.0.0.0:80"),
    ]);
    assert.deepEqual(places(inheritance.claim("127.0.0.1:40001")), [1]);
    assert.deepEqual(places(inheritance.claim("127.0.0.1:0")), [0]);
    assert.deepEqual(places(inheritance.claim("127.0.0.1:0")), []);
    assert.deepEqual(places(inheritance.claim("127.0.0.1:80")), []);
    assert.deepEqual(places(inheritance.unclaimed), [2]);
  });

  it("tells sockets apart by their names where they were asked for in the same words", () => {
    const inheritance = new Inheritance([
      socket(64, "127.0.0.1:0", "127.0.0.1:40000", { name: "a" }),
      socket(65, "127.0.0.1:0", "127.0.0.1:40001", { name: "b" }),
    ]);
    assert.deepEqual(places(inheritance.claim("127.0.0.1:0", "b")), [1]);
    assert.deepEqual(places(inheritance.claim("127.0.0.1:0", "c")), [0]);
  });

  it("gives all that were inherited before, in their order, and tells how many", () => {
    const inheritance = new Inheritance([
      socket(64, "inherit", "127.0.0.1:1", { name: "a" }),
      socket(65, "0.0.0.0:80"),
      socket(66, "inherit", "127.0.0.1:2"),
    ]);
    assert.equal(inheritance.count("inherit"), 2);
    assert.deepEqual(places(inheritance.claim("127.0.0.1:2")), [2]);
    assert.deepEqual(inheritance.claim("inherit").map(({ place, name }) => [place, name]), [[0, "a"]]);
    assert.deepEqual(inheritance.claim("inherit"), []);
    assert.equal(inheritance.count("inherit"), 0);
  });
});

describe("the environment of a process", () => {
  it("is what stands before and after the first '='", () => {
    assert.deepEqual(readEnvironment(["A=1", "B=", "C=x=y", "no", "=odd"]), { A: "1", B: "", C: "x=y" });
  });
});

describe("a pool has proved itself", () => {
  function ready(sim: PoolSim, count: number): readonly boolean[] {
    sim.start();
    const seen = [hasProved(sim.state, SlotSet.empty)];
    for (let slot = 0; slot < count; slot++) {
      const worker = [...sim.workers.values()][slot];
      if (worker === undefined) break;
      sim.send({ type: "ready", slot: worker.slot, id: worker.id });
      seen.push(hasProved(sim.state, SlotSet.empty));
    }
    return seen;
  }

  it("when all its workers are ready", () => {
    assert.deepEqual(ready(new PoolSim({ maxWorkers: 3 }, { eager: false }), 3), [false, false, false, true]);
  });

  it("not before those that are still to be made", () => {
    const sim = new PoolSim({ maxWorkers: 2, spawnIntervalMs: 1000 });
    sim.start();
    assert.deepEqual([sim.size, hasProved(sim.state, SlotSet.empty)], [1, false]);
    sim.advance(1000);
    assert.deepEqual([sim.size, hasProved(sim.state, SlotSet.empty)], [2, true]);
  });

  it("when those are ready that its policy wants first", () => {
    const policy = spareWorkers({ minSpare: 2 });
    assert.deepEqual(ready(new PoolSim({ maxWorkers: 10, policy }, { eager: false }), 2), [false, false, true]);
  });

  it("never without a ready worker, whatever is wanted, and whatever a policy says", () => {
    assert.deepEqual(ready(new PoolSim({ maxWorkers: 0 }), 0), [false]);
    for (const decide of [() => NaN, () => -1, () => assert.fail("oops")]) {
      const sim = new PoolSim({ maxWorkers: 3, policy: { intervalMs: 0, decide } });
      sim.start();
      assert.equal(hasProved(sim.state, SlotSet.empty), false);
    }
  });

  it("when workers of it are done that were never ready, each slot counted once", () => {
    const sim = new PoolSim({ maxWorkers: 3 }, { eager: false });
    sim.start();
    const proved = (...slots: readonly number[]) =>
      hasProved(sim.state, slots.reduce((set, slot) => set.add(slot), SlotSet.empty));
    assert.deepEqual([proved(0, 2), proved(0, 1, 2)], [false, true]);
    sim.tell(sim.inSlot(1).id, "ready");
    assert.deepEqual([proved(), proved(0), proved(0, 1), proved(0, 2)], [false, false, false, true]);
  });

  it("not any more once it is told to stop", () => {
    const sim = new PoolSim({ maxWorkers: 1 }, { obedient: false });
    sim.start();
    assert.equal(hasProved(sim.state, SlotSet.empty), true);
    sim.send({ type: "signal", signal: "SIGTERM" });
    assert.equal(hasProved(sim.state, SlotSet.empty), false);
  });
});
