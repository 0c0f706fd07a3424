/** SIGUSR2 to a manager of the command line: real processes, real start_server and systemd-socket-activate. */
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { get, type Where } from "./support/client.ts";
import { keepAlive, type Load, loadAll, oneShot, post } from "./support/load.ts";
import {
  isAlive,
  type Program,
  runCommand,
  type RunOptions,
  runProgram,
  runtimeCommand,
  signalProcess,
  tempDir,
  waitFor,
} from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };
const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));
const module = fileURLToPath(new URL("./fixtures/serve/build.ts", import.meta.url));
const loaded = fileURLToPath(new URL("./fixtures/serve/loaded.ts", import.meta.url));

function start(args: readonly string[], run: RunOptions = {}): Program {
  return runProgram(prefork, ["--log-format", "plain", "-w", "2", ...args], run);
}

/** Waits until a manager has taken over, for the `count`-th time, as both say, and gives its process id. */
async function heirOf(program: Program, count = 1): Promise<number> {
  const line = await program.waitForErrorLine(/the new manager pid=\d+ has taken over/, { count });
  await program.waitForErrorLine("took over from the manager", { count });
  return Number(/pid=(\d+)/.exec(line)?.[1]);
}

async function portOf(program: Program): Promise<number> {
  return Number(/:(\d+)( \(.*\))?$/.exec(await program.waitForErrorLine(/listens on [\d.]+:\d+/))?.[1]);
}

/** Ends all, the last manager by a signal, and expects that nobody is left. */
async function stop(program: Program, manager: number): Promise<void> {
  signalProcess(manager, "SIGTERM");
  await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" }).catch((error) => {
    throw new Error(`${error.message}: ${program.processes()}\n${program.report()}`);
  });
}

function loadOn(...places: readonly Where[]): ReturnType<typeof loadAll> {
  return loadAll(places, [oneShot, oneShot, keepAlive(0), keepAlive(100), post]);
}

/** Does something, and waits until workers have answered that had not answered before. */
async function answersByOthers(loads: readonly Load[], change: () => unknown): Promise<void> {
  const before = loads.map(({ tally }) => new Set(tally.workers));
  await change();
  for (const [index, { tally }] of loads.entries()) {
    const isNew = (worker: string): boolean => before[index]?.has(worker) === false;
    await waitFor(() => [...tally.workers].some(isNew), { what: "an answer of a new worker" });
  }
}

async function expectNoLoss(program: Program, loads: readonly Load[]): Promise<void> {
  for (const clients of loads) assert.deepEqual((await clients.stop()).failures, [], program.report());
}

describe("SIGUSR2 on the command line", () => {
  it(
    "brings a new manager for the same line, which reads all files anew, and another one after it",
    options,
    async () => {
      await using dir = await tempDir();
      const tell = (edition: number) =>
        writeFileSync(
          dir.file("worker.ts"),
          `import process from "node:process";
         const { FLAVOUR } = process.env;
         export default { fetch: () => new Response(JSON.stringify([${edition}, FLAVOUR, ...process.argv.slice(2)])) };`,
        );
      const season = (flavour: string) => writeFileSync(dir.file("app.env"), `FLAVOUR=${flavour}\n`);
      tell(1);
      season("salt");
      const words = ["worker.ts", "-l", "127.0.0.1:0", "--env-file", "app.env", "--", "--", "-l", "x y"];
      await using program = start(words, { cwd: dir.path });
      await program.waitForErrorLine("is ready", { count: 2 });
      const port = await portOf(program);
      assert.equal(await get(port, "/"), '[1,"salt","--","-l","x y"]');
      let manager = program.pid;
      for (const round of [2, 3]) {
        tell(round);
        season(`flavour${round}`);
        signalProcess(manager, "SIGUSR2");
        const heir = await heirOf(program, round - 1);
        await waitFor(() => !isAlive(manager), { what: "the old manager to be gone" });
        assert.equal(await get(port, "/"), `[${round},"flavour${round}","--","-l","x y"]`);
        manager = heir;
      }
      assert.deepEqual(await program.status, { code: 0, signal: null }, program.report());
      await stop(program, manager);
    },
  );

  it("is not taken for one by a configuration file that loads this library", options, async () => {
    await using dir = await tempDir();
    const config = `import { fixedPool } from ${JSON.stringify(new URL("../mod.ts", import.meta.url).href)};
      await new Promise((resolve) => setTimeout(resolve, 300));
      export default { worker: ${JSON.stringify(loaded)}, listen: ["127.0.0.1:0"], name: typeof fixedPool };`;
    writeFileSync(dir.file("prefork.config.ts"), config);
    await using program = start([], { cwd: dir.path });
    await program.waitForErrorLine("is ready", { count: 2 });
    program.kill("SIGUSR2");
    const heir = await heirOf(program);
    assert.deepEqual(await program.status, { code: 0, signal: null }, program.report());
    await stop(program, heir);
  });

  it("costs no request", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    await using program = start([loaded, "-l", "127.0.0.1:0", "-l", `unix:${path}`]);
    await program.waitForErrorLine("is ready", { count: 2 });
    await using loads = loadOn({ port: await portOf(program) }, { path });
    await answersByOthers(loads, () => {});
    await answersByOthers(loads, () => program.kill("SIGUSR2"));
    const heir = await heirOf(program);
    assert.deepEqual(await program.status, { code: 0, signal: null }, program.report());
    await expectNoLoss(program, loads);
    await stop(program, heir);
    assert.equal(existsSync(path), false);
  });

  it("leaves all as it was when the new workers do not come to be ready", options, async () => {
    await using dir = await tempDir();
    const build = dir.file("build");
    writeFileSync(build, "good");
    await using program = start([module, "-l", "127.0.0.1:0"], { env: { TEST_BUILD: build } });
    await program.waitForErrorLine("is ready", { count: 2 });
    await using loads = loadOn({ port: await portOf(program) });
    await answersByOthers(loads, () => {});
    writeFileSync(build, "throws");
    program.kill("SIGUSR2");
    await program.waitForErrorLine(
      /\[error\] prefork: the upgrade failed, this manager goes on: the new manager, pid=\d+, exited with status 3 before/,
    );
    writeFileSync(build, "good");
    await answersByOthers(loads, () => program.kill("SIGUSR2"));
    const heir = await heirOf(program);
    await expectNoLoss(program, loads);
    await stop(program, heir);
  });

  it(
    "is refused where a module would become a command on the same sockets, and leaves these as they are",
    options,
    async () => {
      await using dir = await tempDir();
      const write = (config: object) => writeFileSync(dir.file("prefork.config.json"), JSON.stringify(config));
      write({ worker: loaded, listen: "127.0.0.1:0" });
      await using program = start(["--config", dir.file("prefork.config.json")], { cwd: dir.path });
      await program.waitForErrorLine("is ready", { count: 2 });
      await using loads = loadOn({ port: await portOf(program) });
      await answersByOthers(loads, () => {});
      write({ command: ["/bin/sh", "-c", "exec sleep 1000"], listen: "127.0.0.1:0" });
      program.kill("SIGUSR2");
      await program.waitForErrorLine(
        /Cannot take over 127\.0\.0\.1:\d+: the workers there are no commands, and would stand/,
      );
      await program.waitForErrorLine(/the upgrade failed, this manager goes on/);
      const { answered } = loads.map(({ tally }) => tally)[0] ?? assert.fail("no load");
      const before = answered["one shot"] ?? 0;
      await waitFor(() => (answered["one shot"] ?? 0) > before + 20, { what: "more answers" });
      await expectNoLoss(program, loads);
      await stop(program, program.pid);
    },
  );

  it("replaces the manager of commands, whichever way they are written", options, async () => {
    await using dir = await tempDir();
    const script = dir.file("command.sh");
    const tell = (edition: number) => writeFileSync(script, `echo "edition ${edition} of $*"; exec sleep 1000`);
    for (const run of [[], ["run"]]) {
      tell(1);
      await using program = runProgram(prefork, [...run, "--", "/bin/sh", script, "--", "-x"], {
        env: { WEB_CONCURRENCY: "2" },
      });
      await program.waitForLine("edition 1 of -- -x", { count: 2 });
      await program.waitForErrorLine("is ready", { count: 2 });
      tell(2);
      program.kill("SIGUSR2");
      await program.waitForLine("edition 2 of -- -x", { count: 2 });
      const heir = await heirOf(program);
      assert.deepEqual(await program.status, { code: 0, signal: null }, program.report());
      await stop(program, heir);
    }
  });

  it("counts commands that are done before they are ready", options, async () => {
    await using program = start(["--", "/bin/sh", "-c", "sleep 0.2"]);
    await program.waitForErrorLine("exited with status 0", { count: 2 });
    program.kill("SIGUSR2");
    const heir = await heirOf(program);
    assert.deepEqual(await program.status, { code: 0, signal: null }, program.report());
    await stop(program, heir);
  });

  it("leaves all as it was, as a reload does, when new commands end at once, however well", options, async () => {
    await using dir = await tempDir();
    const script = dir.file("command.sh");
    writeFileSync(script, "exec sleep 1000");
    await using program = start(["--", "/bin/sh", script]);
    await program.waitForErrorLine("is ready", { count: 2 });
    writeFileSync(script, "exit 0");
    program.kill("SIGHUP");
    await program.waitForErrorLine(
      /the reload failed, generation 1 goes on serving: .* exited with status 0 before it was/,
    );
    program.kill("SIGUSR2");
    await program.waitForErrorLine("has ended before it was ready, though the workers of the manager");
    await program.waitForErrorLine(/the upgrade failed, this manager goes on: .* before it had proved itself/);
    assert.equal(
      program.errorLines.filter((line) => /gen=1 .* (exited|was sent)/.test(line) && !line.includes("new man")).length,
      0,
    );
    await stop(program, program.pid);
  });

  it("ends with the manager that is stopped twice", options, async () => {
    await using dir = await tempDir();
    const script = dir.file("command.sh");
    writeFileSync(script, "exec sleep 1000");
    await using program = start(["--drain-timeout", "1s", "--", "/bin/sh", script]);
    await program.waitForErrorLine("is ready", { count: 2 });
    // Only one of them stays, so that the new manager never proves itself.
    const stays = "trap '' TERM; echo ignores it; while :; do sleep 1; done";
    writeFileSync(script, `mkdir ${dir.file("one")} 2>/dev/null || exit 1; ${stays}`);
    program.kill("SIGUSR2");
    await program.waitForLine("ignores it");
    program.kill("SIGTERM");
    await program.waitForErrorLine("received SIGTERM", { count: 2 });
    program.kill("SIGTERM");
    assert.deepEqual(await program.status, { code: 0, signal: null }, program.report());
    await program.waitForErrorLine("the upgrade was given up: the pool was told to stop by SIGTERM");
    await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" });
  });
});

describe("a manager that was given its sockets", () => {
  const words = (): readonly string[] => {
    const { command, args } = runtimeCommand();
    return [command, ...args, prefork, "--log-format", "plain", loaded, "-w", "2"];
  };

  it("hands them on, those of systemd", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const passed = ["TEST_SUITE", "TEST_RUN_ID", "TMPDIR", "XDG_RUNTIME_DIR", "PATH", "NO_COLOR", "HOME"].flatMap((
      name,
    ) => ["-E", name]);
    await using program = runCommand("systemd-socket-activate", [
      "-l",
      path,
      "--fdname=web",
      ...passed,
      ...words(),
    ]);
    await program.waitForErrorLine("a.sock as 3");
    await using loads = loadOn({ path });
    await program.waitForErrorLine("is ready", { count: 2 });
    let manager = program.pid;
    for (const round of [1, 2]) {
      await answersByOthers(loads, () => signalProcess(manager, "SIGUSR2"));
      manager = await heirOf(program, round);
    }
    await program.waitForErrorLine(/listens on unix:.*a.sock \(web, inherited\)$/, { count: 3 });
    assert.deepEqual(await program.status, { code: 0, signal: null }, program.report());
    await expectNoLoss(program, loads);
    await stop(program, manager);
    assert.equal(existsSync(path), true, "systemd's file is systemd's");
  });

  it("hands them on, those of start_server, which then starts another one beside it", options, async () => {
    await using program = runCommand("start_server", ["--port=127.0.0.1:0", "--interval=1", "--", ...words()]);
    await using loads = loadOn({ port: await portOf(program) });
    const line = await program.waitForErrorLine(/pid=\d+ (deno|bun) .* keeps 2 workers/);
    await program.waitForErrorLine("is ready", { count: 2 });
    signalProcess(Number(/pid=(\d+)/.exec(line)?.[1]), "SIGUSR2");
    const heir = await heirOf(program);
    await program.waitForErrorLine(/listens on .* \(inherited\)$/, { count: 3 });
    await program.waitForErrorLine("is ready", { count: 6 });
    signalProcess(heir, "SIGTERM");
    await waitFor(() => !isAlive(heir), { what: "the manager that took over to be gone" });
    await expectNoLoss(program, loads);
    await stop(program, program.pid);
  });
});
