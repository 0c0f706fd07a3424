/**
 * A pool under load while everything happens to it at once, by chance. `PREFORK_TEST_CHAOS_MS` says for how long, and
 * `PREFORK_TEST_CHAOS_SEED` which chance: a failure tells its own.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { freezeForGood, isHeld, type Kill } from "./support/held.ts";
import { keepAlive, type Load, load, oneShot, post, stream, webSocket } from "./support/load.ts";
import {
  descriptors,
  eventsOfType,
  guards,
  liveWorkers,
  memoryKb,
  portOf,
  runPool,
  stopPool,
  strangers,
  waitForReady,
  zombies,
} from "./support/pool.ts";
import { Random } from "./support/random.ts";
import { isAlive, type Program, runtime, signalProcess, tempDir, waitFor } from "./support/run.ts";

const CHAOS_MS = Number(process.env["PREFORK_TEST_CHAOS_MS"] ?? 60_000);
const SEED = Number(process.env["PREFORK_TEST_CHAOS_SEED"] ?? Date.now() % 2 ** 32);
const module = fileURLToPath(new URL("./fixtures/serve/build.ts", import.meta.url));

const KINDS = ["one shot", "keep-alive, 0 ms between", "keep-alive, 100 ms between", "post", "stream", "web socket"];
const CLIENTS = [oneShot, oneShot, keepAlive(0), keepAlive(100), post, stream, stream, webSocket];

const TARGET = 3;
const HANG_MS = 2000;
/** How long the pool may take to be whole again once nothing happens to it any more. */
const HEAL_MS = 30_000;
/** The most that the manager may have grown by then. */
const GROWTH_KB = 24 * 1024;

const BROKEN = ["throws", "exits", "hangs", "never listens"] as const;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** What happens to a pool, and what it cost. */
class Chaos {
  readonly program: Program;
  readonly clients: Load;
  readonly kills: Kill[] = [];
  readonly log: string[] = [];
  readonly #random: Random;
  readonly #build: string;
  readonly #port: number;
  readonly #begun = performance.now();
  /** Workers that something happens to, or that are as good as dead. */
  readonly #busy = new Set<number>();
  /** What goes on by itself and must end before the pool can heal. */
  readonly #pending = new Set<Promise<void>>();
  #size = TARGET;

  constructor(program: Program, port: number, build: string, random: Random) {
    this.program = program;
    this.#port = port;
    this.#build = build;
    this.#random = random;
    this.clients = load({ port }, CLIENTS);
  }

  /** Lets one thing happen after the other, some before the last one is over. */
  async run(ms: number): Promise<void> {
    const acts = [
      () => this.#kill(),
      () => this.#kill(),
      () => this.#killWithGuard(),
      () => this.#hang(),
      () => this.#nap(),
      () => this.#leave(),
      () => this.#reload(),
      () => this.#reloadBroken(),
      () => this.#supersede(),
      () => this.#resize(),
      () => this.#managerNap(),
    ];
    while (performance.now() - this.#begun < ms) {
      await this.#random.pick(acts)?.();
      await sleep(this.#random.between(20, 600));
    }
    await Promise.all(this.#pending);
    writeFileSync(this.#build, "good");
    for (; this.#size < TARGET; this.#size++) await this.#signal("SIGTTIN");
    for (; this.#size > TARGET; this.#size--) await this.#signal("SIGTTOU");
  }

  #tell(what: string): void {
    this.log.push(`${Math.round(performance.now())} ms: ${what}`);
  }

  /** A worker that is ready and that nothing happens to. */
  #someone(): number | undefined {
    const ready = liveWorkers(this.program).filter(({ pid, state }) => state === "ready" && !this.#busy.has(pid));
    return this.#random.pick(ready.map(({ pid }) => pid).filter(isAlive));
  }

  /** Freezes somebody for good; undefined if there is nobody. */
  async #doom(what: string): Promise<number | undefined> {
    const pid = this.#someone();
    if (pid === undefined) return undefined;
    this.#busy.add(pid);
    this.#tell(`${pid} ${what}`);
    try {
      const kill = await freezeForGood(pid, this.#port);
      this.kills.push(kill);
      this.#tell(
        `${pid} was frozen at ${Math.round(kill.at)} with ${
          kill.held === undefined ? "nobody knows what" : [...kill.held]
        } in hand`,
      );
      return pid;
    } catch (error) {
      if (isAlive(pid)) throw error;
      return undefined; // it went by itself
    }
  }

  async #kill(): Promise<void> {
    const pid = await this.#doom("is killed");
    if (pid !== undefined) signalProcess(pid, "SIGKILL");
  }

  /** As whoever kills all children of the manager does, which may then write to a guard of whose end it does not know. */
  async #killWithGuard(): Promise<void> {
    const pid = await this.#doom("is killed, and the guard with it");
    if (pid === undefined) return;
    for (const each of [...guards(this.program), pid]) signalProcess(each, "SIGKILL");
  }

  async #hang(): Promise<void> {
    const pid = await this.#doom("hangs");
    if (pid === undefined) return;
    this.#later(() => waitFor(() => !isAlive(pid), { what: `${pid}, which hangs, to be killed`, timeoutMs: HEAL_MS }));
  }

  /** Stands still for less long than a hang takes. */
  #nap(): void {
    const pid = this.#someone();
    if (pid === undefined) return;
    this.#busy.add(pid);
    this.#tell(`${pid} naps`);
    signalProcess(pid, "SIGSTOP");
    this.#later(async () => {
      await sleep(this.#random.between(10, HANG_MS / 2));
      signalProcess(pid, "SIGCONT");
      this.#busy.delete(pid);
    });
  }

  async #managerNap(): Promise<void> {
    this.#tell("the manager naps");
    this.program.kill("SIGSTOP");
    await sleep(this.#random.between(10, HANG_MS * 2));
    this.program.kill("SIGCONT");
  }

  /** One stops by itself. Who is told so by the manager already, some time before, would answer nothing more. */
  async #leave(): Promise<void> {
    const pid = this.#someone();
    const told = eventsOfType(this.program, "relay").some(({ worker }) => worker.pid === pid);
    if (pid === undefined || told) return;
    this.#tell(`${pid} leaves`);
    this.#busy.add(pid);
    signalProcess(pid, "SIGTERM");
    await waitFor(() => !isAlive(pid), { what: `${pid}, which leaves, to be gone` });
  }

  #reload(): void {
    this.#tell("reload");
    this.program.kill("SIGHUP");
  }

  #reloadBroken(): void {
    const build = this.#random.pick(BROKEN) ?? "throws";
    this.#tell(`reload of a build that ${build}`);
    writeFileSync(this.#build, build);
    this.program.kill("SIGHUP");
    this.#later(async () => {
      await sleep(this.#random.between(100, 2000));
      writeFileSync(this.#build, "good");
    });
  }

  async #supersede(): Promise<void> {
    for (let count = this.#random.between(2, 4); count > 0; count--) {
      this.#reload();
      await sleep(this.#random.between(5, 300));
    }
  }

  async #resize(): Promise<void> {
    const grows = this.#size <= TARGET - 1 || (this.#size < TARGET + 2 && this.#random.next() < 0.5);
    this.#size += grows ? 1 : -1;
    await this.#signal(grows ? "SIGTTIN" : "SIGTTOU");
    this.#tell(`${this.#size} workers`);
  }

  /** Equal signals that wait are merged, so each is waited for. */
  async #signal(signal: NodeJS.Signals): Promise<void> {
    const count = this.program.matching(/^maxWorkers /).length + 1;
    this.program.kill(signal);
    await this.program.waitForLine(/^maxWorkers /, { count });
  }

  #later(what: () => Promise<unknown>): void {
    const pending = what().then(() => void this.#pending.delete(pending));
    this.#pending.add(pending);
  }
}

function runChaosPool(build: string): Program {
  writeFileSync(build, "good");
  return runPool({
    module,
    resizes: true,
    options: {
      maxWorkers: TARGET,
      listen: "127.0.0.1:0",
      bootTimeoutMs: 5000,
      hangTimeoutMs: HANG_MS,
      errRespawnIntervalMs: 50,
      maxRespawnIntervalMs: 1000,
      recycle: { maxRequests: 2000, maxLifetimeMs: 8000, jitter: 0.5 },
      trapSignals: { SIGTERM: "SIGTERM", SIGHUP: { signal: "SIGTERM", replace: "before" } },
    },
  }, { env: { TEST_BUILD: build } });
}

/** Whether a change of generations is under way. */
function isReloading(program: Program): boolean {
  const begun = eventsOfType(program, "reload").length;
  const ended = eventsOfType(program, "reloaded").length + eventsOfType(program, "reloadFailed").length;
  return begun > ended;
}

/** Whether no change was left half done. */
function isOfOneGeneration(program: Program): boolean {
  const ready = liveWorkers(program).filter(({ state }) => state === "ready");
  return new Set(ready.map(({ generation }) => generation)).size === 1;
}

describe(`chaos on ${runtime}`, () => {
  const options = { timeout: CHAOS_MS + 180_000, skip: process.platform !== "linux" };

  it("costs the requests that killed workers had in hand, and nothing else", options, async () => {
    await using dir = await tempDir();
    const build = dir.file("build");
    await using program = runChaosPool(build);
    await waitForReady(program, TARGET);
    const before = { descriptors: descriptors(program.pid).length, memory: memoryKb(program.pid, "status", "VmRSS") };
    const chaos = new Chaos(program, await portOf(program), build, new Random(SEED));
    try {
      await chaos.run(CHAOS_MS);
      await waitForReady(program, TARGET, HEAL_MS);
      await waitFor(() => !isReloading(program), { what: "the last reload to end", timeoutMs: HEAL_MS });
      await waitFor(() => isOfOneGeneration(program), { what: "one generation alone to serve", timeoutMs: HEAL_MS });
      await waitForReady(program, TARGET, HEAL_MS);

      const { failures, sent, answered, cutShort, idleRaces, heldUp } = await chaos.clients.stop();
      assert.deepEqual(failures.filter((failure) => !isHeld(failure, chaos.kills)).slice(0, 10), []);
      for (const kind of KINDS) {
        const failed = failures.filter((failure) => failure.kind === kind).length;
        // A web socket may fail before anything is sent through it.
        if (kind !== "web socket") {
          assert.equal(sent[kind], (answered[kind] ?? 0) + failed + (idleRaces[kind] ?? 0) + (heldUp[kind] ?? 0), kind);
        } else assert.ok((sent[kind] ?? 0) <= (answered[kind] ?? 0) + failed + cutShort);
        assert.ok((answered[kind] ?? 0) > failed, kind);
      }
      await waitForReady(program, TARGET, HEAL_MS);
      await expectNoLeak(program, before);
      await stopPool(program);
      tellFigures(program, chaos);
    } catch (error) {
      const acts = chaos.log.join("\n");
      throw new Error(`With PREFORK_TEST_CHAOS_SEED=${SEED}: ${error}\n${acts}\n${program.report()}`, { cause: error });
    } finally {
      await program[Symbol.asyncDispose]();
      await chaos.clients.stop();
    }
  });
});

/** Everything is as it was before. Workers may come and go meanwhile, since they are replaced when they are old. */
async function expectNoLeak(
  program: Program,
  before: { readonly descriptors: number; readonly memory: number },
): Promise<void> {
  const own = () => descriptors(program.pid).length;
  await waitFor(() => own() === before.descriptors, { what: `${before.descriptors} descriptors` })
    .catch((error) => assert.fail(`${error.message}: ${descriptors(program.pid).join(", ")}`));
  await waitFor(() => zombies(program.pid).length === 0, { what: "no zombies" });
  await waitFor(() => strangers(program).length === 0, { what: "nobody but the workers" })
    .catch((error) => assert.fail(`${error.message}: ${strangers(program).join("\n")}`));
  const grown = () => memoryKb(program.pid, "status", "VmRSS") - before.memory;
  await waitFor(() => grown() <= GROWTH_KB, { what: `a manager that has grown by at most ${GROWTH_KB} kB` })
    .catch((error) => assert.fail(`${error.message}: it has grown by ${grown()} kB`));
}

/** Long runs are made to be read. */
function tellFigures(program: Program, { clients, kills, log }: Chaos): void {
  if (process.env["PREFORK_TEST_CHAOS_MS"] === undefined) return;
  const { failures, sent } = clients.tally;
  const counts = ["spawn", "hang", "reload", "reloaded", "reloadFailed", "recycle", "backoff"] as const;
  const events = counts.map((type) => `${type} ${eventsOfType(program, type).length}`).join(", ");
  process.stdout.write(
    `seed ${SEED}: ${log.length} acts, ${kills.length} kills, ${events}; ` +
      `${failures.length} failed of ${JSON.stringify(sent)}\n`,
  );
}
