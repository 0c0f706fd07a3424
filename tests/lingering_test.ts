/** What a manager says of a stop that takes long. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Lingering } from "../src/cli/lingering.ts";
import type { PreforkEvent } from "../src/events.ts";
import type { WorkerInfo } from "../src/types.ts";
import { FakeHost } from "./fake_host.ts";

const worker: WorkerInfo = { pid: 100, slot: 0, generation: 1, status: "", state: "ready" };
const received: PreforkEvent = { type: "signal", signal: "SIGINT", relay: "SIGTERM" };
const relayed: PreforkEvent = { type: "relay", worker, signal: "SIGTERM" };

function begin(count: () => number) {
  const host = new FakeHost();
  const said: string[] = [];
  const log = { tell: (_level: string, text: string) => void said.push(text) };
  return { host, said, lingering: new Lingering(host, log, count) };
}

describe("a stop that takes long", () => {
  it("tells once whom it waits for, a second after they were told", async () => {
    const { host, said, lingering } = begin(() => 1);
    lingering.heed(received);
    await host.advance(5000); // in which they serve on
    lingering.heed(relayed);
    lingering.heed(relayed);
    await host.advance(999);
    assert.deepEqual(said, []);
    await host.advance(5000);
    assert.deepEqual(said, ["waits for 1 worker, which is not done yet; another SIGINT kills it"]);
  });

  it("tells nothing if it is over before, or was made short", async () => {
    for (const event of [{ type: "stopped", killed: [] }, received] satisfies readonly PreforkEvent[]) {
      const { host, said, lingering } = begin(() => 2);
      for (const each of [received, relayed, event, relayed]) lingering.heed(each);
      await host.advance(5000);
      assert.deepEqual(said, []);
    }
  });

  it("tells nothing of a signal that stops nobody, nor of workers that are gone", async () => {
    const { host, said, lingering } = begin(() => 0);
    lingering.heed({ type: "signal", signal: "SIGHUP", relay: "SIGTERM" });
    lingering.heed(relayed);
    await host.advance(5000);
    lingering.heed(received);
    lingering.heed(relayed);
    await host.advance(5000);
    assert.deepEqual(said, []);
  });
});
