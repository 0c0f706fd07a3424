import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { connect } from "node:net";
import process from "node:process";
import { test } from "node:test";
import fc from "fast-check";
import { activationEnv, fromServerStarter, fromSystemd, type GivenSocket } from "../src/activation.ts";
import { type Address, parseAddress } from "../src/address.ts";
import { socketAddress } from "./support/addresses.ts";
import { runCommand, tempDir } from "./support/run.ts";

type Env = Readonly<Record<string, string>>;
const reader = (env: Env) => new Map(Object.entries(env));
const named = (...names: (string | undefined)[]): GivenSocket[] =>
  names.map((name, index) => ({ name, fd: 3 + index, bound: undefined }));

const SYSTEMD: readonly (readonly [Env, readonly GivenSocket[]])[] = [
  [{}, []],
  [{ LISTEN_FDS: "2" }, []],
  [{ LISTEN_PID: "8", LISTEN_FDS: "2" }, []],
  [{ LISTEN_PID: "8", LISTEN_FDS: "x" }, []],
  [{ LISTEN_PID: "", LISTEN_FDS: "2" }, []],
  [{ LISTEN_PID: "7" }, []],
  [{ LISTEN_PID: "7", LISTEN_FDS: "0", LISTEN_FDNAMES: "web" }, []],
  [{ LISTEN_PID: "7", LISTEN_FDS: "2" }, named(undefined, undefined)],
  [{ LISTEN_PID: "7", LISTEN_FDS: "2", LISTEN_FDNAMES: "" }, named(undefined, undefined)],
  [{ LISTEN_PID: "7", LISTEN_FDS: "1", LISTEN_FDNAMES: "web" }, named("web")],
  [{ LISTEN_PID: "7", LISTEN_FDS: "3", LISTEN_FDNAMES: "web:unknown:" }, named("web", undefined, undefined)],
];

test("fromSystemd() reads what sd_listen_fds(3) describes", () => {
  for (const [env, sockets] of SYSTEMD) assert.deepEqual(fromSystemd(reader(env), 7), sockets, JSON.stringify(env));
});

test("fromSystemd() names the variable that makes no sense", () => {
  const given = { LISTEN_PID: "7", LISTEN_FDS: "2" };
  const cases: readonly (readonly [Env, string, RegExp])[] = [
    [{ LISTEN_PID: "me" }, "TypeError", /LISTEN_PID='me': it must be a whole number; unset it/],
    [{ ...given, LISTEN_FDS: "-1" }, "TypeError", /LISTEN_FDS='-1': it must be a whole number/],
    [{ ...given, LISTEN_FDS: "4294967295" }, "RangeError", /LISTEN_FDS=4294967295: no process can have so many/],
    [{ ...given, LISTEN_FDNAMES: "a:b:c" }, "TypeError", /LISTEN_FDNAMES='a:b:c': it names 3 and LISTEN_FDS=2/],
  ];
  for (const [env, name, message] of cases) {
    assert.throws(() => fromSystemd(reader(env), 7), { name, message }, JSON.stringify(env));
  }
});

const STARTER: readonly (readonly [string, readonly (readonly [string, number])[]])[] = [
  ["", []],
  ["8080=3", [["8080", 3]]],
  ["127.0.0.1:8080=4;[::1]:80=5", [["127.0.0.1:8080", 4], ["[::1]:80", 5]]],
  ["/run/app.sock=12;app.sock=3;", [["/run/app.sock", 12], ["app.sock", 3]]],
  ["/a=b=4;80=5", [["/a=b", 4], ["80", 5]]],
  ["80=5;/a;b=c=4;/d=6", [["80", 5], ["/a;b=c", 4], ["/d", 6]]],
];

test("fromServerStarter() reads what start_server writes", () => {
  assert.deepEqual(fromServerStarter(reader({})), []);
  for (const [value, pairs] of STARTER) {
    const sockets = pairs.map(([bound, fd]) => ({ name: undefined, fd, bound }));
    assert.deepEqual(fromServerStarter(reader({ SERVER_STARTER_PORT: value })), sockets, value);
  }
});

test("fromServerStarter() shows the value that makes no sense", () => {
  for (const value of ["8080", "8080=", "=3", "8080=x", "8080=3;;80=4", "8080=x;80=4", "80=4;8080", "80=9999999999"]) {
    assert.throws(() => fromServerStarter(reader({ SERVER_STARTER_PORT: value })), {
      name: "TypeError",
      message: new RegExp(`SERVER_STARTER_PORT='${value}': it must be like 127.0.0.1:8080=4;/run/app.sock=5; unset it`),
    }, value);
  }
});

const from3 = <T>(sockets: readonly T[]) => sockets.map((socket, index) => ({ ...socket, fd: 3 + index }));
const give = (...texts: string[]) => from3(texts.map(parseAddress));

test("activationEnv() writes both protocols", () => {
  assert.deepEqual(activationEnv([]), {});
  assert.deepEqual(activationEnv(give("web=8080", "unix:/path.sock", "v6=[::1]:80", "fd:9")), {
    LISTEN_FDS: "4",
    LISTEN_FDNAMES: "web:unknown:v6:unknown",
    SERVER_STARTER_PORT: "0.0.0.0:8080=3;/path.sock=4;[::1]:80=5;fd:9=6",
  });
  const address: Address = { type: "fd", fd: 3 };
  const names = ["a:b", "a\nb\x7f", "", "a b=c", "é\u{1f600}"].map((name) => ({ name, address }));
  assert.equal(activationEnv(from3(names))["LISTEN_FDNAMES"], "a_b:a_b_:unknown:a b=c:__");
});

test("activationEnv() says nothing in systemd's words of sockets that do not begin at 3", () => {
  const sockets = give("8080", "unix:/a.sock").map((socket) => ({ ...socket, fd: socket.fd + 61 }));
  assert.deepEqual(activationEnv(sockets), { SERVER_STARTER_PORT: "0.0.0.0:8080=64;/a.sock=65" });
});

test("what activationEnv() writes, the readers read", () => {
  const path = /[;=]/;
  const socket = fc.record({
    name: fc.option(fc.stringMatching(/^[\w.-]{1,20}$/).filter((name) => name !== "unknown"), { nil: undefined }),
    address: socketAddress.filter((address) => address.type !== "unix" || !path.test(address.path)),
  });
  fc.assert(fc.property(fc.array(socket, { maxLength: 6 }), (sockets) => {
    const env = reader({ ...activationEnv(from3(sockets)), LISTEN_PID: "7" });
    assert.deepEqual(fromSystemd(env, 7), named(...sockets.map(({ name }) => name)));
    const read = fromServerStarter(env);
    assert.deepEqual(read.map(({ fd }) => fd), sockets.map((_, index) => 3 + index));
    const bound = sockets.map(({ address }) =>
      address.type === "unix"
        ? address.path
        : `${address.family === 4 ? address.host : `[${address.host}]`}:${address.port}`
    );
    assert.deepEqual(read.map(({ bound }) => bound), bound);
  }));
});

const linuxOnly = { skip: process.platform !== "linux", timeout: 180_000 };

test("Perl's server_ports() reads what activationEnv() writes", linuxOnly, () => {
  const env = activationEnv(give("8080", "unix:/run/app.sock", "[::1]:80"));
  const script = "my $p = Server::Starter::server_ports(); print map { qq($_ $p->{$_}\\n) } sort keys %$p";
  const read = execFileSync("perl", ["-MServer::Starter", "-e", script], {
    encoding: "utf8",
    env: { ...process.env, ...env },
  });
  assert.equal(read, "/run/app.sock 4\n0.0.0.0:8080 3\n[::1]:80 5\n");
});

test("fromServerStarter() reads what the real start_server hands over", linuxOnly, async () => {
  await using dir = await tempDir();
  const path = dir.file("a.sock");
  const listed = "for n in /proc/$$/fd/*; do echo $n $(readlink $n); done";
  const shell = ["/bin/sh", "-c", `${listed}; echo "PORT $SERVER_STARTER_PORT"; exec sleep 60`];
  await using program = runCommand("start_server", [
    "--port=127.0.0.1:0",
    "--port=0",
    `--path=${path}`,
    "--",
    ...shell,
  ]);
  const value = (await program.waitForLine(/^PORT /)).slice("PORT ".length);
  const sockets = fromServerStarter(reader({ SERVER_STARTER_PORT: value }));
  assert.deepEqual(sockets.map(({ bound }) => bound), ["127.0.0.1:0", "0", path]);
  for (const { fd } of sockets) {
    assert(program.lines.some((line) => new RegExp(`/fd/${fd} socket:`).test(line)), program.report());
  }
  const ours = activationEnv(give("127.0.0.1:0", "0", `unix:${path}`));
  const renumbered = sockets.reduce((text, { fd }, index) => text.replace(`=${fd}`, `=${3 + index}`), value);
  // The one difference: a port alone is told with the address it stands for.
  assert.equal(ours["SERVER_STARTER_PORT"], renumbered.replace(";0=", ";0.0.0.0:0="));
});

for (const names of ["web:admin", undefined]) {
  test(`fromSystemd() reads what the real systemd-socket-activate hands over (${names})`, linuxOnly, async () => {
    await using dir = await tempDir();
    const listen = ["-l", dir.file("a.sock"), "-l", dir.file("b.sock")];
    const options = names === undefined ? listen : [...listen, `--fdname=${names}`];
    const shell = ["/bin/sh", "-c", 'echo "PID $$"; exec env'];
    await using program = runCommand("systemd-socket-activate", [...options, ...shell]);
    await program.waitForErrorLine("b.sock as 4");
    const client = connect(dir.file("a.sock"));
    // Nobody accepts: `env` ends, and the connection is reset.
    client.on("error", () => {});
    await program.waitForEnd();
    client.destroy();
    const env = new Map(program.lines.map((line) => [line.split("=", 1)[0] ?? "", line.slice(line.indexOf("=") + 1)]));
    const pid = Number(program.matching(/^PID /)[0]?.slice("PID ".length));
    assert.deepEqual(fromSystemd(env, pid), named(...names?.split(":") ?? [undefined, undefined]), program.report());
    assert.deepEqual(fromSystemd(env, pid + 1), []);
  });
}
