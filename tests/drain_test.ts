/** How servers end, on a virtual clock. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { drain } from "../src/drain.ts";
import { type PreparedServer, serveOn, type ServingWorker } from "../src/serve.ts";
import type { Acceptor, PrivateServer } from "../src/serving.ts";
import { Stopwatch } from "../src/stopwatch.ts";
import { FakeHost } from "./fake_host.ts";

/** A server whose work a test decides on, and a record of what was asked of it. */
class FakeServer {
  open = 0;
  pulse = 0;
  connections = 0;
  behind = 0;
  unanswered = 0;
  isRaw = false;
  finishes = false;
  readonly asked: string[] = [];
  closes: () => Promise<void> = () => Promise.resolve();

  readonly native: PrivateServer;
  readonly acceptor: Acceptor;

  constructor() {
    const own = (): FakeServer => this;
    this.native = {
      address: { type: "unix", path: "@fake" },
      server: undefined,
      isTls: false,
      get isRaw() {
        return own().isRaw;
      },
      get finishes() {
        return own().finishes;
      },
      get open() {
        return own().open;
      },
      get pulse() {
        return own().pulse;
      },
      get unanswered() {
        return own().unanswered;
      },
      onRequest() {},
      timeBy() {},
      correct() {},
      untilClosed: () => new Promise(() => {}),
      drain: () => void this.asked.push("drain"),
      close: () => {
        this.asked.push("close");
        this.connections = 0;
        return this.closes();
      },
    };
    this.acceptor = {
      leave: () => void this.asked.push("leave"),
      connections: () => this.connections,
      behind: () => this.behind,
      yield() {},
    };
  }

  begin(): void {
    this.open++;
    this.pulse++;
  }

  end(): void {
    this.open--;
    this.pulse++;
  }
}

interface Draining {
  readonly host: FakeHost;
  readonly endedAt: () => number | undefined;
}

function begin(servers: readonly FakeServer[], timeoutMs = 10_000): Draining {
  const host = new FakeHost();
  let endedAt: number | undefined;
  void drain(host, servers, timeoutMs).then(() => endedAt = host.now());
  return { host, endedAt: () => endedAt };
}

/** A worker that never becomes ready. */
function failingWorker(host: FakeHost): ServingWorker {
  return {
    host,
    signal: new AbortController().signal,
    listeners: [],
    adoption: true,
    selfCheck: undefined,
    drainTimeoutMs: 3000,
    served() {},
    stopwatch: new Stopwatch(() => host.now()),
    ready: () => assert.fail("ready"),
    leave() {},
  };
}

function prepared(server: FakeServer, begin: PreparedServer["begin"] = () => server): PreparedServer {
  const address = { type: "unix", path: "@fake" } as const;
  const listener = { name: undefined, address, text: "unix:@fake", fd: 64 };
  return { listener, begin, giveUp: () => Promise.resolve(void server.asked.push("give up")) };
}

describe("drain", () => {
  it("ends at once where nothing is open, and accepts no more before all else", async () => {
    const servers = [new FakeServer(), new FakeServer()];
    const { host, endedAt } = begin(servers);
    await host.advance(0);
    assert.equal(endedAt(), 0);
    for (const { asked } of servers) assert.deepEqual(asked, ["leave", "drain", "close"]);
  });

  it("answers what is open however long that takes, and ends with its connection", async () => {
    const server = new FakeServer();
    server.connections = 1;
    server.begin();
    const { host, endedAt } = begin([server]);
    await host.advance(5000);
    assert.equal(endedAt(), undefined);
    server.end();
    server.connections = 0;
    await host.advance(10);
    assert.equal(endedAt(), 5010);
    assert.deepEqual(host.written, []);
  });

  it("gives a connection without a request a second to send one", async () => {
    const server = new FakeServer();
    server.connections = 1;
    const { host, endedAt } = begin([server]);
    await host.advance(999);
    assert.deepEqual([endedAt(), server.asked.includes("close")], [undefined, false]);
    await host.advance(11);
    assert.equal(endedAt(), 1000);
  });

  it("counts that second from the last sign of life, a request between two looks included", async () => {
    const server = new FakeServer();
    server.connections = 3;
    const { host, endedAt } = begin([server]);
    for (let round = 0; round < 10; round++) {
      await host.advance(400);
      server.begin();
      server.end();
    }
    assert.equal(endedAt(), undefined);
    await host.advance(1000);
    assert.equal(endedAt(), undefined);
    await host.advance(20);
    assert.equal(endedAt(), 5010);
  });

  it("gives it a second more where the process stood still: what was sent meanwhile is to be read", async () => {
    const server = new FakeServer();
    server.connections = 1;
    const { host, endedAt } = begin([server]);
    await host.advance(990);
    host.standStill(3000);
    await host.advance(0);
    assert.equal(endedAt(), undefined);
    server.begin();
    server.end();
    server.connections = 0;
    await host.advance(10);
    assert.equal(endedAt(), 4000);
  });

  it("gives it a second of its own where the machine has little time for this process", async () => {
    const server = new FakeServer();
    server.connections = 1;
    const { host, endedAt } = begin([server]);
    for (let look = 0; look < 90; look++) {
      await host.advance(5);
      host.standStill(90);
    }
    await host.advance(0);
    assert.equal(endedAt(), undefined);
    await host.advance(110);
    assert.ok((endedAt() ?? 0) > 8500);
  });

  it("waits for each of several servers", async () => {
    const [busy, idle] = [new FakeServer(), new FakeServer()];
    busy.begin();
    busy.connections = 1;
    const { host, endedAt } = begin([idle, busy]);
    await host.advance(1000);
    assert.deepEqual([endedAt(), idle.asked], [undefined, ["leave", "drain"]]);
    busy.end();
    busy.connections = 0;
    await host.advance(10);
    assert.equal(endedAt(), 1010);
  });

  it("cuts off at the deadline what is still open, and says how much", async () => {
    const server = new FakeServer();
    server.connections = 2;
    server.begin();
    server.begin();
    const { host, endedAt } = begin([server], 3000);
    await host.advance(2999);
    assert.equal(endedAt(), undefined);
    await host.advance(11);
    assert.equal(endedAt(), 3000);
    assert.deepEqual(host.written, [
      "prefork: 2 requests are cut off: not answered 3000 ms after the stop\n",
    ]);
  });

  it("waits for clients that have not taken yet what a relay brings them, and cuts them off at the deadline", async () => {
    for (const [takenAt, ended] of [[2495, 3490], [10_000, 5000]] as const) {
      const server = new FakeServer();
      server.connections = 2; // one of them idle
      server.behind = 1;
      const { host, endedAt } = begin([server], 5000);
      host.setTimer(takenAt, () => server.behind = 0);
      await host.advance(20_000);
      assert.equal(endedAt(), ended);
      const cutOff = "prefork: 1 request is cut off: not answered 5000 ms after the stop\n";
      assert.deepEqual(host.written, takenAt > 5000 ? [cutOff] : []);
    }
  });

  it("tells of a request once that its server has not answered and its client has not taken", async () => {
    const server = new FakeServer();
    server.connections = 1;
    server.behind = 1;
    server.begin();
    const { host } = begin([server], 3000);
    await host.advance(4000);
    assert.deepEqual(host.written, ["prefork: 1 request is cut off: not answered 3000 ms after the stop\n"]);
  });

  it("waits for each connection of a server of which nobody knows more", async () => {
    const server = new FakeServer();
    server.isRaw = true;
    server.connections = 1;
    const { host, endedAt } = begin([server], 3000);
    await host.advance(3010);
    assert.deepEqual([endedAt(), host.written], [
      3000,
      ["prefork: 1 connection is cut off: not answered 3000 ms after the stop\n"],
    ]);
  });

  it("looks the more seldom the longer a look takes", async () => {
    const server = new FakeServer();
    server.isRaw = true;
    server.connections = 1;
    let looks = 0;
    const { host, endedAt } = begin([server]);
    server.acceptor.connections = () => {
      looks++;
      host.standStill(40);
      return server.connections;
    };
    await host.advance(10_100);
    assert.ok(looks > 10 && looks < 30, `${looks} looks`);
    assert.ok((endedAt() ?? 0) >= 10_000);
  });

  it("waits for what a server finishes as it closes, but not beyond the deadline", async () => {
    for (const [finishedAt, ended] of [[2500, 2500], [10_000, 3000]] as const) {
      const server = new FakeServer();
      server.finishes = true;
      server.connections = 1;
      const finished = Promise.withResolvers<void>();
      server.closes = () => finished.promise;
      const { host, endedAt } = begin([server], 3000);
      host.setTimer(finishedAt, finished.resolve);
      await host.advance(20_000);
      assert.equal(endedAt(), ended);
      const cutOff = "prefork: what was on its way 3000 ms after the stop is cut off\n";
      assert.deepEqual(host.written, ended === 3000 ? [cutOff] : []);
    }
  });

  it("comes before the failure of a server whose next socket cannot be served", async () => {
    const server = new FakeServer();
    server.connections = 1;
    server.begin();
    const host = new FakeHost();
    const begin = (): Promise<never> => Promise.reject(new Error("no second"));
    const serving = serveOn(failingWorker(host), [prepared(server), prepared(new FakeServer(), begin)]);
    serving.catch(() => server.asked.push("failed"));
    await host.advance(1000);
    assert.deepEqual(server.asked, ["leave", "drain"]);
    server.end();
    server.connections = 0;
    await host.advance(10);
    assert.deepEqual(server.asked, ["leave", "drain", "close", "failed"]);
    await assert.rejects(serving, /no second/);
  });

  it("ends a server whose program fails as it is told where it listens, for it has taken clients", async () => {
    const server = new FakeServer();
    server.connections = 1;
    server.begin();
    server.native.correct = () => {
      throw new Error("no database");
    };
    const host = new FakeHost();
    const serving = serveOn(failingWorker(host), [prepared(server)]);
    serving.catch(() => {});
    await host.advance(1000);
    assert.deepEqual(server.asked, ["leave", "drain"]);
    server.end();
    server.connections = 0;
    await host.advance(10);
    assert.deepEqual(server.asked, ["leave", "drain", "close"]);
    await assert.rejects(serving, /no database/);
  });

  it("gives up what was made ready and has not begun when another cannot begin", async () => {
    const servers = [new FakeServer(), new FakeServer(), new FakeServer()] as const;
    const [first, second, third] = servers;
    const host = new FakeHost();
    const begin = (): never => {
      throw new Error("no second");
    };
    const serving = serveOn(failingWorker(host), [prepared(first), prepared(second, begin), prepared(third)]);
    serving.catch(() => {});
    await host.advance(10);
    await assert.rejects(serving, /no second/);
    assert.deepEqual(servers.map(({ asked }) => asked), [["leave", "drain", "close"], ["give up"], ["give up"]]);
  });

  it("tells of handshakes that nobody has answered", async () => {
    const server = new FakeServer();
    server.unanswered = 2;
    server.connections = 2;
    const { host, endedAt } = begin([server]);
    await host.advance(1010);
    assert.notEqual(endedAt(), undefined);
    assert.deepEqual(host.written, [
      "prefork: 2 handshakes of WebSockets are cut off: nobody has answered for five seconds\n",
    ]);
  });

  it("waits no longer than a second for a server that does not close", async () => {
    const server = new FakeServer();
    server.closes = () => new Promise(() => {});
    const { host, endedAt } = begin([server]);
    await host.advance(999);
    assert.equal(endedAt(), undefined);
    await host.advance(1);
    assert.equal(endedAt(), 1000);
  });
});
