/** How a server comes to accept from a shared socket, and what happens where it does not: in memory. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { SocketAddress } from "../src/address.ts";
import { prepareAdoption } from "../src/adoption.ts";
import type { Acceptor } from "../src/serving.ts";
import { FakeAdopter } from "./fake_adopter.ts";
import { FakeHost } from "./fake_host.ts";

const at = (host: string, port: number): SocketAddress => ({ type: "tcp", host, family: 4, port });
const OWN = at("127.0.0.1", 4000);
const SHARED = at("0.0.0.0", 80);

/** A process with a server of its own, and the shared socket. */
function begin(shared: SocketAddress = SHARED) {
  const adopter = new FakeAdopter();
  const socket = adopter.open({ address: shared, isListening: true });
  const place = adopter.open({ address: OWN, isListening: true, deferral: 1 });
  adopter.watched.add(place);
  const host = new FakeHost();
  const parts = { host, libc: adopter.libc, arch: "x64", own: OWN, shared: socket };
  const prepare = async (): Promise<() => Acceptor> => {
    const prepared = prepareAdoption(parts);
    prepared.catch(() => {}); // it is looked at below
    await host.advance(60_000);
    return await prepared;
  };
  return { adopter, socket, place, host, prepare, file: (fd: number) => adopter.files.get(fd) };
}

describe("adoption", () => {
  // The first, since what is known of one server holds for all that come after.
  it("is refused where the server takes no connection from a socket in its own's place", async () => {
    const { adopter, prepare } = begin();
    adopter.patience = Infinity;
    await assert.rejects(prepare(), /^Error: the server took no connection from a socket put in its own's place$/);
  });

  it("is not refused because the machine is slow", async () => {
    const { adopter, prepare, host } = begin();
    adopter.patience = 90;
    const { poll } = adopter.libc;
    Object.assign(adopter.libc, { poll: (...args: Parameters<typeof poll>) => (host.standStill(500), poll(...args)) });
    await prepare();
  });

  it("puts the shared socket in the place of the server's own, which nobody can reach in between", async () => {
    const { adopter, place, socket, prepare, file } = begin();
    const adopt = await prepare();
    assert.equal(file(place)?.isListening, false);
    const acceptor = adopt();
    assert.equal(file(place), file(socket));
    assert.ok(adopter.watched.has(place));
    acceptor.leave();
    assert.ok(!adopter.watched.has(place));
  });

  it("finds the server's own socket beside one of the same port at another address", async () => {
    const { place, socket, prepare, file } = begin(at("127.0.0.2", 4000));
    const adopt = await prepare();
    adopt();
    assert.equal(file(place), file(socket));
  });

  it("leaves the shared socket with the deferral of the server that came last", async () => {
    const { socket, place, prepare, file } = begin();
    const [shared, own] = [file(socket), file(place)];
    assert(shared !== undefined && own !== undefined);
    own.deferral = 0;
    shared.deferral = 1;
    const adopt = await prepare();
    assert.equal(shared.deferral, 1);
    adopt();
    assert.equal(shared.deferral, 0);
  });

  it("does not begin where there is no descriptor for what it will take", async () => {
    const { adopter, place, socket, prepare, file } = begin();
    const adopt = await prepare();
    adopter.fails.fcntl = 24;
    assert.throws(adopt, /^Error: Cannot serve: this process is out of file descriptors$/);
    assert.notEqual(file(place), file(socket));
  });

  it("has the place look empty until the next turn", async () => {
    const { adopter, place, socket, prepare, file } = begin();
    const acceptor = (await prepare())();
    for (let round = 0; round < 2; round++) {
      let turn = (): void => {};
      acceptor.yield((callback) => turn = callback);
      assert.equal(file(place)?.isListening, false);
      turn();
      assert.equal(file(place), file(socket));
      assert.ok(adopter.watched.has(place));
    }
  });

  it("does not come back to a place that was left meanwhile", async () => {
    const { adopter, place, socket, prepare, file } = begin();
    const acceptor = (await prepare())();
    let turn = (): void => {};
    acceptor.yield((callback) => turn = callback);
    acceptor.leave();
    turn();
    assert.notEqual(file(place), file(socket));
    assert.ok(!adopter.watched.has(place));
  });

  it("leaves alone whoever has the number of a place that was given back", async () => {
    for (const when of ["before", "meanwhile"]) {
      const { adopter, place, prepare, file } = begin();
      const acceptor = (await prepare())();
      const closeServer = (): void => {
        adopter.libc.close(place);
        assert.equal(adopter.open({ address: at("10.0.0.1", 5000) }), place);
        adopter.watched.add(place);
      };
      if (when === "before") closeServer();
      const turns: (() => void)[] = [];
      acceptor.yield((callback) => turns.push(callback));
      if (when === "meanwhile") closeServer();
      const stranger = file(place);
      for (const turn of turns) turn();
      acceptor.leave();
      assert.equal(file(place), stranger, when);
      assert.ok(adopter.watched.has(place), when);
    }
  });

  it("leaves the place even where the program has closed its descriptor of the shared socket", async () => {
    const { adopter, socket, place, prepare, file } = begin();
    const acceptor = (await prepare())();
    const shared = file(place);
    adopter.libc.close(socket);
    adopter.open({ address: at("10.0.0.1", 5000) });
    acceptor.yield((callback) => callback());
    assert.equal(file(place), shared);
    acceptor.leave();
    assert.ok(!adopter.watched.has(place));
  });

  it("counts the connections of the shared socket and nothing else", async () => {
    const { adopter, prepare } = begin();
    const acceptor = (await prepare())();
    assert.equal(acceptor.connections(), 0);
    adopter.open({ address: at("127.0.0.1", 80) });
    adopter.open({ address: at("10.0.0.1", 80) });
    adopter.open({ address: at("127.0.0.1", 80), type: 2 }); // UDP
    adopter.open({ address: at("127.0.0.1", 81) });
    assert.equal(acceptor.connections(), 2);
    adopter.open({ address: at("127.0.0.1", 80) }, 5000); // one of many is left
    assert.equal(acceptor.connections(), 3);
    const other = begin(at("127.0.0.1", 80));
    const only = (await other.prepare())();
    other.adopter.open({ address: at("127.0.0.1", 80) });
    other.adopter.open({ address: at("127.0.0.2", 80) });
    assert.equal(only.connections(), 1);
  });
});
