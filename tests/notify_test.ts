/** What a manager tells systemd, read from a datagram socket of our own. */
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import process from "node:process";
import { describe, it } from "node:test";
import { currentLibc } from "../runtimes/current_libc.ts";
import { Notices } from "../src/cli/notices.ts";
import { NotifySocket } from "../src/cli/notify_socket.ts";
import { FakeHost } from "./fake_host.ts";
import { processState } from "./support/processes.ts";
import { build, hello, prefork } from "./support/operator.ts";
import {
  type Program,
  runCommand,
  type RunOptions,
  runProgram,
  runtime,
  type TempDir,
  tempDir,
  waitFor,
} from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };

/**
 * Prints each datagram as a line, and what the clock says when one tells of it. One that is told to be busy has its queue
 * full of what it says to itself, and reads nothing until SIGUSR1.
 */
const LISTENER = `
use IO::Socket::UNIX;
use Socket qw(MSG_DONTWAIT);
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);
my $socket = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die "$!";
$| = 1;
if (($ARGV[1] // '') eq 'busy') {
  my ($isAwake, $sent, @senders);
  $SIG{USR1} = sub { $isAwake = 1 };
  do {
    push @senders, IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $ARGV[0]) or die "$!";
    for ($sent = 0; defined $senders[-1]->send('filler', MSG_DONTWAIT); $sent++) {}
  } while $sent;
  print "busy\n";
  select undef, undef, undef, 0.05 until $isAwake;
}
while (defined $socket->recv(my $text, 65536)) { $text =~ tr/\\n/|/; print "$text\\n"; printf "at %d\\n", clock_gettime(CLOCK_MONOTONIC) * 1e6 if $text =~ /MONO/ }
`;

async function listen(
  dir: TempDir,
  ...how: readonly "busy"[]
): Promise<{ readonly path: string; readonly systemd: Program }> {
  const path = dir.file("notify");
  const systemd = runCommand("perl", ["-e", LISTENER, path, ...how]);
  await waitFor(() => existsSync(path), { what: "a socket to tell systemd by" });
  return { path, systemd };
}

function start(path: string, args: readonly string[], env: RunOptions["env"] = {}): Program {
  return runProgram(prefork, ["--log-format", "plain", "-l", "127.0.0.1:0", "-w", "2", ...args], {
    env: { NOTIFY_SOCKET: path, ...env },
  });
}

/** A queue of a test's own. */
class Queue {
  readonly heard: string[] = [];
  isFull = false;
  readonly #host: FakeHost;

  constructor(host: FakeHost) {
    this.#host = host;
  }

  send(text: string): boolean {
    if (!this.isFull) this.heard.push(text);
    return !this.isFull;
  }

  awaitRoom(ms: number): boolean {
    if (this.isFull) this.#host.standStill(Math.max(0, ms));
    return !this.isFull;
  }
}

describe("what systemd is told", () => {
  function begin(): { readonly host: FakeHost; readonly queue: Queue; readonly notices: Notices } {
    const host = new FakeHost();
    const queue = new Queue(host);
    return { host, queue, notices: new Notices(host, queue) };
  }

  it("waits for room: all that the manager became, in order, and how it is", async () => {
    const { host, queue, notices } = begin();
    queue.isFull = true;
    notices.describe("0 of 2");
    notices.tell("READY=1");
    notices.beat();
    notices.describe("1 of 2");
    notices.tell("RELOADING=1");
    notices.tell("READY=1");
    notices.beat();
    notices.describe("2 of 2");
    await host.advance(10_000);
    assert.deepEqual(queue.heard, []);
    queue.isFull = false;
    await host.advance(200);
    assert.deepEqual(queue.heard, ["READY=1", "RELOADING=1", "READY=1", "WATCHDOG=1", "STATUS=2 of 2"]);
    assert.equal(host.timerCount(), 0);
  });

  it("is how it is now and then only, the last of all in the end", async () => {
    const { host, queue, notices } = begin();
    for (let ready = 0; ready <= 100; ready++) {
      notices.describe(`${ready} of 100`);
      await host.advance(10);
    }
    await host.advance(200);
    assert.deepEqual(queue.heard, [0, 19, 39, 59, 79, 99, 100].map((ready) => `STATUS=${ready} of 100`));
    notices.describe("99 of 100");
    notices.tell("STOPPING=1");
    notices.forget();
    await host.advance(1000);
    assert.deepEqual(queue.heard.slice(7), ["STOPPING=1"]);
  });

  it("is what is owed at the end, if that can be said soon", () => {
    for (const isFull of [false, true]) {
      const { host, queue, notices } = begin();
      queue.isFull = true;
      notices.tell("READY=1");
      notices.tell("STOPPING=1");
      queue.isFull = isFull;
      notices[Symbol.dispose]();
      assert.deepEqual(queue.heard, isFull ? [] : ["READY=1", "STOPPING=1"]);
      assert.deepEqual([host.now(), host.timerCount()], [isFull ? 200 : 0, 0]);
    }
  });
});

describe("the socket of systemd", () => {
  it("says whether it has room, and is not tried for ever where nobody is", options, async () => {
    await using dir = await tempDir();
    const { path, systemd } = await listen(dir, "busy");
    await using _systemd = systemd;
    await systemd.waitForLine("busy");
    using socket = new NotifySocket(currentLibc(), path);
    assert.deepEqual([socket.send("READY=1"), socket.awaitRoom(10)], [false, false]);
    systemd.kill("SIGUSR1");
    assert.deepEqual([socket.awaitRoom(60_000), socket.send("READY=1")], [true, true]);
    await systemd.waitForLine("READY=1");
    systemd.kill("SIGKILL");
    await systemd.status;
    assert.deepEqual([socket.send("STOPPING=1"), socket.send("STOPPING=1")], [true, true]);
  });
});

describe(`a manager under systemd, on ${runtime}`, () => {
  it("tells when it is ready, reloads and stops, and how it is", options, async () => {
    await using dir = await tempDir();
    const { path, systemd } = await listen(dir);
    await using _systemd = systemd;
    const file = dir.file("build");
    writeFileSync(file, "good");
    await using program = start(path, [build], { TEST_BUILD: file });
    await systemd.waitForLine(/^READY=1$/);
    await systemd.waitForLine(/^STATUS=2 of 2 workers ready, generation 1$/);
    const before = systemd.lines.slice(0, systemd.lines.indexOf("READY=1"));
    for (const line of before) assert.match(line, /^STATUS=[01] of \d workers ready/);

    program.kill("SIGHUP");
    const reloading = await systemd.waitForLine(/^RELOADING=1\|MONOTONIC_USEC=\d+$/);
    const [told = 0, heard = 0] = [reloading, await systemd.waitForLine(/^at \d+$/)].map((line) =>
      Number(/\d+$/.exec(line)?.[0])
    );
    assert.ok(heard - told >= 0 && heard - told < 20e6, `${told} was heard at ${heard}`);
    await systemd.waitForLine(/^READY=1$/, { count: 2 });
    await systemd.waitForLine(/^STATUS=\d of \d workers ready, generation 2/);

    writeFileSync(file, "throws");
    program.kill("SIGHUP");
    await systemd.waitForLine(/^READY=1$/, { count: 3 });
    await systemd.waitForLine(
      /^STATUS=2 of 2 workers ready, generation \d; the last reload failed: .*exited with status 1/,
    );

    program.kill("SIGTERM");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    await systemd.waitForLine("STOPPING=1|STATUS=stopping");
  });

  it("is ready when it has done a job, though never all at once, and serves with one that fails", options, async () => {
    await using dir = await tempDir();
    const { path, systemd } = await listen(dir);
    await using _systemd = systemd;
    const half = "[ $PREFORK_SLOT = 1 ] || exec sleep 1000; kill -9 $$";
    for (const [count, [script]] of [["exit 0"], [half]].entries()) {
      await using program = start(path, ["-w", "2", "--", "/bin/sh", "-c", script ?? ""]);
      await systemd.waitForLine(/^READY=1$/, { count: count + 1 });
      program.kill("SIGTERM");
      assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    }
  });

  it("tells a systemd that is busy when it listens, and does not wait for that at the end", options, async () => {
    await using dir = await tempDir();
    const { path, systemd } = await listen(dir, "busy");
    await using _systemd = systemd;
    await systemd.waitForLine("busy");
    await using program = start(path, [hello]);
    await program.waitForErrorLine(/ is ready$/, { count: 2 });
    await using other = start(path, ["--name", "other", hello]);
    await other.waitForErrorLine(/ is ready$/, { count: 2 });
    other.kill("SIGTERM");
    assert.deepEqual(await other.waitForEnd(), { code: 0, signal: null }, other.report());
    systemd.kill("SIGUSR1");
    await systemd.waitForLine(/^READY=1$/);
    await systemd.waitForLine("STATUS=2 of 2 workers ready, generation 1");
    assert.equal(systemd.matching(/^(READY|STATUS|STOPPING)/).length, 2, systemd.report());
    program.kill("SIGTERM");
    assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
    await systemd.waitForLine("STOPPING=1|STATUS=stopping");
  });

  it("beats for its watchdog, and not while it is stopped", options, async () => {
    await using dir = await tempDir();
    const { path, systemd } = await listen(dir);
    await using _systemd = systemd;
    await using program = start(path, [hello], { WATCHDOG_USEC: "100000" });
    await systemd.waitForLine(/^WATCHDOG=1$/, { count: 5 });
    await systemd.waitForLine(/^STATUS=2 of 2/);
    program.kill("SIGSTOP");
    await waitFor(() => processState(program.pid) === "T", { what: "the manager to be stopped" });
    await using _other = start(path, ["--name", "other", hello], { WATCHDOG_USEC: "100000", WATCHDOG_PID: "1" });
    await systemd.waitForLine(/^READY=1$/, { count: 2 });
    const beats = systemd.matching(/^WATCHDOG=1$/).length;
    await systemd.waitForLine(/^STATUS=2 of 2/, { count: 2 });
    assert.equal(systemd.matching(/^WATCHDOG=1$/).length, beats, "another's watchdog, or a stopped manager's");
    program.kill("SIGCONT");
    await systemd.waitForLine(/^WATCHDOG=1$/, { count: beats + 1 });
  });

  it("tells of a reload that is refused", options, async () => {
    await using dir = await tempDir();
    const { path, systemd } = await listen(dir);
    await using _systemd = systemd;
    const config = dir.file("config.json");
    writeFileSync(config, JSON.stringify({ worker: hello }));
    await using program = start(path, ["--config", config]);
    await systemd.waitForLine(/^STATUS=2 of 2/);
    writeFileSync(config, JSON.stringify({ worker: hello, wrokers: 4 }));
    program.kill("SIGHUP");
    await systemd.waitForLine(/^RELOADING=1\|MONOTONIC_USEC=\d+$/);
    await systemd.waitForLine(/^READY=1$/, { count: 2 });
    await systemd.waitForLine(/^STATUS=.*the last reload was refused: Cannot understand 'wrokers'/);
    writeFileSync(config, JSON.stringify({ worker: hello, unavailable: 0, surge: 0 }));
    program.kill("SIGHUP");
    await systemd.waitForLine(/^STATUS=.*the last reload was refused: Cannot replace workers with 'maxSurge' and/);
    await systemd.waitForLine(/^READY=1$/, { count: 3 });
  });

  it("tells who takes over, which tells the rest", options, async () => {
    await using dir = await tempDir();
    const { path, systemd } = await listen(dir);
    await using _systemd = systemd;
    await using program = start(path, [hello], { WATCHDOG_USEC: "200000", WATCHDOG_PID: undefined });
    await systemd.waitForLine(/^READY=1$/);
    program.kill("SIGUSR2");
    const line = await systemd.waitForLine(/^MAINPID=\d+$/);
    const heir = Number(line.slice("MAINPID=".length));
    await systemd.waitForLine(/^READY=1$/, { count: 2 });
    assert.deepEqual(await program.status, { code: 0, signal: null });
    const beats = systemd.matching(/^WATCHDOG=1$/).length;
    await systemd.waitForLine(/^WATCHDOG=1$/, { count: beats + 3 });
    assert.deepEqual(systemd.matching(/STOPPING/), [], "nothing stops");
    process.kill(heir, "SIGTERM");
    await systemd.waitForLine(/^STOPPING=1/);
    await waitFor(() => program.processes().length === 0, { what: "everybody to be gone" });
  });

  it("goes on where nobody listens, and keeps the variables from workers", options, async () => {
    await using program = start("/nowhere/notify", [], {});
    assert.equal((await program.waitForEnd()).code, 2, "there is no worker");
    await using other = runProgram(prefork, ["--log-format", "plain", "--", "/bin/sh", "-c", "env; exec sleep 1000"], {
      env: { NOTIFY_SOCKET: "/nowhere/notify", WATCHDOG_USEC: "1", WATCHDOG_PID: "1", WEB_CONCURRENCY: "1" },
    });
    await other.waitForErrorLine("goes without telling systemd: NOTIFY_SOCKET is /nowhere/notify");
    await other.waitForErrorLine("is ready");
    assert.deepEqual(other.matching(/^(NOTIFY_SOCKET|WATCHDOG)/), []);
    other.kill("SIGTERM");
    assert.equal((await other.waitForEnd()).code, 0);
  });
});
