/** Spare workers under real load: requests come at a rate, at twice that, and at the first rate again. */
import assert from "node:assert/strict";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { atRate, load } from "./support/load.ts";
import { eventsOf, liveWorkers, runFixture, stopPool } from "./support/pool.ts";
import { type Program, runtime, waitFor } from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 300_000 };
const module = fileURLToPath(new URL("./fixtures/serve/one_at_a_time.ts", import.meta.url));

/** How long nothing may happen before a pool is taken to have settled. */
const QUIET_MS = 3000;
/** Four workers are busy at this rate on the average. */
const RATE = 40;

function changes(program: Program): number {
  return eventsOf(program).filter(({ type }) => type === "spawn" || type === "retire").length;
}

/** Waits until the pool has changed nothing for a while, and gives how many workers it has then. */
async function settle(program: Program): Promise<number> {
  let seen = -1;
  let since = performance.now();
  const isQuiet = (): boolean => {
    const now = performance.now();
    if (changes(program) !== seen) [seen, since] = [changes(program), now];
    return now - since >= QUIET_MS;
  };
  await waitFor(isQuiet, { what: `${QUIET_MS} ms without a change`, timeoutMs: 90_000 }).catch((error) => {
    throw new Error(`${error.message}; there were ${seen} changes\n${program.report()}`);
  });
  return liveWorkers(program).length;
}

describe(`spare workers on ${runtime}`, () => {
  it("follow the load, come to rest while it is steady, and lose no request", options, async () => {
    const spare = { minSpare: 2, maxSpare: 8, retireAfterMs: 1000 };
    await using program = runFixture("spare", [JSON.stringify({ module, spare, maxWorkers: 24 })]);
    const line = await program.waitForLine(/^listens /);
    const [{ address: { port } }] = JSON.parse(line.slice("listens ".length));
    assert.equal(await settle(program), 2);
    let rate = RATE;
    const clients = load({ port }, [atRate(() => rate)]);
    const sizes: number[] = [];
    for (rate of [RATE, 2 * RATE, RATE, 0]) sizes.push(await settle(program));
    const { failures, sent, answered } = await clients.stop();
    assert.deepEqual(failures.slice(0, 10), [], `${failures.length} requests failed`);
    assert.deepEqual(sent, answered);
    const [first = 0, second = 0, third = 0, last = 0] = sizes;
    assert.ok(first >= 4 + 2 && second >= 8 + 2 && third >= 4 + 2, sizes.join(", "));
    assert.equal(last, 8);
    // Up to the most there were, and down again, with hardly a worker that came back.
    assert.ok(changes(program) <= 2 * second + 4, `${changes(program)} changes for ${sizes.join(", ")} workers`);
    await stopPool(program);
  });
});
