/**
 * A network of hosts on this machine: each has a network namespace of its own, and a cable to one switch. The namespaces
 * have no name: each lives as long as a process that is in it, so that nothing of it is left behind. Root only.
 *
 * @module
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import process from "node:process";
import { type Program, runCommand, type RunOptions, signalProcess, waitFor } from "./run.ts";

/** A machine with an address, which runs programs. */
export interface Host {
  readonly name: string;
  readonly address: string;
  /** Runs a program there. Its pid is that of the program. */
  run(command: string, args: readonly string[], options?: Pick<RunOptions, "env" | "cwd">): Program;
  /** The programs that run there. */
  processes(): readonly number[];
  /** Pulls its cable: nothing gets in or out, and nobody is told. */
  cut(): Promise<void>;
  /** Puts the cable in again. */
  mend(): Promise<void>;
  /** Takes its power: its cable is pulled, and whatever runs there is dead. */
  kill(): Promise<void>;
}

/** Whether networks can be made: by root, on a Linux that has what they are made of. */
export const hasNetworks = process.platform === "linux" &&
  spawnSync("unshare", ["--net", "ip", "link", "add", "hub", "type", "bridge"]).status === 0;

/** What hosts are like that are to notice within seconds that another one is gone: by default it takes a quarter of an hour. */
const IMPATIENT = [
  "echo 4 > /proc/sys/net/ipv4/tcp_retries2",
  "echo 2 > /proc/sys/net/ipv4/tcp_syn_retries",
  "ip link set lo up",
].join(" && ");

/** Makes a network; its hosts end with the stack. */
export async function openNetwork(stack: AsyncDisposableStack, names: readonly string[]): Promise<readonly Host[]> {
  const hub = stack.use(await openNamespace());
  await configure(hub, "ip link add hub type bridge && ip link set hub up");
  const hosts: Host[] = [];
  for (const [index, name] of names.entries()) {
    const namespace = stack.use(await openNamespace());
    const port = `port${index}`;
    const address = `10.0.0.${index + 1}`;
    await configure(hub, `ip link add ${port} type veth peer name eth0 netns ${namespace.pid}`);
    await configure(hub, `ip link set ${port} master hub && ip link set ${port} up`);
    await configure(namespace, `${IMPATIENT} && ip addr add ${address}/24 dev eth0 && ip link set eth0 up`);
    hosts.push(hostOf(name, address, namespace, (words) => configure(hub, `ip link set ${port} ${words}`)));
  }
  return hosts;
}

/** A process with a network namespace, which does nothing. */
async function openNamespace(): Promise<Program> {
  const program = runCommand("unshare", ["--net", "sh", "-c", "echo open; exec sleep infinity"]);
  await program.waitForLine("open");
  return program;
}

/** Runs a script in a namespace. */
async function configure(namespace: Program, script: string): Promise<void> {
  await using program = runIn(namespace, "sh", ["-c", script]);
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
}

function runIn(namespace: Program, command: string, args: readonly string[], options = {}): Program {
  return runCommand("nsenter", [`--net=/proc/${namespace.pid}/ns/net`, command, ...args], options);
}

function hostOf(name: string, address: string, namespace: Program, plug: (words: string) => Promise<void>): Host {
  const own = namespaceOf(namespace.pid);
  const processes = (): readonly number[] => {
    const pids = readdirSync("/proc").map(Number).filter((pid) => pid > 0 && pid !== namespace.pid);
    return pids.filter((pid) => namespaceOf(pid) === own);
  };
  return {
    name,
    address,
    processes,
    run: (command, args, options) => runIn(namespace, command, args, options),
    cut: () => plug("nomaster"),
    mend: () => plug("master hub"),
    async kill() {
      await plug("nomaster");
      await waitFor(() => {
        const left = processes();
        for (const pid of left) signalProcess(pid, "SIGKILL");
        return left.length === 0;
      }, { what: `${name} to be dead` });
    },
  };
}

/** What the network namespace of a process is called; nothing for one that is gone. */
function namespaceOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}
