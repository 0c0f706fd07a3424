/** Real peers, unchanged: Starlet as a command of ours, nginx in front of us. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { get } from "./support/client.ts";
import { descendants, processState, type Program, runCommand, runProgram, tempDir, waitFor } from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };
const file = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** Asks again and again until `isDone`; gives what was answered otherwise than by `pattern`. */
async function askUntil(port: number, pattern: RegExp, isDone: () => boolean): Promise<readonly string[]> {
  const wrong: string[] = [];
  while (!isDone()) {
    const text = await get(port, "/").catch((error: unknown) => String(error));
    if (!pattern.test(text)) wrong.push(text);
  }
  return wrong;
}

/** Waits until all commands of a run sleep, whenever they are looked at: one that loops around accept() never does. */
async function areIdle(program: Program): Promise<void> {
  let inARow = 0;
  await waitFor(() => {
    const commands = descendants(program.pid); // by descent, since Perl writes over their environment
    inARow = commands.length > 0 && commands.every((pid) => processState(pid) === "S") ? inARow + 1 : 0;
    return inARow === 20;
  }, { what: "the commands to sleep" });
}

describe("real peers", () => {
  it("Starlet serves as a command, by SERVER_STARTER_PORT, and is replaced by HUP", options, async () => {
    await using dir = await tempDir();
    await writeFile(dir.file("app.psgi"), 'sub { [200, ["Content-Type", "text/plain"], ["starlet $$"]] }\n');
    const command = ["plackup", "-s", "Starlet", "--max-workers", "2", dir.file("app.psgi")];
    const words = ["-l", "127.0.0.1:0", "-w", "2", "--log-format", "plain", "--", ...command];
    await using program = runProgram(file("mod.ts"), words);
    const port = Number(/:(\d+)$/.exec(await program.waitForErrorLine(/listens on/))?.[1]);
    assert.match(await get(port, "/"), /^starlet \d+$/);
    await areIdle(program);
    program.kill("SIGHUP");
    const renewed = () => program.errorLines.filter((line) => /gen=2 .* is ready$/.test(line)).length === 2;
    assert.deepEqual(await askUntil(port, /^starlet \d+$/, renewed), [], program.report());
    program.kill("SIGTERM");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" });
  });

  for (const keepalive of ["keepalive 4;", ""]) {
    it(
      `nginx in front meets no failure while workers are replaced (${keepalive || "no keepalive"})`,
      options,
      async () => {
        await using dir = await tempDir();
        const path = dir.file("a.sock");
        const words = [file("examples/hello.ts"), "-l", `unix:${path}`, "-w", "2", "--log-format", "plain"];
        await using program = runProgram(file("mod.ts"), words);
        await program.waitForErrorLine(/is ready$/, { count: 2 });
        const port = 20_000 + Math.floor(Math.random() * 10_000);
        await writeFile(dir.file("nginx.conf"), nginxConf(dir.file("."), path, port, keepalive));
        await using nginx = runCommand("nginx", ["-c", dir.file("nginx.conf"), "-e", dir.file("error.log")]);
        await waitFor(async () => await get(port, "/").catch(() => "") !== "", { what: "nginx to answer" });
        for (const generation of [2, 3]) {
          program.kill("SIGHUP");
          const pattern = new RegExp(`gen=${generation} .* is ready$`);
          const renewed = () => program.errorLines.filter((line) => pattern.test(line)).length === 2;
          assert.deepEqual(await askUntil(port, /^Hello from \/\n$/, renewed), [], program.report());
        }
        nginx.kill("SIGTERM");
        await nginx.waitForEnd();
        program.kill("SIGTERM");
        assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
      },
    );
  }
});

/** Nothing is tried twice, so that nothing is hidden. */
function nginxConf(dir: string, socket: string, port: number, keepalive: string): string {
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${dir}/${name};`);
  // Started by root, its worker would be somebody who may not enter the directory of the socket.
  const user = process.getuid?.() === 0 ? "user root;" : "";
  return `daemon off;
${user}
master_process off;
pid ${dir}/nginx.pid;
events {}
http {
  access_log off;
  ${paths.join("\n  ")}
  upstream app { server unix:${socket}; ${keepalive} }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_next_upstream off;
    }
  }
}
`;
}
