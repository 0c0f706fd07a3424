/** What only some may know: not to be seen in `ps`, the log, the status or the metrics. And who may come near. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { ask, end, hello, options, ready, socketOf, start, web } from "./support/operator.ts";
import { commandLine, runFixture } from "./support/pool.ts";
import { type Program, runCommand, runtime, tempDir, waitFor } from "./support/run.ts";

const SECRET = "tr0ub4dor-and-3";

/** What everybody on the machine sees of the processes of a run. */
function seen(program: Program): string {
  return program.processes().map(commandLine).join("\n");
}

/** The processes that have a text in their environment, which their user sees; the guard has what its manager has. */
function having(program: Program, text: string): readonly number[] {
  return program.processes().filter((pid) => {
    return !commandLine(pid).includes("prefork-guard") && readFileSync(`/proc/${pid}/environ`, "latin1").includes(text);
  });
}

describe(`a secret on ${runtime}`, () => {
  for (const format of ["plain", "json", "pretty"] as const) {
    it(`of the environment file or of the token file is told to nobody, with a ${format} log`, options, async () => {
      await using dir = await tempDir();
      const [env, token] = [`env-${SECRET}`, `token-${SECRET}`];
      writeFileSync(dir.file("env"), `PASSWORD=${env}\n`, { mode: 0o600 });
      writeFileSync(dir.file("token"), `${token}\n`, { mode: 0o600 });
      const port = ["--status-listen", "0", "--status-token-file", dir.file("token")];
      const log = ["--log-file", dir.file("log"), "--log-format", format];
      await using program = start([...web, "-w", "2", "--env-file", dir.file("env"), ...port, ...log]);
      const text = () => existsSync(dir.file("log")) ? readFileSync(dir.file("log"), "utf8") : "";
      await waitFor(() => text().match(/ is ready\b/g)?.length === 2, { what: "the workers" });
      const { out, code } = await ask(program, "status", "--json");
      assert.equal(code, 0);
      const workers: readonly { readonly pid: number }[] = JSON.parse(out).workers;
      assert.deepEqual(having(program, env), workers.map(({ pid }) => pid).sort((a, b) => a - b), "those it is for");
      assert.deepEqual(having(program, token), []);

      const url = /http:[\d.:/]+/.exec(text())?.[0] ?? assert.fail(text());
      const authorization = `Bearer ${token}`;
      const get = async (path: string, headers = {}) => await (await fetch(`${url}${path}`, { headers })).text();
      const told = [await get("status.json"), await get("healthz", { authorization: "Bearer wrong" })];
      for (const path of ["status.json", "metrics", "readyz", "", "nothing"]) {
        told.push(await get(path, { authorization }));
      }
      told.push(out, (await ask(program, "reload", "--wait")).errors);
      const ps = seen(program);
      await end(program);
      assert.ok(ps.includes(hello));
      assert.ok(told.join("\n").includes("prefork_requests_total"));
      const all = [ps, ...told, text(), ...program.lines, ...program.errorLines].join("\n");
      assert.equal(all.includes(SECRET), false, all);
    });
  }

  it("that workers get as data is in no command line, no environment and no event", options, async () => {
    await using dir = await tempDir();
    writeFileSync(dir.file("secret"), SECRET, { mode: 0o600 });
    await using program = runFixture("secret", [dir.file("secret")]);
    await program.waitForLine("knows", { count: 2 });
    await program.waitForLine('"type":"ready"', { count: 2 });
    assert.equal(seen(program).includes(SECRET), false);
    assert.deepEqual(having(program, SECRET), []);
    program.kill("SIGTERM");
    await program.waitForEnd();
    assert.equal([...program.lines, ...program.errorLines].join("\n").includes(SECRET), false);
  });
});

/** What somebody else tries with a socket: to ask, to look around, to take it away, to put another in its place. */
const TRIES = `
use IO::Socket::UNIX;
my ($path) = @ARGV;
(my $dir = $path) =~ s{/[^/]+$}{};
sub tell_of { my ($what, $ok) = @_; print "$what: ", ($ok ? "done" : $!{EACCES} || $!{EPERM} ? "refused" : "$!"), "\\n" }
tell_of("connect", IO::Socket::UNIX->new(Peer => $path));
tell_of("list", opendir(my $d, $dir));
tell_of("stat", scalar(my @s = stat $path));
tell_of("unlink", unlink $path);
tell_of("rename", rename $path, "$path.old");
tell_of("listen", IO::Socket::UNIX->new(Local => "$dir/mine.sock", Listen => 1));
tell_of("link", symlink "/tmp", "$dir/link");
tell_of("chmod", chmod 0777, $dir);
tell_of("move the directory", rename $dir, "$dir.old");
tell_of("remove the directory", rmdir $dir);
`;

async function tryAsAnother(path: string): Promise<readonly string[]> {
  const user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
  await using stranger = runCommand("setpriv", [...user, "perl", "-MErrno", "-e", TRIES, path]);
  assert.deepEqual(await stranger.waitForEnd(), { code: 0, signal: null }, stranger.report());
  return stranger.lines;
}

describe(`another user on ${runtime}`, {
  skip: process.platform !== "linux" || process.getuid?.() !== 0 && "needs root",
}, () => {
  it("can do nothing to the sockets of a manager, nor to their directories", options, async () => {
    await using program = start([...web, "-w", "1"]);
    await ready(program, 1);
    const own = readdirSync(program.temporary).find((name) => name.startsWith("prefork-")) ?? assert.fail("no socket");
    for (const path of [socketOf(program, "hello"), join(program.temporary, own, "worker.sock")]) {
      const tried = await tryAsAnother(path);
      assert.equal(tried.length, 10);
      assert.deepEqual(tried.filter((line) => !line.endsWith(": refused")), [], path);
    }
    assert.equal((await ask(program, "status")).code, 0);
    await end(program);
  });

  it("cannot use a socket that stands where everybody may write, nor take it away", options, async () => {
    await using dir = await tempDir();
    const open = dir.file("open");
    mkdirSync(open);
    chmodSync(open, 0o1777);
    const path = join(open, "control.sock");
    await using program = start([...web, "-w", "1", "--control", path]);
    await ready(program, 1);
    const lines = await tryAsAnother(path);
    for (const what of ["connect", "unlink", "rename", "chmod"]) assert.ok(lines.includes(`${what}: refused`), what);
    assert.equal((await ask(program, "status", "--control", path)).code, 0);
    await end(program);
  });
});
