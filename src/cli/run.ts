/**
 * Runs a pool from the command line until it is told to stop.
 *
 * @module
 */

import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import { currentLibc } from "../../runtimes/current_libc.ts";
import { describeError } from "../events.ts";
import { takeStored } from "../fd_store.ts";
import type { Prefork } from "../prefork.ts";
import { isStopSignal } from "../signals.ts";
import { begin, type Beginning } from "./begin.ts";
import { Changes, readsAnew, tellRefusal } from "./changes.ts";
import type { Init } from "./init.ts";
import type { Log } from "./log.ts";
import { Lingering } from "./lingering.ts";
import { Notifier } from "./notify.ts";
import { Operations } from "./operations.ts";
import { listenToOperator, type OperatorActions, watchTerminal } from "./operator.ts";
import { PATIENCE_MS } from "./outlets.ts";
import { OutputRelay } from "./output.ts";
import { outwait } from "./outwait.ts";
import type { Request, RunRequest } from "./request.ts";
import { describeWork, makePool, poolOptions, readingOutput, startWork } from "./pool_options.ts";
import { prepare, type Prepared } from "./prepare.ts";
import { nameAfter, Presence } from "./presence.ts";
import { Configuration } from "./reconfigure.ts";
import type { StatusServer } from "./status_server.ts";
import { describeCount, describeStop, tellEvents, tellListeners, tellStart, tellStopped } from "./telling.ts";
import { findTracing } from "./tracing.ts";
import { UsageError } from "./usage_error.ts";
import { isMended, openWatch, rereadEnvFile } from "./watching.ts";

/** What a run is told besides the request. */
export interface RunParts {
  /** Where this is process 1. */
  readonly init: Init | undefined;
  /** Reads the configuration file anew, if there is one. */
  readonly reread: (() => Promise<Request>) | undefined;
}

/** Does what is asked for, and gives the exit status. */
export async function run(request: RunRequest, { init, reread }: RunParts): Promise<number> {
  init?.listenForTraps(request.trapSignals);
  const beginning = await begin(request.options);
  if (beginning === undefined) return 2;
  const { outlets, starter } = beginning;
  try {
    const prepared = await prepare(request, currentHost, currentCommandLine);
    const again = reread ?? rereadEnvFile(request);
    const configuration = again && new Configuration(request, prepared, again);
    return await keepPool(request, prepared, { ...beginning, configuration, hasFile: reread !== undefined, init });
  } catch (error) {
    starter?.say(`prefork: ${describeError(error)}\n`);
    if (error instanceof UsageError) outlets.complain(error.message);
    else throw error;
    return 2;
  } finally {
    await outlets.drain();
    await starter?.told();
    starter?.[Symbol.dispose]();
  }
}

/** What a pool is kept with. */
interface Surroundings extends Beginning {
  readonly configuration: Configuration | undefined;
  /** Whether there is a configuration file. */
  readonly hasFile: boolean;
  readonly init: Init | undefined;
}

async function keepPool(
  request: RunRequest,
  prepared: Prepared,
  { outlets, configuration, hasFile, init, starter, hangUp }: Surroundings,
): Promise<number> {
  const { log } = outlets;
  const warn = (text: string): void => log.tell("warning", text);
  const relay = new OutputRelay(outlets.streams);
  const terminalIsGone = watchTerminal(currentHost);
  const hupReadsAnew = readsAnew(request, configuration);
  takeSockets(prepared);
  const tracing = findTracing((error) => warn(`goes without OpenTelemetry: ${describeError(error)}`));
  await using made = new AsyncDisposableStack();
  const pool = made.use(
    await makePool({
      ...poolOptions(request, prepared),
      ...tracing === undefined ? {} : { tracer: tracing.tracer },
      ...hupReadsAnew ? { trapSignals: { ...request.trapSignals, SIGHUP: false } } : {},
      signal: hangUp.signal,
      ...readingOutput(relay, request, starter?.listeningTo(relay.output)),
    }, log),
  );
  if (init?.isToStop) hangUp.abort(); // only now is there somebody who hears of it
  let refused = (_why: string): void => {}; // until there is somebody to be told
  const changes = new Changes({ pool, configuration, init, log, refused: (why) => refused(why) });
  const hasBegun = () => outwait(currentHost, () => hangUp.signal.aborted, () => pool.generation > 0);
  const reload = (): void => void hasBegun().then(() => changes.reload()).catch(() => {}); // told already
  const actions = actionsOf(pool, changes, log, hangUp, hupReadsAnew ? reload : undefined);
  using _operator = listenToOperator(currentHost, request.trapSignals, terminalIsGone, actions);
  const operations: Operations = new Operations({
    pool,
    host: currentHost,
    facts: () => ({ name: presence.name, runtime: currentCommandLine.version, work: describeWork(request) }),
    changes,
    past: () => statusServer?.past(),
    logFile: outlets.file,
    stop: () => hangUp.abort(),
  });
  const presence = made.use(await openPresence(request, log, operations));
  using statusServer = await openStatus(request, log, operations, presence);
  using notifier = Notifier.open({ host: currentHost, pool, libc: currentLibc, warn });
  refused = (why) => notifier?.refuse(why);
  const watch = await openWatch(request, prepared, log, hasFile, reload);
  const watching = starter?.watching(pool, () => {
    const places = pool.listeners.map(({ text }) => text).join(", ");
    return `${presence.name} pid=${currentHost.pid} ${places === "" ? "runs" : `listens on ${places}`}`;
  });
  const lingering = new Lingering(currentHost, log, () => pool.numWorkers);
  const told = tellEvents(pool, log, [operations, presence, notifier, statusServer, watch, watching, lingering]);
  made.move(); // all is there; what follows has an order of its own for the end
  tellStart(request, prepared, log);
  init?.reap(currentLibc, warn);
  tellListeners(pool, prepared, log);
  const mended = async (error: unknown): Promise<boolean> => {
    if (!await isMended(error, watch, pool, log, hangUp.signal)) return false;
    await configuration?.rework().catch((error: unknown) => warn(describeError(error)));
    return true;
  };
  /** A start() takes the place of a reload that is under way, which is not what whoever asked for that has asked for. */
  const beginAnew = async (): Promise<void> => {
    const isUnderWay = configuration?.isUnderWay ?? false;
    const returned = startWork(pool, configuration?.work ?? prepared.work);
    if (isUnderWay) reload();
    await returned;
  };
  const fail = (text: string): void => {
    log.tell("fatal", text);
    starter?.say(`prefork: ${text}\n`);
  };
  const status = await runUntilStopped(pool, beginAnew, fail, mended);
  await watch?.[Symbol.asyncDispose]();
  notifier?.leave();
  await pool[Symbol.asyncDispose]();
  const killed = await told;
  await relay.ended(PATIENCE_MS);
  await outlets.streams.stdout.outlet.drain(PATIENCE_MS); // both may be one file, in which this is to come last
  if (status === 0) tellStopped(killed, log);
  operations.end(status === 0 ? describeStop(killed) : "gave up");
  await presence[Symbol.asyncDispose]();
  await tracing?.flush(currentHost);
  return status;
}

/** What is done by signals, and told. */
function actionsOf(
  pool: Prefork,
  changes: Changes,
  log: Log,
  hangUp: AbortController,
  reload: (() => void) | undefined,
): OperatorActions {
  return {
    kill(signal) {
      log.tell("warning", `received another ${signal}: workers are killed`);
      pool.signalAllChildren("SIGKILL");
    },
    hangUp() {
      log.tell("info", "the terminal is gone: stopping");
      hangUp.abort();
    },
    reload() {
      if (reload === undefined) return; // what HUP does is the pool's then
      log.tell("info", "received SIGHUP: reload");
      reload();
    },
    resize(signal, by) {
      const maxWorkers = Math.max(0, pool.maxWorkers + by);
      pool.maxWorkers = maxWorkers;
      log.tell("info", `received ${signal}: now ${describeCount(maxWorkers)}`);
    },
    upgrade(signal) {
      log.tell("info", `received ${signal}: upgrade`);
      changes.upgrade().catch((error: unknown) => tellRefusal(error, log));
    },
  };
}

/** Takes what the manager before this one has left with systemd. */
function takeSockets({ sockets }: Prepared): void {
  try {
    takeStored(sockets.listen, currentHost, currentLibc);
  } catch (error) {
    throw new UsageError(describeError(error));
  }
}

/** Whoever cannot be found as was asked does not begin. */
async function openPresence({ options, target }: RunRequest, log: Log, operations: Operations): Promise<Presence> {
  const { control, pidFile, name } = options;
  return await Presence.open({
    host: currentHost,
    line: currentCommandLine,
    log,
    control,
    pidFile,
    name,
    fallbackName: nameAfter(target.type === "module" ? target.module : target.command),
    obey: (order, tell, gone) => operations.obey(order, tell, gone),
  });
}

async function openStatus(
  { options: { statusListen: address, statusTokenFile } }: RunRequest,
  log: Log,
  operations: Operations,
  presence: Presence,
): Promise<StatusServer | undefined> {
  if (address === undefined) return undefined;
  const { StatusServer } = await import("./status_server.ts");
  const { readToken } = await import("./status_access.ts");
  const token = statusTokenFile === undefined ? undefined : readToken(statusTokenFile);
  const notReady = () => operations.notReady();
  const status = () => operations.report();
  const uptimeMs = () => operations.uptimeMs;
  const past = await presence.elderPast();
  return await StatusServer.open({ host: currentHost, log, address, token, notReady, status, uptimeMs, past });
}

async function runUntilStopped(
  pool: Prefork,
  begin: () => Promise<void>,
  fail: (text: string) => void,
  mended: (error: unknown) => Promise<boolean>,
): Promise<number> {
  try {
    do await begin(); while (!isStop(pool.signalReceived));
    await pool.waitAllChildren();
    return 0;
  } catch (error) {
    if (await mended(error)) return await runUntilStopped(pool, begin, fail, mended);
    if (error instanceof Error && error.name === "BootFailureError") return 3; // The log has it, as an event.
    fail(describeError(error));
    return error instanceof Error && error.name === "LostSocketError" ? 1 : 2;
  }
}

function isStop(signal: Prefork["signalReceived"]): boolean {
  return signal !== "" && isStopSignal(signal);
}
