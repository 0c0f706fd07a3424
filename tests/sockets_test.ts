/** The listening sockets of a manager: real ones, by way of the running runtime's C library. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer, type Server } from "node:net";
import process from "node:process";
import { describe, it } from "node:test";
import { currentHost } from "../runtimes/current.ts";
import { currentLibc } from "../runtimes/current_libc.ts";
import { decodeTask, encodeTask, Inheritance } from "../src/handover.ts";
import { checkListen, type Listen, type ListenOptions } from "../src/listen.ts";
import { cString, type Libc, NoLibcError } from "../src/libc.ts";
import { encodeSockaddr } from "../src/sockaddr.ts";
import { SharedSockets } from "../src/sockets.ts";
import type { ProcessHost } from "../src/types.ts";
import { type TempDir, tempDir } from "./support/run.ts";

const options = { skip: process.platform !== "linux", timeout: 180_000 };
const NONBLOCK = 0o4000;
const CLOEXEC = 0o2000000;
/** What a new manager is told besides its sockets. */
const TASK = { dir: "/", token: "", pool: "", pid: 1, stays: true };

function open(listen: Listen | readonly Listen[], host: ProcessHost = currentHost): SharedSockets {
  return SharedSockets.open(checkListen(listen), host, currentLibc);
}

function fails(listen: Listen | readonly Listen[], message: RegExp): void {
  assert.throws(() => open(listen)[Symbol.dispose](), { message });
}

function portOf(sockets: SharedSockets, index = 0): number {
  const address = sockets.listeners[index]?.address;
  assert(address?.type === "tcp");
  return address.port;
}

/** Whether somebody listens there. */
function answers(
  where: { readonly port: number; readonly host: string } | { readonly path: string },
): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(where, () => resolve(true)).on("error", () => resolve(false));
    socket.once("close", () => {}).on("connect", () => socket.destroy());
  });
}

/** The flags of an open descriptor, as the system tells them. */
function flagsOf(fd: number): number {
  return Number.parseInt(/^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1] ?? "", 8);
}

/** How many connections may wait at a port. */
function queueOf(port: number): number {
  return Number(
    execFileSync("ss", ["-Hltn", `sport = :${port}`], { encoding: "utf8" }).trim().split(/\s+/)[2],
  );
}

/** What an open descriptor of this process is; undefined if it is none by now, such as that of the look itself. */
function openAs(fd: string | number): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
}

/** How often this process has the sockets open. */
function timesOpen(sockets: SharedSockets): readonly number[] {
  const open = readdirSync("/proc/self/fd").map(openAs);
  return sockets.workerListeners(true).map(({ fd }) => open.filter((one) => one === openAs(fd)).length);
}

async function listening(path: string): Promise<Server & AsyncDisposable> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return Object.assign(server, {
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => void server.close(() => resolve())),
  });
}

const LOST = /^Cannot use unix:.*a\.sock: its file was removed or replaced by somebody else; look who may write to/;

/** A directory in whose place somebody puts a link to another's, when a socket is about to be bound in it, or asked. */
class Trap {
  readonly moved: string;
  /** The file to which the path of the socket leads then. */
  readonly victim: string;
  readonly #own: string;
  readonly #others: string;
  readonly #when: "before" | "after" | "asking";

  constructor(dir: TempDir, when: "before" | "after" | "asking") {
    [this.#own, this.moved, this.#others] = [dir.file("own"), dir.file("moved"), dir.file("others")];
    for (const path of [this.#own, this.#others]) mkdirSync(path);
    this.victim = `${this.#others}/a.sock`;
    this.#when = when;
  }

  bait(): void {
    writeFileSync(this.victim, "precious");
  }

  open(more: Omit<ListenOptions, "address"> = {}): SharedSockets {
    const libc = currentLibc();
    const watched: Libc = {
      ...libc,
      connect: (fd, address, length) => {
        if (this.#when === "asking") this.#spring();
        return libc.connect(fd, address, length);
      },
      bind: (fd, address, length) => {
        if (this.#when === "before") this.#spring();
        const bound = libc.bind(fd, address, length);
        if (this.#when === "after") this.#spring();
        return bound;
      },
    };
    return SharedSockets.open(
      checkListen({ address: `unix:${this.#own}/a.sock`, ...more }),
      currentHost,
      () => watched,
    );
  }

  #spring(): void {
    renameSync(this.#own, this.moved);
    symlinkSync(this.#others, this.#own);
  }
}

describe("the sockets of a manager", () => {
  it("listen on IPv4, IPv6 and Unix addresses, and tell the true port", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    {
      using sockets = open(["127.0.0.1:0", "six=[::1]:0", `unix:${path}`, 0]);
      const ports = [0, 1, 3].map((index) => portOf(sockets, index));
      assert(ports.every((port) => port > 0));
      assert.deepEqual(sockets.listeners.map(({ name, text }) => ({ name, text })), [
        { name: undefined, text: `127.0.0.1:${ports[0]}` },
        { name: "six", text: `[::1]:${ports[1]}` },
        { name: undefined, text: `unix:${path}` },
        { name: undefined, text: `0.0.0.0:${ports[2]}` },
      ]);
      assert(await answers({ host: "127.0.0.1", port: ports[0] ?? 0 }));
      assert(await answers({ host: "::1", port: ports[1] ?? 0 }));
      assert(await answers({ path }));
    }
    assert.equal(existsSync(path), false);
  });

  it("take both kinds of IP on [::]", options, async () => {
    let isAskedFor = false;
    const libc = currentLibc();
    const watched: Libc = {
      ...libc,
      setsockopt(fd, level, name, value, length) {
        isAskedFor ||= level === 41 && name === 26 && value[0] === 0; // IPV6_V6ONLY, which some systems have on
        return libc.setsockopt(fd, level, name, value, length);
      },
    };
    using sockets = SharedSockets.open(checkListen("[::]:0"), currentHost, () => watched);
    assert(isAskedFor);
    for (const host of ["127.0.0.1", "::1"]) assert(await answers({ host, port: portOf(sockets) }), host);
  });

  it("let as many wait as they are told, or as the system allows", options, () => {
    using sockets = open([{ address: "127.0.0.1:0", backlog: 7 }, "127.0.0.1:0"]);
    const most = Number(readFileSync("/proc/sys/net/core/somaxconn", "utf8"));
    const ports = [portOf(sockets), portOf(sockets, 1)];
    const rows = execFileSync("ss", ["-Hltn"], { encoding: "utf8" }).split("\n").map((row) => row.trim().split(/\s+/));
    const queues = ports.map((port) => rows.find(([, , , local]) => local === `127.0.0.1:${port}`)?.[2]);
    assert.deepEqual(queues, ["7", String(Math.min(4096, most))]);
  });

  it("are close-on-exec, and stand where no runtime has anything", options, () => {
    using sockets = open(["127.0.0.1:0", "127.0.0.1:0"]);
    const descriptors = sockets.workerListeners(true).map(({ fd }) => fd);
    assert(descriptors.every((fd) => fd >= 64), String(descriptors));
    for (const fd of descriptors) assert.equal(flagsOf(fd) & CLOEXEC, CLOEXEC);
    assert.deepEqual(sockets.workerListeners(false).map(({ fd }) => fd), [3, 4]);
    sockets.lend(() => descriptors.forEach((fd) => assert.equal(flagsOf(fd) & CLOEXEC, 0)));
    for (const fd of descriptors) assert.equal(flagsOf(fd) & CLOEXEC, CLOEXEC);
  });

  it("wait in accept or not, as they are told, whatever a spawn makes of that", options, () => {
    const libc = currentLibc();
    const F_SETFL = 4;
    using sockets = open(["127.0.0.1:0", "127.0.0.1:0"]);
    const descriptors = sockets.workerListeners(true).map(({ fd }) => fd);
    const areBlocking = () => descriptors.map((fd) => (flagsOf(fd) & NONBLOCK) === 0);
    sockets.setBlocking(false);
    assert.deepEqual(areBlocking(), [false, false]);
    sockets.pass((fds) => fds.forEach((fd) => libc.fcntl(fd, F_SETFL, 0)));
    assert.deepEqual(areBlocking(), [false, false]);
    sockets.setBlocking(true);
    assert.deepEqual(areBlocking(), [true, true]);
    libc.fcntl(descriptors[1] ?? -1, F_SETFL, NONBLOCK); // by a command that is a manager of workers
    sockets.setBlocking(true);
    sockets.pass((fds) => fds.forEach((fd) => libc.fcntl(fd, F_SETFL, 0)));
    assert.deepEqual(areBlocking(), [true, false]);
  });

  it(
    "are left as they are to workers of the same kind, and refused to others while those before serve",
    options,
    () => {
      const libc = currentLibc();
      const F_SETFL = 4;
      for (const isBlocking of [false, true]) {
        using first = open(["127.0.0.1:0"]);
        first.setBlocking(isBlocking);
        const [fd = -1] = first.workerListeners(true).map((listener) => listener.fd);
        libc.fcntl(fd, F_SETFL, isBlocking ? NONBLOCK : 0); // by a worker that knows better
        const handed = first.handed(true).map((socket) => ({ ...socket, fd: libc.fcntl(socket.fd, 0, 100) }));
        const inheritance = new Inheritance(decodeTask(encodeTask({ ...TASK, sockets: handed })).sockets);
        using next = SharedSockets.open(
          checkListen(first.listeners.map(({ text }) => text)),
          currentHost,
          currentLibc,
          inheritance,
        );
        const message = /^Cannot take over 127\.0\.0\.1:\d+: the workers there are (no )?commands, and would /;
        assert.throws(() => next.setBlocking(!isBlocking), { message });
        next.setBlocking(isBlocking);
        assert.equal((flagsOf(fd) & NONBLOCK) !== 0, isBlocking);
      }
    },
  );

  it("are not brought back by how many connections may wait", options, () => {
    using sockets = open(["127.0.0.1:0"]);
    const [fd = -1] = sockets.workerListeners(true).map((listener) => listener.fd);
    currentLibc().shutdown(fd, 2);
    sockets.keepBacklog();
    assert.throws(() => sockets.check(), { name: "LostSocketError" });

    using others = open(["127.0.0.1:0"]);
    using same = others.reopen(checkListen({ address: `127.0.0.1:${portOf(others)}`, backlog: 9 }), currentHost);
    currentLibc().shutdown(same.workerListeners(true)[0]?.fd ?? -1, 2);
    same.settle();
    assert.throws(() => same.check(), { name: "LostSocketError" });
  });

  it("give the file of a Unix socket its mode and its owner from the start", options, async () => {
    await using dir = await tempDir();
    const address = `unix:${dir.file("m.sock")}`;
    const { uid, gid } = process.getuid === undefined || process.getgid === undefined
      ? assert.fail("no ids")
      : { uid: process.getuid(), gid: process.getgid() };
    const owner = uid === 0 ? { uid: 65_534, gid: 65_534 } : { uid, gid };
    const before = process.umask();
    using _sockets = open({ address, mode: 0o640, owner });
    const file = lstatSync(dir.file("m.sock"));
    assert.deepEqual([file.mode & 0o777, file.uid, file.gid], [0o640, owner.uid, owner.gid]);
    assert.equal(process.umask(), before);
  });

  it("are given to nobody by way of a link that somebody puts in place of their file", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const victim = dir.file("victim");
    writeFileSync(victim, "secret");
    chmodSync(victim, 0o600);
    const { uid, gid, mode } = lstatSync(victim);
    const libc = currentLibc();
    const watched: Libc = {
      ...libc,
      bind(fd, address, length) {
        const bound = libc.bind(fd, address, length);
        unlinkSync(path);
        symlinkSync(victim, path);
        return bound;
      },
    };
    const owner = uid === 0 ? { uid: 65_534, gid: 65_534 } : { uid, gid };
    const wanted = checkListen({ address: `unix:${path}`, mode: 0o666, owner });
    assert.throws(() => SharedSockets.open(wanted, currentHost, () => watched)[Symbol.dispose](), {
      message: /^Cannot use unix:.*a\.sock: its file was removed or replaced by somebody else; look who may write/,
    });
    const now = lstatSync(victim);
    assert.deepEqual([now.uid, now.gid, now.mode], [uid, gid, mode]);
  });

  it("do not listen where somebody has put a link in place of their directory", options, async () => {
    await using dir = await tempDir();
    const trap = new Trap(dir, "before");
    assert.throws(() => trap.open(), { message: LOST });
  });

  it("remove nothing but their own file where listening fails, wherever its path leads by then", options, async () => {
    await using dir = await tempDir();
    const trap = new Trap(dir, "after");
    trap.bait();
    assert.throws(() => trap.open({ owner: { uid: 65_534, gid: 65_534 } }), { message: LOST });
    assert.equal(existsSync(trap.victim), true);
    assert.deepEqual(readdirSync(trap.moved), []);
  });

  it("remove nothing but their own file at the end, wherever its path leads by then", options, async () => {
    await using dir = await tempDir();
    const trap = new Trap(dir, "after");
    trap.bait();
    trap.open()[Symbol.dispose]();
    assert.equal(existsSync(trap.victim), true);
  });

  it("ask at the file that they would replace, wherever its path leads by then", options, async () => {
    await using dir = await tempDir();
    const trap = new Trap(dir, "asking");
    await using _live = await listening(dir.file("own/a.sock"));
    const stale = open(`unix:${trap.victim}`);
    for (const { fd } of stale.workerListeners(true)) currentLibc().close(fd);
    assert.throws(() => trap.open(), { message: /another process answers there; stop it, or choose another path$/ });
    assert(await answers({ path: `${trap.moved}/a.sock` }));
    assert(existsSync(trap.victim));
  });

  it("remove no file but the one at which nobody has answered", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const stale = open(`unix:${path}`);
    for (const { fd } of stale.workerListeners(true)) currentLibc().close(fd);
    const libc = currentLibc();
    let isAsked = false;
    const watched: Libc = {
      ...libc,
      connect: (fd, address, length) => {
        isAsked = true;
        return libc.connect(fd, address, length);
      },
      close: (fd) => {
        if (isAsked) {
          renameSync(path, dir.file("before"));
          writeFileSync(path, "precious");
        }
        isAsked = false;
        return libc.close(fd);
      },
    };
    assert.throws(() => SharedSockets.open(checkListen(`unix:${path}`), currentHost, () => watched), {
      message: /another process listens there; stop it, or choose another path$/,
    });
    assert.equal(readFileSync(path, "utf8"), "precious");
  });

  it("say which address is taken", options, () => {
    using sockets = open("127.0.0.1:0");
    const port = portOf(sockets);
    fails(
      `127.0.0.1:${port}`,
      new RegExp(`^Cannot listen on 127.0.0.1:${port}: another process listens there; stop it`),
    );
  });

  it("say that it is this pool that has an address, where a reload makes it wider or narrower", options, () => {
    for (const [before, after] of [["127.0.0.1", "0.0.0.0"], ["0.0.0.0", "127.0.0.1"], ["[::]", "127.0.0.1"]]) {
      using first = open(["127.0.0.1:0", `${before}:0`]);
      const port = portOf(first, 1);
      assert.throws(() => first.reopen(checkListen(["127.0.0.1:0", `${after}:${port}`]), currentHost), {
        message:
          `Cannot listen on ${after}:${port}: this pool listens on ${before}:${port}, and goes on to until its ` +
          "new workers are ready; choose another port, or stop it and start it anew",
      });
      assert.deepEqual(timesOpen(first), [1, 1]);
    }
  });

  it("say to leave one out, where a reload asks for a wider address after a narrower one", options, () => {
    using first = open("0.0.0.0:0");
    const port = portOf(first);
    assert.throws(() => first.reopen(checkListen([`127.0.0.1:${port}`, `0.0.0.0:${port}`]), currentHost), {
      message:
        `Cannot listen on 127.0.0.1:${port}: this pool listens on 0.0.0.0:${port} already, which takes what comes ` +
        "there; leave one out",
    });
    assert.deepEqual(timesOpen(first), [1]);
  });

  it("say so if there is no descriptor left to find out whose a file is", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const libc = currentLibc();
    const stale = libc.socket(1, 1, 0);
    const bytes = encodeSockaddr({ type: "unix", path }, "linux");
    assert.equal(libc.bind(stale, bytes, bytes.length), 0);
    libc.close(stale);
    for (const isProbe of [true, false]) {
      let isOut = false;
      const full = (): number => {
        isOut = true;
        return -1;
      };
      const out: Libc = {
        ...libc,
        socket: (domain, type, protocol) => isProbe && (type & 0o4000) ? full() : libc.socket(domain, type, protocol),
        open: (name, flags) => isProbe ? libc.open(name, flags) : full(),
        errno: () => isOut ? 24 : libc.errno(),
      };
      assert.throws(() => SharedSockets.open(checkListen(`unix:${path}`), currentHost, () => out), {
        message: new RegExp(`^Cannot listen on unix:${path}: .*this process is out of file descriptors`),
      });
    }
    assert.equal(existsSync(path), true);
  });

  it("open all or none", options, async () => {
    await using dir = await tempDir();
    fails(
      [`unix:${dir.file("a.sock")}`, "192.0.2.1:0"],
      /^Cannot listen on 192.0.2.1:0: this machine has no such address/,
    );
    assert.equal(existsSync(dir.file("a.sock")), false);
  });

  it("replace the file of a Unix socket at which nobody answers, and no other", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    {
      await using _live = await listening(path);
      fails(`unix:${path}`, /another process answers there; stop it, or choose another path$/);
      assert(await answers({ path }));
    }
    const stale = open(`unix:${path}`);
    for (const { fd } of stale.workerListeners(true)) currentLibc().close(fd); // as if its process had been killed
    assert(existsSync(path));
    {
      using _sockets = open(`unix:${path}`);
      assert(await answers({ path }));
    }
    writeFileSync(path, "precious");
    fails(`unix:${path}`, /there is a file of that name; it is no socket$/);
    assert.equal(readFileSync(path, "utf8"), "precious");
    chmodSync(path, 0);
    fails(`unix:${path}`, /there is a file of that name; it is no socket$|permission denied/);
    fails(`unix:${dir.file("no/a.sock")}`, /its directory does not exist/);
  });

  it("leave a file alone that is not theirs any more", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const first = open(`unix:${path}`);
    unlinkSync(path);
    using _second = open(`unix:${path}`);
    first[Symbol.dispose]();
    assert(await answers({ path }));
  });

  it("are made one after the other, where several managers find the same stale file", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const libc = currentLibc();
    using first = open(`unix:${dir.file("b.sock")}`);
    assert.equal(first.listeners.length, 1);
    const other = libc.open(cString(dir.path), 0);
    assert.equal(libc.flock(other, 2), 0);
    let waited = 0;
    const patient: Libc = {
      ...libc,
      poll(entries, count, timeoutMs) {
        if (count > 0) return libc.poll(entries, count, timeoutMs);
        if (++waited === 3) libc.close(other); // the other manager is done
        return 0;
      },
    };
    using _sockets = SharedSockets.open(checkListen(`unix:${path}`), currentHost, () => patient);
    assert.equal(waited, 3);
    const busy = libc.open(cString(dir.path), 0);
    assert.equal(libc.flock(busy, 2), 0, "the lock is given back");
    libc.close(busy);
  });

  it("leave no file where listening fails", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const libc = currentLibc();
    const deaf: Libc = { ...libc, listen: () => libc.listen(-1, 1) };
    assert.throws(
      () => SharedSockets.open(checkListen(`unix:${path}`), currentHost, () => deaf),
      /that descriptor is not open/,
    );
    assert.equal(existsSync(path), false);
  });

  it("say what is wrong, and nothing else", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    {
      using sockets = open("0.0.0.0:0");
      const port = portOf(sockets);
      fails([`127.0.0.1:${port}`], /another process listens there; stop it, or choose another port$/);
    }
    using free = open("0.0.0.0:0");
    const port = portOf(free);
    free[Symbol.dispose]();
    const own = (address: string) => new RegExp(`: this pool listens on ${address} already, .*; leave one out$`);
    fails([`0.0.0.0:${port}`, `[::]:${port}`], own(`0.0.0.0:${port}`));
    fails([`[::]:${port}`, `127.0.0.1:${port}`], own(`\\[::\\]:${port}`));
    fails([`127.0.0.1:${port}`, `[::ffff:127.0.0.1]:${port}`], own(`127.0.0.1:${port}`));
    fails([`[::ffff:127.0.0.1]:${port}`, `0.0.0.0:${port}`], own(`\\[::ffff:127.0.0.1\\]:${port}`));
    fails([`[::ffff:0.0.0.0]:${port}`, `127.0.0.1:${port}`], own(`\\[::ffff:0.0.0.0\\]:${port}`));
    {
      using _apart = open([`[::ffff:0.0.0.0]:${port}`, `[::1]:${port}`]);
    }
    fails([`unix:${path}`, `again=unix:${path}`], own(`unix:${path}`));
    fails("192.0.2.1:0", /this machine has no such address; choose another address$/);
    fails("unix:/etc/passwd/x", /a part of its path is no directory; choose another path$/);
    const libc = currentLibc();
    const datagrams = libc.socket(1, 2, 0);
    const bytes = encodeSockaddr({ type: "unix", path }, "linux");
    assert.equal(libc.bind(datagrams, bytes, bytes.length), 0);
    fails(`unix:${path}`, /another process answers there; stop it, or choose another path$/);
    libc.close(datagrams);
    symlinkSync(path, dir.file("link"));
    fails(`unix:${dir.file("link")}`, /there is a file of that name; it is no socket$/);
    assert(existsSync(path), "a symbolic link to a stale socket is nobody's");
    const few: Libc = {
      ...libc,
      fcntl: (fd, command, least) => command === 1030 ? -1 : libc.fcntl(fd, command, least),
    };
    const errno: Libc = { ...few, errno: () => 22 };
    assert.throws(() => SharedSockets.open(checkListen("127.0.0.1:0"), currentHost, () => errno), {
      message: "Cannot listen on 127.0.0.1:0: this process is out of file descriptors; let it have more (ulimit -n)",
    });
    const strange: Libc = { ...libc, connect: () => -1, errno: () => 13 };
    assert.throws(() => SharedSockets.open(checkListen(`unix:${path}`), currentHost, () => strange), {
      message: /somebody else's socket is there, and permission is denied to ask who answers; choose another path$/,
    });
  });

  it("take a socket that is open already, and leave its file alone", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    using first = open(["127.0.0.1:0", `unix:${path}`]);
    const [tcp, unix] = first.workerListeners(true).map(({ fd }) => fd);
    {
      using second = open([`fd:${tcp}`, `named=fd:${unix}`]);
      assert.deepEqual(second.listeners.map(({ text }) => text), first.listeners.map(({ text }) => text));
      assert.deepEqual(second.listeners.map(({ name }) => name), [undefined, "named"]);
    }
    assert(await answers({ path }));
    fails("fd:999", /^Cannot listen on fd:999: that is no open TCP or Unix socket in this process$/);
    const libc = currentLibc();
    const deaf = libc.socket(2, 1, 0);
    fails(`fd:${deaf}`, /was not made to listen$/);
    libc.close(deaf);
  });

  it("find what systemd or start_server gave, and say so when they gave nothing", options, () => {
    using first = open(["127.0.0.1:0"]);
    const fd = first.workerListeners(true)[0]?.fd;
    const given = (env: Readonly<Record<string, string>>): ProcessHost => ({
      ...currentHost,
      getEnv: (name) => env[name],
    });
    {
      using second = open("inherit", given({ SERVER_STARTER_PORT: `127.0.0.1:0=${fd}` }));
      assert.deepEqual(second.listeners, first.listeners);
      using named = open("web=inherit", given({ SERVER_STARTER_PORT: `127.0.0.1:0=${fd}` }));
      assert.deepEqual(named.listeners.map(({ name }) => name), ["web"]);
    }
    assert.throws(() => open("inherit", given({ LISTEN_PID: "1", LISTEN_FDS: "1" })), {
      message: /^Cannot listen on inherited sockets: neither LISTEN_FDS with LISTEN_PID .* gives this process any$/,
    });
  });

  it("are handed over, and the last manager that owns them removes the file", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    using first = open(["127.0.0.1:0", `unix:${path}`, "127.0.0.1:0"]);
    // As they arrive in another process: open once more, and without close-on-exec.
    const arrive = (): Inheritance =>
      new Inheritance(first.handed(true).map((socket) => ({ ...socket, fd: currentLibc().fcntl(socket.fd, 0, 100) })));
    const wanted = [`named=unix:${path}`, `127.0.0.1:${portOf(first)}`, "127.0.0.1:0", "127.0.0.1:0"];
    const inherit = () => SharedSockets.open(checkListen(wanted), currentHost, currentLibc, arrive());
    {
      using failed = inherit();
      assert.deepEqual(
        failed.listeners.slice(0, 3).map(({ text }) => text),
        [1, 0, 2].map((place) => {
          return first.listeners[place]?.text;
        }),
      );
      assert.equal(failed.listeners[0]?.name, "named");
      assert.deepEqual(failed.kept, [1, 0, 2]);
      assert.notEqual(portOf(failed, 3), portOf(first, 2));
      assert.deepEqual(first.handed(false).map(({ fd }) => fd), [3, 4, 5]);
      for (const { fd } of failed.workerListeners(true)) assert.equal(flagsOf(fd) & 0o2000000, 0o2000000);
    }
    assert(await answers({ path }));
    {
      using second = inherit();
      first.disown(second.kept);
      second.own();
      first[Symbol.dispose]();
      assert(await answers({ path }));
      assert(await answers({ host: "127.0.0.1", port: portOf(second, 1) }));
    }
    assert.equal(existsSync(path), false);
  });

  it("that stay are as they are wanted anew, once it is settled that they are", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const address = `unix:${path}`;
    const isRoot = process.getuid?.() === 0;
    using first = open([{ address, mode: 0o666 }, "127.0.0.1:0"]);
    const port = portOf(first, 1);
    const wanted: readonly Listen[] = [
      { address, mode: 0o600, backlog: 5, ...(isRoot ? { owner: { uid: 65_534, gid: 65_534 } } : {}) },
      { address: `127.0.0.1:${port}`, backlog: 6 },
    ];
    const state = () => {
      const { mode, uid } = lstatSync(path);
      const queues = ["-Hltn", "-Hlxn"].map((flags) => {
        const rows = execFileSync("ss", [flags], { encoding: "utf8" }).split("\n").map((row) =>
          row.trim().split(/\s+/)
        );
        return rows.find((row) => row.includes(path) || row.includes(`127.0.0.1:${port}`));
      });
      return [mode & 0o777, uid, queues[0]?.[2], queues[1]?.[3]];
    };
    const before = state();
    assert.equal(before[0], 0o666);
    using next = first.reopen(checkListen(wanted), currentHost);
    assert.deepEqual(state(), before);
    next.settle();
    assert.deepEqual(state(), [0o600, isRoot ? 65_534 : before[1], "6", "5"]);
    assert(await answers({ path }));

    chmodSync(path, 0o640); // by hand
    next.settle();
    using same = next.reopen(checkListen([address, `127.0.0.1:${port}`]), currentHost);
    same.settle();
    same.keepBacklog();
    assert.deepEqual(state(), [0o640, isRoot ? 65_534 : before[1], "6", "5"], "what is not given stays as it is");
  });

  it("that stay have as many connections wait as before, whatever a new server made of it", options, () => {
    using given = open({ address: "127.0.0.1:0", backlog: 1234 });
    const address = `fd:${given.workerListeners(true)[0]?.fd}`;
    using first = open([address, { address: "127.0.0.1:0", backlog: 77 }]);
    const queues = () => [portOf(given), portOf(first, 1)].map(queueOf);
    const cut = (sockets: SharedSockets) => {
      for (const { fd } of sockets.workerListeners(true)) currentLibc().listen(fd, 5);
      assert.deepEqual(queues(), [5, 5]);
    };
    first.settle();
    assert.deepEqual(queues(), [1234, 77]);
    cut(first);
    first.keepBacklog();
    assert.deepEqual(queues(), [1234, 77]);
    using next = first.reopen(checkListen([address, `127.0.0.1:${portOf(first, 1)}`]), currentHost);
    cut(next);
    next.settle();
    assert.deepEqual(queues(), [1234, 77]);
    cut(next);
    next.keepBacklog();
    assert.deepEqual(queues(), [1234, 77]);
  });

  it("that are handed over have as many connections wait as the manager before had said", options, () => {
    using first = open({ address: "127.0.0.1:0", backlog: 77 });
    const port = portOf(first);
    const task = decodeTask(encodeTask({ ...TASK, sockets: first.handed(true) }));
    const fd = task.sockets[0]?.fd ?? -1;
    currentLibc().listen(fd, 5);
    const copy = currentLibc().fcntl(fd, 1030, 64);
    const inheritance = new Inheritance(task.sockets.map((socket) => ({ ...socket, fd: copy })));
    using next = SharedSockets.open(checkListen(`127.0.0.1:${port}`), currentHost, currentLibc, inheritance);
    next.own();
    next.settle();
    assert.equal(queueOf(port), 77);
  });

  it("are refused, before anything is touched, a mode or an owner that they cannot get", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const address = `unix:${path}`;
    const libc = currentLibc();
    const denied: Libc = {
      ...libc,
      fchownat: () => (libc.listen(-1, 1), -1), // EBADF
      chmod: () => (libc.listen(-1, 1), -1),
    };
    using first = SharedSockets.open(checkListen({ address, mode: 0o640 }), currentHost, () => denied);
    const mode = () => lstatSync(path).mode & 0o777;
    const refuses = (listen: Listen, message: RegExp) => {
      assert.throws(() => first.reopen(checkListen(listen), currentHost)[Symbol.dispose](), { message });
      assert.equal(mode(), 0o640);
    };
    refuses({ address, mode: 0o600 }, /^Cannot give unix:.*a\.sock the mode 0o600: .*; only its owner and root may$/);
    refuses({ address, owner: { uid: 1, gid: 1 } }, /^Cannot give unix:.*a\.sock /);
    using given = open([`fd:${first.workerListeners(true)[0]?.fd}`]);
    assert.throws(() => given.reopen(checkListen({ address, mode: 0o600 }), currentHost)[Symbol.dispose](), {
      message: /^Cannot set the mode or the owner of unix:.*a\.sock: whoever gave that socket to this process made its/,
    });
    assert.equal(mode(), 0o640);
    unlinkSync(path);
    writeFileSync(path, "precious", { mode: 0o640 });
    chmodSync(path, 0o640);
    refuses(
      { address, mode: 0o600 },
      /^Cannot listen on unix:.*a\.sock: there is a file of that name; it is no socket$/,
    );
  });

  it("are bound anew by a reload where nobody can find them any more", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const address = `unix:${path}`;
    using first = open({ address, mode: 0o666 });
    unlinkSync(path);
    const reopen = () => first.reopen(checkListen({ address, mode: 0o600 }), currentHost);
    const failed = reopen();
    assert(await answers({ path }));
    failed.leaveTo([first]);
    failed[Symbol.dispose]();
    assert.equal(existsSync(path), false, "the file that nobody answers at");
    {
      using next = reopen();
      first.leaveTo([next]);
      first[Symbol.dispose]();
      next.settle();
      assert.equal(lstatSync(path).mode & 0o777, 0o600);
      assert(await answers({ path }));
    }
    assert.equal(existsSync(path), false);
  });

  it("leave a Unix address to whoever answers there by now, and say so", options, async () => {
    await using dir = await tempDir();
    const path = dir.file("a.sock");
    const address = `unix:${path}`;
    const first = open(address);
    unlinkSync(path);
    await using _live = await listening(path);
    for (const listen of [address, { address, mode: 0o600 }]) {
      assert.throws(() => first.reopen(checkListen(listen), currentHost)[Symbol.dispose](), {
        message: `Cannot listen on ${address}: another process answers there; stop it, or choose another path`,
      });
    }
    assert.deepEqual(timesOpen(first), [1]);
    first[Symbol.dispose]();
    assert(await answers({ path }));
  });

  it("are open once, however many reloads were refused", options, async () => {
    await using dir = await tempDir();
    const address = `unix:${dir.file("a.sock")}`;
    const libc = currentLibc();
    const denied: Libc = { ...libc, chmod: () => libc.listen(-1, 1) };
    using first = SharedSockets.open(checkListen(address), currentHost, () => denied);
    for (let round = 0; round < 3; round++) {
      assert.throws(() => first.reopen(checkListen({ address, mode: 0o600 }), currentHost), { message: /mode 0o600/ });
    }
    assert.deepEqual(timesOpen(first), [1]);
  });

  it("are open no more often than before, where only some of several could be taken", options, () => {
    const libc = currentLibc();
    let left = Infinity;
    let errno: number | undefined;
    const few: Libc = {
      ...libc,
      fcntl: (fd, command, argument) => {
        const isTooMuch = command === 1030 && fd >= 0 && left-- <= 0; // a bad one is told of first
        errno = isTooMuch ? 24 : undefined;
        return isTooMuch ? -1 : libc.fcntl(fd, command, argument);
      },
      errno: () => errno ?? libc.errno(),
    };
    using opened = open(["127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"]);
    const given = opened.workerListeners(true).map(({ fd, text }) => `${text}=${fd}`).join(";");
    const host: ProcessHost = { ...currentHost, getEnv: (name) => name === "SERVER_STARTER_PORT" ? given : undefined };
    using first = SharedSockets.open(checkListen("inherit"), host, () => few);
    for (const count of [0, 2, 4]) { // three are to try with, and the others the new ones
      left = count;
      assert.throws(() => first.reopen(checkListen("inherit"), host), {
        message: /^Cannot listen on 127\.0\.0\.1:\d+: this process is out of file descriptors; .* more \(ulimit -n\)$/,
      });
      assert.deepEqual(timesOpen(first), [2, 2, 2]);
    }
  });

  it("take the backlog that they are given, when they were open already", options, () => {
    using first = open("127.0.0.1:0");
    const port = portOf(first);
    using second = open({ address: `fd:${first.workerListeners(true)[0]?.fd}`, backlog: 9 });
    second.settle();
    const rows = execFileSync("ss", ["-Hltn"], { encoding: "utf8" }).split("\n").map((row) => row.trim().split(/\s+/));
    assert.equal(rows.find(([, , , local]) => local === `127.0.0.1:${port}`)?.[2], "9");
  });

  it("are found out when somebody closes one or shuts it down", options, () => {
    using sockets = open(["127.0.0.1:0", "127.0.0.1:0"]);
    const [, second] = sockets.workerListeners(true);
    sockets.check();
    currentLibc().close(second?.fd ?? -1);
    assert.throws(() => sockets.check(), {
      message: `the socket that listens on ${second?.text} was closed in the manager or shut down by a worker; ` +
        "start the manager anew",
    });
  });

  it("do not have it said that a program is not there when it may not be run", options, () => {
    using sockets = open("127.0.0.1:0");
    const spawn = (command: string) =>
      sockets.pass((descriptors) => currentHost.spawn({ command, args: [], env: {}, sockets: descriptors }));
    assert.throws(() => spawn("/etc/passwd"), { message: /^Cannot start \/etc\/passwd: .*(may not be run|EACCES)/ });
  });

  it("take a C library, and say why there is none", options, () => {
    const none = (): never => {
      throw new NoLibcError("this is darwin");
    };
    assert.throws(() => SharedSockets.open(checkListen("0"), currentHost, none), {
      message: "Cannot share listening sockets: this is darwin",
    });
  });
});

describe("what to listen on", () => {
  it("is checked before anything is opened", () => {
    const cases: readonly (readonly [Listen, RegExp])[] = [
      [70_000, /there is no port 70000/],
      ["nowhere", /Cannot listen on 'nowhere'/],
      [{ address: "8080", mode: 0o600 }, /^Cannot use a mode or an owner for 8080: only Unix sockets have a file$/],
      [{ address: "unix:/x", mode: 0o1777 }, /from 0 to 0o777, not 0o1777$/],
      [{ address: "unix:/x", backlog: 0 }, /'listen.backlog': it must be a whole number from 1 on, not 0$/],
      [{ address: "8080", name: "a:b" }, /^Cannot name a socket 'a:b'/],
    ];
    for (const [listen, message] of cases) assert.throws(() => checkListen(listen), { message }, String(listen));
    assert.deepEqual(checkListen(["web=inherit", { address: "a=inherit", name: "b" }]), [
      { address: "inherit", name: "web" },
      { address: "inherit", name: "b" },
    ]);
    assert.throws(() => checkListen("a b=inherit"), { message: /'a b' is no name for a socket/ });
    assert.deepEqual(checkListen("unix:/web=inherit"), [{ address: "unix:/web=inherit" }]);
    const misspelt: object = { address: "8080", backlock: 5 };
    assert.throws(() => checkListen([misspelt as Listen]), { message: /did you mean 'backlog'\?$/ });
  });
});
