/** `--umask` and `--rlimit`: workers have them, the manager's own files keep their modes, and what cannot be is told. */
import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { end, options, prefork, socketOf, start, web } from "./support/operator.ts";
import { runCommand, runProgram, runtime, runtimeCommand, tempDir, waitFor } from "./support/run.ts";

const asRoot = { ...options, skip: options.skip || process.getuid?.() !== 0 };
const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);
const SHOW = 'echo "umask=$(umask) nofile=$(ulimit -Sn):$(ulimit -Hn) core=$(ulimit -Sc)"; exec sleep 1000';
const show = ["--", "/bin/sh", "-c", SHOW];

describe(`limits, on ${runtime}`, () => {
  it("are inherited by workers", options, async () => {
    await using manager = start([
      ...["--umask", "027", "--rlimit", "nofile=512:1000", "--rlimit", "core=0", "-w", "1"],
      ...show,
    ]);
    assert.equal(await manager.waitForLine("umask="), "umask=0027 nofile=512:1000 core=0");
    manager.kill();
    assert.deepEqual(await manager.waitForEnd(), { code: 0, signal: null });
  });

  it("stand in a configuration file as well", options, async () => {
    await using dir = await tempDir();
    const file = dir.file("web.json");
    writeFileSync(file, JSON.stringify({ umask: "077", rlimit: { nofile: 999, core: 0 }, workers: 1 }));
    await using manager = start(["--config", file, ...show]);
    assert.equal(await manager.waitForLine("umask="), "umask=0077 nofile=999:999 core=0");
    manager.kill();
    await manager.waitForEnd();
  });

  it("do not change the modes of the manager's own files", options, async () => {
    await using dir = await tempDir();
    const logFile = dir.file("web.log");
    await using manager = start(["--umask", "077", "--log-file", logFile, "-w", "1", ...web]);
    await waitFor(() => readLog(logFile).includes("is ready"), { what: "the worker to be ready" });
    assert.deepEqual(
      [logFile, socketOf(manager, "hello"), `${manager.temporary}/prefork`].map(modeOf),
      ["640", "600", "700"],
    );
    await end(manager);
  });

  it("that only root may raise are told with the one there is", asRoot, async () => {
    const { command, args } = runtimeCommand();
    const before = ["--reuid=65534", "--regid=65534", "--clear-groups", "prlimit", "--nofile=900:900"];
    const words = [command, ...args, prefork, "--rlimit", "nofile=901", ...show];
    await using manager = runCommand("setpriv", [...before, ...words], { cwd: "/" });
    assert.deepEqual(await manager.waitForEnd(), { code: 2, signal: null }, manager.report());
    assert.match(
      manager.errorLines.join("\n"),
      /^prefork: Cannot set --rlimit nofile=901: the hard limit is 900, which/,
    );
  });

  it("beyond what the system gives anybody are told with that", asRoot, async () => {
    await using manager = start(["--rlimit", "nofile=999999999999", ...show]);
    assert.deepEqual(await manager.waitForEnd(), { code: 2, signal: null });
    const most = readFileSync("/proc/sys/fs/nr_open", "latin1").trim();
    assert.match(
      manager.errorLines.join("\n"),
      new RegExp(`this system gives no process more than ${most}; ask for less`),
    );
  });

  it("name the flag that Deno needs for them", { ...options, skip: options.skip || runtime !== "deno" }, async () => {
    const runtimeArgs = ["run", "--no-prompt", "--allow-read", "--allow-env", "--allow-run", "--allow-sys"];
    for (const limit of ["--umask=027", "--rlimit=nofile=100"]) {
      await using manager = runProgram(prefork, [limit, ...show], { runtimeArgs });
      assert.deepEqual(await manager.waitForEnd(), { code: 2, signal: null }, manager.report());
      const text = `prefork: Cannot set ${
        limit.replace("=", " ")
      }: Deno may not call the C library: add --allow-ffi, or -A`;
      assert.deepEqual(manager.errorLines, [text]);
    }
  });
});

function readLog(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
