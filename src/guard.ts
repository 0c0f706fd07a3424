/**
 * The guard: one small `/bin/sh` a manager, in a session of its own. It reads the process groups of the workers from a
 * pipe, and end of file on that pipe means that the manager is gone, however it went.
 *
 * @module
 */

import { Table } from "./table.ts";
import type { Child, ProcessHost, Timer } from "./types.ts";

/**
 * `c PID` and `w PID` enter a command and a worker of the library, `- PID` takes one out. At the end commands are told
 * to stop at once, unless SIGURG said that they were told; workers of the library see it for themselves and drain. What
 * is left after `$1` or `t` tenths of a second is killed, and the directory of the control socket, `$2` or `d DIR`,
 * goes. A signal ends a `read` as an end of file does, but leaves its mark. Whoever stops all of a service at once does
 * not stop the guard.
 *
 * A command that was made, and is not entered yet, cannot see that its manager is gone. But it has a mark, of which the
 * guard knows the number that was entered last, `n NUMBER`: those that come after it are commands, too. No command has
 * the pipe, so that all of them have their environment by the time of its end.
 */
const SCRIPT = `
commands=' ' workers=' ' tenths=$1 dir=$2 last=0 told= signalled=
trap '' HUP INT TERM
trap 'told=yes signalled=yes' URG
while :; do
  if read -r op pid; then
    case $op in
      c) commands="$commands$pid " ;;
      w) workers="$workers$pid " ;;
      d) dir=$pid ;;
      t) tenths=$pid ;;
      n) last=$pid ;;
      -) case $commands in *" $pid "*) commands="\${commands%% $pid *} \${commands#* $pid }" ;; esac
         case $workers in *" $pid "*) workers="\${workers%% $pid *} \${workers#* $pid }" ;; esac ;;
    esac
  elif [ -n "$signalled" ]; then signalled=
  else break
  fi
done
for found in $(grep -aoHz "^PREFORK_MARK=$3\\.[0-9]*" /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'); do
  [ "\${found##*.}" -gt "$last" ] || continue
  pid=\${found#/proc/}
  commands="$commands\${pid%%/*} "
done
[ -n "$told" ] || for pid in $commands; do kill -TERM -$pid 2>/dev/null; done
left="$commands$workers"
while [ "$tenths" -gt 0 ]; do
  alive=
  for pid in $left; do kill -0 -$pid 2>/dev/null && alive="$alive $pid"; done
  left=$alive
  [ -n "$left" ] || break
  sleep 0.1 2>/dev/null || { sleep 1; tenths=$((tenths - 9)); }
  tenths=$((tenths - 1))
done
for pid in $left; do kill -KILL -$pid 2>/dev/null; done
[ -z "$dir" ] || rm -rf -- "$dir"
`;

/** A guard that ended sooner is started again so much later, or with the next worker: something is wrong with it. */
const STEADY_MS = 1000;

interface Charge {
  readonly pid: number;
  readonly kind: "command" | "worker";
}

/** Watches over a manager's workers. If the guard's process is killed, another one takes its place. */
export class Guard implements Disposable {
  readonly #host: ProcessHost;
  #graceMs: number;
  readonly #charges = new Table<number, Charge>();
  readonly #token = crypto.randomUUID();
  /** How many commands have got a mark. */
  #marks = 0;
  #controlDir: string | undefined;
  #child: Child | undefined;
  #retry: Timer | undefined;

  /**
   * Starts the guard.
   *
   * @param graceMs What workers may take to end by themselves once the manager is gone.
   * @param controlDir The directory to remove then.
   * @throws {Error} If it cannot be started.
   */
  constructor(host: ProcessHost, graceMs: number, controlDir: string | undefined) {
    this.#host = host;
    this.#controlDir = controlDir;
    this.#graceMs = graceMs;
    this.#begin();
  }

  /** Has the directory of the control socket removed once the manager is gone, if it is not known yet. */
  protect(controlDir: string): void {
    if (this.#controlDir === controlDir) return;
    this.#controlDir = controlDir;
    this.#child?.writeStdin(`d ${controlDir}\n`);
  }

  /** Gives workers longer to end by themselves, if this is longer than before. */
  allow(graceMs: number): void {
    if (graceMs <= this.#graceMs) return;
    this.#graceMs = graceMs;
    this.#child?.writeStdin(`t ${tenths(graceMs)}\n`);
  }

  /** What the environment of a command is to have that is made now, and entered next. */
  mark(): { readonly PREFORK_MARK: string } {
    return { PREFORK_MARK: `${this.#token}.${++this.#marks}` };
  }

  /** Enters a worker, which leads a process group. */
  enter(pid: number, kind: Charge["kind"]): void {
    const charge = { pid, kind };
    this.#charges.set(pid, charge);
    if (this.#child === undefined) this.#beginAgain();
    else this.#child.writeStdin(entry(charge) + (kind === "command" ? this.#entered : ""));
  }

  /** Says that all commands are entered which have a mark. */
  get #entered(): string {
    return `n ${this.#marks}\n`;
  }

  /** Takes a worker out: its number may soon be somebody else's. */
  leave(pid: number): void {
    this.#charges.delete(pid);
    this.#child?.writeStdin(`- ${pid}\n`);
  }

  /** The manager is about to die, and has told all workers itself. */
  told(): void {
    if (this.#child) this.#host.kill(this.#child.pid, "SIGURG");
  }

  /** Ends the guard; nobody is left for it to watch. */
  [Symbol.dispose](): void {
    const child = this.#child;
    this.#child = undefined;
    this.#retry?.[Symbol.dispose]();
    if (child) this.#host.kill(child.pid, "SIGKILL");
  }

  #begin(): void {
    const child = this.#host.spawn({
      command: "/bin/sh",
      args: ["-c", SCRIPT, "prefork-guard", tenths(this.#graceMs), this.#controlDir ?? "", this.#token],
      env: {},
      cwd: "/",
      stdin: "pipe",
      stdout: "null",
      stderr: "null",
    });
    child.unref();
    this.#child = child;
    const startedAt = this.#host.now();
    child.exited.then(() => {
      if (this.#child !== child) return;
      this.#child = undefined;
      if (this.#host.now() - startedAt >= STEADY_MS) this.#beginAgain();
      else this.#beginLater();
    });
  }

  /** In a pool at rest no worker comes that would have it started. */
  #beginLater(): void {
    this.#retry?.[Symbol.dispose]();
    this.#retry = this.#host.setTimer(STEADY_MS, () => {
      if (this.#child === undefined) this.#beginAgain();
    });
    this.#retry.unref();
  }

  #beginAgain(): void {
    try {
      this.#begin();
    } catch {
      return this.#beginLater(); // no process to be had now
    }
    for (const charge of this.#charges.values()) this.#child?.writeStdin(entry(charge));
    if (this.#marks > 0) this.#child?.writeStdin(this.#entered);
  }
}

function tenths(ms: number): string {
  return String(Math.ceil(ms / 100));
}

function entry({ pid, kind }: Charge): string {
  return `${kind === "command" ? "c" : "w"} ${pid}\n`;
}
