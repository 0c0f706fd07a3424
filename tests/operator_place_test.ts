/** The directory of the operators' sockets, and what becomes of a manager whose socket is taken away. Real files. */
import assert from "node:assert/strict";
import { chownSync, existsSync, lstatSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { currentHost } from "../runtimes/current.ts";
import { currentCommandLine } from "../runtimes/current_cli.ts";
import { ask } from "../src/cli/client.ts";
import type { Log } from "../src/cli/log.ts";
import { makeControlDirectory } from "../src/cli/place.ts";
import { Presence } from "../src/cli/presence.ts";
import type { ProcessHost } from "../src/types.ts";
import { FakeHost } from "./fake_host.ts";
import { type TempDir, tempDir, waitFor } from "./support/run.ts";

const ADVICE = "give --control with a path in a directory of your own, to the commands as well, or set " +
  "XDG_RUNTIME_DIR to one for both";

/** The host with another runtime directory, and with the clock of a test. */
function hostIn(dir: string, clock: Pick<FakeHost, "setTimer"> = currentHost): ProcessHost {
  return {
    ...currentHost,
    getEnv: (name) => name === "XDG_RUNTIME_DIR" ? dir : currentHost.getEnv(name),
    setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
  };
}

describe("the directory of operators' sockets", () => {
  it("is made for this user alone, and mended", async () => {
    await using dir = await tempDir();
    const path = dir.file("prefork");
    makeControlDirectory(hostIn(dir.path));
    assert.equal(lstatSync(path).mode & 0o777, 0o700);
    rmSync(path, { recursive: true });
    mkdirSync(path, { mode: 0o755 });
    makeControlDirectory(hostIn(dir.path));
    assert.equal(lstatSync(path).mode & 0o777, 0o700);
  });

  const wrong: readonly (readonly [string, (dir: TempDir) => void, string])[] = [
    ["a link of somebody's", (dir) => symlinkSync("/tmp", dir.file("prefork")), "it is a symbolic link"],
    ["a link that leads nowhere", (dir) => symlinkSync("/nonexistent/x", dir.file("prefork")), "it is a symbolic link"],
    ["a file", (dir) => writeFileSync(dir.file("prefork"), ""), "it is no directory"],
  ];
  for (const [what, make, reason] of wrong) {
    it(`is not ${what}`, async () => {
      await using dir = await tempDir();
      make(dir);
      const message = `Cannot use ${dir.file("prefork")}: ${reason}; remove it, or ${ADVICE}`;
      assert.throws(() => makeControlDirectory(hostIn(dir.path)), { message });
    });
  }

  it("is not one that somebody else has made", { skip: process.getuid?.() !== 0 && "needs root" }, async () => {
    await using dir = await tempDir();
    mkdirSync(dir.file("prefork"), { mode: 0o700 });
    chownSync(dir.file("prefork"), 65534, 65534);
    const reason = "it belongs to user 65534, and this is user 0";
    const message = `Cannot use ${dir.file("prefork")}: ${reason}; remove it, or ${ADVICE}`;
    assert.throws(() => makeControlDirectory(hostIn(dir.path)), { message });
  });

  it("is told with a way out where it cannot be made", () => {
    assert.throws(() => makeControlDirectory(hostIn("/proc/nonexistent")), (error: Error) => {
      return error.message.startsWith("Cannot make /proc/nonexistent/prefork: ") && error.message.endsWith(ADVICE);
    });
  });
});

/** A manager that can be found, and is asked. */
class Found {
  readonly clock = new FakeHost();
  readonly told: string[] = [];
  readonly #dir: TempDir;

  constructor(dir: TempDir) {
    this.#dir = dir;
  }

  get path(): string {
    return this.#dir.file("prefork/web.sock");
  }

  open(): Promise<Presence> {
    const log: Log = { tell: (_, text) => void this.told.push(text), event() {}, format: () => "", line: () => "" };
    return Presence.open({
      host: hostIn(this.#dir.path, this.clock),
      line: currentCommandLine,
      log,
      control: undefined,
      pidFile: undefined,
      name: "web",
      fallbackName: "web",
      obey: () => Promise.resolve({ type: "done", text: "here" }),
    });
  }

  async answer(): Promise<unknown> {
    return await ask(currentHost, this.path, { do: "reload" });
  }

  /** Lets minutes pass; what is done with files needs real time. */
  async look(): Promise<void> {
    await this.clock.advance(60_000);
  }
}

describe("a manager's socket that is removed", { skip: process.platform !== "linux" }, () => {
  it("is made again with its directory", async () => {
    await using dir = await tempDir();
    const found = new Found(dir);
    await using _presence = await found.open();
    await found.look();
    assert.deepEqual(found.told, []);
    rmSync(dir.file("prefork"), { recursive: true });
    await found.look();
    await waitFor(() => found.told.length > 0, { what: "the socket" });
    assert.deepEqual(found.told, [`${found.path} had been removed, and is made again`]);
    assert.deepEqual(await found.answer(), { type: "done", text: "here" });
    assert.equal(lstatSync(dir.file("prefork")).mode & 0o777, 0o700);
    assert.equal(lstatSync(found.path).mode & 0o777, 0o600);
  });

  it("is made again once that can be, and told of once until then", async () => {
    await using dir = await tempDir();
    const found = new Found(dir);
    await using _presence = await found.open();
    rmSync(dir.file("prefork"), { recursive: true });
    writeFileSync(dir.file("prefork"), "in its place");
    for (let minutes = 0; minutes < 3; minutes++) await found.look();
    assert.equal(found.told.length, 1);
    assert.match(found.told[0] ?? "", /^the operator's socket was removed: Cannot use .*prefork: it is no directory/);
    rmSync(dir.file("prefork"));
    await found.look();
    await waitFor(() => found.told.length > 1, { what: "the socket" });
    assert.deepEqual(await found.answer(), { type: "done", text: "here" });
  });

  it("is left to another manager that has the name by now, and to nobody in the end", async () => {
    await using dir = await tempDir();
    const [first, second] = [new Found(dir), new Found(dir)];
    const presence = await first.open();
    rmSync(first.path);
    await using _other = await second.open();
    await first.look();
    await presence[Symbol.asyncDispose]();
    assert.deepEqual([first.told, await second.answer()], [[], { type: "done", text: "here" }]);
    rmSync(second.path);
    await first.look();
    assert.equal(existsSync(first.path), false);
    assert.deepEqual(readdirSync(dir.file("prefork")), []);
  });
});
