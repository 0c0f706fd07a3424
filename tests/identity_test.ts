import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkName, childPath, decideRole, MAX_DEPTH, parsePath, type Role, type Situation } from "../src/identity.ts";

const IN_START = { signalReceived: "", starting: true, started: true } as const;
const RETURNED = { signalReceived: "SIGHUP", starting: false, started: true } as const;
const UNUSED = { signalReceived: "", starting: false, started: false } as const;

type Row = readonly [what: string, situation: Partial<Situation>, role: Role];

const TABLE: readonly Row[] = [
  ["the pool it was made for", { path: ["0"], key: "0" }, { type: "worker", step: 0 }],
  ["the pool it was made for, by name", { path: ["web"], key: "web" }, { type: "worker", step: 0 }],
  ["the outer pool of a nested worker", { path: ["0", "1"], key: "0" }, { type: "worker", step: 0 }],
  ["the inner pool of a nested worker", { path: ["0", "1"], reached: ["0"], key: "1" }, { type: "worker", step: 1 }],
  ["its own pool again", { path: ["0"], reached: ["0"], key: "0" }, { type: "refused" }],
  ["its outer pool again", { path: ["0", "1"], reached: ["0"], key: "0" }, { type: "refused" }],
  ["an earlier pool", { path: ["1"], key: "0", snapshot: RETURNED }, { type: "passed" }],
  ["a pool beside it that still runs", { path: ["1"], key: "0", snapshot: IN_START }, { type: "pending", warn: false }],
  [
    "a pool beside it that still runs, after it was reached",
    { path: ["0"], reached: ["0"], form: "callback", key: "1", snapshot: IN_START },
    { type: "pending", warn: false },
  ],
  ["a pool the manager never started, on the way", { path: ["1"], key: "0", snapshot: UNUSED }, {
    type: "pending",
    warn: false,
  }],
  ["a pool the manager never made, on the way", { path: ["1"], key: "0" }, { type: "pending", warn: false }],
  ["a pool made in the worker", { path: ["0"], reached: ["0"], key: "1", madeBefore: false }, { type: "manager" }],
  [
    "a pool made in the worker's callback",
    { path: ["0"], reached: ["0"], key: "1", madeBefore: false, form: "callback" },
    { type: "manager" },
  ],
  [
    "a pool made at the top and started behind start",
    { path: ["0"], reached: ["0"], key: "1", snapshot: UNUSED },
    { type: "manager" },
  ],
  [
    "a pool made at the top and started beside or in a callback",
    { path: ["0"], reached: ["0"], key: "1", form: "callback", snapshot: UNUSED },
    { type: "pending", warn: true },
  ],
  ["a pool of a worker module", { path: ["@"], reached: ["@"], key: "0", form: "module" }, { type: "manager" }],
  ["a worker of a worker module", { path: ["@", "0"], reached: ["@"], key: "0", form: "module" }, {
    type: "worker",
    step: 1,
  }],
  ["a pool between, already stopped", { path: ["0", "2"], reached: ["0"], key: "1", snapshot: RETURNED }, {
    type: "passed",
  }],
];

describe("decideRole()", () => {
  for (const [what, situation, role] of TABLE) {
    it(`knows ${what}`, () => {
      const whole: Situation = {
        path: [],
        reached: [],
        form: "fallThrough",
        key: "0",
        madeBefore: true,
        snapshot: undefined,
        ...situation,
      };
      assert.deepEqual(decideRole(whole), role);
    });
  }
});

describe("paths", () => {
  it("are the program's own from its last module on, and as deep as all of them", () => {
    assert.deepEqual(parsePath("0/1"), { depth: 2, path: ["0", "1"] });
    assert.deepEqual(parsePath("0/@/web"), { depth: 3, path: ["@", "web"] });
    assert.deepEqual(parsePath("@/0/@"), { depth: 3, path: ["@"] });
  });

  it("end at the depth limit", () => {
    let path: string | undefined;
    for (let i = 0; i < MAX_DEPTH; i++) path = childPath(path, "0");
    assert.throws(() => childPath(path, "0"), { name: "RangeError", message: /9 managers deep/ });
  });

  it("hold no name that could be taken for something else", () => {
    assert.equal(checkName("web.api-2"), "web.api-2");
    for (const name of ["", "0", "a/b", "@", "a b"]) assert.throws(() => checkName(name), TypeError);
  });
});
