/** The sockets that a manager leaves with systemd, and the manager after it finds. */
import assert from "node:assert/strict";
import { existsSync, unlinkSync, writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { Prefork } from "../mod.ts";
import { formatAddress } from "../src/address.ts";
import { FdStore } from "../src/cli/fd_store.ts";
import { readStoreName, storeName } from "../src/fd_store.ts";
import { FakeHost } from "./fake_host.ts";
import { socketAddress } from "./support/addresses.ts";
import { Client, get, type Where } from "./support/client.ts";
import { hello, options, prefork } from "./support/operator.ts";
import {
  type Program,
  runCommand,
  runProgram,
  runtime,
  runtimeCommand,
  type TempDir,
  tempDir,
  waitFor,
} from "./support/run.ts";

const serviceManager = fileURLToPath(new URL("./fixtures/fdstore/service_manager.pl", import.meta.url));

const named = (asked: string, more: { name?: string; bound?: string; fileId?: string } = {}) =>
  storeName({ asked, name: more.name, bound: more.bound ?? asked, ...more.fileId ? { fileId: more.fileId } : {} });

describe("the name of a socket in the store", () => {
  it("says what it is to whoever reads it", () => {
    assert.equal(named("127.0.0.1:8080"), "prefork 127.0.0.1;8080");
    assert.equal(named("[::1]:8080", { name: "web" }), "prefork web=[;;1];8080");
    assert.equal(named("127.0.0.1:0", { bound: "127.0.0.1:34567" }), "prefork 127.0.0.1;0 127.0.0.1;34567");
    assert.equal(named("unix:/run/a.sock", { fileId: "254:1:77" }), "prefork unix;/run/a.sock 254;1;77");
    assert.equal(named("unix:/a b;c%\n\u00e9"), "prefork unix;/a%20b%3Bc%25%0A%C3%A9");
  });

  it("is one that systemd takes, and tells the next manager what it told this one", () => {
    const name = fc.option(fc.stringMatching(/^[\w.-]{1,20}$/), { nil: undefined });
    fc.assert(fc.property(socketAddress, name, fc.boolean(), (address, name, isElsewhere) => {
      const asked = formatAddress(address);
      const file = address.type === "unix" ? { fileId: "254:1:77" } : {};
      const bound = isElsewhere && address.type === "tcp" ? formatAddress({ ...address, port: 1 }) : asked;
      const text = storeName({ asked, name, bound, ...file });
      if (text === undefined) return assert.ok(address.type === "unix");
      assert.match(text, /^[ -9;-~]{1,255}$/);
      assert.deepEqual(readStoreName(text), { asked, name, ...file });
    }));
  });

  it("is refused if systemd would not take it, and read whatever it is", () => {
    assert.equal(named("127.0.0.1:80", { name: "x".repeat(255) }), undefined);
    assert.deepEqual(readStoreName("prefork %"), { asked: "%", name: undefined });
  });
});

/** What a store was told, and whether it hears anything. */
class Told {
  readonly lines: string[] = [];
  isDeaf = false;

  send(text: string): boolean {
    if (!this.isDeaf) this.lines.push(text.replace(/\n/, "|"));
    return !this.isDeaf;
  }

  sendDescriptor(text: string, fd: number): boolean {
    return this.send(`${text} at ${fd >= 64 ? "its own" : "another's"}`);
  }
}

describe("the store", () => {
  it("is told of what is new and what is gone, again where it could not hear", options, async () => {
    await using pool = new Prefork({ listen: ["web=127.0.0.1:0", `${"x".repeat(255)}=127.0.0.1:0`] });
    const text = pool.listeners[0]?.text.replaceAll(":", ";");
    const host = new FakeHost({
      name: "bun",
      env: { LISTEN_PID: "1000", LISTEN_FDS: "2", LISTEN_FDNAMES: "unit.socket:prefork 127.0.0.1;80" },
    });
    const told = new Told();
    const warnings: string[] = [];
    using store = new FdStore({ host, pool, warn: (warning) => warnings.push(warning) }, told);
    told.isDeaf = true;
    store.update();
    assert.deepEqual(told.lines, []);
    told.isDeaf = false;
    await host.advance(1000);
    assert.deepEqual(told.lines, [
      "FDSTOREREMOVE=1|FDNAME=prefork 127.0.0.1;80",
      `FDSTORE=1|FDNAME=prefork web=127.0.0.1;0 ${text} at its own`,
    ]);
    store.update();
    assert.equal(warnings.length, 1, "once");
    assert.match(warnings[0] ?? "", /^does not leave 127\.0\.0\.1:\d+ with systemd: its name would be too long$/);
    assert.deepEqual([told.lines.length, host.timerCount()], [2, 0], "once");
  });
});

interface Service {
  readonly program: Program;
  /** The process ids of its managers so far. */
  pids(): readonly number[];
  /** Waits for the manager of that number to listen and to have workers. */
  ready(count: number): Promise<number>;
  kill(signal: "SIGKILL" | "SIGTERM" | "SIGHUP" | "SIGUSR2"): Promise<void>;
  startAgain(): void;
}

const PLAIN = ["--log-format", "plain", "-w", "1"];

function run(dir: TempDir, args: readonly string[], { units = 0, room = "16" } = {}): Service {
  const { command, args: before } = runtimeCommand();
  const words = [serviceManager, dir.file("notify"), String(units), command, ...before, prefork, ...PLAIN, ...args];
  const program = runCommand("perl", words, { env: { FDSTORE: room } });
  const pids = () => program.errorLines.flatMap((line) => /pid=(\d+) \S+ \S+ keeps /.exec(line)?.[1] ?? []).map(Number);
  return {
    program,
    pids,
    async ready(count) {
      await program.waitForLine(/^READY=1$/, { count });
      return pids().at(-1) ?? assert.fail("no manager");
    },
    async kill(signal) {
      const pid = pids().at(-1) ?? assert.fail("no manager");
      process.kill(pid, signal);
      if (signal === "SIGKILL" || signal === "SIGTERM") await program.waitForLine(`gone ${pid}`);
    },
    startAgain: () => void program.kill("SIGUSR1"),
  };
}

async function portOf({ program }: Service, nth = 1): Promise<number> {
  const line = await program.waitForErrorLine(/listens on 127\.0\.0\.1:\d+/, { count: nth });
  return Number(/127\.0\.0\.1:(\d+)/.exec(line)?.[1]);
}

/** Asks while nobody may be there to answer. */
async function ask(where: Where): Promise<Client> {
  const client = new Client(where);
  await client.connected;
  return client.send("GET /queued HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
}

async function answered(clients: readonly Client[]): Promise<void> {
  for (const client of clients) await client.waitFor(/Hello from \/queued/);
}

/** No process has a socket any more but the service manager: whoever asks from here on waits there. */
async function nobodyLeft({ program }: Service): Promise<void> {
  await waitFor(() => program.processes().every((pid) => pid === program.pid), { what: "the workers to be gone" });
}

describe(`the sockets of a manager under systemd, on ${runtime}`, () => {
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    it(`outlive it, and are the next one's with all who wait, after ${signal}`, options, async () => {
      await using dir = await tempDir();
      const path = dir.file("a.sock");
      const service = run(dir, [hello, "-l", "web=127.0.0.1:0", "-l", `unix:${path}`]);
      await using program = service.program;
      await service.ready(1);
      const port = await portOf(service);
      const stored = await program.waitForLine(/^stored .*,/);
      assert.match(stored, new RegExp(`^stored prefork web=127\\.0\\.0\\.1;0 127\\.0\\.0\\.1;${port}, prefork unix;`));

      await service.kill(signal);
      await nobodyLeft(service);
      const clients = [await ask({ port }), await ask({ path }), await ask({ port })];
      service.startAgain();
      await service.ready(2);
      await answered(clients);
      assert.equal(await portOf(service, 2), port, "the port that the system had picked");
      assert.equal(await get(port, "/new"), "Hello from /new\n");
      assert.deepEqual(program.matching(/^FDSTORE=1/).length, 2, "they are there already");
      assert.deepEqual(program.matching(/^FDSTOREREMOVE|^ignored/), []);
    });
  }

  it("end when no address stands for them any more, so that others may listen there", options, async () => {
    await using dir = await tempDir();
    const config = dir.file("config.json");
    const write = (...listen: readonly string[]) => writeFileSync(config, JSON.stringify({ worker: hello, listen }));
    write("0.0.0.0:0", `unix:${dir.file("a.sock")}`);
    const service = run(dir, ["--config", config]);
    await using program = service.program;
    await service.ready(1);
    const line = await program.waitForErrorLine(/listens on 0\.0\.0\.0:\d+/);
    const port = Number(/:(\d+)$/.exec(line)?.[1]);
    await service.kill("SIGKILL");
    await nobodyLeft(service);
    const client = await ask({ port });

    write(`127.0.0.1:${port}`);
    service.startAgain();
    await service.ready(2);
    await client.waitForEnd();
    assert.equal(await get(port, "/new"), "Hello from /new\n");
    assert.equal(existsSync(dir.file("a.sock")), false);
    await program.waitForLine(`stored prefork 127.0.0.1;${port}`, { count: 1 });
    assert.equal(program.matching(/^stored/).at(-1), `stored prefork 127.0.0.1;${port}`);
  });

  it(
    "are stored and removed as a reload of the configuration says, and by the manager that takes over",
    options,
    async () => {
      await using dir = await tempDir();
      const config = dir.file("config.json");
      const write = (...listen: readonly string[]) => writeFileSync(config, JSON.stringify({ worker: hello, listen }));
      write("one=127.0.0.1:0", "two=127.0.0.1:0");
      const service = run(dir, ["--config", config]);
      await using program = service.program;
      await service.ready(1);
      await program.waitForLine(/^stored prefork one=\S+ \S+, prefork two=\S+ \S+$/);
      const port = await portOf(service);

      write("one=127.0.0.1:0", "three=127.0.0.1:0");
      await service.kill("SIGHUP");
      await program.waitForLine(/^stored prefork one=\S+ \S+, prefork three=\S+ \S+$/);

      write("one=127.0.0.1:0", "four=127.0.0.1:0");
      await service.kill("SIGUSR2");
      await program.waitForLine(/^stored prefork one=\S+ \S+, prefork four=\S+ \S+$/);
      assert.deepEqual(program.matching(/^ignored/), [], "nothing comes before systemd knows from whom");
      assert.equal(program.matching(/^FDSTORE=1/).length, 4, "each of them once");

      process.kill(service.pids().at(-1) ?? 0, "SIGKILL");
      service.startAgain();
      assert.equal(await portOf(service, 5), port);
      await answered([await ask({ port })]);
    },
  );

  it("are bound anew if a Unix one has lost its file", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const service = run(dir, [hello, "-l", `unix:${path}`]);
    await using program = service.program;
    await service.ready(1);
    await service.kill("SIGKILL");
    unlinkSync(path);
    service.startAgain();
    await service.ready(2);
    await answered([await ask({ path })]);
    assert.equal(program.matching(/^stored prefork unix/).length, 2, "the old one is not there beside the new one");
  });

  it("are not stored if they are of a socket unit, and stand beside those", options, async () => {
    await using dir = await tempDir();
    const service = run(dir, [hello, "-l", "inherit", "-l", "own=127.0.0.1:0"], { units: 1 });
    await using program = service.program;
    await service.ready(1);
    await program.waitForLine(/^stored prefork own=\S+ \S+$/);
    await service.kill("SIGKILL");
    service.startAgain();
    await service.ready(2);
    const listens = program.errorLines.flatMap((line) => /listens on .*/.exec(line)?.[0] ?? []);
    assert.match(listens[0] ?? "", /\(web\.socket\)$/);
    assert.deepEqual(listens.slice(2), listens.slice(0, 2));
    assert.equal(program.matching(/^FDSTORE=1/).length, 1);
  });

  it("are not stored where systemd has no room for any", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const service = run(dir, [hello, "-l", "127.0.0.1:0", "-l", `unix:${path}`], { room: "0" });
    await using program = service.program;
    await service.ready(1);
    await service.kill("SIGTERM");
    assert.deepEqual(program.matching(/FDSTORE/), []);
    assert.equal(existsSync(path), false);
  });

  it("are not looked for where it makes no sense what is given", options, async () => {
    const args = [hello, "-l", "127.0.0.1:0"];
    await using program = runProgram(prefork, args, { env: { LISTEN_PID: "me" } });
    assert.equal((await program.waitForEnd()).code, 2);
    assert.match(program.errorLines[0] ?? "", /^prefork: Cannot use LISTEN_PID='me': it must be a whole number/);
  });

  it("say nothing to workers", options, async () => {
    await using dir = await tempDir();
    const service = run(dir, ["-l", "127.0.0.1:0", "--", "/bin/sh", "-c", "echo room $FDSTORE.; exec sleep 60"]);
    await using program = service.program;
    await program.waitForLine(/room \.$/);
  });
});
