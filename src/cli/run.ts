/**
 * Runs a pool from the command line until it is told to stop.
 *
 * @module
 */

import type { LogLevel } from "@logtape/logtape";
import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import { currentLibc } from "../../runtimes/current_libc.ts";
import { describeError, describeWorker, type PreforkEvent } from "../events.ts";
import type { PreforkOptions, RecycleOptions } from "../options.ts";
import { spareWorkers } from "../policy.ts";
import { Prefork } from "../prefork.ts";
import { isStopSignal } from "../signals.ts";
import { takeoverOn } from "../succession.ts";
import type { WorkerInfo } from "../types.ts";
import type { OutputStream } from "./host.ts";
import { Notifier } from "./notify.ts";
import { type Log, openLog } from "./log.ts";
import { Operations } from "./operations.ts";
import { listenToOperator, watchTerminal } from "./operator.ts";
import { type Dropped, Outlet } from "./outlet.ts";
import { type Destination, OutputRelay, workerPrefix } from "./output.ts";
import type { RunOptions, RunRequest } from "./parse.ts";
import { prepare, type Prepared, type PreparedWork } from "./prepare.ts";
import { nameAfter, Presence } from "./presence.ts";
import { UsageError } from "./usage_error.ts";

/** How many workers may fail before a pool in which none ever became ready is given up. */
const MAX_BOOT_FAILURES = 5;
/** How long a worker may take to stop, whatever for. */
const STOP_TIMEOUT_MS = 30_000;
/** How long the end waits for a reader that takes nothing. */
const PATIENCE_MS = 2000;

type Outlets = Readonly<Record<OutputStream, Destination>>;

/** Does what is asked for, and gives the exit status. */
export async function run(request: RunRequest): Promise<number> {
  const log = openLog({
    format: request.options.logFormat ?? (currentCommandLine.isTerminal("stderr") ? "pretty" : "json"),
    color: wantsColor("stderr"),
    name: request.options.name,
    speaker: () => takeoverOn(currentHost)?.elderPid === undefined ? "" : `new manager pid=${currentHost.pid}: `,
    write: (text) => outlet.log(text),
  });
  const outlets = { stdout: openDestination("stdout", log), stderr: openDestination("stderr", log) };
  const { outlet } = outlets.stderr;
  try {
    const prepared = await prepare(request, currentHost, currentCommandLine);
    return await keepPool(request, prepared, log, outlets);
  } catch (error) {
    if (error instanceof UsageError) outlet.log(`prefork: ${error.message}\n`);
    else throw error;
    return 2;
  } finally {
    await Promise.all([outlets.stdout.outlet.drain(PATIENCE_MS), outlet.drain(PATIENCE_MS)]);
  }
}

function openDestination(stream: OutputStream, log: Log): Destination {
  const describeDropped = (dropped: Dropped): string => {
    const { lines, bytes } = dropped;
    const what = `${stream} was full: ${lines} lines of the log and ${bytes} bytes that workers printed were dropped`;
    return log.format("warning", what, { event: "full", stream, ...dropped });
  };
  const color = wantsColor(stream);
  return {
    outlet: new Outlet((bytes) => currentCommandLine.write(stream, bytes), { describeDropped }),
    prefix: currentCommandLine.isTerminal(stream) ? (slot, pid) => workerPrefix(slot, pid, color) : () => "",
  };
}

function wantsColor(stream: OutputStream): boolean {
  return currentCommandLine.isTerminal(stream) && (currentHost.getEnv("NO_COLOR") ?? "") === "";
}

async function keepPool(request: RunRequest, prepared: Prepared, log: Log, outlets: Outlets): Promise<number> {
  const relay = new OutputRelay(outlets);
  const terminalIsGone = watchTerminal(currentHost);
  const hangUp = new AbortController();
  const pool = makePool({
    ...poolOptions(request, prepared),
    signal: hangUp.signal,
    output: relay.output,
    afterFork: (_, pid) => relay.spawned(pid),
    onChildReap: (_, pid) => relay.reaped(pid),
  }, log);
  const operations: Operations = new Operations({
    pool,
    host: currentHost,
    facts: () => ({ name: presence.name, runtime: currentCommandLine.version, work: describeWork(request) }),
    stop: () => hangUp.abort(),
  });
  const presence = await openPresence(request, log, pool, operations);
  using notifier = Notifier.open({
    host: currentHost,
    pool,
    libc: currentLibc,
    warn: (text) => log.tell("warning", text),
  });
  const told = tellEvents(pool, log, [operations, presence, ...notifier === undefined ? [] : [notifier]]);
  using _operator = listenToOperator(currentHost, request.trapSignals, terminalIsGone, {
    kill(signal) {
      log.tell("warning", `received another ${signal}: workers are killed`);
      pool.signalAllChildren("SIGKILL");
    },
    hangUp() {
      log.tell("info", "the terminal is gone: stopping");
      hangUp.abort();
    },
    resize(signal, by) {
      const maxWorkers = Math.max(0, pool.maxWorkers + by);
      pool.maxWorkers = maxWorkers;
      log.tell("info", `received ${signal}: now ${describeCount(maxWorkers)}`);
    },
    upgrade(signal) {
      log.tell("info", `received ${signal}: upgrade`);
      pool.upgrade().catch((error: unknown) => tellRefusal(error, log));
    },
  });
  log.tell("info", describeStart(request, prepared), { event: "start", pid: currentHost.pid });
  for (const { name, text } of pool.listeners) {
    const { origin } = prepared.sockets;
    const note = [...name === undefined ? [] : [name], ...origin === undefined ? [] : [origin]].join(", ");
    log.tell("info", `listens on ${text}${note === "" ? "" : ` (${note})`}`, { event: "listen", address: text, name });
  }
  const status = await runUntilStopped(pool, prepared.work, log);
  await pool[Symbol.asyncDispose]();
  const killed = await told;
  await relay.ended(PATIENCE_MS);
  await outlets.stdout.outlet.drain(PATIENCE_MS); // both may be one file, in which this is to come last
  if (status === 0) tellStopped(killed, log);
  operations.end(status === 0 ? describeStop(killed) : "gave up");
  await presence[Symbol.asyncDispose]();
  return status;
}

/** Whoever cannot be found as was asked does not begin. */
async function openPresence(
  { options, target }: RunRequest,
  log: Log,
  pool: Prefork,
  operations: Operations,
): Promise<Presence> {
  const { control, pidFile, name } = options;
  try {
    return await Presence.open({
      host: currentHost,
      line: currentCommandLine,
      log,
      control,
      pidFile,
      name,
      fallbackName: nameAfter(target.type === "module" ? target.module : target.command),
      obey: (order, tell) => operations.obey(order, tell),
    });
  } catch (error) {
    await pool[Symbol.asyncDispose]();
    throw error;
  }
}

function poolOptions({ options, trapSignals }: RunRequest, prepared: Prepared): PreforkOptions {
  const {
    bootTimeoutMs,
    readyWhen,
    stopTimeoutMs,
    drainTimeoutMs,
    standby,
    maxSurge,
    maxUnavailable,
    hangTimeoutMs,
    spare,
    name,
    adoption,
  } = options;
  return {
    maxWorkers: prepared.workers,
    listen: prepared.sockets.listen,
    trapSignals,
    maxBootFailures: MAX_BOOT_FAILURES,
    ...(bootTimeoutMs === undefined ? {} : { bootTimeoutMs }),
    ...(readyWhen === undefined ? {} : { readyWhen }),
    ...(stopTimeoutMs === undefined ? {} : { stopTimeoutMs }),
    reloadTimeoutMs: stopTimeoutMs ?? STOP_TIMEOUT_MS,
    ...(standby === undefined ? {} : { standby }),
    ...(maxSurge === undefined ? {} : { maxSurge }),
    ...(maxUnavailable === undefined ? {} : { maxUnavailable }),
    ...(hangTimeoutMs === undefined ? {} : { hangTimeoutMs }),
    recycle: recycling(options),
    ...(drainTimeoutMs === undefined ? {} : { drainTimeoutMs }),
    ...(adoption === undefined ? {} : { adoption }),
    ...(spare === undefined ? {} : { policy: spareWorkers(spare) }),
    ...(name === undefined ? {} : { name }),
    ...(prepared.workerUser === undefined ? {} : { workerUser: prepared.workerUser }),
  };
}

function recycling({ maxRequests, maxLifetimeMs, maxMemoryBytes }: RunOptions): RecycleOptions {
  return {
    ...(maxRequests === undefined ? {} : { maxRequests }),
    ...(maxLifetimeMs === undefined ? {} : { maxLifetimeMs }),
    ...(maxMemoryBytes === undefined ? {} : { maxMemoryBytes }),
  };
}

/**
 * What the library refuses was typed by somebody. What it says of the options goes to the log; of all later lines, the
 * events that they tell of are there already.
 */
function makePool(options: PreforkOptions, log: Log): Prefork {
  let isMade = false;
  const pass = (level: LogLevel) => (message: string): void => {
    if (!isMade) log.tell(level, message);
  };
  const logger = { debug: pass("debug"), info: pass("info"), warn: pass("warning"), error: pass("error") };
  try {
    return new Prefork({ ...options, logger });
  } catch (error) {
    throw new UsageError(inFlags(describeError(error)));
  } finally {
    isMade = true;
  }
}

/** Options of the library, and what was typed for them. */
const FLAGS: Readonly<Record<string, string>> = {
  listen: "-l",
  maxSurge: "--surge",
  maxUnavailable: "--unavailable",
  readyWhen: "--ready-when",
  stopTimeoutMs: "--stop-timeout",
  drainTimeoutMs: "--drain-timeout",
  hangTimeoutMs: "--hang-timeout",
  bootTimeoutMs: "--boot-timeout",
  standby: "--standby",
};

/** What the library says of its options, in the words of the command line. */
function inFlags(text: string): string {
  return text.replace(/'(\w+)(\.(http|tcp))?'/g, (word, name: string) => FLAGS[name] ?? word);
}

async function runUntilStopped(pool: Prefork, work: PreparedWork, log: Log): Promise<number> {
  try {
    do await start(pool, work); while (!isStop(pool.signalReceived));
    await pool.waitAllChildren();
    return 0;
  } catch (error) {
    if (error instanceof Error && error.name === "BootFailureError") return 3; // The log has it, as an event.
    log.tell("fatal", describeError(error));
    return error instanceof Error && error.name === "LostSocketError" ? 1 : 2;
  }
}

function isStop(signal: Prefork["signalReceived"]): boolean {
  return signal !== "" && isStopSignal(signal);
}

function start(pool: Prefork, work: PreparedWork): Promise<true> {
  return work.type === "module" ? pool.startModule(work.module, work.options) : pool.startCommand(work.command);
}

/** Who wants to know what happens. */
interface Heeder {
  heed(event: PreforkEvent): void;
}

/** Logs the events, but the last one: it gives who had to be killed, and is told when all the workers said is told. */
async function tellEvents(
  pool: Prefork,
  log: Log,
  heeders: readonly Heeder[],
): Promise<readonly WorkerInfo[]> {
  let killed: readonly WorkerInfo[] = [];
  for await (const event of pool) {
    for (const heeder of heeders) heeder.heed(event);
    if (event.type === "stopped") killed = event.killed;
    else log.event(event);
  }
  return killed;
}

/** What went wrong after it had begun is an event. */
function tellRefusal(error: unknown, log: Log): void {
  const isTold = error instanceof Error && error.name === "UpgradeError";
  if (!isTold) log.tell("warning", describeError(error));
}

function tellStopped(killed: readonly WorkerInfo[], log: Log): void {
  if (killed.length === 0) return log.tell("info", describeStop(killed), { event: "stop" });
  log.tell("warning", describeStop(killed), { event: "stop", killed: killed.map(({ pid }) => pid) });
}

function describeStop(killed: readonly WorkerInfo[]): string {
  if (killed.length === 0) return "stopped";
  return `stopped; ${describeCount(killed.length)} had to be killed: ${killed.map(describeWorker).join(", ")}`;
}

function describeStart(request: RunRequest, { workers }: Prepared): string {
  const who = `pid=${currentHost.pid} ${currentCommandLine.version}`;
  return `${who} keeps ${describeCount(workers)} of ${describeWork(request)}`;
}

/** Without arguments: they may hold what is not for everybody who reads the log. */
function describeWork({ target }: RunRequest): string {
  return target.type === "module" ? target.module : target.command;
}

function describeCount(workers: number): string {
  return `${workers} worker${workers === 1 ? "" : "s"}`;
}
