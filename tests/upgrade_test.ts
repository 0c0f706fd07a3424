/** Upgrades of the manager itself, with real processes under load: what proves itself takes over, the rest is gone. */
import assert from "node:assert/strict";
import { existsSync, lstatSync, readFileSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import process from "node:process";
import { describe, it } from "node:test";
import type { Edition } from "./fixtures/upgrade/daemon.ts";
import { begin } from "./support/client.ts";
import { Daemon, sharedSockets } from "./support/daemon.ts";
import { freeze } from "./support/held.ts";
import { keepAlive, type Load, load, loadAll, oneShot, PACED, post } from "./support/load.ts";
import { waitForNobody } from "./support/pool.ts";
import { isAlive, runProgram, runtime, signalProcess, tempDir, waitFor } from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };
const CLIENTS = [oneShot, oneShot, keepAlive(0), keepAlive(100), post];

/** Waits until one of `workers` has answered; everybody was before. */
async function answersBy(clients: Load, workers: readonly { readonly pid: number }[]): Promise<void> {
  clients.tally.workers.clear();
  const what = `an answer of ${workers.map(({ pid }) => pid).join(" or ")}`;
  await waitFor(() => workers.some(({ pid }) => clients.tally.workers.has(String(pid))), { what });
}

async function expectNoLoss(...loads: readonly Load[]): Promise<void> {
  for (const clients of loads) assert.deepEqual((await clients.stop()).failures, []);
}

/** Ends the manager that serves, which is to leave nothing. */
async function stop(daemon: Daemon, manager: number): Promise<void> {
  signalProcess(manager, "SIGTERM");
  await daemon.program.waitForLine(`ends ${manager}`);
  await waitForNobody(daemon.program);
}

describe("an upgrade", () => {
  it("costs no request, and neither does one of the manager that came by it", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    await using daemon = new Daemon({ listen: ["127.0.0.1:0", `unix:${path}`] }, dir);
    const first = daemon.program.pid;
    const before = await daemon.ready(first);
    const [tcp = { port: 0 }] = await daemon.listens(first);
    await using loads = loadAll([tcp, { path }], CLIENTS);
    await answersBy(loads[0] ?? assert.fail(), before);

    let manager = first;
    for (const round of [1, 2, 3]) {
      daemon.upgrade(manager);
      assert.equal(await daemon.outcome(manager), "was taken over");
      const heir = await daemon.heir(round);
      assert.deepEqual(await daemon.listens(heir), [tcp, { path }]);
      await daemon.program.waitForLine(`ends ${manager}`);
      await waitFor(() => !isAlive(manager), { what: "the old manager to be gone" });
      for (const clients of loads) await answersBy(clients, await daemon.ready(heir));
      assert.ok(existsSync(path), "the file of the Unix socket");
      manager = heir;
    }
    assert.deepEqual(await daemon.program.status, { code: 0, signal: null }, daemon.program.report());
    await expectNoLoss(...loads);
    await stop(daemon, manager);
    assert.equal(existsSync(path), false, "the last one removes it");
  });

  it("binds what is new, and closes what is not wanted any more", options, async () => {
    await using dir = await tempDir();
    const [old, fresh] = [dir.file("old.sock"), dir.file("new.sock")];
    await using daemon = new Daemon({ listen: ["127.0.0.1:0", `unix:${old}`] }, dir);
    const first = daemon.program.pid;
    await daemon.ready(first);
    const [{ port } = { port: 0 }] = await daemon.listens(first) as readonly { readonly port: number }[];
    // In other words than before, which say where the socket is bound.
    daemon.upgrade(first, { listen: [`unix:${fresh}`, `named=localhost:${port}`] });
    const heir = await daemon.heir();
    assert.deepEqual(await daemon.listens(heir), [{ path: fresh }, { port }]);
    await daemon.program.waitForLine(`ends ${first}`);
    await waitFor(() => !isAlive(first), { what: "the old manager to be gone" });
    assert.equal(sharedSockets(heir).length, 2);
    assert.deepEqual([existsSync(old), existsSync(fresh)], [false, true]);
    await stop(daemon, heir);
    assert.equal(existsSync(fresh), false);
  });

  it(
    "brings a Unix socket that stays the mode that the new manager wants, and only if it takes over",
    options,
    async () => {
      await using dir = await tempDir();
      const path = dir.file("a.sock");
      const address = `unix:${path}`;
      const mode = () => (lstatSync(path).mode & 0o777).toString(8);
      await using daemon = new Daemon({ listen: { address, mode: 0o666 } }, dir);
      const first = daemon.program.pid;
      await daemon.ready(first);
      daemon.upgrade(first, { listen: [{ address, mode: 0o600 }], later: "exits" });
      assert.match(await daemon.outcome(first), /^UpgradeError/);
      assert.equal(mode(), "666");
      daemon.upgrade(first, { listen: [{ address, mode: 0o600 }] });
      const heir = await daemon.heir();
      assert.equal(mode(), "600");
      await daemon.program.waitForLine(`ends ${first}`);
      await stop(daemon, heir);
    },
  );

  it("binds a Unix socket anew whose file somebody has removed, and answers who came before", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const listen = ["127.0.0.1:0", { address: `unix:${path}`, mode: 0o660 }];
    await using daemon = new Daemon({ listen }, dir);
    const first = daemon.program.pid;
    await daemon.ready(first);
    using early = await begin({ path });
    unlinkSync(path);
    daemon.upgrade(first, { later: "exits" });
    assert.match(await daemon.outcome(first), /^UpgradeError/);
    assert.equal(existsSync(path), false, "what the new manager had bound is gone with it");
    daemon.upgrade(first);
    assert.equal(await daemon.outcome(first, 2), "was taken over", daemon.program.report());
    const heir = await daemon.heir();
    await using clients = load({ path }, [oneShot]);
    await answersBy(clients, await daemon.ready(heir));
    assert.equal(lstatSync(path).mode & 0o777, 0o660);
    await early.send("done!").waitFor(/half-done!/);
    await daemon.program.waitForLine(`ends ${first}`);
    await expectNoLoss(clients);
    assert.ok(existsSync(path), "the file is not the old manager's");
    await stop(daemon, heir);
    assert.equal(existsSync(path), false);
  });
});

/** How managers are broken, and what is said of each. */
const BROKEN: readonly (readonly [string, Edition, RegExp])[] = [
  ["throws", { manager: "throws" }, /, exited with status 1 before it had proved itself; what it printed tells why\./],
  ["exits with status 7", { manager: "exits" }, /, exited with status 7 before it had proved itself;/],
  ["hangs", { manager: "hangs", timeoutMs: 3000 }, /, did not come to start\(\) of the pool '0' within 3000 ms\./],
  [
    "waits for ever",
    { manager: "waits", timeoutMs: 3000 },
    /, did not come to start\(\) of the pool '0' within 3000 ms\./,
  ],
  ["exits with workers", { later: "exits" }, /, exited with status 7 before it had proved itself;/],
  ["hangs with workers", { later: "hangs", timeoutMs: 5000 }, /, did not have its workers ready within 5000 ms\./],
  ["has no ready worker", { notReady: "all", timeoutMs: 5000 }, /, did not have its workers ready within 5000 ms\./],
  [
    "has one ready worker",
    { notReady: "others", timeoutMs: 5000 },
    /, did not have its workers ready within 5000 ms\./,
  ],
];

async function expectFailure(edition: Edition, reason: RegExp): Promise<void> {
  await using dir = await tempDir();
  const path = dir.file("a.sock");
  await using daemon = new Daemon({ listen: ["127.0.0.1:0", `unix:${path}`] }, dir);
  const { program } = daemon;
  const workers = await daemon.ready(program.pid);
  const [tcp = { port: 0 }] = await daemon.listens(program.pid);
  await using loads = loadAll([tcp, { path }], PACED);
  const belongings = daemon.belongings();
  const sockets = sharedSockets(program.pid);

  const began = performance.now();
  daemon.upgrade(program.pid, edition);
  const said = await daemon.outcome(program.pid);
  const tookMs = performance.now() - began - (edition.timeoutMs ?? 0);
  assert.ok(tookMs < 20_000, `${tookMs} ms were waited for workers that were never ready`);
  // Workers whose manager is gone answer what they have in hand, and nobody awaits them.
  await daemon.isBackTo(belongings, edition.later === undefined ? 2000 : 20_000);
  assert.match(said, /^UpgradeError: Cannot upgrade: the new manager, pid=\d+, .*\. This manager, pid=\d+, goes on$/);
  assert.match(said, reason);
  assert.deepEqual(sharedSockets(program.pid), sockets);
  assert.equal(sockets.length, 2);
  for (const clients of loads) await answersBy(clients, workers);
  const [failed] = daemon.events().filter((event) => event.type === "upgradeFailed");
  assert.equal(failed?.cause, "failed");

  daemon.upgrade(program.pid);
  assert.equal(await daemon.outcome(program.pid, 2), "was taken over", program.report());
  const heir = await daemon.heir();
  for (const clients of loads) await answersBy(clients, await daemon.ready(heir));
  await expectNoLoss(...loads);
  assert.ok(existsSync(path));
  await stop(daemon, heir);
}

describe("an upgrade is as if it had not been, without a lost request, by a new manager that", () => {
  for (const [how, edition, reason] of BROKEN) it(how, options, () => expectFailure(edition, reason));

  it("finds a port taken", options, async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const address = taken.address();
    const port = typeof address === "object" ? address?.port : undefined;
    await expectFailure({ extra: `127.0.0.1:${port}` }, /, exited with status 1 before it had proved itself;/);
    taken.close();
  });
});

describe("in the middle of an upgrade", () => {
  it("a stop ends both managers", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    await using daemon = new Daemon({ listen: `unix:${path}` }, dir);
    const { program } = daemon;
    await daemon.ready(program.pid);
    await using clients = load({ path }, [oneShot]);
    daemon.upgrade(program.pid, { notReady: "others" });
    const heir = await waitFor(() => daemon.managers[1], { what: "the new manager" });
    await daemon.ready(heir, 1);
    await clients.stop();
    program.kill("SIGTERM");
    assert.equal(
      await daemon.outcome(program.pid),
      "UpgradeError: Cannot upgrade: the pool was told to stop by SIGTERM",
    );
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    await waitForNobody(program);
    assert.deepEqual(clients.tally.failures, []);
    assert.equal(existsSync(path), false);
    const [failed] = daemon.events().filter((event) => event.type === "upgradeFailed");
    assert.equal(failed?.cause, "stopped");
  });

  it("the new manager refuses what would change or hand on the sockets that are not its own yet", options, async () => {
    await using dir = await tempDir();
    const [path, until] = [dir.file("a.sock"), dir.file("go")];
    await using daemon = new Daemon({ listen: `unix:${path}` }, dir);
    const first = daemon.program.pid;
    await daemon.ready(first);
    daemon.upgrade(first, { early: { listen: `unix:${path}`, until } });
    const yet = `this manager has yet to take over from pid=${first}`;
    await daemon.program.waitForLine(
      `early: Cannot change 'listen' by a reload: ${yet}, which has the sockets; try again when it has`,
    );
    await daemon.program.waitForLine(`early: Cannot upgrade: ${yet}; try again when it has`);
    writeFileSync(until, "");
    const heir = await daemon.heir();
    await daemon.program.waitForLine(`ends ${first}`);
    await using clients = load({ path }, [oneShot]);
    await answersBy(clients, await daemon.ready(heir));
    await expectNoLoss(clients);
    await stop(daemon, heir);
    assert.equal(existsSync(path), false);
  });

  it("another one is refused, and so is a reload; a signal's reload goes on", options, async () => {
    await using dir = await tempDir();
    await using daemon = new Daemon({ listen: "127.0.0.1:0" }, dir);
    const { program } = daemon;
    await daemon.ready(program.pid);
    daemon.upgrade(program.pid, { notReady: "others" });
    const heir = await waitFor(() => daemon.managers[1], { what: "the new manager" });
    await daemon.ready(heir, 1);
    program.kill("SIGUSR2");
    assert.match(await daemon.outcome(program.pid), /^Error: Cannot upgrade: an upgrade is under way/);
    program.kill("SIGHUP");
    await program.waitForLine(/"type":"reloaded"/);
    await stop(daemon, program.pid);
  });

  for (const manager of ["waits", "hangs"] as const) {
    it(`a kill of the old manager ends a new one that ${manager}`, options, async () => {
      await using dir = await tempDir();
      await using daemon = new Daemon({ listen: "127.0.0.1:0" }, dir);
      const { program } = daemon;
      await daemon.ready(program.pid);
      daemon.upgrade(program.pid, { manager });
      await waitFor(() => daemon.managers[1], { what: "the new manager" });
      program.kill("SIGKILL");
      await waitForNobody(program);
      await waitFor(() => daemon.belongings() === "", { what: `no ${daemon.belongings()} to be left` });
      if (manager === "waits") await program.waitForErrorLine(/^prefork: the manager pid=\d+ is gone, from which this/);
    });
  }

  it(
    "a kill of the old manager ends a new one that has not proved itself",
    options,
    async () => {
      await using dir = await tempDir();
      await using daemon = new Daemon({ listen: "127.0.0.1:0" }, dir);
      const { program } = daemon;
      await daemon.ready(program.pid);
      daemon.upgrade(program.pid, { notReady: "others" });
      const heir = await waitFor(() => daemon.managers[1], { what: "the new manager" });
      await daemon.ready(heir, 1);
      program.kill("SIGKILL");
      await program.waitForErrorLine(/this one has not proved itself and ends/);
      await program.waitForLine(`ends ${heir}`);
      await waitForNobody(program);
      assert.equal(daemon.belongings(), "");
    },
  );

  it("a kill of the old manager does not stop a new one that has proved itself", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    await using daemon = new Daemon({ listen: `unix:${path}` }, dir);
    const { program } = daemon;
    await daemon.ready(program.pid);
    daemon.upgrade(program.pid);
    const heir = await waitFor(() => daemon.managers[1], { what: "the new manager" });
    await freeze(program.pid); // so that it does not hear of the proof
    const workers = await daemon.ready(heir);
    signalProcess(program.pid, "SIGKILL");
    assert.equal(await daemon.heir(), heir);
    await using clients = load({ path }, [oneShot]);
    await answersBy(clients, workers);
    await expectNoLoss(clients);
    await stop(daemon, heir);
    assert.equal(existsSync(path), false);
    assert.equal(daemon.belongings(), "");
  });
});

describe("after an upgrade", () => {
  it("a kill of the old manager costs nobody but those it has in hand", options, async () => {
    await using dir = await tempDir();
    await using daemon = new Daemon({ listen: "127.0.0.1:0" }, dir);
    const { program } = daemon;
    await daemon.ready(program.pid);
    daemon.upgrade(program.pid);
    assert.equal(await daemon.outcome(program.pid), "was taken over");
    program.kill("SIGKILL");
    const heir = await daemon.heir();
    const [where = { port: 0 }] = await daemon.listens(heir);
    await using clients = load(where, [oneShot]);
    await answersBy(clients, await daemon.ready(heir));
    await expectNoLoss(clients);
    await stop(daemon, heir);
    assert.equal(daemon.belongings(), "");
  });
});

describe("an upgrade is refused", () => {
  it("where there is nothing to be upgraded, or something else is under way", options, async () => {
    await using dir = await tempDir();
    await using program = runProgram(new URL("./fixtures/upgrade/refusals.ts", import.meta.url), [dir.file("mark")]);
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    const refusals: readonly (readonly [string, string])[] = [
      ["too early", "Error: Cannot upgrade: this pool was not started yet; call start() first"],
      ["in a worker", "Error: Cannot upgrade: this process is a worker, and starts anew with the manager above it"],
      [
        "beside another pool",
        "Error: Cannot upgrade: pool 'beside' of this program is in use, too, and a new manager takes over one pool only",
      ],
      ["misspelt", "TypeError: Unknown option 'timeout' for upgrade; did you mean 'timeoutMs'?"],
      ["out of range", "RangeError: Cannot use 'timeoutMs': it must be 0 or more milliseconds, not -1"],
      ["during a reload", "Error: Cannot upgrade: a reload is under way; await its end first"],
      [
        "during an upgrade",
        "Error: Cannot reload: an upgrade is under way, and the new manager brings new workers; await it first",
      ],
      [
        "during another",
        "Error: Cannot upgrade: an upgrade is under way, and the new manager brings new workers; await it first",
      ],
      ["upgrade", "UpgradeError: Cannot upgrade: the pool was told to stop by SIGTERM"],
      ["too late", "Error: Cannot upgrade: this pool has no workers any more; call start() first"],
    ];
    for (const [what, said] of refusals) {
      assert.ok(program.lines.includes(`${what}: ${said}`), `${what}\n${program.report()}`);
    }
    await waitForNobody(program);
  });
});

describe("an upgrade on Deno", () => {
  const sets = [["--allow-run"], ["--allow-run=deno"], ["--allow-run=deno,/bin/sh", "-E=HOME"]];
  for (const set of runtime === "deno" ? sets : []) {
    it(`takes no more permissions than serving does: ${set.join(" ")}`, options, async () => {
      await using dir = await tempDir();
      symlinkSync(process.execPath, dir.file("deno"));
      const env = { PATH: `${dir.path}:${process.env["PATH"]}` };
      const flags = ["run", "--no-prompt", "-N", "-R", "-W", "--allow-ffi", ...set];
      const on = { command: dir.file("deno"), args: flags };
      await using program = runProgram(new URL("./fixtures/upgrade/least.ts", import.meta.url), [], { on, env });
      await program.waitForLine(`serves ${program.pid}`);
      let manager = program.pid;
      for (const round of [2, 3]) {
        signalProcess(manager, "SIGUSR2");
        await program.waitForLine(`ends ${manager}`);
        const line = await program.waitForLine(/^begins /, { count: round });
        manager = Number(line.split(" ")[1]);
        await program.waitForLine(`serves ${manager}`);
        const words = readFileSync(`/proc/${manager}/cmdline`, "utf8").split("\0");
        assert.deepEqual(words.slice(1, -2), [...flags, "--allow-env=PREFORK_UPGRADE"]);
      }
      signalProcess(manager, "SIGTERM");
      await waitForNobody(program);
    });
  }
});
