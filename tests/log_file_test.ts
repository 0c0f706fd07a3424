/** A log that is moved away: when its manager says that it has begun a new file, the old one is whole. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync } from "node:fs";
import { rename } from "node:fs/promises";
import { describe, it } from "node:test";
import { currentCommandLine } from "../runtimes/current_cli.ts";
import type { AppendedFile } from "../src/cli/host.ts";
import { LogFile } from "../src/cli/log_file.ts";
import { tempDir, waitFor } from "./support/run.ts";

/** More than fits into a pipe. */
const LONG = new Uint8Array(100_000).fill(65);

/** Holds a pipe open, and reads it when it is told. */
const READER = `exec 3<>"$0" && echo open && read -r go && head -c ${LONG.length} <&3 >/dev/null`;

/** A file that is never there for a write once it was closed. */
function fakeFile(number: number, written: number[]): AppendedFile {
  let isClosed = false;
  return {
    write(bytes) {
      if (isClosed) return Promise.reject(new Error(`file ${number} is closed`));
      written.push(number);
      return Promise.resolve(bytes.length);
    },
    async close() {
      isClosed = true;
      await new Promise((resolve) => setTimeout(resolve, 1));
    },
  };
}

describe("the log in a file", () => {
  it("can be reopened again before anything is written", async () => {
    const written: number[] = [];
    let opened = 0;
    const log = await LogFile.open({ append: () => Promise.resolve(fakeFile(++opened, written)) }, "log");
    await log.reopen();
    const again = log.reopen();
    await Promise.resolve(); // to where it closes what was not used
    await Promise.all([log.write(new Uint8Array(1)), again]);
    await log.write(new Uint8Array(1));
    assert.deepEqual(written.at(-1), 3);
  });

  it("has nothing written to the old file once it is reopened", { timeout: 180_000 }, async () => {
    await using dir = await tempDir();
    const path = dir.file("log");
    execFileSync("mkfifo", [path]);
    const reader = spawn("sh", ["-c", READER, path], { stdio: ["pipe", "pipe", "inherit"] });
    try {
      await once(reader.stdout, "data");
      const log = await LogFile.open(currentCommandLine, path);
      const order: string[] = [];
      const writing = log.write(LONG).then(() => order.push("written"));
      await rename(path, dir.file("log.1"));
      const reopening = log.reopen().then(() => order.push("reopened"));
      await waitFor(() => existsSync(path), { what: "a new file" });
      reader.stdin.end("go\n");
      await Promise.all([writing, reopening]);
      assert.deepEqual(order, ["written", "reopened"]);
      await log.write(new Uint8Array(1));
      assert.equal(statSync(path).size, 1);
    } finally {
      reader.kill("SIGKILL");
    }
  });
});
