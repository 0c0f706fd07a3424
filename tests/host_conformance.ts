/**
 * What every host must do: a suite that the fake and both real hosts pass.
 *
 * @module
 */
import { strict as assert } from "node:assert";
import { describe, test } from "node:test";
import type { Child, ProcessHost, Signal, SpawnCommand } from "../src/types.ts";
import type { HostRig } from "./host_rig.ts";
import { controlConformance } from "./host_control.ts";
import { waitFor } from "./support/run.ts";

/** The signals people trap. */
const TRAPPED: readonly Signal[] = [
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGTERM",
  "SIGUSR1",
  "SIGUSR2",
  "SIGTTIN",
  "SIGTTOU",
  "SIGWINCH",
  "SIGALRM",
];

const DEADLY: readonly Signal[] = ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR2", "SIGALRM"];

const timeout = 180_000;

/** Declares the tests of a host. `getRig` is called anew by each. */
export function hostConformance(name: string, getRig: () => HostRig): void {
  describe(`${name} host`, () => {
    processConformance(getRig);
    outputConformance(getRig);
    signalConformance(getRig);
    timerConformance(getRig);
    controlConformance(getRig);
  });
}

function processConformance(getRig: () => HostRig): void {
  test("gives the exit code of a process", { timeout }, async () => {
    const { host, program } = getRig();
    for (const code of [0, 1, 42, 255]) {
      assert.deepEqual(await host.spawn(program("exit", String(code))).exited, { type: "exited", code });
    }
  });

  test("knows its children until their end is told", { timeout }, async () => {
    const { host, program } = getRig();
    const { child } = await started(host, program("wait"));
    assert.deepEqual([host.isChild(child.pid), host.isChild(host.pid)], [true, false]);
    host.kill(child.pid, "SIGKILL");
    await child.exited;
    assert.equal(host.isChild(child.pid), false);
  });

  test("gives the name of the signal a process died of", { timeout }, async () => {
    const { host, program } = getRig();
    for (const signal of DEADLY) {
      const { child } = await started(host, program("wait"));
      assert.equal(host.kill(child.pid, signal), true);
      assert.deepEqual(await child.exited, { type: "signaled", signal });
    }
  });

  test("does not take a signal sent for one that killed", { timeout }, async () => {
    const { host, program } = getRig();
    const { child } = await started(host, program("stubborn"));
    host.kill(child.pid, "SIGTERM");
    host.kill(child.pid, "SIGKILL");
    assert.deepEqual(await child.exited, { type: "signaled", signal: "SIGKILL" });
  });

  test("tells that a process is gone", { timeout }, async () => {
    const { host, program } = getRig();
    const child = host.spawn(program("exit", "0"));
    await child.exited;
    assert.equal(host.kill(child.pid, "SIGTERM"), false);
    assert.equal(host.kill(-child.pid, "SIGTERM"), false);
  });

  test("refuses to signal everybody", () => {
    const { host } = getRig();
    for (const pid of [0, -1, NaN, 1.5]) assert.throws(() => host.kill(pid, "SIGWINCH"), RangeError);
  });

  test("throws a sentence that names a program it cannot start", () => {
    const { host } = getRig();
    const command = "/nonesuch/program";
    assert.throws(() => host.spawn({ command, args: [], env: {} }), /Cannot start \/nonesuch\/program: ./);
  });

  test("adds variables to the inherited environment", { timeout }, async () => {
    const { host, program, setEnv } = getRig();
    setEnv("PREFORK_TEST_INHERITED", "from above");
    const command = { ...program("environment", "PREFORK_TEST_INHERITED", "PREFORK_TEST_ADDED") };
    const { text } = await finished(host, { ...command, env: { PREFORK_TEST_ADDED: "on top" } });
    assert.equal(text, "from above:on top\n");
    host.unsetEnv("PREFORK_TEST_INHERITED");
    assert.equal(host.getEnv("PREFORK_TEST_INHERITED"), undefined);
    assert.equal((await finished(host, command)).text, ":\n");
  });

  test("reads its own environment", () => {
    const { host, setEnv } = getRig();
    setEnv("PREFORK_TEST_OWN", "value");
    assert.equal(host.getEnv("PREFORK_TEST_OWN"), "value");
    assert.equal(host.getEnv("PREFORK_TEST_NEVER_SET"), undefined);
    host.unsetEnv("PREFORK_TEST_OWN");
    assert.equal(host.getEnv("PREFORK_TEST_OWN"), undefined);
  });

  test("starts a process in its own directory, or in a given one", { timeout }, async () => {
    const { host, program } = getRig();
    assert.equal((await finished(host, program("directory"))).text, `${host.directory}\n`);
    assert.equal((await finished(host, { ...program("directory"), cwd: "/" })).text, "/\n");
  });

  test("starts a process as another user and group", { timeout }, async (context) => {
    const { host, program, privileged } = getRig();
    if (!privileged) return context.skip("needs root");
    const command = { ...program("user"), uid: 65534, gid: 65533 };
    assert.equal((await finished(host, command)).text, "65534:65533\n");
  });

  test("lets each process lead a session and a group of its own", { timeout }, async () => {
    const { host, program } = getRig();
    const { child, text } = await finished(host, program("group"));
    assert.equal(text, `${child.pid} ${child.pid} ${child.pid}\n`);
  });

  test("signals a process group as a whole", { timeout }, async () => {
    const { host, program, isAlive } = getRig();
    const { child, line } = await started(host, program("family"));
    const grandchild = Number(line);
    assert.equal(isAlive(grandchild), true);
    assert.equal(host.kill(-child.pid, "SIGTERM"), true);
    assert.deepEqual(await child.exited, { type: "signaled", signal: "SIGTERM" });
    await waitFor(() => !isAlive(grandchild), { what: "the end of the grandchild" });
  });

  test("counts its CPUs", () => {
    const { cpuCount } = getRig().host;
    assert.ok(Number.isInteger(cpuCount) && cpuCount >= 1, `${cpuCount}`);
  });
}

function outputConformance(getRig: () => HostRig): void {
  test("reads both outputs", { timeout }, async () => {
    const { host, program } = getRig();
    const out = new Output();
    const err = new Output();
    const command = { ...program("outputs"), stdout: out.reader, stderr: err.reader };
    assert.deepEqual(await host.spawn(command).exited, { type: "exited", code: 0 });
    await out.until(/^out\n$/);
    await err.until(/^err\n$/);
  });

  test("tells readers once of the end", { timeout }, async () => {
    const { host, program } = getRig();
    const lengths: number[] = [];
    const child = host.spawn({ ...program("outputs"), stdout: (chunk) => void lengths.push(chunk.length) });
    await child.exited;
    await waitFor(() => lengths.length === 2, { what: "the end of the output" });
    assert.deepEqual(lengths, [4, 0]);
  });

  test("drops outputs", { timeout }, async () => {
    const { host, program } = getRig();
    const command: SpawnCommand = { ...program("outputs"), stdout: "null", stderr: "null" };
    assert.deepEqual(await host.spawn(command).exited, { type: "exited", code: 0 });
  });

  test("lets a slow reader slow the writer", { timeout }, async () => {
    const { host, program, printed, pass } = getRig();
    let taken = 0;
    const gate = Promise.withResolvers<void>();
    const stdout = (chunk: Uint8Array) => {
      taken += chunk.length;
      return gate.promise;
    };
    const child = host.spawn({ ...program("flood"), stdout });
    await waitFor(() => taken > 0, { what: "the first chunk" });
    const first = taken;
    await pass(300);
    const written = printed(child.pid);
    await pass(300);
    assert.equal(taken, first, "no second chunk before the reader is done with the first");
    assert.equal(printed(child.pid), written, "the writer waits");
    assert.ok(written - taken < 2_000_000, `${written - taken} bytes piled up unread`);
    gate.resolve();
    await waitFor(() => taken > written, { what: "what was held back" });
    host.kill(child.pid, "SIGKILL");
    await child.exited;
  });

  test("reads on when a reader throws", { timeout }, async () => {
    const { host, program } = getRig();
    let chunks = 0;
    const stdout = () => {
      if (chunks++ === 0) throw new Error("the reader's own trouble");
    };
    const child = host.spawn({ ...program("flood"), stdout });
    await waitFor(() => chunks > 3, { what: "more chunks" });
    host.kill(child.pid, "SIGKILL");
    await child.exited;
  });

  test("writes to standard input", { timeout }, async () => {
    const { host, program } = getRig();
    const out = new Output();
    const child = host.spawn({ ...program("echo"), stdin: "pipe", stdout: out.reader });
    child.writeStdin("one\n");
    await out.until(/^one\n$/);
    child.writeStdin("two\n");
    child.writeStdin("three\n");
    await out.until(/^one\ntwo\nthree\n$/);
    host.kill(child.pid, "SIGKILL");
    await child.exited;
    child.writeStdin("to nobody\n".repeat(100_000));
    child.writeStdin("still nobody\n");
  });

  test("writes nothing to a process that is dead and whose end was not told yet", { timeout }, async () => {
    const { host, program, isAlive } = getRig();
    const child = host.spawn({ ...program("echo"), stdin: "pipe" });
    host.kill(child.pid, "SIGKILL");
    while (isAlive(child.pid)); // within this tick, so that the runtime cannot tell
    for (let i = 0; i < 3; i++) child.writeStdin("to nobody\n");
    await child.exited;
    child.writeStdin("to nobody\n");
  });

  test("gives no standard input otherwise", { timeout }, async () => {
    const { host, program } = getRig();
    const child = host.spawn(program("exit", "7"));
    child.writeStdin("to nobody\n");
    assert.deepEqual(await child.exited, { type: "exited", code: 7 });
  });
}

function signalConformance(getRig: () => HostRig): void {
  for (const signal of TRAPPED) {
    test(`listens for ${signal}`, { timeout }, async () => {
      const { host, unsendable } = getRig();
      const { promise, resolve } = Promise.withResolvers<void>();
      using _listening = host.onSignal(signal, resolve);
      if (unsendable.has(signal)) return;
      assert.equal(host.kill(host.pid, signal), true);
      await promise;
    });
  }

  test("calls every listener, and none that was disposed of", { timeout }, async () => {
    const { host } = getRig();
    const calls: string[] = [];
    const second = Promise.withResolvers<void>();
    const third = Promise.withResolvers<void>();
    const same = () => void calls.push("same");
    const one = host.onSignal("SIGUSR2", same);
    const other = host.onSignal("SIGUSR2", same);
    using _second = host.onSignal("SIGUSR2", () => second.resolve());
    host.kill(host.pid, "SIGUSR2");
    await second.promise;
    assert.deepEqual(calls, ["same", "same"]);
    one[Symbol.dispose]();
    one[Symbol.dispose]();
    using _third = host.onSignal("SIGUSR2", () => third.resolve());
    host.kill(host.pid, "SIGUSR2");
    await third.promise;
    assert.deepEqual(calls, ["same", "same", "same"]);
    other[Symbol.dispose]();
  });
}

function timerConformance(getRig: () => HostRig): void {
  test("runs timers in order, none early", { timeout }, async () => {
    const { host, pass } = getRig();
    const calls: string[] = [];
    const began = host.now();
    const set = (name: string, delayMs: number) =>
      host.setTimer(delayMs, () => {
        calls.push(name);
        assert.ok(host.now() >= began + delayMs, `${name} came early`);
      });
    set("last", 60);
    set("middle", 30.5);
    set("first", 0);
    await pass(80);
    await waitFor(() => calls.length === 3, { what: "three timers" });
    assert.deepEqual(calls, ["first", "middle", "last"]);
  });

  test("cancels timers", { timeout }, async () => {
    const { host, pass } = getRig();
    const calls: string[] = [];
    const cancelled = host.setTimer(5, () => calls.push("cancelled"));
    host.setTimer(30, () => calls.push("kept"));
    cancelled[Symbol.dispose]();
    cancelled[Symbol.dispose]();
    await pass(50);
    await waitFor(() => calls.length > 0, { what: "the other timer" });
    assert.deepEqual(calls, ["kept"]);
  });

  test("does not run long timers at once", { timeout }, async () => {
    const { host, pass } = getRig();
    for (const delayMs of [2 ** 31, 2 ** 40, Infinity]) {
      using timer = host.setTimer(delayMs, () => assert.fail(`a timer of ${delayMs} ms ran`));
      timer.unref();
      await pass(10);
    }
  });

  test("has a clock that goes on", { timeout }, async () => {
    const { host, pass } = getRig();
    const before = host.now();
    await pass(20);
    assert.ok(host.now() - before >= 19, `${host.now() - before} ms passed`);
  });
}

/** Gathers what a process prints. */
class Output {
  text = "";
  readonly reader = (chunk: Uint8Array): void => {
    this.text += new TextDecoder().decode(chunk);
  };

  async until(pattern: RegExp): Promise<void> {
    await waitFor(() => pattern.test(this.text), { what: `${pattern} in what was printed` });
  }
}

/** Starts a process and waits for its first line. */
async function started(host: ProcessHost, command: SpawnCommand): Promise<{ child: Child; line: string }> {
  const output = new Output();
  const child = host.spawn({ ...command, stdout: output.reader });
  await output.until(/\n/);
  return { child, line: output.text.trim() };
}

/** Starts a process that prints one line, and waits for its end. */
async function finished(host: ProcessHost, command: SpawnCommand): Promise<{ child: Child; text: string }> {
  const output = new Output();
  const child = host.spawn({ ...command, stdout: output.reader });
  assert.deepEqual(await child.exited, { type: "exited", code: 0 });
  await output.until(/\n/);
  return { child, text: output.text };
}
