/** Which worker does which job, on a clock of its own. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Encoded } from "../src/jobs/codec.ts";
import { Dispatcher, type Outcome } from "../src/jobs/dispatcher.ts";

const NOTHING: Encoded = { text: "", blobs: [] };
const DONE: Outcome = { type: "done", value: NOTHING };

/** A dispatcher, and what it wanted done. */
class Scene {
  now = 0;
  readonly log: string[] = [];
  readonly dispatcher: Dispatcher<string>;

  constructor() {
    this.dispatcher = new Dispatcher<string>({
      give: (worker, { id }) => this.log.push(`give ${id} to ${worker}`),
      begins: (worker, { id }) => this.log.push(`${worker} begins ${id}`),
      returns: ({ id }) => this.log.push(`${id} returns`),
      settle: ({ id }, outcome) =>
        this.log.push(`${id} ${outcome.type}${outcome.type === "died" ? outcome.times : ""}`),
    }, () => this.now);
  }

  add(...ids: readonly number[]): void {
    for (const id of ids) this.dispatcher.add({ id, item: NOTHING, tries: 1 });
  }

  /** A worker has done its job, after a time. */
  answer(worker: string, id: number, ms = 0): void {
    this.now += ms;
    this.dispatcher.answer(worker, id, DONE);
  }

  /** What was wanted done since the last look. */
  look(): string[] {
    return this.log.splice(0);
  }
}

describe("a dispatcher of jobs", () => {
  it("gives each job to a worker that has nothing to do, first come first served", () => {
    const scene = new Scene();
    scene.add(1, 2, 3);
    assert.equal(scene.dispatcher.waiting, 3);
    scene.dispatcher.join("a");
    scene.dispatcher.join("b");
    assert.deepEqual(scene.look(), ["give 1 to a", "a begins 1", "give 2 to b", "b begins 2"]);
    assert.deepEqual([scene.dispatcher.waiting, scene.dispatcher.running], [1, 2]);
    scene.answer("b", 2, 10);
    assert.deepEqual(scene.look(), ["2 done", "give 3 to b", "b begins 3"]);
    scene.answer("b", 3, 10);
    scene.answer("a", 1, 10);
    assert.deepEqual(scene.look(), ["3 done", "1 done"]);
    assert.deepEqual([scene.dispatcher.waiting, scene.dispatcher.running], [0, 0]);
  });

  it("gives very short jobs in advance, but first to whoever has none", () => {
    const scene = new Scene();
    scene.dispatcher.join("a");
    scene.add(1);
    scene.answer("a", 1, 0.25);
    assert.equal(scene.dispatcher.depth, 5);
    scene.dispatcher.join("b");
    scene.look();
    scene.add(2, 3, 4, 5, 6);
    const given = ["give 2 to a", "a begins 2", "give 3 to b", "b begins 3", "give 4 to a"];
    assert.deepEqual(scene.look(), given, "and keeps one for each");
    scene.answer("a", 2);
    assert.deepEqual(scene.look(), ["a begins 4", "2 done"]);
    scene.add(7);
    assert.deepEqual(scene.look(), ["give 5 to a"]);
  });

  it("loses nothing that a worker had not begun which was told to stop", () => {
    for (const last of [0, 2]) {
      const scene = new Scene();
      scene.dispatcher.join("a");
      scene.add(1);
      scene.answer("a", 1, 0.1);
      scene.add(2, 3, 4);
      scene.look();
      scene.dispatcher.close("a", last);
      if (last === 2) scene.answer("a", 2);
      scene.add(5);
      assert.ok(!scene.look().some((line) => line.startsWith("give")), "it is given nothing more");
      scene.dispatcher.leave("a");
      scene.dispatcher.join("b");
      assert.ok(!scene.log.some((line) => line.includes("died")));
      assert.equal(scene.dispatcher.waiting + scene.dispatcher.running, last === 2 ? 3 : 4);
    }
  });

  it("takes back what a worker has not begun, though it is next by then", () => {
    const scene = new Scene();
    scene.dispatcher.join("a");
    scene.add(1);
    scene.answer("a", 1, 0.1);
    scene.add(2, 3, 4);
    scene.answer("a", 2);
    scene.look();
    scene.dispatcher.giveBack("a", 3);
    assert.deepEqual(scene.look(), ["3 returns", "give 3 to a", "a begins 3"]);
  });

  it("gives nobody what nobody wants any more, also where it comes back", () => {
    const scene = new Scene();
    scene.dispatcher.join("a");
    scene.add(1);
    scene.answer("a", 1, 0.1);
    scene.add(2, 3, 4);
    for (const id of [2, 3]) assert.equal(scene.dispatcher.cancel(id), "a");
    scene.dispatcher.leave("a");
    scene.look();
    scene.dispatcher.join("b");
    assert.deepEqual(scene.look(), ["3 died0", "give 4 to b", "b begins 4"]);
  });

  it("gives up all that waits", () => {
    const scene = new Scene();
    scene.add(1, 2, 3);
    scene.dispatcher.cancel(2);
    assert.deepEqual(scene.dispatcher.takeAll().map(({ id }) => id), [1, 3]);
    assert.equal(scene.dispatcher.waiting, 0);
  });

  it("has what was given in advance back from whoever is at a job for long", () => {
    const scene = new Scene();
    scene.dispatcher.join("a");
    scene.add(1);
    scene.answer("a", 1, 0.1);
    scene.add(2, 3, 4, 5);
    assert.deepEqual(scene.dispatcher.behind(20), []);
    scene.now += 20;
    const [{ worker, jobs } = { worker: "", jobs: [] }] = scene.dispatcher.behind(20);
    assert.deepEqual([worker, jobs.map(({ id }) => id)], ["a", [3, 4]]);
    assert.deepEqual(scene.dispatcher.behind(20), [], "it is asked once");
    scene.add(6);
    assert.ok(!scene.look().includes("give 5 to a"), "and given nothing more meanwhile");
    scene.dispatcher.cancel(6);
    scene.dispatcher.join("b");
    scene.look();
    scene.dispatcher.giveBack("a", 4);
    scene.dispatcher.giveBack("a", 3);
    assert.throws(() => scene.dispatcher.giveBack("a", 9), /sent a job back that it does not have: 9/);
    for (const id of [5, 4, 3]) scene.answer("b", id);
    assert.deepEqual(scene.look().filter((line) => /done|give/.test(line)), [
      "5 done",
      "give 4 to b",
      "4 done",
      "give 3 to b",
      "3 done",
    ]);
  });

  it("gives long ones one by one", () => {
    const scene = new Scene();
    scene.dispatcher.join("a");
    scene.add(1, 2, 3);
    scene.answer("a", 1, 1.5);
    assert.equal(scene.dispatcher.depth, 1);
    assert.deepEqual(scene.look().filter((line) => line.startsWith("give")), ["give 1 to a", "give 2 to a"]);
  });

  it("loses the job alone of which a worker died", () => {
    const scene = new Scene();
    scene.dispatcher.join("a");
    scene.add(1);
    scene.answer("a", 1, 0.1);
    scene.add(2, 3, 4);
    assert.ok(scene.look().includes("give 3 to a"));
    scene.dispatcher.leave("a");
    assert.deepEqual(scene.look(), ["3 returns", "2 died1"]);
    scene.add(5);
    scene.dispatcher.join("b");
    assert.deepEqual(scene.look().filter((line) => line.startsWith("give")), [3, 4].map((id) => `give ${id} to b`));
  });

  it("tries a job again as often as it may be, before all others", () => {
    const scene = new Scene();
    scene.dispatcher.add({ id: 1, item: NOTHING, tries: 2 });
    scene.add(2);
    scene.dispatcher.join("a");
    scene.dispatcher.leave("a");
    scene.dispatcher.join("b");
    assert.deepEqual(scene.look(), ["give 1 to a", "a begins 1", "1 returns", "give 1 to b", "b begins 1"]);
    scene.dispatcher.leave("b");
    scene.dispatcher.join("c");
    assert.deepEqual(scene.look(), ["1 died2", "give 2 to c", "c begins 2"]);
  });

  it("takes out what nobody wants any more, and says who has it", () => {
    const scene = new Scene();
    scene.add(1, 2, 3);
    assert.equal(scene.dispatcher.cancel(2), undefined);
    assert.equal(scene.dispatcher.waiting, 2);
    scene.dispatcher.join("a");
    assert.equal(scene.dispatcher.cancel(1), "a");
    assert.deepEqual([scene.dispatcher.isAt("a", 1), scene.dispatcher.isAt("a", 3)], [true, false]);
    scene.dispatcher.leave("a");
    scene.dispatcher.join("b");
    assert.deepEqual(scene.look(), ["give 1 to a", "a begins 1", "1 died1", "give 3 to b", "b begins 3"]);
  });

  it("tries nothing again that nobody wants any more", () => {
    const scene = new Scene();
    scene.dispatcher.add({ id: 1, item: NOTHING, tries: 9 });
    scene.dispatcher.join("a");
    scene.dispatcher.cancel(1);
    scene.dispatcher.leave("a");
    scene.dispatcher.join("b");
    assert.deepEqual(scene.look().at(-1), "1 died1");
  });

  it("takes no answer for a job that a worker does not do", () => {
    const scene = new Scene();
    scene.dispatcher.join("a");
    scene.add(1);
    assert.throws(() => scene.dispatcher.answer("a", 2, DONE), /sent the answer of a job that it does not do: 2/);
    assert.throws(() => scene.dispatcher.answer("b", 1, DONE), SyntaxError);
  });

  it("knows its way with a hundred thousand jobs that wait", () => {
    const scene = new Scene();
    const count = 100_000;
    for (let id = 1; id <= count; id++) scene.add(id);
    for (let id = 1; id <= count; id += 2) scene.dispatcher.cancel(id);
    assert.equal(scene.dispatcher.waiting, count / 2);
    scene.dispatcher.join("a");
    for (let id = 2; id <= count; id += 2) scene.answer("a", id, 5);
    assert.equal(scene.look().filter((line) => line.endsWith("done")).length, count / 2);
    assert.equal(scene.dispatcher.waiting, 0);
  });
});
