/** What servers of all kinds are asked, and what is made of their answers: real connections. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createServer as createRawServer, type Server } from "node:net";
import process from "node:process";
import { describe, it } from "node:test";
import { currentHost as host } from "../runtimes/current.ts";
import { ask, type Place, type Question } from "../src/question.ts";
import { tempDir } from "./support/run.ts";

const options = { timeout: 180_000 };

/** A server that listens until the end of the block. */
async function listen(server: Server, path?: string): Promise<AsyncDisposable & { readonly at: Place }> {
  await new Promise<void>((resolve) => {
    if (path === undefined) server.listen(0, "127.0.0.1", resolve);
    else server.listen(path, resolve);
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    at: path === undefined ? { host: "127.0.0.1", port } : { path },
    [Symbol.asyncDispose]: () => new Promise((resolve) => void server.close(() => resolve())),
  };
}

function httpServer(answer: RequestListener): Server {
  return createServer(answer);
}

function get(at: Place, isTls = false): Question {
  return { what: "GET /healthz", at, get: { path: "/healthz?deep", isTls } };
}

function connecting(at: Place): Question {
  return { what: "connecting to it", at };
}

function askOnce(question: Question, timeoutMs = 10_000, signal = new AbortController().signal) {
  return ask(question, { host, timeoutMs, signal });
}

/** A port at which nobody listens: it was somebody's a moment ago. */
async function deadPlace(): Promise<Place> {
  await using server = await listen(createRawServer());
  return server.at;
}

describe("a question by HTTP", () => {
  it("is answered well by 200 to 299, and by nothing else", options, async () => {
    const asked: string[] = [];
    let status = 0;
    await using server = await listen(httpServer((request, response) => {
      asked.push(`${request.method} ${request.url}`);
      response.writeHead(status, { location: "/elsewhere" }).end(status === 204 ? undefined : "body");
    }));
    for (status of [200, 204, 299]) assert.equal(await askOnce(get(server.at)), undefined);
    for (status of [302, 404, 503]) {
      assert.equal(await askOnce(get(server.at)), `GET /healthz was answered ${status}`);
    }
    assert.deepEqual(asked, Array(6).fill("GET /healthz?deep"));
  });

  it("waits no longer than it may, for the answer and for its end", options, async () => {
    for (const begin of [false, true]) {
      const closed = Promise.withResolvers<void>();
      await using server = await listen(httpServer((_, response) => {
        if (begin) response.writeHead(200).write("half");
        response.once("close", closed.resolve);
      }));
      assert.equal(await askOnce(get(server.at), 50), "GET /healthz took more than 50 ms");
      await closed.promise; // nothing is left of it
    }
  });

  it("fails, in words, where nobody listens or speaks HTTP, and where the answer is cut off", options, async () => {
    const dead = await deadPlace();
    assert.match(await askOnce(get(dead)) ?? "", /^GET \/healthz failed: .*refused/i);
    await using cut = await listen(httpServer((_, response) => {
      response.writeHead(200, { "content-length": 100 }).write("half", () => response.destroy());
    }));
    assert.match(await askOnce(get(cut.at)) ?? "", /^GET \/healthz failed: ./);
    await using raw = await listen(
      createRawServer((socket) => socket.on("error", () => {}).resume().end("what?\r\n\r\n")),
    );
    assert.match(await askOnce(get(raw.at)) ?? "", /^GET \/healthz failed: ./);
  });

  it("reaches a server on a Unix socket, in the abstract namespace too", {
    ...options,
    skip: process.platform !== "linux",
  }, async () => {
    await using directory = await tempDir();
    for (const path of [directory.file("s"), `\0prefork-test-${process.pid}`]) {
      await using server = await listen(httpServer((_, response) => response.end("well")), path);
      assert.equal(await askOnce(get(server.at)), undefined);
    }
  });

  it("reaches a server that speaks TLS, whoever signed its certificate", options, async () => {
    await using directory = await tempDir();
    const [key, cert] = [directory.file("key"), directory.file("cert")];
    const words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    execFileSync("openssl", [...words, "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=elsewhere.invalid"], {
      stdio: "ignore",
    });
    const secrets = { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
    let status = 200;
    await using server = await listen(createTlsServer(secrets, (_, response) => response.writeHead(status).end()));
    assert.equal(await askOnce(get(server.at, true)), undefined);
    status = 500;
    assert.equal(await askOnce(get(server.at, true)), "GET /healthz was answered 500");
    assert.match(await askOnce(get(server.at)) ?? "", /^GET \/healthz /);
  });

  it("is given up at once", options, async () => {
    const begun = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<void>();
    await using server = await listen(httpServer((_, response) => {
      begun.resolve();
      response.once("close", closed.resolve);
    }));
    const stop = new AbortController();
    const saw = askOnce(get(server.at), 20_000, stop.signal);
    await begun.promise;
    stop.abort();
    assert.equal(await saw, "GET /healthz was given up");
    await closed.promise;
    assert.equal(await askOnce(get(server.at), 20_000, stop.signal), "GET /healthz was given up");
  });
});

describe("a question for a connection", () => {
  it("is answered well by whoever takes it, over TCP and a Unix socket", options, async () => {
    await using directory = await tempDir();
    for (const path of [undefined, directory.file("s")]) {
      const ended = Promise.withResolvers<void>();
      await using server = await listen(createRawServer((socket) => socket.on("close", () => ended.resolve())), path);
      assert.equal(await askOnce(connecting(server.at)), undefined);
      await ended.promise;
    }
  });

  it("fails, in words, where nobody listens", options, async () => {
    await using directory = await tempDir();
    assert.match(await askOnce(connecting(await deadPlace())) ?? "", /^connecting to it failed: .*refused/i);
    assert.match(await askOnce(connecting({ path: directory.file("none") })) ?? "", /^connecting to it failed: ./);
  });
});
