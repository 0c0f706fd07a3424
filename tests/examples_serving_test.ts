/** The examples that serve, run as their heads say, on the runtime that runs the tests. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { Client, get } from "./support/client.ts";
import { type Program, runProgram, tempDir, waitFor } from "./support/run.ts";
import { talk } from "./support/web_socket.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };
const file = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

function run(example: string): Program {
  const words = [file(`examples/${example}.ts`), "-l", "127.0.0.1:0", "-w", "2", "--log-format", "plain"];
  return runProgram(file("mod.ts"), words);
}

async function portOf(program: Program): Promise<number> {
  await program.waitForErrorLine(/is ready$/, { count: 2 });
  return Number(/:(\d+)$/.exec(await program.waitForErrorLine(/listens on/))?.[1]);
}

async function stop(program: Program): Promise<void> {
  program.kill("SIGTERM");
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  assert.equal(program.errorLines.filter((line) => /exited with status 0$/.test(line)).length, 2, program.report());
  await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" });
}

describe("examples that serve", () => {
  const pages: readonly (readonly [example: string, path: string, body: string])[] = [
    ["hello", "/you", "Hello from /you\n"],
    ["hono", "/users/ada", '{"name":"ada"}'],
    ["express", "/", "Hello from Express\n"],
    ["websocket", "/", "WebSockets only\n"],
  ];
  for (const [example, path, body] of pages) {
    it(`${example}.ts answers ${path}, and ends with what is open answered`, options, async () => {
      await using program = run(example);
      const port = await portOf(program);
      assert.equal(await get(port, path), body);
      await stop(program);
    });
  }

  it("websocket.ts echoes, and tells its client to go elsewhere when it stops", options, async () => {
    await using program = run("websocket");
    using socket = await talk(`ws://127.0.0.1:${await portOf(program)}/`);
    assert.equal(await socket.ask("hello"), "hello");
    const stopped = stop(program);
    assert.equal(await socket.closed(), 1001);
    await stopped;
  });

  it("tcp.ts echoes, and says goodbye", options, async () => {
    await using program = run("tcp");
    using client = new Client({ port: await portOf(program) }).send("hello\n");
    await client.waitFor(/^hello\n$/);
    const stopped = stop(program);
    await client.waitFor(/bye\n$/);
    await client.waitForEnd();
    await stopped;
  });

  it("unix.ts serves on its socket, replaces its workers, and removes the socket", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    await using program = runProgram(file("examples/unix.ts"), [path]);
    const ask = async (): Promise<string> => {
      using client = new Client({ path }).send("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
      return await client.waitFor(/Hello from worker [01]\n$/);
    };
    // The file is there a moment before anybody listens.
    await waitFor(() => answers(path), { what: "the socket" });
    await ask();
    program.kill("SIGHUP");
    await ask();
    program.kill("SIGTERM");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    assert.equal(existsSync(path), false);
    await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" });
  });
});

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => resolve(true)).on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
}
