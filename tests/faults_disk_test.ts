/** A disk that is full, for the log and for what workers print: the pool serves on, and so does the log once there is room. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { get } from "./support/client.ts";
import { waitForNobody } from "./support/pool.ts";
import { isAlive, runCommand, runtimeCommand, signalProcess, tempDir, waitFor } from "./support/run.ts";

const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));
const module = fileURLToPath(new URL("./fixtures/serve/app.ts", import.meta.url));

/** A small disk of its own for what the shell becomes; it is gone with the last of its processes. */
const ON_SMALL_DISK = 'mount -t tmpfs -o size=128k none "$0" && exec "$@" >>"$0/log" 2>&1';
const hasOwnMounts = process.platform === "linux" && spawnSync("unshare", ["-m", "true"]).status === 0;

/** Writes until nothing more can be written. */
function fill(file: string): void {
  const descriptor = openSync(file, "a");
  try {
    for (let size = 65_536; size >= 1;) {
      try {
        writeSync(descriptor, new Uint8Array(size));
      } catch {
        size = Math.floor(size / 2);
      }
    }
  } finally {
    closeSync(descriptor);
  }
}

/** A file that is read again and again, whatever becomes of its name. */
class LogFile implements Disposable {
  readonly #descriptor: number;

  constructor(path: string) {
    this.#descriptor = openSync(path, "r");
  }

  get text(): string {
    const bytes = new Uint8Array(1_000_000);
    return new TextDecoder().decode(bytes.subarray(0, readSync(this.#descriptor, bytes, 0, bytes.length, 0)));
  }

  [Symbol.dispose](): void {
    closeSync(this.#descriptor);
  }
}

/** Has the only worker leave, and waits for an answer of the one that takes its place. */
async function next(port: number, pid: string): Promise<string> {
  signalProcess(Number(pid), "SIGTERM");
  await waitFor(() => !isAlive(Number(pid)), { what: `${pid} to be gone` });
  return await get(port, "/pid");
}

describe("a full disk under the log", () => {
  it("stops neither the pool nor, once there is room, the log, which says what it lacks", {
    timeout: 180_000,
    skip: !hasOwnMounts && "needs a mount namespace of its own",
  }, async () => {
    await using dir = await tempDir();
    mkdirSync(dir.file("disk"));
    const { command, args } = runtimeCommand();
    const words = [command, ...args, prefork, module, "-l", "127.0.0.1:0", "-w", "1", "--log-format", "plain"];
    await using program = runCommand("unshare", ["-m", "sh", "-c", ON_SMALL_DISK, dir.file("disk"), ...words]);
    const disk = `/proc/${program.pid}/root${dir.file("disk")}`;
    await waitFor(() => existsSync(`${disk}/log`), { what: "the log" });
    // Held open, since the disk is gone with the program.
    using log = new LogFile(`${disk}/log`);
    const told = (pattern: RegExp, what: string) =>
      waitFor(() => pattern.exec(log.text) ?? undefined, { what }).catch((error) =>
        assert.fail(`${error}\n${log.text}`)
      );
    await told(/is ready/, "a worker");
    const port = Number((await told(/listens on .*:(\d+)/, "the port"))[1]);

    fill(`${disk}/filling`);
    // The log has what is left of its last block; after some workers that has gone, too.
    let pid = await get(port, "/pid");
    for (let heir = pid; log.text.includes(`pid=${heir} is ready`);) {
      heir = await next(port, pid);
      pid = await next(port, heir); // when this one is there, all is written of the one before
    }

    rmSync(`${disk}/filling`);
    program.kill("SIGTTIN");
    await told(/now 2 workers/, "the log to go on");
    await told(
      /stderr was full: \d+ lines of the log and \d+ bytes that workers printed were dropped/,
      "what it lacks",
    );
    program.kill("SIGTERM");
    await told(/told \d+\n[^]*told \d+\n[^]*stopped\n$/, "the end");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null });
    await waitForNobody(program);
  });
});
