/**
 * The part of the conformance suite about control sockets and the directories they stand in.
 *
 * @module
 */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import type { ControlConnection, ControlHandlers, ControlListener, ProcessHost } from "../src/types.ts";
import type { HostRig } from "./host_rig.ts";
import { waitFor } from "./support/run.ts";

const timeout = 60_000;

/** Declares the tests of control sockets. */
export function controlConformance(getRig: () => HostRig): void {
  test("makes a private directory and removes it", async () => {
    const { host, file } = getRig();
    const path = await host.privateDir();
    assert.equal(file(path)?.mode, 0o700);
    const other = await host.privateDir();
    assert.notEqual(other, path);
    host.removeDir(other);
    assert.ok(`${path}/control.sock`.length < 108, path);
    host.removeDir(path);
    assert.equal(file(path), undefined);
    host.removeDir(path);
  });

  test("gives a file to another user", async (context) => {
    const { host, file, privileged } = getRig();
    if (!privileged) return context.skip("needs root");
    const path = await host.privateDir();
    host.chown(path, 65534, 65533);
    assert.deepEqual(file(path), { mode: 0o700, uid: 65534, gid: 65533 });
    host.removeDir(path);
    assert.throws(() => host.chown(path, 0, 0), /Cannot chown/);
  });

  test("carries text both ways", { timeout }, async () => {
    await using sockets = await connect(getRig(), (text) => `<${text}>`);
    sockets.near.connection.send("häl");
    await sockets.near.until("<häl>");
    sockets.near.connection.send("");
    sockets.near.connection.send("lo");
    await sockets.near.until("<häl><lo>");
  });

  test("carries big messages both ways, in order", { timeout }, async () => {
    await using sockets = await connect(getRig());
    const messages = Array.from({ length: 50 }, (_, index) => `${index}${"=".repeat(50_000)}`);
    const big = "ö".repeat(2_500_000);
    for (const end of [sockets.near, sockets.far]) {
      for (const message of messages) end.connection.send(message);
      end.connection.send(big);
    }
    await Promise.all([sockets.near.connection.flush(), sockets.far.connection.flush()]);
    const all = messages.join("") + big;
    for (const end of [sockets.near, sockets.far]) {
      await waitFor(() => end.text.length >= all.length, { what: "all of it" });
      assert.ok(end.text === all, "what came is what was sent");
    }
  });

  test("hands over what was flushed before it closes", { timeout }, async () => {
    await using sockets = await connect(getRig());
    const { near, far } = sockets;
    near.connection.send("x".repeat(3_000_000));
    await near.connection.flush();
    near.connection.close();
    await waitFor(() => far.timesClosed === 1, { what: "the end of file" });
    assert.equal(far.text.length, 3_000_000);
  });

  test("reads no more before what came is dealt with", { timeout }, async () => {
    const { host } = getRig();
    const directory = await host.privateDir();
    const path = `${directory}/worker.sock`;
    const dealt = Promise.withResolvers<void>();
    let [chunks, length] = [0, 0];
    const listener = host.listenControl(path, () => ({
      data(chunk) {
        length += chunk.length;
        return chunks++ === 0 ? dealt.promise : undefined;
      },
      closed() {},
    }));
    const end = await connectEnd(host, path);
    end.connection.send("x".repeat(1_000_000));
    end.connection.send("x".repeat(1_000_000));
    await waitFor(() => chunks > 0, { what: "the first chunk" });
    await getRig().pass(50);
    assert.equal(chunks, 1);
    dealt.resolve();
    await waitFor(() => length === 2_000_000, { what: "the rest" });
    end.connection.close();
    listener[Symbol.dispose]();
    host.removeDir(directory);
  });

  test("tells both ends once of the end", { timeout }, async () => {
    await using sockets = await connect(getRig());
    const { near, far } = sockets;
    far.connection.close();
    far.connection.close();
    await waitFor(() => near.timesClosed > 0 && far.timesClosed > 0, { what: "both ends to be closed" });
    for (const end of [near, far]) {
      end.connection.send("to nobody");
      await end.connection.flush();
      end.connection.ref();
      end.connection.unref();
      end.connection.close();
    }
    await sockets.rig.pass(20);
    assert.deepEqual([near.timesClosed, far.timesClosed], [1, 1]);
  });

  test("does not tell of the end before close has returned", { timeout }, async () => {
    await using sockets = await connect(getRig());
    sockets.near.connection.close();
    assert.equal(sockets.near.timesClosed, 0);
    await waitFor(() => sockets.near.timesClosed === 1, { what: "the end" });
  });

  test("survives a peer that closes while it is written to", { timeout }, async () => {
    await using sockets = await connect(getRig());
    const { near, far } = sockets;
    near.connection.send("x".repeat(5_000_000));
    far.connection.close();
    await near.connection.flush();
    near.connection.send("more");
    await waitFor(() => near.timesClosed === 1, { what: "the end" });
  });

  test(
    "hears all that a peer has said which is gone by then, though what it says itself reaches nobody",
    { timeout },
    async () => {
      const { host, pass } = getRig();
      const directory = await host.privateDir();
      const path = `${directory}/worker.sock`;
      const far = new End();
      const listener = host.listenControl(path, (connection) => far.attach(connection));
      const dealt = Promise.withResolvers<void>();
      let [length, timesClosed] = [0, 0];
      const near = await host.connectControl(path, {
        data(chunk) {
          length += chunk.length;
          return dealt.promise;
        },
        closed: () => void timesClosed++,
      });
      await waitFor(() => far.isAttached, { what: "the connection to be accepted" });
      far.connection.send("x".repeat(50_000));
      far.connection.send("y".repeat(50_000));
      await far.connection.flush();
      far.connection.close();
      await pass(20);
      near.send("to nobody");
      await pass(20);
      dealt.resolve();
      await near.flush();
      await waitFor(() => timesClosed > 0, { what: "the end" });
      assert.deepEqual([length, timesClosed], [100_000, 1]);
      listener[Symbol.dispose]();
      host.removeDir(directory);
    },
  );

  test("keeps open connections when it stops listening, and removes the socket", { timeout }, async () => {
    await using sockets = await connect(getRig());
    const { rig, near, far } = sockets;
    sockets.listener[Symbol.dispose]();
    assert.equal(rig.file(sockets.path), undefined);
    near.connection.send("still here");
    await far.until("still here");
    await assert.rejects(rig.host.connectControl(sockets.path, { data() {}, closed() {} }), /Cannot connect to/);
  });

  test("serves many connections", { timeout }, async () => {
    await using sockets = await connect(getRig(), (text) => text);
    const ends = await Promise.all(Array.from({ length: 100 }, () => connectEnd(sockets.rig.host, sockets.path)));
    for (const [index, end] of ends.entries()) end.connection.send(`${index}`);
    for (const [index, end] of ends.entries()) await end.until(`${index}`);
    for (const end of ends) end.connection.close();
  });

  test("rejects with a sentence where nobody listens", async () => {
    const { host } = getRig();
    const path = await host.privateDir();
    await assert.rejects(host.connectControl(`${path}/none.sock`, { data() {}, closed() {} }), /Cannot connect to ./);
    host.removeDir(path);
  });
}

/** One end of a connection, with what it has heard. */
class End implements ControlHandlers {
  text = "";
  timesClosed = 0;
  readonly #decoder = new TextDecoder();
  readonly #answer: (text: string) => string;
  #connection: ControlConnection | undefined;

  constructor(answer: (text: string) => string = () => "") {
    this.#answer = answer;
  }

  get connection(): ControlConnection {
    assert.ok(this.#connection, "connected");
    return this.#connection;
  }

  get isAttached(): boolean {
    return this.#connection !== undefined;
  }

  attach(connection: ControlConnection): this {
    this.#connection = connection;
    return this;
  }

  data(chunk: Uint8Array): void {
    const text = this.#decoder.decode(chunk, { stream: true });
    this.text += text;
    this.connection.send(this.#answer(text));
  }

  closed(): void {
    this.timesClosed++;
  }

  async until(wanted: string): Promise<void> {
    await waitFor(() => this.text === wanted, {
      what: `"${wanted.slice(0, 80)}" (so far "${this.text.slice(0, 80)}")`,
    });
  }
}

interface Sockets extends AsyncDisposable {
  readonly rig: HostRig;
  readonly path: string;
  readonly listener: ControlListener;
  /** The end that connected, and the one that was accepted for it. */
  readonly near: End;
  readonly far: End;
}

/** Makes a connected pair. The accepting end answers what it hears as `answer` says. */
async function connect(rig: HostRig, answer?: (text: string) => string): Promise<Sockets> {
  const { host } = rig;
  const directory = await host.privateDir();
  const path = `${directory}/worker.sock`;
  const accepted: End[] = [];
  const listener = host.listenControl(path, (connection) => {
    const end = new End(answer).attach(connection);
    accepted.push(end);
    return end;
  });
  const near = await connectEnd(host, path);
  const far = await waitFor(() => accepted[0], { what: "the connection to be accepted" });
  return {
    rig,
    path,
    listener,
    near,
    far,
    async [Symbol.asyncDispose]() {
      for (const end of [near, ...accepted]) end.connection.close();
      await waitFor(() => accepted.every((end) => end.timesClosed > 0), { what: "all connections to close" });
      listener[Symbol.dispose]();
      listener[Symbol.dispose]();
      host.removeDir(directory);
    },
  };
}

async function connectEnd(host: ProcessHost, path: string): Promise<End> {
  const end = new End();
  return end.attach(await host.connectControl(path, end));
}
