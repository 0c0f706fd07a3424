/** The command line serves: real processes, real sockets, the real start_server and systemd-socket-activate. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, lstatSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import process from "node:process";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { Client, get, type Where } from "./support/client.ts";
import { descriptors } from "./support/pool.ts";
import {
  otherRuntimeCommand,
  type Program,
  runCommand,
  type RunOptions,
  runProgram,
  runtime,
  runtimeCommand,
  tempDir,
  waitFor,
} from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };
const prefork = fileURLToPath(new URL("../mod.ts", import.meta.url));
const hello = fileURLToPath(new URL("../examples/hello.ts", import.meta.url));

function start(args: readonly string[], run: RunOptions = {}): Program {
  return runProgram(prefork, ["--log-format", "plain", ...args], run);
}

async function stop(program: Program): Promise<void> {
  program.kill("SIGTERM");
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" });
}

async function portOf(program: Program): Promise<number> {
  return Number(/:(\d+)( \(.*\))?$/.exec(await program.waitForErrorLine(/listens on [\d.]+:\d+/))?.[1]);
}

async function getBy(where: Where, path: string): Promise<string> {
  using client = new Client(where).send(`GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
  await client.waitForEnd();
  return client.text.slice(client.text.indexOf("\r\n\r\n") + 4);
}

async function refused(args: readonly string[], message: RegExp, run: RunOptions = {}): Promise<void> {
  await using program = runProgram(prefork, args, run);
  assert.deepEqual(await program.waitForEnd(), { code: 2, signal: null }, program.report());
  assert.equal(program.errorLines.filter((line) => line.startsWith("prefork: ")).length, 1, program.report());
  assert.match(program.errorLines.join("\n"), message);
}

const APP_THAT_TELLS_ITS_USER = `import process from "node:process";
export default { fetch: () => new Response(String(process.getuid())) };
`;

/** A port that takes root, and that nobody has. */
async function freeLowPort(): Promise<number> {
  while (true) {
    const port = 600 + Math.floor(Math.random() * 400);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true));
    });
    await new Promise((resolve) => server.close(resolve));
    if (isFree) return port;
  }
}

/** Waits until so many connections may wait at a port. */
async function waitForQueue(program: Program, port: number, length: number): Promise<void> {
  const queue = () => execFileSync("ss", ["-ltnH", `sport = :${port}`], { encoding: "utf8" }).trim().split(/\s+/)[2];
  await waitFor(() => queue() === String(length), { what: `a queue of ${length}` }).catch((error) => {
    assert.fail(`${error.message}: it is ${queue()}\n${program.report()}`);
  });
}

describe("prefork -l", () => {
  it("serves a module that exports fetch, on the port it tells", options, async () => {
    await using program = start([hello, "-l", "127.0.0.1:0", "-w", "2"]);
    assert.equal(await get(await portOf(program), "/there"), "Hello from /there\n");
    await stop(program);
  });

  it(`serves it by workers on the other runtime`, options, async () => {
    const { command } = otherRuntimeCommand();
    await using program = start([hello, "-l", "127.0.0.1:0", "-w", "1", "--runtime", command]);
    assert.equal(await get(await portOf(program), "/there"), "Hello from /there\n");
    await stop(program);
  });

  it("listens on several addresses, a Unix socket with its mode among them, and leaves no file", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    await using program = start([hello, "-w", "1", "-l", "web=127.0.0.1:0", "-l", `unix:${path}`, "--socket-mode=660"]);
    assert.match(await program.waitForErrorLine(/listens on 127/), /listens on 127.0.0.1:\d+ \(web\)$/);
    assert.equal(await get(Number(/:(\d+) \(web/.exec(program.errorLines.join("\n"))?.[1]), "/a"), "Hello from /a\n");
    assert.equal(await getBy({ path }, "/b"), "Hello from /b\n");
    assert.equal(lstatSync(path).mode & 0o777, 0o660);
    await stop(program);
    assert.equal(existsSync(path), false);
  });

  it("gives a command sockets that wait in accept, as start_server and systemd do", options, async () => {
    const acceptPlainly = `open my $socket, "+<&=3" or die; $| = 1; print "begins\\n";
      while (1) { accept(my $client, $socket) or die "accept: $!"; print $client "from $$"; close $client }`;
    await using program = start(["-w", "2", "-l", "127.0.0.1:0", "--", "perl", "-e", acceptPlainly]);
    const port = await portOf(program);
    await program.waitForErrorLine(/is ready$/, { count: 2 });
    for (let count = 0; count < 20; count++) {
      using client = new Client({ port });
      await client.waitForEnd();
      assert.match(client.text, /^from \d+$/);
    }
    assert.equal(program.matching("begins").length, 2, program.report());
    await stop(program);
  });

  const targets = { "a module": [hello], "a command": ["--", "sleep", "60"] };
  for (const [what, target] of Object.entries(targets)) {
    it(`passes nothing to ${what} that it inherited and was not asked to share`, options, async () => {
      await using dir = await tempDir();
      const { command, args } = runtimeCommand();
      const words = [prefork, "--log-format", "plain", "-w", "1", "-l", "127.0.0.1:0", ...target];
      const script = 'exec 9>"$0"; exec "$@"';
      await using program = runCommand("/bin/sh", ["-c", script, dir.file("secret"), command, ...args, ...words]);
      await program.waitForErrorLine(/is ready$/);
      const haveIt = program.processes().filter((pid) => descriptors(pid).some((line) => line.endsWith("/secret")));
      assert.deepEqual(haveIt, [program.pid]);
      await stop(program);
    });
  }

  it("gives a command its own LISTEN_PID, and nothing of whom systemd meant before", options, async () => {
    const tell = 'test "$LISTEN_PID" = $$ && echo "own ${LISTEN_PIDFDID-none}"; exec sleep 60';
    await using program = start(["-w", "1", "-l", "127.0.0.1:0", "--", "/bin/sh", "-c", tell], {
      env: { LISTEN_PIDFDID: "4711" },
    });
    assert.equal(await program.waitForLine(/^own/), "own none");
    await stop(program);
  });

  it("gives a Unix socket to its owner", { ...options, skip: process.getuid?.() !== 0 && "needs root" }, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    await using program = start([hello, "-w", "1", "-l", `unix:${path}`, "--socket-owner", "nobody:nogroup"]);
    await program.waitForErrorLine(/listens on unix:/);
    const { uid, gid } = lstatSync(path);
    assert.deepEqual([uid, gid], [65_534, 65_534]);
    await stop(program);
  });

  it(
    "binds what only root may before it hands the work to somebody else",
    { ...options, skip: process.getuid?.() !== 0 && "needs root" },
    async () => {
      await using dir = await tempDir();
      chmodSync(dir.file("."), 0o700); // where the workers' user may not even look
      const path = dir.file("a.sock");
      const command = ["-l", `unix:${path}`, "--user", "nobody", "--", "/bin/sh", "-c", "id -un; exec sleep 60"];
      await using program = start(["-w", "1", ...command]);
      await program.waitForLine("nobody");
      assert.ok(existsSync(path));
      await stop(program);
    },
  );

  it("stops with status 1 when its socket is lost, and says so once", options, async () => {
    const shutItDown =
      `print "begins\\n"; open my $socket, "+<&=3"; accept my $client, $socket; shutdown $socket, 2; sleep 600`;
    await using program = start(["-w", "2", "-l", "127.0.0.1:0", "--", "perl", "-e", `$| = 1; ${shutItDown}`]);
    const port = await portOf(program);
    await program.waitForErrorLine(/is ready$/, { count: 2 });
    using _client = new Client({ port });
    assert.deepEqual(await program.waitForEnd(), { code: 1, signal: null }, program.report());
    const told = program.errorLines.filter((line) => line.includes("shut down by a worker; start the manager anew"));
    assert.equal(told.length, 1, program.report());
    assert.equal(program.matching("begins").length, 2, program.report());
    await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" });
  });

  it("takes a descriptor that it was started with, as fd:N", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const { command, args } = runtimeCommand();
    const inner = [command, ...args, prefork, "--log-format", "plain", hello, "-w", "1", "-l", "web=fd:3"];
    await using outer = start(["-w", "1", "-l", `unix:${path}`, "--", ...inner]);
    assert.match(await outer.waitForErrorLine(/listens on .*web/), /listens on unix:.*a.sock \(web\)$/);
    assert.equal(await getBy({ path }, "/there"), "Hello from /there\n");
    await stop(outer);
    assert.equal(existsSync(path), false);
  });

  it(
    "binds a port that only root may, and serves on it as somebody else",
    { ...options, skip: process.getuid?.() !== 0 && "needs root" },
    async () => {
      await using dir = await tempDir();
      chmodSync(dir.path, 0o755);
      writeFileSync(dir.file("app.ts"), APP_THAT_TELLS_ITS_USER);
      const port = await freeLowPort();
      await using program = start([dir.file("app.ts"), "-w", "1", "-l", `127.0.0.1:${port}`, "--user", "nobody"]);
      await program.waitForErrorLine(/is ready$/);
      // Not by fetch(), which keeps away from the ports of other protocols.
      assert.equal(await getBy({ port }, "/"), "65534");
      await stop(program);
    },
  );

  it("has as many connections wait as it was told, whatever a server makes of that", options, async () => {
    for (const more of [[], ["--no-adoption"]]) {
      await using program = start([hello, "-l", "127.0.0.1:0", "-w", "1", "--backlog", "77", ...more]);
      const port = await portOf(program);
      await program.waitForErrorLine(/is ready$/);
      await waitForQueue(program, port, 77);
      await stop(program);
    }
  });

  it(
    "has as many wait as before when a reload or an upgrade fails whose workers had it otherwise",
    options,
    async () => {
      await using dir = await tempDir();
      const isBad = dir.file("bad");
      const work = `open my $socket, "+<&=3" or die; listen $socket, 5 or die; exit if -e $ARGV[0]; sleep 600`;
      const command = ["--", "perl", "-e", work, isBad];
      await using program = start(["-w", "1", "-l", "127.0.0.1:0", "--backlog", "77", ...command]);
      const port = await portOf(program);
      await program.waitForErrorLine(/is ready$/);
      await waitForQueue(program, port, 77);
      writeFileSync(isBad, "");
      program.kill("SIGHUP");
      await program.waitForErrorLine(/the reload failed/);
      await waitForQueue(program, port, 77);
      program.kill("SIGUSR2");
      await program.waitForErrorLine(/the upgrade failed/);
      await waitForQueue(program, port, 77);
      await stop(program);
    },
  );

  it("says in one sentence what it cannot listen on", options, async () => {
    await using dir = await tempDir();
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const address = taken.address();
    const port = typeof address === "object" ? address?.port : undefined;
    await refused(
      [hello, "-l", `127.0.0.1:${port}`],
      new RegExp(`^prefork: Cannot listen on 127.0.0.1:${port}: another`),
    );
    taken.close();
    await refused([hello, "-l", "example.org:80"], /'example.org' is no IP address; give an IP address/);
    await refused(
      [hello, "-l", "8080", "--socket-mode", "660"],
      /^prefork: Cannot use --socket-mode without a Unix socket/,
    );
    await refused(
      [hello, "--backlog", "9"],
      /^prefork: Cannot use --backlog without an address: add one, as in -l 8080$/,
    );
    await refused([hello, "-l", `unix:${dir.file("no/a.sock")}`], /its directory does not exist/);
    await refused([hello, "-l", "inherit"], /Cannot listen on inherited sockets: neither LISTEN_FDS/);
    const owner = ["-l", `unix:${dir.file("a.sock")}`, "--socket-owner", "nobdy"];
    await refused([hello, ...owner], /nobdy/);
  });

  it("takes PORT for modules, says so, and leaves it alone for commands", options, async () => {
    const env = { PORT: "127.0.0.1:0" };
    {
      await using program = start([hello, "-w", "1"], { env });
      assert.match(await program.waitForErrorLine(/listens on/), /listens on 127.0.0.1:\d+ \(from PORT\)$/);
      assert.equal(await get(await portOf(program), "/"), "Hello from /\n");
      await stop(program);
    }
    {
      await using program = start(["-w", "1", "--", "/bin/sh", "-c", 'echo "has ${LISTEN_FDS-none}"; exec sleep 60'], {
        env,
      });
      assert.equal(await program.waitForLine(/^has /), "has none");
      await stop(program);
    }
    await refused([hello], /^prefork: Cannot listen on 'web': .* \(from the variable PORT\)$/, {
      env: { PORT: "web" },
    });
  });

  it("gives up on a module that serves where there is no address, and says what is missing", options, async () => {
    await using program = start([hello, "-w", "1"]);
    await program.waitForErrorLine(/prefork: Cannot serve: this pool listens on nothing; give it an address .*-l 8080/);
    assert.deepEqual(program.errorLines.filter((line) => /^\s+at /.test(line)), [], "no place in this module");
    program.kill("SIGTERM");
    await program.waitForEnd();
  });
});

it("shows where a module fails that is asked where it listens", { ...options, skip: runtime !== "deno" }, async () => {
  await using dir = await tempDir();
  writeFileSync(
    dir.file("app.ts"),
    `export default { fetch: () => new Response(""), onListen() { throw new Error("no database"); } };`,
  );
  await using program = start([dir.file("app.ts"), "-l", "127.0.0.1:0", "-w", "1"]);
  await program.waitForErrorLine("Error: no database");
  await program.waitForErrorLine(/^\s+at .*app\.ts:1:/);
});

/** Asks again and again, one connection each, until told to stop: everything that was not answered. */
function askOn(where: Where): { readonly answered: () => number; readonly stop: () => Promise<readonly string[]> } {
  const failures: string[] = [];
  let answered = 0;
  let asking = true;
  const loop = (async () => {
    while (asking) {
      const text = await getBy(where, `/${answered}`).catch((error: unknown) => String(error));
      if (text === `Hello from /${answered}\n`) answered++;
      else failures.push(text);
    }
  })();
  return {
    answered: () => answered,
    async stop() {
      asking = false;
      await loop;
      return failures;
    },
  };
}

describe("prefork that is given its sockets", () => {
  const manager = (): readonly string[] => {
    const { command, args } = runtimeCommand();
    return [command, ...args, prefork, "--log-format", "plain", hello, "-w", "2"];
  };

  it("runs under start_server, whose HUP brings a new manager without a lost request", options, async () => {
    await using program = runCommand("start_server", ["--port=127.0.0.1:0", "--interval=1", "--", ...manager()]);
    const line = await program.waitForErrorLine(/listens on .* \(inherited\)$/);
    const port = Number(/:(\d+) /.exec(line.slice(line.indexOf("listens on")))?.[1]);
    assert.equal(await get(port, "/there"), "Hello from /there\n");
    const asking = askOn({ port });
    program.kill("SIGHUP");
    await program.waitForErrorLine(/prefork: stopped$/);
    const before = asking.answered();
    await waitFor(() => asking.answered() > before + 5, { what: "answers from the new manager" });
    assert.deepEqual(await asking.stop(), [], program.report());
    program.kill("SIGTERM");
    await program.waitForEnd();
    await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" });
  });

  it("calls them as it is told, where it is told to inherit them", options, async () => {
    await using program = runCommand("start_server", ["--port=127.0.0.1:0", "--", ...manager(), "-l", "web=inherit"]);
    const line = await program.waitForErrorLine(/listens on .* \(web\)$/);
    assert.equal(await get(Number(/:(\d+) \(web/.exec(line)?.[1]), "/there"), "Hello from /there\n");
    program.kill("SIGTERM");
    await program.waitForEnd();
    await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" });
  });

  it("answers the first connection of systemd-socket-activate", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const passed = ["TEST_SUITE", "TEST_RUN_ID", "TMPDIR", "XDG_RUNTIME_DIR", "PATH", "NO_COLOR", "HOME"].flatMap((
      name,
    ) => ["-E", name]);
    const args = ["-l", path, "--fdname=web", ...passed, ...manager()];
    await using program = runCommand("systemd-socket-activate", args);
    await program.waitForErrorLine("a.sock as 3");
    assert.equal(await getBy({ path }, "/first"), "Hello from /first\n");
    await program.waitForErrorLine(/listens on unix:.*a.sock \(web, inherited\)$/);
    await stop(program);
    assert.equal(existsSync(path), true, "systemd's file is systemd's");
  });

  it(`takes it as a mistake when it is told nonsense (${runtime})`, options, async () => {
    await refused([hello], /^prefork: Cannot use SERVER_STARTER_PORT='nonsense'/, {
      env: { SERVER_STARTER_PORT: "nonsense" },
    });
  });
});
