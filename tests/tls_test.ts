/** TLS through the shared socket, as HTTP/1.1 and, where the runtime's server speaks it, as HTTP/2. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import process from "node:process";
import { describe, it } from "node:test";
import { connect } from "node:tls";
import { fileURLToPath } from "node:url";
import { runPool, stopPool, waitForReady } from "./support/pool.ts";
import { otherRuntimeCommand, type Program, runtime, type TestRuntime } from "./support/run.ts";

const options = { timeout: 180_000, skip: process.platform !== "linux" };
const module = fileURLToPath(new URL("./fixtures/serve/secure.ts", import.meta.url));
const ca = readFileSync(new URL("./fixtures/serve/localhost.crt", import.meta.url), "utf8");

async function run(on: TestRuntime, attach: boolean, adoption: boolean): Promise<Program & { readonly port: number }> {
  const executable = on === runtime ? {} : { executable: otherRuntimeCommand().command };
  const program = runPool({
    module,
    runtime: on,
    ...executable,
    options: {
      maxWorkers: 2,
      listen: "127.0.0.1:0",
      adoption,
      trapSignals: { SIGTERM: "SIGTERM", SIGHUP: { signal: "SIGTERM", replace: "before" } },
    },
  }, { env: attach ? { TEST_ATTACH: "1" } : {} });
  const line = await program.waitForLine(/^listens /);
  const [{ address: { port } }] = JSON.parse(line.slice("listens ".length));
  await waitForReady(program, 2);
  return Object.assign(program, { port });
}

/** A request over a connection that trusts the certificate and nobody else. */
async function get(port: number, path: string): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", servername: "localhost", ca, ALPNProtocols: ["http/1.1"] });
  socket.setEncoding("utf8");
  let text = "";
  socket.on("data", (chunk: string) => text += chunk);
  socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost:${port}\r\nconnection: close\r\n\r\n`);
  await new Promise<void>((resolve, reject) => socket.once("close", () => resolve()).once("error", reject));
  assert.match(text, /^HTTP\/1\.1 200 /);
  return text.slice(text.indexOf("\r\n\r\n") + 4);
}

async function getHttp2(port: number, path: string): Promise<string> {
  const session = connectHttp2(`https://localhost:${port}`, { ca });
  try {
    const stream = session.request({ ":path": path });
    stream.setEncoding("utf8");
    let text = "";
    stream.on("data", (chunk: string) => text += chunk);
    await new Promise<void>((resolve, reject) => {
      stream.once("end", () => resolve()).once("error", reject);
      session.once("error", reject);
    });
    return text;
  } finally {
    session.close();
  }
}

for (const on of ["deno", "bun"] as const) {
  describe(`a worker on ${on} of a manager on ${runtime} serves over TLS`, () => {
    for (
      const [how, attach, adoption] of [
        ["serve()", false, true],
        ["serve(), relayed", false, false],
        ["attach(node:https)", true, true],
      ] as const
    ) {
      it(`by ${how}, and loses nothing when it is replaced`, options, async () => {
        await using program = await run(on, attach, adoption);
        const { port } = program;
        const where = attach ? "/first" : `https://localhost:${port}/first`;
        const before = await get(port, "/first");
        assert.equal(before.slice(before.indexOf(" ") + 1).trim().replace(/^[\da-f]+\r\n|\r\n0$/g, ""), where);
        const answers: Promise<string>[] = [];
        program.kill("SIGHUP");
        let isOver = false;
        const reloaded = program.waitForLine('"type":"reloaded"').finally(() => isOver = true);
        while (!isOver) {
          answers.push(get(port, "/more"));
          await Promise.race([answers.at(-1), reloaded]);
        }
        await reloaded;
        const all = [before, ...await Promise.all(answers), await get(port, "/last")];
        const pids = new Set(all.map((text) => /\d{2,}(?= )/.exec(text)?.[0]));
        assert.ok(pids.size >= 2, `${[...pids]}`);
        await stopPool(program);
      });
    }
  });
}

describe(`a worker on deno of a manager on ${runtime}`, () => {
  it("speaks HTTP/2 where the client does", options, async () => {
    await using program = await run("deno", false, true);
    const { port } = program;
    assert.match(await getHttp2(port, "/two"), new RegExp(`^\\d+ https://localhost:${port}/two$`));
    await stopPool(program);
  });
});
