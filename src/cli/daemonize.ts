/**
 * `--daemonize`: there is no fork, so this program starts itself again, apart from the terminal, and waits until that one
 * is ready, or shows why it did not come to be.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import { describeError, describeStatus } from "../events.ts";
import { LineReader } from "../protocol.ts";
import { signalNumber } from "../signals.ts";
import type { Child, ControlConnection, ControlHandlers, ExitStatus, Signal } from "../types.ts";
import { sayAtTerminal } from "./meanwhile.ts";
import type { RunOptions, RunRequest } from "./request.ts";
import { DAEMONIZE, DAEMONIZED } from "./run_options.ts";
import { print } from "./print.ts";
import { type DaemonMessage, starterSocket } from "./starter.ts";
import { UsageError } from "./usage_error.ts";

/** How long is waited for the last words of a daemon that is gone. */
const LAST_WORDS_MS = 1000;

/** Signals that end the wait, and the daemon with it. */
const INTERRUPTS: readonly Signal[] = ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP"];

/** Starts a daemon, and gives the exit status: 0 if it is ready, else that of the daemon. */
export async function daemonize({ options }: RunRequest): Promise<number> {
  try {
    refuse(options);
    return await startDaemon(options);
  } catch (error) {
    await print("stderr", `prefork: ${describeError(error)}\n`);
    return 2;
  }
}

/** Where nobody could read what it says, or where somebody waits for the end of this very process. */
function refuse({ logFile, listen = [], watch }: RunOptions): void {
  const why = watch ? "--watch waits for saves, with somebody who looks on" : reasonAgainst(listen);
  if (why !== undefined) throw new UsageError(`Cannot use ${DAEMONIZE}: ${why}; leave it out`);
  if (logFile !== undefined) return;
  throw new UsageError(
    `Cannot use ${DAEMONIZE} without --log-file: a daemon has no terminal to write its log to; give it a file, as in ` +
      "--log-file /var/log/web.log",
  );
}

function reasonAgainst(listen: readonly string[]): string | undefined {
  const isSet = (name: string): boolean => (currentHost.getEnv(name) ?? "") !== "";
  if (currentHost.pid === 1) return "this is process 1, with which its container ends";
  if (isSet("NOTIFY_SOCKET")) {
    return "systemd started this process (NOTIFY_SOCKET is set), and watches over it as it is";
  }
  const isGiven = isSet("LISTEN_FDS") || isSet("SERVER_STARTER_PORT") ||
    listen.some((text) => /^([\w.-]+=)?(fd:|inherit$)/.test(text));
  return isGiven ? "whoever gave this process its sockets watches over it as it is" : undefined;
}

async function startDaemon({ logFile }: RunOptions): Promise<number> {
  using stack = new DisposableStack();
  const dir = stack.adopt(await currentHost.privateDir(), (path) => currentHost.removeDir(path));
  const words = new Words();
  stack.use(currentHost.listenControl(starterSocket(dir), (connection) => words.hear(connection)));
  const child = await spawnDaemon(starterSocket(dir));
  const interrupted = Promise.withResolvers<Signal>();
  let isInterrupted = false;
  for (const signal of INTERRUPTS.filter((signal) => !currentHost.isIgnored(signal))) {
    stack.use(currentHost.onSignal(signal, () => {
      end(child, isInterrupted);
      isInterrupted = true;
      interrupted.resolve(signal);
    }));
  }
  const said = sayAtTerminal(`waiting for the daemon, pid=${child.pid}, to be ready`);
  const outcome = await Promise.race([words.ready, child.exited, interrupted.promise]);
  said[Symbol.dispose]();
  if (typeof outcome === "object" && "text" in outcome) {
    child.unref();
    await print("stdout", `${outcome.text}\n`);
    return 0;
  }
  const status = await child.exited;
  if (typeof outcome === "string") return 128 + signalNumber(outcome);
  await words.over(LAST_WORDS_MS);
  const where = logFile !== undefined && existsSync(resolve(currentCommandLine.cwd(), logFile))
    ? `; its log is in ${logFile}`
    : "";
  const more = `prefork: the daemon ${describeStatus(status)} before it was ready${where}\n`;
  await print("stderr", `${words.said}${/(^|\n)$/.test(words.said) ? "" : "\n"}${more}`);
  return codeOf(status);
}

async function spawnDaemon(socket: string): Promise<Child> {
  const { command, args, cwd, env } = await currentHost.managerCommand();
  return currentHost.spawn({
    command,
    args: argsFor(args, currentCommandLine.args, socket),
    cwd,
    clearEnv: env !== undefined,
    env: { ...env },
    stdout: "null",
    stderr: "null",
  });
}

/** The socket goes by an argument: a variable is not for every program on Deno to read. */
function argsFor(all: readonly string[], own: readonly string[], socket: string): readonly string[] {
  const dashes = own.indexOf("--");
  const changed = own.map((word, at) =>
    word === DAEMONIZE && (dashes < 0 || at < dashes) ? `${DAEMONIZED}=${socket}` : word
  );
  return [...all.slice(0, all.length - own.length), ...changed];
}

/** Asks it to stop, and does not ask twice. */
function end({ pid }: Child, isAsked: boolean): void {
  currentHost.kill(isAsked ? -pid : pid, isAsked ? "SIGKILL" : "SIGTERM");
}

/** One that was stopped before it was ready has ended well, but there is no daemon. */
function codeOf(status: ExitStatus): number {
  return status.type === "exited" ? status.code || 1 : 128 + signalNumber(status.signal);
}

/** What the daemon says. */
class Words {
  readonly #ready = Promise.withResolvers<DaemonMessage>();
  readonly #over = Promise.withResolvers<void>();
  /** What is to be shown if it comes to nothing. */
  said = "";

  /** Resolves when it is ready. */
  get ready(): Promise<DaemonMessage> {
    return this.#ready.promise;
  }

  hear(_: ControlConnection): ControlHandlers {
    const lines = new LineReader();
    return {
      data: (chunk) => lines.push(chunk, (line) => this.#take(JSON.parse(line))),
      closed: () => this.#over.resolve(),
    };
  }

  #take(message: DaemonMessage): void {
    if (message.type === "ready") this.#ready.resolve(message);
    else this.said += message.text;
  }

  /** Resolves when it has nothing more to say. */
  async over(patienceMs: number): Promise<void> {
    using _timer = currentHost.setTimer(patienceMs, this.#over.resolve);
    await this.#over.promise;
  }
}
