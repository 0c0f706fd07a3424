/** A server of `node:http` that is to be shared, by itself: real connections. */
import assert from "node:assert/strict";
import { createServer, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { describe, it } from "node:test";
import { openNodeServer } from "../src/node_server.ts";
import type { PrivateServer } from "../src/serving.ts";
import { Client } from "./support/client.ts";
import { waitFor } from "./support/processes.ts";

const HANDSHAKE = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
const SWITCHING = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
const REFUSED = "HTTP/1.1 401 Unauthorized\r\n\r\n";
/** The close frame, as far as a client that decodes UTF-8 can tell. */
const GOING_AWAY = "\uFFFD\u0002\u0003";

/** A server whose handshakes a test answers when it likes. */
class Place implements AsyncDisposable {
  readonly asking: Duplex[] = [];
  readonly native: PrivateServer;
  readonly #clients: Client[] = [];

  private constructor(native: PrivateServer, asking: Duplex[]) {
    this.native = native;
    this.asking = asking;
  }

  static async open(): Promise<Place> {
    const asking: Duplex[] = [];
    const server = createServer((_, response) => void response.end("answered"));
    server.on("upgrade", (_, socket) => asking.push(socket.on("error", () => {})));
    return new Place(await openNodeServer(server, { type: "tcp" }, () => false), asking);
  }

  connect(): Client {
    const { address } = this.native;
    const client = new Client({ port: address.type === "tcp" ? address.port : assert.fail("no port") });
    this.#clients.push(client);
    return client;
  }

  /** A client whose handshake is not answered yet, and the server's end of it. */
  async ask(client = this.connect()): Promise<{ readonly client: Client; readonly socket: Duplex }> {
    const before = this.asking.length;
    client.send(HANDSHAKE);
    return { client, socket: await waitFor(() => this.asking[before], { what: "the handshake" }) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client[Symbol.dispose]();
    for (const socket of this.asking) socket.destroy();
    await this.native.close();
  }
}

describe("a handshake of a WebSocket that is under way as its server drains", () => {
  it("is answered before it is said that the server goes away", async () => {
    await using place = await Place.open();
    const { client, socket } = await place.ask();
    place.native.drain();
    assert.equal(place.native.open, 1);
    socket.write(SWITCHING);
    assert.equal(place.native.open, 0);
    await client.waitFor(new RegExp(`^${SWITCHING}${GOING_AWAY}`));
  });

  it("is answered first on a connection that has had another answer", async () => {
    await using place = await Place.open();
    const kept = place.connect().send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    await kept.waitFor(/\r\n\r\n[^]*answered/);
    kept.text = "";
    const { client, socket } = await place.ask(kept);
    place.native.drain();
    assert.equal(place.native.open, 1);
    socket.write(SWITCHING);
    await client.waitFor(new RegExp(`^${SWITCHING}${GOING_AWAY}`));
  });

  it("is answered first where it begins only then", async () => {
    await using place = await Place.open();
    place.native.drain();
    const { client, socket } = await place.ask();
    assert.equal(place.native.open, 1);
    socket.write(SWITCHING);
    await client.waitFor(new RegExp(`^${SWITCHING}${GOING_AWAY}`));
  });

  it("may be refused, and nothing is said then", async () => {
    await using place = await Place.open();
    const { client, socket } = await place.ask();
    place.native.drain();
    socket.end(REFUSED);
    assert.equal(place.native.open, 0);
    await client.waitForEnd();
    assert.equal(client.text, REFUSED);
  });

  it("is not waited for any more when its client has left, whom nobody answers", async () => {
    await using place = await Place.open();
    const { client, socket } = await place.ask();
    place.native.drain();
    client.finish();
    await waitFor(() => place.native.open === 0, { what: "the client to be given up" });
    assert.equal(socket.writable, true, "nobody has closed this end");
  });

  it("is cut off with the server, if nobody has answered it", async () => {
    await using place = await Place.open();
    const { client } = await place.ask();
    place.native.drain();
    assert.deepEqual([place.native.open, place.native.unanswered], [1, 0]);
    await waitFor(() => place.native.open === 0, { what: "nobody to wait any more" });
    assert.equal(place.native.unanswered, 1);
    await place.native.close();
    await client.waitForEnd();
    assert.equal(place.native.unanswered, 0);
  });

  it("is not waited for any more when its program has given it up", async () => {
    await using place = await Place.open();
    const { client, socket } = await place.ask();
    place.native.drain();
    socket.destroy();
    assert.equal(place.native.open, 0);
    await client.waitForEnd();
    assert.equal(client.text, "");
  });
});

/** Programs that say themselves that the connection is to be kept, by when they do. */
const KEEPERS: Readonly<Record<string, (response: ServerResponse) => unknown>> = {
  "by a header": (response) => response.setHeader("Connection", "keep-alive").end("answered"),
  "with the status": (response) => response.writeHead(200, { Connection: "keep-alive", "x-own": "1" }).end("answered"),
  "with the status and its text": (response) =>
    response.writeHead(200, "Fine", { "x-own": "1", connection: "keep-alive" }).end("answered"),
  "in a list": (response) =>
    response.writeHead(200, ["x-own", "connection", "Connection", "keep-alive"]).end("answered"),
  "by taking away what it finds": (response) => {
    response.removeHeader("connection");
    response.flushHeaders();
    response.end("answered");
  },
};

describe("a response of a server that drains", () => {
  for (const [way, keep] of Object.entries(KEEPERS)) {
    it(`ends its connection though its program would keep it (${way})`, async () => {
      const begun = Promise.withResolvers<ServerResponse>();
      const server = createServer((request, response) =>
        request.url === "/early" ? begun.resolve(response) : keep(response)
      );
      const native = await openNodeServer(server, { type: "tcp" }, () => false);
      const port = native.address.type === "tcp" ? native.address.port : assert.fail("no port");
      using early = new Client({ port }).send("GET /early HTTP/1.1\r\nhost: x\r\n\r\n");
      using late = new Client({ port });
      const response = await begun.promise;
      native.drain();
      keep(response);
      late.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
      for (const client of [early, late]) {
        await client.waitForEnd();
        assert.match(client.text, /^HTTP\/1.1 200 [^]*answered/);
        const said = client.text.match(/^connection: \S+/gim)?.map((line) => line.toLowerCase());
        assert.deepEqual(said, ["connection: close"]);
        assert.equal(/^x-own: /im.test(client.text), /status|list/.test(way));
      }
      await native.close();
    });
  }
});
