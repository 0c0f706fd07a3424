/**
 * The guard: one small `/bin/sh` a manager, in a session of its own. It reads the process groups of the workers from a
 * pipe, and end of file on that pipe means that the manager is gone, however it went.
 *
 * @module
 */

import type { Child, ProcessHost } from "./types.ts";

/**
 * `c PID` and `w PID` enter a command and a worker of the library, `- PID` takes one out. At the end commands are told
 * to stop at once, unless SIGURG said that they were told; workers of the library see it for themselves and drain. What
 * is left after `$1` tenths of a second is killed, and the directory of the control socket, `$2`, goes. A signal ends a
 * `read` as an end of file does, but leaves its mark. Whoever stops all of a service at once does not stop the guard.
 */
const SCRIPT = `
commands=' ' workers=' ' told= signalled=
trap '' HUP INT TERM
trap 'told=yes signalled=yes' URG
while :; do
  if read -r op pid; then
    case $op in
      c) commands="$commands$pid " ;;
      w) workers="$workers$pid " ;;
      -) case $commands in *" $pid "*) commands="\${commands%% $pid *} \${commands#* $pid }" ;; esac
         case $workers in *" $pid "*) workers="\${workers%% $pid *} \${workers#* $pid }" ;; esac ;;
    esac
  elif [ -n "$signalled" ]; then signalled=
  else break
  fi
done
[ -n "$told" ] || for pid in $commands; do kill -TERM -$pid 2>/dev/null; done
left="$commands$workers" tenths=$1
while [ "$tenths" -gt 0 ]; do
  alive=
  for pid in $left; do kill -0 -$pid 2>/dev/null && alive="$alive $pid"; done
  left=$alive
  [ -n "$left" ] || break
  sleep 0.1 2>/dev/null || { sleep 1; tenths=$((tenths - 9)); }
  tenths=$((tenths - 1))
done
for pid in $left; do kill -KILL -$pid 2>/dev/null; done
[ -z "$2" ] || rm -rf -- "$2"
`;

/** Watches over a manager's workers. */
export class Guard implements Disposable {
  readonly #host: ProcessHost;
  readonly #child: Child;

  /**
   * Starts the guard.
   *
   * @param graceMs What workers may take to end by themselves once the manager is gone.
   * @param controlDir The directory to remove then.
   */
  constructor(host: ProcessHost, graceMs: number, controlDir: string | undefined) {
    this.#host = host;
    const tenths = String(Math.ceil(graceMs / 100));
    this.#child = host.spawn({
      command: "/bin/sh",
      args: ["-c", SCRIPT, "prefork-guard", tenths, controlDir ?? ""],
      env: {},
      cwd: "/",
      stdin: "pipe",
      stdout: "null",
      stderr: "null",
    });
    this.#child.unref();
  }

  /** Enters a worker, which leads a process group. */
  enter(pid: number, kind: "command" | "worker"): void {
    this.#child.writeStdin(`${kind === "command" ? "c" : "w"} ${pid}\n`);
  }

  /** Takes a worker out: its number may soon be somebody else's. */
  leave(pid: number): void {
    this.#child.writeStdin(`- ${pid}\n`);
  }

  /** The manager is about to die, and has told all workers itself. */
  told(): void {
    this.#host.kill(this.#child.pid, "SIGURG");
  }

  /** Ends the guard; nobody is left for it to watch. */
  [Symbol.dispose](): void {
    this.#host.kill(this.#child.pid, "SIGKILL");
  }
}
