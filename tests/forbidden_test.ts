/** What a command line names, and this user may not read, enter or execute; and what only Deno thinks so of. */
import assert from "node:assert/strict";
import { chmodSync, chownSync, copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { hello, options, prefork } from "./support/operator.ts";
import { type Program, runCommand, runtime, runtimeCommand, type TempDir, tempDir } from "./support/run.ts";

const asRoot = { ...options, skip: options.skip || process.getuid?.() !== 0 && "needs root" };

/** A group that has no name, for its number alone. */
const GROUP = 54_321;

/** Runs it in a directory as nobody, who is in that group. */
function runAsNobody(dir: TempDir, ...args: readonly string[]): Program {
  const { command, args: before } = runtimeCommand();
  const user = ["--reuid=65534", "--regid=65534", `--groups=${GROUP}`];
  const words = ["--log-format", "plain", "-w", "1", ...args];
  return runCommand("setpriv", [...user, command, ...before, prefork, ...words], { cwd: dir.path });
}

/** A directory that everybody may enter. */
async function openDir(): Promise<TempDir> {
  const dir = await tempDir();
  chmodSync(dir.path, 0o755);
  return dir;
}

function writeProgram(path: string, mode: number, group = 0): void {
  writeFileSync(path, "#!/bin/sh\nexec sleep 1000\n");
  chownSync(path, 0, group);
  chmodSync(path, mode);
}

async function stop(program: Program): Promise<void> {
  program.kill();
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
}

describe(`somebody else's files on ${runtime}`, () => {
  it("are told in a sentence, before anything is started", asRoot, async () => {
    await using dir = await openDir();
    mkdirSync(dir.file("closed"), { mode: 0o700 });
    copyFileSync(hello, dir.file("app.ts"));
    copyFileSync(hello, dir.file("secret.ts"));
    for (const file of ["web.json", "web.ts", "env", "token"]) writeFileSync(dir.file(file), "");
    for (const file of ["secret.ts", "web.json", "web.ts", "env", "token"]) chmodSync(dir.file(file), 0o600);
    writeProgram(dir.file("program"), 0o750);
    const cases: readonly (readonly [readonly string[], string])[] = [
      [["secret.ts"], "Cannot read the worker 'secret.ts': permission denied; let this user read it"],
      [
        ["closed/app.ts"],
        "Cannot look for the worker 'closed/app.ts': permission denied; let this user enter the directories on the way there",
      ],
      [
        ["--config", "web.json"],
        "Cannot read the configuration file 'web.json': permission denied; let this user read it",
      ],
      [["--config", "web.ts"], "Cannot read the configuration file 'web.ts': permission denied; let this user read it"],
      [["app.ts", "--env-file", "env"], "Cannot read the --env-file 'env': permission denied; let this user read it"],
      [
        ["app.ts", "--status-listen", "0", "--status-token-file", "token"],
        "Cannot read the --status-token-file 'token': permission denied; let this user read it",
      ],
      [
        ["app.ts", "--cwd", "closed"],
        "Cannot enter the directory --cwd 'closed': permission denied; let this user enter it",
      ],
      [["--", "./program"], "Cannot run './program': this user may not execute it"],
    ];
    for (const [args, message] of cases) {
      await using program = runAsNobody(dir, ...args);
      assert.deepEqual(await program.waitForEnd(), { code: 2, signal: null }, program.report());
      assert.equal(program.errorLines.at(-1), `prefork: ${message}`);
    }
  });

  it("are run by whoever is in the group that may", asRoot, async () => {
    await using dir = await openDir();
    writeProgram(dir.file("program"), 0o750, GROUP);
    await using program = runAsNobody(dir, "--", "./program");
    await program.waitForErrorLine("is ready");
    await stop(program);
  });

  it("are run by root where anybody may", asRoot, async () => {
    await using dir = await tempDir();
    writeProgram(dir.file("program"), 0o700);
    chownSync(dir.file("program"), 65_534, 65_534);
    const { command, args } = runtimeCommand();
    const words = ["--log-format", "plain", "-w", "1", "--", dir.file("program")];
    await using program = runCommand(command, [...args, prefork, ...words]);
    await program.waitForErrorLine("is ready");
    await stop(program);
  });
});
