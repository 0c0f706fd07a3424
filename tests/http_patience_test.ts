/** Who holds a place of an HTTP server and asks for nothing. Real connections, and the virtual clock. */
import assert from "node:assert/strict";
import { createServer, type ServerResponse } from "node:http";
import { describe, it } from "node:test";
import { type Keep, limitPatience } from "../src/cli/http_patience.ts";
import { StatusServer } from "../src/cli/status_server.ts";
import { FakeHost } from "./fake_host.ts";
import { Client } from "./support/client.ts";
import { waitFor } from "./support/processes.ts";

const HEAD = "GET / HTTP/1.1\r\nhost: x\r\n";

/** A server with one client; what it is asked for under `/long` or `/kept` is answered when a test says so. */
class Place implements AsyncDisposable {
  readonly host = new FakeHost();
  readonly answers: ServerResponse[] = [];
  readonly #server = createServer((request, response) => {
    if (request.url === "/kept") this.#keep(request.socket);
    if (request.url === "/") response.end("answered");
    else this.answers.push(response);
  });
  readonly #keep: Keep;

  private constructor() {
    this.#keep = limitPatience(this.#server, this.host, { ms: 10_000, places: 3 });
  }

  static async open(): Promise<Place & { readonly client: Client; readonly port: number }> {
    const place = new Place();
    await new Promise<void>((resolve) => place.#server.listen(0, "127.0.0.1", resolve));
    const address = place.#server.address();
    const port = typeof address === "object" && address !== null ? address.port : assert.fail("no port");
    const client = new Client({ port });
    await place.isAwaited();
    return Object.assign(place, { client, port });
  }

  /** Waits until so many connections are awaited to ask for something. */
  areAwaited(count: number): Promise<unknown> {
    return waitFor(() => this.host.timerCount() === count, { what: `${count} timers` });
  }

  isAwaited(): Promise<unknown> {
    return this.areAwaited(1);
  }

  isAnswering(): Promise<unknown> {
    return this.areAwaited(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

describe("a client of an HTTP server", () => {
  it("is hung up on if the head of its request does not end", async () => {
    await using place = await Place.open();
    using client = place.client;
    for (let seconds = 0; seconds < 9; seconds++) {
      client.send(seconds === 0 ? HEAD : "x: y\r\n");
      await place.host.advance(1000);
    }
    assert.equal(client.ended, false);
    await place.host.advance(1000);
    await client.waitForEnd();
    assert.equal(client.text, "");
  });

  it("is hung up on if it goes on with a body after the answer", async () => {
    await using place = await Place.open();
    using client = place.client.send(`${HEAD}content-length: 1000\r\n\r\nx`);
    await client.waitFor(/answered/);
    await place.isAwaited();
    await place.host.advance(9999);
    client.send("x");
    assert.equal(client.ended, false);
    await place.host.advance(1);
    await client.waitForEnd();
  });

  it("is not while it is answered, and has that time again after", async () => {
    await using place = await Place.open();
    using client = place.client.send(HEAD.replace("/", "/long") + "\r\n");
    const answer = await waitFor(() => place.answers[0], { what: "the request" });
    await place.isAnswering();
    answer.write("begun");
    await client.waitFor(/begun/);
    await place.host.advance(3_600_000);
    answer.end("ended");
    await client.waitFor(/ended/);
    await place.isAwaited();
    await place.host.advance(9999);
    client.send(`${HEAD}\r\n`);
    await client.waitFor(/answered/);
  });

  it("makes room for others where it asks for nothing, is kept or goes by when it asked last", async () => {
    await using place = await Place.open();
    using kept = place.client.send(HEAD.replace("/", "/kept") + "\r\n");
    const answer = await waitFor(() => place.answers[0], { what: "the request" });
    const others: Client[] = [];
    /** One more, whose request is answered; then so many are awaited to ask for something. */
    const come = async (awaited: number): Promise<Client> => {
      const client = new Client(place).send(`${HEAD}\r\n`);
      others.push(client);
      await client.waitFor(/answered/);
      await place.areAwaited(awaited);
      return client;
    };
    const [first, second] = [await come(1), await come(2)];
    first.send(`${HEAD}\r\n`);
    await first.waitFor(/answered[^]*answered/);
    await place.areAwaited(2);
    const third = await come(2);
    await second.waitForEnd();
    using slow = new Client(place).send(HEAD.replace("/", "/long") + "\r\n");
    await first.waitForEnd();
    await waitFor(() => place.answers[1], { what: "the request of one whose answer takes long" });
    await come(1);
    await third.waitForEnd();
    await come(2);
    await slow.waitForEnd();
    assert.equal(kept.ended, false);
    answer.end("ended");
    await kept.waitFor(/ended/);
    await place.areAwaited(3);
    for (let count = 0; count < 2; count++) await come(3);
    assert.equal(kept.ended, false, "it asked last");
    await come(3);
    await kept.waitForEnd();
    for (const client of others) client[Symbol.dispose]();
    await place.areAwaited(0);
    for (let count = 1; count <= 3; count++) await come(count);
    assert.deepEqual(others.slice(-3).map(({ ended }) => ended), [false, false, false], "places are given back");
    for (const client of others) client[Symbol.dispose]();
  });

  it("has the same patience shown by the one that tells a manager's status", async () => {
    const host = new FakeHost();
    const told: string[] = [];
    const log = {
      tell: (_: unknown, text: string) => void told.push(text),
      event() {},
      format: () => "",
      line: () => "",
    };
    const address = { host: "127.0.0.1", port: 0 };
    const status = () => Promise.reject(new Error("nobody asked"));
    const uptimeMs = () => host.now();
    const known = { token: undefined, past: undefined };
    using _server = await StatusServer.open({ host, log, address, notReady: () => "", status, uptimeMs, ...known });
    const port = Number(/:(\d+)\/$/.exec(told[0] ?? "")?.[1]);
    using client = new Client({ port }).send("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    await client.waitFor(/ok/); // so that it is known there
    client.send("GET /healthz HTTP/1.1\r\n");
    await waitFor(async () => {
      client.send("x: y\r\n");
      await host.advance(1000);
      return client.ended;
    }, { what: "the end", timeoutMs: 4000 });
    assert.ok(host.now() >= 5000);
  });
});
