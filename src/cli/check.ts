/**
 * `prefork check WORKER`: boots one worker as a pool would, but on an address of its own, and tells whether it comes to be
 * ready.
 *
 * @module
 */

import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import { currentLibc } from "../../runtimes/current_libc.ts";
import { describeError, type PreforkEvent } from "../events.ts";
import { fixedPool } from "../policy.ts";
import type { Prefork } from "../prefork.ts";
import { checkReadyWhen, questionFor } from "../ready_when.ts";
import { STOP_SIGNALS } from "../signals.ts";
import { applyLimits } from "./limits.ts";
import type { Init } from "./init.ts";
import { sayAtTerminal } from "./meanwhile.ts";
import { openOutlets, type Outlets, PATIENCE_MS } from "./outlets.ts";
import { OutputRelay } from "./output.ts";
import type { RunRequest } from "./request.ts";
import { describeWork, makePool, poolOptions, readingOutput, startWork } from "./pool_options.ts";
import { prepare, type Prepared } from "./prepare.ts";
import { UsageError } from "./usage_error.ts";

/** How long somebody else may take to accept a connection; where nobody listens that is told at once. */
const STRANGER_MS = 10_000;

/** It would not come to be ready. */
const NOT_READY = 3;

/**
 * Checks a worker, and gives the exit status.
 *
 * @param init Where this is process 1.
 */
export async function check(request: RunRequest, init?: Init): Promise<number> {
  init?.listenForTraps(request.trapSignals);
  const outlets = openOutlets(request.options);
  try {
    applyLimits(request.options, currentLibc);
    const prepared = await prepare(apart(request), currentHost, currentCommandLine);
    return await tryWorker(request, prepared, outlets, init);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    outlets.complain(error.message);
    return 2;
  } finally {
    await outlets.drain();
  }
}

/** Where the pool would listen somebody may listen already: the very pool that is to be reloaded. */
function apart(request: RunRequest): RunRequest {
  const { listen, socketMode: _mode, socketOwner: _owner, ...rest } = request.options;
  const isServing = listen !== undefined || (currentHost.getEnv("PORT") ?? "") !== "";
  const own = (listen ?? ["8080"]).map((text) => `${/^[\w.-]+=/.exec(text)?.[0] ?? ""}127.0.0.1:0`);
  return { ...request, options: { ...rest, workers: 1, ...isServing ? { listen: own } : {} } };
}

async function tryWorker(
  request: RunRequest,
  prepared: Prepared,
  outlets: Outlets,
  init: Init | undefined,
): Promise<number> {
  const relay = new OutputRelay(outlets.streams);
  const pool = await makePool({
    ...poolOptions(request, prepared),
    maxWorkers: 1,
    maxBootFailures: 1,
    standby: 0,
    drainDelayMs: 0,
    policy: fixedPool(),
    ...readingOutput(relay, request),
  }, outlets.log);
  await refuseStranger(request, prepared);
  using stack = new DisposableStack();
  // Nothing is served: whoever interrupts does not want to wait for a worker that hangs in its boot.
  let isInterrupted = false;
  for (const signal of STOP_SIGNALS) {
    stack.use(currentHost.onSignal(signal, () => {
      isInterrupted = true;
      pool.signalAllChildren("SIGKILL");
    }));
  }
  if (init?.isToStop) isInterrupted = true; // before anybody else listened
  const begun = currentHost.now();
  const what = describeWork(request);
  const watched = watch(pool, what, () => isInterrupted);
  const failure: unknown = await startWork(pool, prepared.work).then(() => undefined, (error) => error);
  const ms = Math.round(currentHost.now() - begun);
  await pool[Symbol.asyncDispose](); // the last event, even if there never was a worker
  const seen = await watched;
  const end = isInterrupted ? INTERRUPTED : seen ?? withoutWorker(failure);
  await relay.ended(PATIENCE_MS);
  if (end.isGood) outlets.streams.stdout.outlet.log(`${what} ${end.what} after ${ms} ms\n`);
  else outlets.complain(`Cannot use ${what}: its worker ${end.what}`);
  return end.isGood ? 0 : NOT_READY;
}

/**
 * Where the manager asks an address, whoever answers there already would be taken for the worker: the pool that serves.
 *
 * @throws {UsageError} If somebody does.
 */
async function refuseStranger({ options: { readyWhen } }: RunRequest, { sockets }: Prepared): Promise<void> {
  if (readyWhen === undefined) return;
  const readiness = checkReadyWhen(readyWhen, sockets.listen.length > 0, 1);
  if (readiness.by === "worker") return;
  const { ask } = await import("../question.ts");
  const { what, at } = questionFor(readiness, { slot: 0, pid: 0 });
  const { signal } = new AbortController();
  if (await ask({ what, at }, { host: currentHost, timeoutMs: STRANGER_MS, signal }) !== undefined) return;
  throw new UsageError(
    `Cannot check by ${what}: somebody listens there already, and would be taken for the worker; ` +
      "check where nothing serves, or by a path such as --ready-when /healthz",
  );
}

interface End {
  readonly isGood: boolean;
  readonly what: string;
}

const INTERRUPTED: End = { isGood: false, what: "was not ready when the check was interrupted" };

/** Waits until a worker is ready, or has ended, and stops the pool then. */
async function watch(pool: Prefork, what: string, isInterrupted: () => boolean): Promise<End | undefined> {
  using _said = sayAtTerminal(`waiting for a worker of ${what} to be ready`);
  for await (const event of pool) {
    if (event.type === "spawn" && isInterrupted()) pool.signalAllChildren("SIGKILL"); // it was in the making
    const end = endBy(event);
    if (end === undefined) continue;
    pool.signalReceived = "SIGTERM";
    return end;
  }
  return undefined;
}

function withoutWorker(failure: unknown): End {
  return { isGood: false, what: failure === undefined ? "was told to stop" : `cannot run: ${describeError(failure)}` };
}

function endBy(event: PreforkEvent): End | undefined {
  switch (event.type) {
    case "ready":
      return { isGood: true, what: "is ready" };
    case "reap":
      return { isGood: event.expected, what: event.expected ? "has done its work" : event.reason };
    case "spawnError":
      return { isGood: false, what: `could not be started: ${describeError(event.error)}` };
    default:
      return undefined;
  }
}
