/**
 * What the conformance suite needs to know of a host beyond `ProcessHost`: programs to start, a way to let time pass,
 * and a look at processes and files. Each program exists twice, as a shell script and as a {@linkcode FakeProgram}.
 *
 * @module
 */
import { readFileSync, statSync } from "node:fs";
import process from "node:process";
import type { ProcessHost, Signal, SpawnCommand } from "../src/types.ts";
import { FakeHost, type FakeProcess, type FakeProgram, settle } from "./fake_host.ts";
import { isAlive } from "./support/run.ts";
import { testSuite } from "./support/suite.ts";

export interface HostRig {
  readonly host: ProcessHost;
  /** Signals that must not be sent to the process that runs the tests, whoever listens. */
  readonly unsendable: ReadonlySet<Signal>;
  /** Whether users and groups can be changed. */
  readonly privileged: boolean;
  /** How to start one of the programs. */
  program(name: ProgramName, ...args: readonly string[]): SpawnCommand;
  setEnv(name: string, value: string): void;
  /** Lets at least `ms` pass. */
  pass(ms: number): Promise<void>;
  isAlive(pid: number): boolean;
  /** How many bytes a process has printed. */
  printed(pid: number): number;
  file(path: string): { readonly mode: number; readonly uid: number; readonly gid: number } | undefined;
}

interface TwofoldProgram {
  readonly sh: string;
  readonly fake: FakeProgram;
}

const PROGRAMS = {
  /** Exits with the code given. */
  exit: { sh: 'exit "$1"', fake: (self) => self.exit(Number(self.command.args[0])) },
  /** Prints a line, then waits to be killed. */
  wait: { sh: "echo up; exec sleep 1000", fake: (self) => void self.print("up\n") },
  /** Ignores SIGTERM. */
  stubborn: {
    sh: "trap '' TERM; echo up; exec sleep 1000",
    fake(self) {
      self.ignored.add("SIGTERM");
      void self.print("up\n");
    },
  },
  /** Prints two variables. */
  environment: {
    sh: 'echo "$(printenv "$1"):$(printenv "$2")"',
    fake: (self) => printAndExit(self, self.command.args.map((name) => self.env[name] ?? "").join(":")),
  },
  /** Prints its working directory. */
  directory: { sh: "pwd -P", fake: (self) => printAndExit(self, self.command.cwd ?? "/fake") },
  /** Prints its user and group. */
  user: {
    sh: 'echo "$(id -u):$(id -g)"',
    fake: (self) => printAndExit(self, `${self.command.uid ?? 0}:${self.command.gid ?? 0}`),
  },
  /** Prints its pid, process group and session. */
  group: {
    sh: 'read -r pid name state parent group session rest < "/proc/$$/stat"; echo "$pid $group $session"',
    fake: (self) => printAndExit(self, `${self.pid} ${self.group} ${self.group}`),
  },
  /** Starts another process, prints its pid, and waits. */
  family: {
    sh: "sleep 1000 & echo $!; wait",
    fake: (self) => void self.print(`${fakeHost(self).fork(self).pid}\n`),
  },
  /** Prints to both outputs. */
  outputs: {
    sh: "echo out; echo err >&2",
    fake(self) {
      void self.printError("err\n");
      printAndExit(self, "out");
    },
  },
  /** Prints without end. */
  flood: {
    sh: "exec yes prefork",
    async fake(self: FakeProcess) {
      while (self.alive) {
        await self.print("prefork\n".repeat(1000));
        await settle();
      }
    },
  },
  /** Prints what it is given. */
  echo: { sh: "exec cat", fake: (self) => self.onStdin((text) => void self.print(text)) },
} satisfies Record<string, TwofoldProgram>;

export type ProgramName = keyof typeof PROGRAMS;

function programs(): [string, TwofoldProgram][] {
  return Object.entries(PROGRAMS);
}

/** Tells the fake programs whose processes they are. */
const owners = new WeakMap<FakeProcess, FakeHost>();

function fakeHost(self: FakeProcess): FakeHost {
  const host = owners.get(self);
  if (host === undefined) throw new Error("A fake program runs outside of its rig");
  return host;
}

async function printAndExit(self: FakeProcess, line: string): Promise<void> {
  await self.print(`${line}\n`);
  self.exit(0);
}

/** A rig around a host of this very machine. */
export function realRig(host: ProcessHost): HostRig {
  return {
    host,
    // `deno test` ends on SIGINT; SIGUSR1 opens Deno's inspector.
    unsendable: new Set<Signal>(host.name === "deno" ? ["SIGINT", "SIGUSR1"] : []),
    privileged: process.getuid?.() === 0,
    program(name, ...args) {
      return { command: "/bin/sh", args: ["-c", PROGRAMS[name].sh, name, ...args], env: testSuite().env };
    },
    setEnv(name, value) {
      process.env[name] = value;
    },
    pass: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    isAlive,
    printed: (pid) => Number(/^wchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "latin1"))?.[1]),
    file(path) {
      const stat = statSync(path, { throwIfNoEntry: false });
      return stat === undefined ? undefined : { mode: stat.mode & 0o777, uid: stat.uid, gid: stat.gid };
    },
  };
}

/** A rig around a fake host. */
export function fakeRig(): HostRig {
  const host = new FakeHost();
  for (const [name, { fake }] of programs()) {
    host.programs.set(name, (self) => {
      owners.set(self, host);
      fake(self);
    });
  }
  host.spawnFailure = ({ command }) => {
    return command.startsWith("/nonesuch") ? new Error(`Cannot start ${command}: it is not there`) : undefined;
  };
  return {
    host,
    unsendable: new Set(),
    privileged: true,
    program: (name, ...args) => ({ command: name, args, env: {} }),
    setEnv: (name, value) => void host.env.set(name, value),
    pass: (ms) => host.advance(ms),
    isAlive: (pid) => host.process(pid).alive,
    printed: (pid) => host.process(pid).printed,
    file: (path) => host.files.get(path),
  };
}
