/**
 * Commands for a manager that runs already.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import { describeError } from "../events.ts";
import type { StatusReport } from "../operator/report.ts";
import { ask, findManager, GoneError, NoAnswerError, type Outcome, SilenceError } from "./client.ts";
import { sayMeanwhile } from "./meanwhile.ts";
import { meet } from "./meet.ts";
import type { LogsRequest, OperatorRequest, OrderRequest } from "./parse_order.ts";
import { describePlaces, isAnswered, listSockets, nameOfSocket, whyNotAsked } from "./place.ts";
import { print } from "./print.ts";
import { formatList, formatStatus, printable } from "./status_table.ts";
import { isForbidden, UsageError } from "./usage_error.ts";

/** There is no such manager, as `systemctl status` has it. */
const NOT_THERE = 3;

/** How long each of many managers may take to say how it is. */
const LIST_MS = 3000;

/** How often `--watch` looks. */
const WATCH_MS = 1000;

/** How often it is looked whether a manager has gone, or come, and for how long. */
const LOOK_MS = 10;
const LOOKING_MS = 5000;
/** How long one that was stopped may take to be gone: it writes the last of its log, and sends the last spans. */
const GOING_MS = 60_000;
/** How long one that may have come may take to answer. */
const COME_MS = 500;

/** Sends the order, tells what became of it, and gives the exit status. */
export async function order(request: Exclude<OperatorRequest, { kind: "orderHelp" }>): Promise<number> {
  try {
    if (request.kind === "list") return await list(request.json);
    if (request.kind === "top") return await (await import("./top.ts")).top(await findSocket(request));
    if (request.kind === "logs") return await logs(request);
    return await send(request);
  } catch (error) {
    await print("stderr", `prefork: ${describeError(error)}\n`);
    if (error instanceof UsageError || isForbidden(error)) return 2;
    return error instanceof NoAnswerError && !(error instanceof SilenceError) ? NOT_THERE : 1;
  }
}

async function logs({ name, control, lines, follows }: LogsRequest): Promise<number> {
  const { logFile, name: called } = await meet(await findSocket({ name, control }));
  if (logFile === null) {
    await print(
      "stderr",
      `prefork: Cannot show the log of ${called}: it goes to its standard error; --log-file keeps one\n`,
    );
    return 1;
  }
  await (await import("./logs.ts")).showLog(logFile, lines, follows);
  return 0;
}

async function list(json: boolean): Promise<number> {
  const found = await managers();
  const told = found.flatMap(({ status }) => status ?? []);
  const silent = found.filter(({ silence }) => silence !== undefined);
  if (json) await print("stdout", `${JSON.stringify(told)}\n`);
  else if (found.length === 0) await print("stderr", "prefork: no manager of this user runs\n");
  else await print("stdout", formatList(told, silent.map(({ path }) => nameOfSocket(path))));
  for (const { path, silence } of silent) {
    await print("stderr", `prefork: ${nameOfSocket(path)} is there, and cannot be asked: ${silence}\n`);
  }
  return 0;
}

interface Found {
  readonly path: string;
  /** Undefined if it does not answer. */
  readonly status?: StatusReport;
  /** Why it does not: it may be stopped, or too busy, or this process may not ask. */
  readonly silence?: string;
}

/** The managers of this user. */
async function managers(): Promise<readonly Found[]> {
  const looked = await Promise.all(
    listSockets(currentHost).map(async (path): Promise<readonly Found[]> => {
      try {
        return [{ path, status: await meet(path, LIST_MS) }];
      } catch (error) {
        return await isAnswered(currentHost, path) ? [{ path, silence: printable(describeError(error), 1000) }] : [];
      }
    }),
  );
  return looked.flat();
}

async function send(request: OrderRequest): Promise<number> {
  const path = await findSocket(request);
  if (request.order.do === "status") return await showStatus(path, request);
  if (request.order.do === "stop") return await stop(path, request);
  const { pid } = await meet(path); // one that stands still is found out by that
  const outcome = await ask(currentHost, path, request.order, (text) => hear(text, request));
  if (request.order.do === "upgrade" && outcome?.type === "done") await isSucceeded(path, pid);
  return await tell(outcome, request);
}

async function stop(path: string, request: OrderRequest): Promise<number> {
  let pid: number | undefined;
  try {
    const manager = await meet(path);
    pid = manager.pid;
    const outcome = await ask(currentHost, path, request.order, (text) => hear(text, request));
    if (request.wait && outcome?.type === "done") await seeItGo(pid);
    return await tell(outcome, request, manager.state === "stopping" ? "is under way already" : "has begun");
  } catch (error) {
    const wasSeen = request.control === undefined; // by its name only one is found that answers
    if (!await hasStopped(error, pid, path, wasSeen)) throw error;
    return await tell({ type: "done", text: "stopped" }, request);
  }
}

/**
 * Whether a manager that gave no answer has gone, since somebody else had stopped it: it is as it was asked to be. One that
 * has handed all over has gone, too, and the one after it answers.
 */
async function hasStopped(error: unknown, pid: number | undefined, path: string, wasSeen: boolean): Promise<boolean> {
  if (!(error instanceof NoAnswerError)) return false;
  const isOver = pid === undefined ? wasSeen || error instanceof GoneError : await isGone(pid, LOOKING_MS);
  return isOver && !await isAnswered(currentHost, path);
}

/** Shows how it goes, or waits no longer than until it has begun. */
function hear(progress: string, { wait }: OrderRequest): boolean {
  if (wait) print("stderr", `  ${printable(progress, 1000)}\n`).catch(() => {}); // what comes of it is told all the same
  return !wait;
}

async function tell(outcome: Outcome | undefined, { order }: OrderRequest, how = "has begun"): Promise<number> {
  if (outcome?.type === "failed") {
    const reason = outcome.reason.replace(/^Cannot \w+: /, "");
    const isWhole = reason.startsWith("Cannot "); // it says by itself what failed
    await print("stderr", `prefork: ${isWhole ? "" : `Cannot ${order.do}: `}${printable(reason, 1000)}\n`);
    return 1;
  }
  const text = outcome?.type === "done" ? outcome.text : `the ${order.do} ${how}; --wait waits for its end`;
  await print("stdout", `${printable(text, 1000)}\n`);
  return 0;
}

/**
 * Waits until the process of a manager that has stopped is gone: until then its sockets and files may be in use.
 *
 * @throws {Error} If it stays.
 */
async function seeItGo(pid: number): Promise<void> {
  // Its container ends with process 1, and this process, too. Who lives on is outside, where that is somebody else.
  if (pid === 1) return void await isGone(pid, LOOKING_MS);
  using _said = sayMeanwhile(`waiting for the process of the manager, pid=${pid}, to be gone`);
  if (await isGone(pid, GOING_MS)) return;
  throw new Error(
    `the manager has stopped, but its process, pid=${pid}, is there still after ${GOING_MS / 1000} seconds: ` +
      `kill -KILL ${pid} ends it`,
  );
}

async function isGone(pid: number, ms: number): Promise<boolean> {
  return await within(ms, () => !currentHost.kill(pid, "SIGCONT") || isZombie(pid));
}

/** Whether only its parent is missing, which may never ask for it, as in a container. */
function isZombie(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return /^ [ZX]/.test(stat.slice(stat.lastIndexOf(")") + 1));
  } catch {
    return false; // it is gone by now, or not to be read
  }
}

/** Until the new manager answers, its pid file may name the old one. */
async function isSucceeded(path: string, elder: number): Promise<boolean> {
  return await within(LOOKING_MS, async () => {
    const found = await findManager(currentHost, path, COME_MS).catch(() => undefined);
    return found !== undefined && found.pid !== elder;
  });
}

async function within(ms: number, isSo: () => boolean | Promise<boolean>): Promise<boolean> {
  for (const end = currentHost.now() + ms; currentHost.now() < end;) {
    if (await isSo()) return true;
    await new Promise<void>((resolve) => currentHost.setTimer(LOOK_MS, resolve));
  }
  return false;
}

async function findSocket({ name, control }: Pick<OrderRequest, "name" | "control">): Promise<string> {
  if (control !== undefined) return requireOwn(control);
  if (name !== undefined) return await namedSocket(name);
  const found = await answeredSockets();
  const [only, other] = found;
  if (only === undefined) {
    throw new NoAnswerError(`no manager of this user runs, or none with a socket in ${describePlaces(currentHost)}`);
  }
  if (other === undefined) return only;
  const names = found.map(nameOfSocket).join(", ");
  throw new UsageError(`Cannot tell which manager is meant, of ${names}: give its name`);
}

function requireOwn(path: string): string {
  const whyNot = whyNotAsked(path);
  if (whyNot === undefined) return path;
  throw new NoAnswerError(whyNot);
}

/** The sockets of this user behind which there is somebody; whether one that is stopped answers is not waited for. */
async function answeredSockets(): Promise<readonly string[]> {
  const sockets = listSockets(currentHost);
  const answered = await Promise.all(sockets.map((path) => isAnswered(currentHost, path)));
  return sockets.filter((_, at) => answered[at]);
}

async function namedSocket(name: string): Promise<string> {
  const sockets = await answeredSockets();
  const [path, other] = sockets.filter((path) => nameOfSocket(path) === name);
  if (other !== undefined) {
    throw new UsageError(`Cannot tell which '${name}' is meant, that at ${path} or that at ${other}: give --control`);
  }
  if (path !== undefined) return path;
  const hint = sockets.length === 0
    ? `none has its socket in ${describePlaces(currentHost)}`
    : `there ${sockets.length === 1 ? "is" : "are"} ${sockets.map(nameOfSocket).join(", ")}`;
  throw new NoAnswerError(`no manager is called '${name}': ${hint}`);
}

async function showStatus(path: string, { json, watch }: OrderRequest): Promise<number> {
  const isTerminal = currentCommandLine.isTerminal("stdout");
  while (true) {
    const status = await meet(path);
    const text = json ? `${JSON.stringify(status)}\n` : formatStatus(status);
    const isRead = await print("stdout", watch && isTerminal && !json ? `\x1b[H\x1b[2J${text}` : text);
    if (!watch || !isRead) return 0;
    await new Promise<void>((resolve) => currentHost.setTimer(WATCH_MS, resolve));
  }
}
