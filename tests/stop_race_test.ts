/** A stop of a manager that somebody else stops at the same time. Real sockets; the manager is a stand-in. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { renameSync, rmSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { currentHost } from "../runtimes/current.ts";
import { OperatorServer } from "../src/operator/server.ts";
import type { Order } from "../src/operator/words.ts";
import { prefork } from "./support/operator.ts";
import { runProgram, runtime, tempDir } from "./support/run.ts";
import { statusOf } from "./support/status_report.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };

/** A manager that goes when it is asked something, and answers nobody then. */
class Leaver implements AsyncDisposable {
  readonly #path: string;
  readonly #last: Order["do"];
  readonly #hasHeir: boolean;
  readonly #process: ChildProcess = spawn("sleep", ["100"], { stdio: "ignore" });
  readonly #servers: OperatorServer[] = [];

  constructor(path: string, last: Order["do"], hasHeir = false) {
    this.#path = path;
    this.#last = last;
    this.#hasHeir = hasHeir;
    this.#serve();
  }

  /** Its name is given it as that of a manager is: where it was made nothing is removed with it. */
  #serve(): void {
    const made = `${this.#path}.${this.#servers.length}`;
    this.#servers.push(
      new OperatorServer(currentHost, made, async ({ do: what }) => {
        if (what === this.#last) await this.#leave();
        return { type: "status", status: statusOf([], { pid: this.#process.pid ?? 0 }) };
      }),
    );
    renameSync(made, this.#path);
  }

  #leave(): Promise<never> {
    const [own] = this.#servers;
    this.#process.kill("SIGKILL");
    if (this.#hasHeir) this.#serve();
    else rmSync(this.#path, { force: true });
    void own?.[Symbol.asyncDispose]();
    return new Promise(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await Promise.all(this.#servers.map((server) => server[Symbol.asyncDispose]()));
  }
}

describe(`a manager that goes while it is told to stop, on ${runtime}`, () => {
  for (const last of ["stop", "status"] as const) {
    for (const more of [[], ["--wait"]]) {
      it(`has stopped, as ${["stop", ...more].join(" ")} hears after its ${last}`, options, async () => {
        await using dir = await tempDir();
        await using _leaver = new Leaver(dir.file("web.sock"), last);
        await using program = runProgram(prefork, ["stop", "--control", dir.file("web.sock"), ...more]);
        assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
        assert.deepEqual([program.lines, program.errorLines], [["stopped"], []]);
      });
    }
  }

  it("has not stopped where another one answers in its place", options, async () => {
    await using dir = await tempDir();
    await using _leaver = new Leaver(dir.file("web.sock"), "stop", true);
    await using program = runProgram(prefork, ["stop", "--control", dir.file("web.sock")]);
    assert.equal((await program.waitForEnd()).code, 3, program.report());
    assert.match(program.errorLines.join("\n"), /^prefork: the manager has gone before it had answered$/);
  });
});
