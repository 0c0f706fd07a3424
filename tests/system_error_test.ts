/** What a system says no to, in words that are the same on every runtime. */
import assert from "node:assert/strict";
import { lstatSync } from "node:fs";
import { createServer } from "node:net";
import { test } from "node:test";
import { currentCommandLine } from "../runtimes/current_cli.ts";
import { currentLibc } from "../runtimes/current_libc.ts";
import { inWords, inWordsOfFile, inWordsOfPort } from "../src/cli/system_error.ts";
import { tempDir } from "./support/run.ts";

const failed = (code: string): Error => Object.assign(new Error(`${code}: it failed, open '/x'`), { code });

async function caught(action: () => unknown): Promise<unknown> {
  try {
    await action();
  } catch (error) {
    return error;
  }
  assert.fail("it did not fail");
}

test("a file that cannot be made is told with what to do", async () => {
  await using dir = await tempDir();
  const [nowhere, within] = [dir.file("no/log"), dir.file("file/log")];
  await (await currentCommandLine.append(dir.file("file"), 0o600)).close();
  const cases: readonly (readonly [() => unknown, string])[] = [
    [() => currentCommandLine.append(nowhere, 0o600), "its directory does not exist; make it, or name another file"],
    [
      () => currentCommandLine.lock(nowhere, currentLibc),
      "its directory does not exist; make it, or name another file",
    ],
    [() => currentCommandLine.append(dir.path, 0o600), "it is a directory; name another file"],
    [() => currentCommandLine.append(within, 0o600), "a part of its path is no directory; name another file"],
    [() => lstatSync(within), "a part of its path is no directory; name another file"],
    [() => Promise.reject(failed("EACCES")), "permission denied; let this user write there, or name another file"],
    [() => Promise.reject(failed("EROFS")), "its file system is read-only; name another file"],
    [() => Promise.reject(failed("EIO")), "EIO: it failed, open '/x'"],
    [() => Promise.reject(new Error("no code")), "no code"],
  ];
  for (const [action, words] of cases) assert.equal(inWordsOfFile(await caught(action)), words);
  assert.equal(inWordsOfFile(failed("ENOENT"), "path"), "its directory does not exist; make it, or name another path");
  assert.equal(inWords(failed("EACCES")), "permission denied");
});

test("an address that cannot be listened on is told with what to do", async () => {
  const listen = (port: number, host: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const server = createServer().once("error", reject);
      server.listen(port, host, () => server.close(() => resolve()));
    });
  assert.equal(
    inWordsOfPort(await caught(() => listen(8080, "198.51.100.1"))),
    "this machine has no such address; choose another address",
  );
  assert.match(inWordsOfPort(failed("EADDRINUSE")), /^another process listens there; stop it, or choose another port$/);
  assert.match(inWordsOfPort(failed("EACCES")), /^permission denied; ports below 1024 need root, choose a higher one$/);
  assert.equal(inWordsOfPort(failed("EIO")), "EIO: it failed, open '/x'");
});
