/** What those are told who watch a manager over HTTP, and what becomes of one who does not read it. */
import assert from "node:assert/strict";
import { createServer, type ServerResponse } from "node:http";
import { describe, it } from "node:test";
import { StatusRecord } from "../src/cli/status_record.ts";
import { StatusStreams } from "../src/cli/status_stream.ts";
import type { StatusReport } from "../src/operator/report.ts";
import { EventReader, pauseAfter } from "../src/cli/page/stream.js";
import { FakeHost } from "./fake_host.ts";
import { Client } from "./support/client.ts";
import { waitFor } from "./support/run.ts";
import { statusOf } from "./support/status_report.ts";

interface News {
  readonly status: StatusReport;
  readonly samples: readonly { readonly at: number }[];
  readonly events: readonly { readonly text: string; readonly level: string }[];
}

/** Streams over real connections, by a clock that a test moves. */
class Stage implements AsyncDisposable {
  readonly host = new FakeHost({ name: "bun" });
  readonly record: StatusRecord;
  readonly streams: StatusStreams;
  asked = 0;
  readonly open = new Set<ServerResponse>();
  /** Something to make what is told long. */
  work = "app.ts";
  readonly #server = createServer((_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    this.open.add(response);
    response.on("close", () => this.open.delete(response));
    this.streams.add(response);
  });

  constructor() {
    // deno-lint-ignore require-await
    const status = async (): Promise<StatusReport> => {
      this.asked++;
      return statusOf([1, 2], { uptimeMs: this.host.now(), work: this.work });
    };
    this.record = new StatusRecord(this.host, status);
    this.streams = new StatusStreams({ host: this.host, record: this.record, status });
  }

  async connect(): Promise<Client> {
    if (!this.#server.listening) await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    const address = this.#server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    return new Client({ port }).send("GET /events HTTP/1.1\r\nhost: x\r\n\r\n");
  }

  /** Time passes, and what is under way meanwhile gets through. */
  async advance(ms: number): Promise<void> {
    await this.host.advance(ms);
    await new Promise((resolve) => setImmediate(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.record[Symbol.dispose]();
    this.streams[Symbol.dispose]();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** What a client was told so far. It comes in chunks, each with its length before it. */
function newsOf({ text }: Client): readonly News[] {
  const body = text.slice(text.indexOf("\r\n\r\n") + 4).replace(/(?:^|\r\n)[0-9a-f]+\r\n/g, "");
  return new EventReader().push(body).map((data) => JSON.parse(data));
}

async function news(stage: Stage, client: Client, count: number): Promise<News | undefined> {
  await waitFor(async () => {
    await stage.advance(0);
    return newsOf(client).length >= count;
  }, { what: `${count} news` });
  return newsOf(client)[count - 1];
}

describe("a watcher of a manager", () => {
  it("is told all there is first, and then what is new", async () => {
    await using stage = new Stage();
    stage.record.heed({ type: "recovered", ready: 2 });
    await stage.advance(16_000);
    using client = await stage.connect();
    const first = await news(stage, client, 1);
    assert.deepEqual(first?.samples.map(({ at }) => at), [1000, 6000, 11_000, 16_000]);
    assert.deepEqual(first?.events.map(({ level, text }) => [level, text]), [
      ["info", "recovered: all 2 workers are ready"],
    ]);
    assert.equal(first?.status.uptimeMs, 16_000);
    stage.record.heed({ type: "degraded", ready: 1, wanted: 2 });
    await stage.advance(5000);
    await news(stage, client, 6);
    const since = newsOf(client).slice(1);
    assert.deepEqual(since.map(({ status }) => status.uptimeMs), [17_000, 18_000, 19_000, 20_000, 21_000]);
    assert.deepEqual(since.flatMap(({ samples }) => samples.map(({ at }) => at)), [21_000]);
    assert.deepEqual(since.map(({ events }) => events.map(({ text }) => text)), [
      ["degraded: 1 of 2 workers are ready"],
      [],
      [],
      [],
      [],
    ]);
  });

  it("is told of the time before an upgrade, too", async () => {
    await using old = new Stage();
    old.record.heed({ type: "recovered", ready: 2 });
    await old.advance(11_000);
    const past = old.record.past(60_000);
    assert.deepEqual(past.samples.map(({ at }) => at), [1000, 6000, 11_000]);
    await using stage = new Stage();
    stage.record.follow(past, 500);
    await stage.advance(1000);
    using client = await stage.connect();
    const told = await news(stage, client, 1);
    assert.deepEqual(told?.samples.map(({ at }) => at), [-58_500, -53_500, -48_500, 1000]);
    assert.deepEqual(told?.events, past.events);
    assert.equal(told?.events.length, 1);
  });

  it("is told soon of what happens", async () => {
    await using stage = new Stage();
    using client = await stage.connect();
    await news(stage, client, 1);
    for (let ready = 0; ready < 1000; ready++) {
      stage.record.heed({ type: "recovered", ready });
      stage.streams.hurry();
    }
    await stage.advance(200);
    const second = await news(stage, client, 2);
    assert.deepEqual([second?.status.uptimeMs, second?.events.length], [200, 200]);
    assert.equal(second?.events.at(-1)?.text, "recovered: all 999 workers are ready");
  });

  it("costs the workers nothing once it is gone", async () => {
    await using stage = new Stage();
    const client = await stage.connect();
    await news(stage, client, 1);
    client[Symbol.dispose]();
    let before = -1;
    await waitFor(async () => {
      const asked = stage.asked;
      await stage.advance(999);
      const isQuiet = asked === before && asked === stage.asked;
      before = stage.asked;
      return isQuiet;
    }, { what: "nobody to be asked" });
    assert.ok(stage.host.timerCount() <= 1, "the next sample");
  });

  it("is dropped when it does not read, and has no more than one message waiting until then", async () => {
    await using stage = new Stage();
    stage.work = "x".repeat(2_000_000);
    using reader = await stage.connect();
    using sleeper = await stage.connect();
    await waitFor(() => stage.open.size === 2, { what: "both to be there" });
    sleeper.pause();
    let most = 0;
    let seconds = 0;
    for (; seconds < 100 && stage.open.size === 2; seconds++) {
      await stage.advance(1000);
      await new Promise((resolve) => setTimeout(resolve, 20));
      most = Math.max(most, ...[...stage.open].map(({ writableLength }) => writableLength));
    }
    assert.ok(seconds > 10 && seconds < 100, `after ${seconds} s`);
    assert.ok(most > 1_000_000 && most < 2_100_000, `${most} characters waited`);
    assert.equal(stage.open.size, 1);
    assert.equal(reader.ended, false);
    sleeper.resume();
    await sleeper.waitForEnd();
  });
});

describe("the reader of an event stream", () => {
  it("gives each event when it is complete, however it is cut", () => {
    const text = 'data: {"a":1}\n\n: nothing\n\ndata: two\ndata: lines\n\nevent: x\ndata:3\n\n';
    for (let size = 1; size <= text.length; size++) {
      const reader = new EventReader();
      const all: string[] = [];
      for (let at = 0; at < text.length; at += size) all.push(...reader.push(text.slice(at, at + size)));
      assert.deepEqual(all, ['{"a":1}', "two\nlines", "3"]);
    }
    assert.deepEqual(new EventReader().push("data: half"), []);
  });

  it("tries again at ever longer intervals", () => {
    assert.deepEqual([1, 2, 3, 4, 5, 6, 100].map(pauseAfter), [500, 1000, 2000, 4000, 8000, 8000, 8000]);
  });
});
