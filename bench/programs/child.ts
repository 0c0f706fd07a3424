// deno-lint-ignore-file no-console
// The least by hand: one child, and a handler for SIGTERM.
import { currentHost } from "../../runtimes/current.ts";

const child = currentHost.spawn({ command: "sleep", args: ["1000"], env: {} });
currentHost.onSignal("SIGTERM", () => currentHost.kill(child.pid, "SIGTERM"));
console.log("up");
await child.exited;
currentHost.exit(0);
