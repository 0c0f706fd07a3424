/**
 * Keeps a new manager from outliving the one that started it before it has proved itself: whatever it does, even if it
 * hangs. One small `/bin/sh`, for the time of an upgrade only.
 *
 * @module
 */

import type { Child, ProcessHost } from "./types.ts";

/** How long a new manager may take to see that the old one is gone, in tenths of a second. */
const PATIENCE = 100;

/**
 * End of file means that the old manager is gone. A new one that sees it removes the directory of the upgrade, `$2`,
 * whether it goes on or ends. One that does not is killed with its process group, `$3`, and the directory goes.
 */
const SCRIPT = `
trap '' HUP INT TERM
while read -r never; do :; done
tenths=$1
while [ -d "$2" ] && kill -0 -"$3" 2>/dev/null; do
  [ "$tenths" -gt 0 ] || { kill -KILL -"$3"; break; }
  sleep 0.1 2>/dev/null || { sleep 1; tenths=$((tenths - 9)); }
  tenths=$((tenths - 1))
done
rm -rf -- "$2"
`;

/** Ties the manager `pid` to this process until disposed of; without a shell that may be run, it is on its own. */
export function leash(host: ProcessHost, dir: string, pid: number): Disposable {
  let child = host.mayRun("/bin/sh") ? begin(host, dir, pid) : undefined;
  const forget = (): void => child = undefined; // its number may soon be somebody else's
  child?.exited.then(forget);
  return {
    [Symbol.dispose]() {
      if (child) host.kill(child.pid, "SIGKILL");
      forget();
    },
  };
}

function begin(host: ProcessHost, dir: string, pid: number): Child | undefined {
  try {
    const child = host.spawn({
      command: "/bin/sh",
      args: ["-c", SCRIPT, "prefork-leash", String(PATIENCE), dir, String(pid)],
      env: {},
      cwd: "/",
      stdin: "pipe",
      stdout: "null",
      stderr: "null",
    });
    child.unref();
    return child;
  } catch {
    return undefined; // no process to be had now: what is left then is that the new manager looks for itself
  }
}
