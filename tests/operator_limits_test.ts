/** What operators may cost a manager: places, time and memory. On the virtual clock. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Conversation, type Obey } from "../src/operator/conversation.ts";
import { OperatorServer } from "../src/operator/server.ts";
import { encodeOrder } from "../src/operator/words.ts";
import type { ControlConnection } from "../src/types.ts";
import { FakeHost, settle } from "./fake_host.ts";

const PATH = "/fake/operator.sock";
const IDLE = '{"type":"failed","reason":"no order came within 30 seconds: connect again to give one"}\n';
const SCALED = '{"type":"done","text":"scaled"}\n';
const SCALE = encodeOrder({ do: "scale", workers: 2 });

/** Follows until the operator is gone; does all else at once. */
const obey: Obey = async (order, _, gone) => {
  if (order.do !== "follow") return { type: "done", text: "scaled" };
  await gone;
  return { type: "done", text: "" };
};

/** An operator who says what a test says, and keeps what it hears. */
class Operator {
  heard = "";
  isClosed = false;
  #connection: ControlConnection | undefined;

  static async connect(host: FakeHost): Promise<Operator> {
    const operator = new Operator();
    operator.#connection = await host.connectControl(PATH, {
      data: (chunk) => void (operator.heard += new TextDecoder().decode(chunk)),
      closed: () => operator.isClosed = true,
    });
    await settle();
    return operator;
  }

  async say(text: string): Promise<this> {
    this.#connection?.send(text);
    await settle();
    return this;
  }
}

function serve(): FakeHost {
  const host = new FakeHost();
  new OperatorServer(host, PATH, obey);
  return host;
}

describe("an operator", () => {
  it("who asks for nothing is told so and hung up on, though half a line comes now and then", async () => {
    const host = serve();
    const [silent, slow] = [await Operator.connect(host), await Operator.connect(host)];
    for (let seconds = 0; seconds < 29; seconds++) {
      await slow.say("{");
      await host.advance(1000);
    }
    assert.deepEqual([silent.heard, slow.heard], ["", ""]);
    await host.advance(1000);
    assert.deepEqual([silent.heard, slow.heard, silent.isClosed], [IDLE, IDLE, false]);
    await slow.say(`\n${SCALE}`); // too late
    await host.advance(1000);
    assert.deepEqual([slow.heard, silent.isClosed, slow.isClosed], [IDLE, true, true]);
    assert.equal(host.timerCount(), 0);
  });

  it("has that time again after each answer", async () => {
    const host = serve();
    const operator = await Operator.connect(host);
    for (let asked = 0; asked < 5; asked++) {
      await operator.say(SCALE);
      await host.advance(29_000);
    }
    assert.deepEqual([operator.heard, operator.isClosed], [SCALED.repeat(5), false]);
    await host.advance(2000);
    assert.deepEqual([operator.heard, operator.isClosed], [SCALED.repeat(5) + IDLE, true]);
  });

  it("who waits for an answer is not idle", async () => {
    const host = serve();
    const operator = await (await Operator.connect(host)).say(encodeOrder({ do: "follow" }));
    await host.advance(3_600_000);
    assert.deepEqual([operator.heard, operator.isClosed], ["", false]);
  });

  it("finds a place soon, though others take all there are and say nothing", async () => {
    const host = serve();
    for (let count = 0; count < 64; count++) await Operator.connect(host);
    const refused = await Operator.connect(host);
    assert.equal(refused.heard, '{"type":"failed","reason":"64 operators are connected already"}\n');
    await host.advance(1000);
    assert.equal(refused.isClosed, true);
    await host.advance(30_000);
    const operator = await (await Operator.connect(host)).say(SCALE);
    assert.equal(operator.heard, SCALED);
  });

  it("who reads nothing is told no more than so much", async () => {
    let [sent, isClosed] = [0, false];
    const stuck: ControlConnection = {
      send: (text) => void (sent += text.length),
      flush: () => new Promise(() => {}),
      close: () => void (isClosed = true),
      ref() {},
      unref() {},
    };
    const conversation = new Conversation(new FakeHost(), stuck, (_, tell) => {
      for (let line = 0; line < 10_000; line++) tell("x".repeat(1000));
      return Promise.resolve({ type: "done", text: "" });
    });
    conversation.data(new TextEncoder().encode(encodeOrder({ do: "follow" })));
    await settle();
    assert.equal(isClosed, true);
    assert.ok(sent > 1_000_000 && sent < 1_100_000, String(sent));
  });

  it("hears the last word on what was asked before all ends", async () => {
    const host = new FakeHost();
    const end = Promise.withResolvers<void>();
    const server = new OperatorServer(host, PATH, async () => {
      await end.promise;
      for (let turns = 0; turns < 10; turns++) await undefined;
      return { type: "done", text: "stopped" };
    });
    const operator = await (await Operator.connect(host)).say(encodeOrder({ do: "follow" }));
    end.resolve();
    await server[Symbol.asyncDispose]();
    await settle();
    assert.deepEqual([operator.heard, operator.isClosed], ['{"type":"done","text":"stopped"}\n', true]);
  });
});
