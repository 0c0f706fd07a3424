/**
 * `--user` and `--group`: who that is, whether this process may become them, and whether they can read what they are
 * to run.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import process from "node:process";
import type { SocketOwner } from "../listen.ts";
import { nearest } from "../nearest.ts";
import type { WorkerUser } from "../options.ts";
import type { ProcessHost } from "../types.ts";
import { capture } from "./capture.ts";
import { UsageError } from "./usage_error.ts";

/** A line of the user database. */
interface Account {
  readonly name: string;
  readonly uid: number;
  /** Undefined for a number that no account has. */
  readonly gid: number | undefined;
  readonly home: string;
}

/** Somebody to run workers as. */
export interface Identity extends WorkerUser {
  /** How messages call them. */
  readonly label: string;
}

/** A file that workers open, and what they do with it. */
export interface NeededFile {
  readonly path: string;
  readonly what: string;
  readonly access: "read" | "execute" | "enter";
}

/** Finds out who `--user` and `--group` mean. Undefined if that is who runs this already. */
export async function findIdentity(
  host: ProcessHost,
  user: string | undefined,
  group: string | undefined,
): Promise<Identity | undefined> {
  const ownUid = process.getuid?.() ?? 0;
  const account = user === undefined ? undefined : await findAccount(host, user);
  const gid = group === undefined ? account?.gid : await findGroup(host, group);
  const uid = account?.uid ?? ownUid;
  if (gid === undefined) {
    throw new UsageError(`Cannot run workers as --user ${user}: nothing says which group that is; add --group`);
  }
  if (ownUid !== 0) {
    if (uid === ownUid && gid === process.getgid?.()) return undefined;
    throw new UsageError(`Cannot run workers as ${labelOf(user, group)}: only root may; start the manager as root`);
  }
  const prefix = await switchCommand(host, account, uid, gid);
  const env = account === undefined || account.name === ""
    ? {}
    : { env: { HOME: account.home, USER: account.name, LOGNAME: account.name } };
  return { label: labelOf(user, group), uid, gid, prefix, ...env };
}

/** Finds out who `--socket-owner USER[:GROUP]` means; without a group, that of the user. */
export async function findOwner(host: ProcessHost, text: string): Promise<SocketOwner> {
  const [, user = "", group] = /^([^:]+)(?::([^:]+))?$/.exec(text) ?? [];
  if (user === "") throw new UsageError(`Cannot use '${text}' for --socket-owner: it must be USER or USER:GROUP`);
  const { uid, gid } = await findAccount(host, user);
  const owner = group === undefined ? gid : await findGroup(host, group);
  if (owner === undefined) {
    throw new UsageError(`Cannot give sockets to ${user}: nothing says which group that is; write ${user}:GROUP`);
  }
  return { uid, gid: owner };
}

function labelOf(user: string | undefined, group: string | undefined): string {
  return [...user === undefined ? [] : [`user ${user}`], ...group === undefined ? [] : [`group ${group}`]].join(", ");
}

/** Only `setpriv` sets the supplementary groups; what the runtimes do leaves the workers without any. */
async function switchCommand(host: ProcessHost, account: Account | undefined, uid: number, gid: number) {
  const found = await capture(host, "setpriv", ["--version"]);
  if (found?.code !== 0) {
    throw new UsageError(
      "Cannot change the user of workers: the command setpriv is missing; it is in the package util-linux " +
        "(Debian, Fedora) or setpriv (Alpine)",
    );
  }
  const groups = account === undefined || account.name === "" ? "--clear-groups" : "--init-groups";
  return ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, groups, "--"];
}

async function findAccount(host: ProcessHost, user: string): Promise<Account> {
  const [line] = await lookUp(host, "passwd", user);
  const [name, , uid, gid, , home] = line?.split(":") ?? [];
  if (name !== undefined && uid !== undefined && gid !== undefined) {
    return { name, uid: Number(uid), gid: Number(gid), home: home ?? "/" };
  }
  if (/^\d+$/.test(user)) return { name: "", uid: Number(user), gid: undefined, home: "/" };
  throw unknown("--user", user, "/etc/passwd");
}

async function findGroup(host: ProcessHost, group: string): Promise<number> {
  const [line] = await lookUp(host, "group", group);
  const gid = line?.split(":")[2] ?? (/^\d+$/.test(group) ? group : undefined);
  if (gid === undefined) throw unknown("--group", group, "/etc/group");
  return Number(gid);
}

/** Asks the name service, or reads the file where there is no `getent`. */
async function lookUp(host: ProcessHost, database: "passwd" | "group", key: string): Promise<readonly string[]> {
  if (key === "" || key.startsWith("-")) return [];
  const answer = await capture(host, "getent", [database, key]);
  if (answer !== undefined) return answer.text.split("\n").filter((line) => line !== "");
  return linesOf(`/etc/${database}`).filter((line) => {
    const [name, , id] = line.split(":");
    return name === key || id === key;
  });
}

function unknown(option: string, name: string, file: string): UsageError {
  const near = nearest(name, linesOf(file).map((line) => line.split(":")[0] ?? ""));
  return new UsageError(
    `Cannot use ${option} ${name}: there is no such ${option.slice(2)}${
      near === undefined ? "" : `; did you mean ${near}?`
    }`,
  );
}

function linesOf(file: string): readonly string[] {
  try {
    return readFileSync(file, "utf8").split("\n").filter((line) => line !== "");
  } catch {
    return [];
  }
}

const TESTS = { read: "-r", execute: "-x", enter: "-x" } as const;
const MODES = { read: "o+r", execute: "o+rx", enter: "o+x" } as const;

/** Checks, as that user, that everything workers open can be opened. */
export async function checkAccess(host: ProcessHost, identity: Identity, files: readonly NeededFile[]): Promise<void> {
  const [command = "setpriv", ...args] = identity.prefix ?? [];
  const steps = files.flatMap((
    file,
  ) => [...directoriesTo(file.path).map((path) => enter(path, file)), { ...file, file }]);
  const script = 'while [ $# -gt 0 ]; do test "$1" "$2" || { printf %s "$2"; exit 1; }; shift 2; done';
  const tests = steps.flatMap(({ access, path }) => [TESTS[access], path]);
  const answer = await capture(host, command, [...args, "/bin/sh", "-c", script, "sh", ...tests]);
  if (answer?.code === 0) return;
  const step = steps.find(({ path }) => path === answer?.text);
  if (step === undefined) {
    throw new UsageError(`Cannot become ${identity.label}: ${[command, ...args].join(" ")} failed`);
  }
  const where = step.path === step.file.path ? "" : ` on the way to ${step.file.what} ${step.file.path}`;
  const what = step.path === step.file.path ? `${step.file.what} ${step.path}` : `the directory ${step.path}`;
  throw new UsageError(
    `Cannot run workers as ${identity.label}: they may not ${step.access} ${what}${where}; ` +
      `allow it (chmod ${MODES[step.access]} ${step.path}), or move what they need to where they may`,
  );
}

function enter(path: string, file: NeededFile) {
  return { path, access: "enter", file } as const;
}

/** `/a/b/c` gives `/`, `/a` and `/a/b`. */
function directoriesTo(path: string): readonly string[] {
  const parts = path.split("/").slice(1, -1);
  return ["/", ...parts.map((_, index) => `/${parts.slice(0, index + 1).join("/")}`)];
}
