/** What a pool costs: many workers, many respawns, idling. With real processes. */
import assert from "node:assert/strict";
import process from "node:process";
import { describe, it } from "node:test";
import {
  descriptors,
  eventsOfType,
  memoryKb,
  runFixture,
  runPool,
  sleeps,
  stopPool,
  waitForReady,
  zombies,
} from "./support/pool.ts";
import { runtime, tempDir, waitFor } from "./support/run.ts";

describe("many workers", () => {
  const CROWDS = [
    ["500 commands", 500, { command: ["sleep", "1000"] }],
    [`${runtime === "deno" ? 40 : 60} workers of the library`, runtime === "deno" ? 40 : 60, {}],
  ] as const;
  for (const [what, count, spec] of CROWDS) {
    it(`${what} come and go at once`, { timeout: 180_000 }, async () => {
      await using program = runPool({ options: { maxWorkers: count }, ...spec });
      const workers = await waitForReady(program, count, 100_000);
      assert.deepEqual(workers.map(({ slot }) => slot), Array.from({ length: count }, (_, slot) => slot));
      await stopPool(program);
      const ends = eventsOfType(program, "reap").map(({ expected }) => expected);
      assert.deepEqual(ends, Array(count).fill(true));
    });
  }
});

/** The least resident memory that a process is seen to have for a while, since garbage comes and goes. */
async function leastMemoryKb(pid: number): Promise<number> {
  let least = Infinity;
  for (let i = 0; i < 50; i++) {
    least = Math.min(least, memoryKb(pid, "status", "VmRSS"));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return least;
}

describe("respawns", () => {
  const LAST = Number(process.env.PREFORK_TEST_RESPAWNS ?? 4_000);
  const FIRST = Math.min(4000, LAST / 5);

  it("cost at rest at most 8 MB and no descriptor, and leave no zombie", { timeout: 600_000 }, async () => {
    await using program = runFixture("respawns", [String(FIRST), String(LAST)]);
    const reach = (count: number) => program.waitForLine(`reached ${count}`, { timeoutMs: 500_000 });
    await reach(FIRST);
    const before = { memoryKb: await leastMemoryKb(program.pid), descriptors: descriptors(program.pid).length };
    await reach(LAST);
    // A busy V8 lets its young generation grow, by 10 MB in an empty loop of spawns too, and gives it back at rest.
    const memory = () => memoryKb(program.pid, "status", "VmRSS");
    await waitFor(() => memory() - before.memoryKb <= 8192, { what: "the memory to be given back" })
      .catch((error) => {
        throw new Error(`${error.message}: it went from ${before.memoryKb} to ${memory()} kB`);
      });
    await waitFor(() => descriptors(program.pid).length === before.descriptors, { what: "as many descriptors" });
    assert.deepEqual(zombies(program.pid), []);
    await stopPool(program);
  });
});

/** How often each process wakes in five seconds, all watched side by side. Threads that end meanwhile do not count. */
async function wakeUpsOf(pids: readonly number[]): Promise<number[]> {
  const before = pids.map(sleeps);
  await new Promise((resolve) => setTimeout(resolve, 5000));
  return pids.map((pid, i) => {
    const threads = [...sleeps(pid)].map(([tid, count]) => count - (before[i]?.get(tid) ?? 0));
    return threads.reduce((sum, count) => sum + count, 0);
  });
}

describe("an idle pool", () => {
  it(
    "wakes no more often than a program that waits, on Bun with a connected socket",
    { timeout: 180_000 },
    async () => {
      await using dir = await tempDir();
      // Bun wakes twice a second by itself as long as a socket is connected (oven-sh/bun#21456), so here one is, too.
      await using bare = runFixture("idle", runtime === "bun" ? [dir.file("socket")] : []);
      await using program = runPool({ options: { maxWorkers: 2 } });
      await bare.waitForLine("waits");
      const workers = await waitForReady(program, 2);
      const pids = [bare.pid, program.pid, ...workers.map(({ pid }) => pid)];
      let seen: readonly number[] = [];
      // Ten in five seconds is noise. What loading left to do may take a while on a busy machine.
      await waitFor(async () => {
        const [own = 0, ...others] = seen = await wakeUpsOf(pids);
        return others.every((count) => count <= own + 10);
      }, { what: "the pool to be as quiet as a program that waits", timeoutMs: 100_000 }).catch((error) => {
        throw new Error(`${error.message}; in five seconds they woke ${seen.join(", ")} times`);
      });
      await stopPool(program);
    },
  );

  it(
    "costs at most 10 MB more proportional memory in its manager than a program that waits",
    { timeout: 180_000 },
    async () => {
      await using bare = runFixture("idle");
      await using program = runPool({ options: { maxWorkers: 2 } });
      await bare.waitForLine("waits");
      await waitForReady(program, 2);
      // The proportional set: pages of the runtime's executable are shared with whatever else runs on it.
      const pss = (pid: number) => memoryKb(pid, "smaps_rollup", "Pss");
      await waitFor(() => pss(program.pid) - pss(bare.pid) <= 10_240, { what: "a small manager" }).catch((error) => {
        throw new Error(`${error.message}: it has ${pss(program.pid)} kB, a program that waits ${pss(bare.pid)} kB`);
      });
      await stopPool(program);
    },
  );
});
