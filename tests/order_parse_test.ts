import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ORDER_HELP } from "../src/cli/help.ts";
import { parse } from "../src/cli/parse.ts";
import type { OrderRequest } from "../src/cli/parse_order.ts";
import { formatTime } from "../src/cli/status_table.ts";
import { decodeOrder, decodeReply, encodeOrder, type Order } from "../src/operator/words.ts";

const UNDERSTOOD: readonly [string, Partial<OrderRequest>][] = [
  ["status", { order: { do: "status" } }],
  ["status web --json", { order: { do: "status" }, name: "web", json: true }],
  ["status --watch --name=web", { order: { do: "status" }, name: "web", watch: true }],
  ["reload --wait --control /run/x", { order: { do: "reload" }, control: "/run/x", wait: true }],
  ["upgrade web", { order: { do: "upgrade" }, name: "web" }],
  ["stop --now", { order: { do: "stop", now: true } }],
  ["stop --name web", { order: { do: "stop", now: false }, name: "web" }],
  ["scale 4", { order: { do: "scale", workers: 4 } }],
  ["scale 0 web", { order: { do: "scale", workers: 0 }, name: "web" }],
  ["signal 9", { order: { do: "signal", signal: "SIGKILL" } }],
  ["signal usr2", { order: { do: "signal", signal: "SIGUSR2" } }],
  ["signal SIGHUP web --slot 2", { order: { do: "signal", signal: "SIGHUP", slot: 2 }, name: "web" }],
];

test("parse() understands what is to be asked of a manager", () => {
  const none = { kind: "order", name: undefined, control: undefined, wait: false, json: false, watch: false };
  for (const [line, wanted] of UNDERSTOOD) assert.deepEqual(parse(line.split(" ")), { ...none, ...wanted }, line);
  assert.deepEqual(parse(["list", "--json"]), { kind: "list", json: true });
  assert.deepEqual(parse(["top"]), { kind: "top", name: undefined, control: undefined });
  const logs = { kind: "logs", name: undefined, control: undefined, lines: 20, follows: false };
  assert.deepEqual(parse(["logs"]), logs);
  assert.deepEqual(parse(["logs", "web", "-f", "-n", "5"]), { ...logs, name: "web", lines: 5, follows: true });
  assert.deepEqual(parse(["top", "web"]), { kind: "top", name: "web", control: undefined });
  for (const line of ["status --help", "list -h", "reload web --help"]) {
    assert.deepEqual(parse(line.split(" ")), { kind: "orderHelp" }, line);
  }
  assert.equal(parse(["./status"]).kind, "run", "a file of that name");
  assert.equal(parse(["run", "status"]).kind, "run");
});

test("parse() understands what is to be checked", () => {
  const request = parse(["check", "app.ts", "-l", "8080", "--", "-v"]);
  assert.deepEqual(request.kind === "check" && request.run.target, { type: "module", module: "app.ts", args: ["-v"] });
  assert.deepEqual(request.kind === "check" && request.run.options, { listen: ["8080"] });
  for (const line of ["check --help", "check app.ts -h", "completion --help", "completion bash -h"]) {
    assert.equal(parse(line.split(" ")).kind, "orderHelp", line);
  }
  assert.equal(parse(["check", "app.ts", "--", "--help"]).kind, "check");
  assert.equal(parse(["check"]).kind, "error");
  assert.equal(parse(["run", "check"]).kind, "run");
});

const REFUSED: readonly [string, RegExp][] = [
  ["status --jsno", /^Cannot understand --jsno after status: there is no such option; did you mean --json\?$/],
  ["status --wait", /^Cannot understand --wait after status: .*'prefork status --help' lists all$/],
  ["reload a b", /^Cannot understand 'b' after reload: one manager is asked at a time/],
  ["reload a --name b", /^Cannot understand 'a' after reload/],
  ["logs -n many", /^Cannot use 'many' for --lines/],
  ["status -n 5", /^Cannot understand -n after status/],
  ["top a b", /^Cannot understand 'b' after top/],
  ["top --json", /^Cannot understand --json after top/],
  ["list web", /^Cannot list 'web' alone: list shows all; status shows one$/],
  ["scale -1", /^Cannot use '-1' for scale: it must be 0 or more$/],
  ["scale 1000000000", /^Cannot use '1000000000' for scale: it must be less than a thousand million$/],
  ["signal 99", /^Cannot use '99' in signal 99: there is no such signal$/],
  ["scale", /^Cannot scale without N: scale 4, for one$/],
  ["scale many", /^Cannot use 'many' for scale: it must be a whole number, such as 4$/],
  ["signal", /^Cannot signal without SIG: signal USR2, for one$/],
  ["signal HUPP", /^Cannot use 'HUPP' in signal HUPP: there is no such signal; did you mean HUP\?$/],
  ["signal HUP --slot first", /^Cannot use 'first' for --slot/],
  ["status --slot 1", /^Cannot understand --slot after status/],
  ["status --name", /^Cannot use --name without a value: give one, as in --name web$/],
  ["stop --control=", /^Cannot use --control without a value/],
];

test("parse() says what is wrong with what is to be asked", () => {
  for (const [line, message] of REFUSED) {
    const request = parse(line.split(" "));
    assert.equal(request.kind, "error", line);
    if (request.kind === "error") assert.match(request.message, message, line);
  }
});

test("the help for operators fits on a screen", () => {
  const lines = ORDER_HELP.split("\n");
  assert.ok(lines.length <= 46, `${lines.length} lines`);
  for (const line of lines) assert.ok(line.length <= 104, line);
});

const ORDERS: readonly Order[] = [
  { do: "status" },
  { do: "reload" },
  { do: "upgrade" },
  { do: "follow" },
  { do: "reopen" },
  { do: "stop", now: true },
  { do: "scale", workers: 3 },
  { do: "signal", signal: "SIGHUP" },
  { do: "signal", signal: "SIGHUP", slot: 0 },
];

test("orders arrive as they were given", () => {
  for (const order of ORDERS) assert.deepEqual(decodeOrder(encodeOrder(order)), order);
});

const NONSENSE: readonly object[] = [
  { do: "scale" },
  { do: "scale", workers: -1 },
  { do: "scale", workers: 1.5 },
  { do: "scale", workers: "4" },
  { do: "scale", workers: 1e12 },
  { do: "signal" },
  { do: "signal", signal: "HUP" },
  { do: "signal", signal: "SIGHUP", slot: -1 },
  { do: "signal", signal: "SIGHUP", slot: null },
  { do: "" },
  {},
];

test("orders that make no sense are refused, whatever they are", () => {
  for (const order of NONSENSE) {
    assert.throws(() => decodeOrder(JSON.stringify({ version: 1, ...order })), SyntaxError, JSON.stringify(order));
  }
  assert.throws(() => decodeOrder('{"do":"status"}'), /speaks version 1 of the operator's protocol, not undefined/);
  const known = new Set<unknown>(ORDERS.map((order) => order.do));
  const line = fc.oneof(fc.string(), fc.json(), fc.object().map((object) => JSON.stringify({ version: 1, ...object })));
  fc.assert(fc.property(line, (text) => {
    for (const decode of [decodeOrder, decodeReply]) {
      try {
        const decoded: object = decode(text);
        if (decode === decodeOrder) assert.ok("do" in decoded && known.has(decoded.do));
      } catch (error) {
        assert.ok(error instanceof SyntaxError, String(error));
      }
    }
  }));
});

test("times are told by their two largest units", () => {
  const cases: readonly [number, string][] = [
    [0, "0.0s"],
    [340, "0.3s"],
    [9949, "9.9s"],
    [12_000, "12s"],
    [60_000, "1m"],
    [302_000, "5m2s"],
    [3_600_000, "1h"],
    [90_000_000, "1d1h"],
    [86_400_000 + 59_000, "1d"],
  ];
  for (const [ms, text] of cases) assert.equal(formatTime(ms), text);
});
