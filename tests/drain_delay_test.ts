/** `--drain-delay`: a manager that is told to stop serves on, and says that it is not ready. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ask, options, portOf, ready, start, statusOf, web } from "./support/operator.ts";
import { isAlive, type Program, runtime, signalProcess, waitFor } from "./support/run.ts";

const LONG = ["--drain-delay", "1h", "--status-listen", "0", "-w", "2", ...web];

async function begun(args: readonly string[] = LONG): Promise<{ program: Program; port: number; probes: number }> {
  const program = start(args);
  await ready(program, 2);
  const line = await program.waitForErrorLine("tells its status at ");
  return { program, port: await portOf(program), probes: Number(/:(\d+)\/?$/.exec(line)?.[1]) };
}

/** On a connection of its own, so that it is a worker's to accept. */
async function answer(port: number, path = "/"): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: "close" } });
  return `${response.status} ${(await response.text()).trim()}`;
}

describe(`--drain-delay, on ${runtime}`, () => {
  it("has workers serve on after a stop, and the probe fail; a second stop ends it", options, async () => {
    const { program, port, probes } = await begun();
    await using _ = program;
    assert.match(await answer(probes, "/readyz"), /^200 /);
    program.kill("SIGTERM");
    await program.waitForErrorLine("workers serve on for 3600000 ms before they are told of SIGTERM");
    assert.equal(await answer(probes, "/readyz"), "503 stopping");
    assert.match(await answer(port), /^200 /);
    const { state, workers } = await statusOf(program);
    assert.deepEqual([state, workers.map((each) => each.state)], ["stopping", ["ready", "ready"]]);
    signalProcess(workers[0]?.pid ?? 0, "SIGKILL");
    await ready(program, 3);
    assert.match((await ask(program, "reload", "--wait")).errors, /about to stop/);
    program.kill("SIGTERM");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  });

  it("is over in its time, and loses no request", options, async () => {
    const { program, port } = await begun(["--drain-delay", "1s", ...LONG.slice(2)]);
    await using _ = program;
    const stop = ask(program, "stop", "--wait");
    await program.waitForErrorLine("workers serve on for 1000 ms");
    const answers: { readonly text: string; readonly at: number }[] = [];
    const isTold = () => program.errorLines.some((line) => line.includes(" was sent SIGTERM"));
    while (!isTold()) answers.push({ text: await answer(port).catch(String), at: Date.now() });
    assert.equal((await stop).code, 0);
    const told = Date.parse((await program.waitForErrorLine(" was sent SIGTERM")).split(" ")[0] ?? "");
    const inTime = answers.filter(({ at }) => at < told).map(({ text }) => text);
    assert.ok(inTime.length > 0, program.report());
    assert.deepEqual(inTime.filter((text) => !text.startsWith("200 ")), []);
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null });
    assert.deepEqual(program.errorLines.filter((line) => / had to be killed/.test(line)), []);
  });

  it("is not waited for by the old manager of an upgrade", options, async () => {
    const { program, port } = await begun();
    await using _ = program;
    program.kill("SIGUSR2");
    const line = await program.waitForErrorLine(/the new manager pid=\d+ has taken over/);
    const heir = Number(/pid=(\d+)/.exec(line)?.[1]);
    await waitFor(() => !isAlive(program.pid), { what: "the old manager to be gone" });
    assert.match(await answer(port), /^200 /);
    assert.equal((await ask(program, "stop", "--now", "--wait")).code, 0);
    await waitFor(() => !isAlive(heir), { what: "the new manager to be gone" });
  });
});
