/**
 * The command line: `deno run -A mod.ts WORKER`, `bun run mod.ts WORKER`. Loads little before it knows what is asked.
 *
 * @module
 */

import { currentCommandLine } from "../../runtimes/current_cli.ts";
import { parse } from "./parse.ts";

/** Does what `args` ask for, and gives the exit status. */
export async function main(args: readonly string[] = currentCommandLine.args): Promise<number> {
  const request = parse(args);
  switch (request.kind) {
    case "help":
      await print("stdout", (await import("./help.ts")).HELP);
      return 0;
    case "version":
      await print("stdout", `prefork ${(await import("../version.ts")).VERSION} (${currentCommandLine.version})\n`);
      return 0;
    case "error":
      await print("stderr", `prefork: ${request.message}\n`);
      return 2;
    case "orderHelp":
      await print("stdout", (await import("./help.ts")).ORDER_HELP);
      return 0;
    case "order":
    case "list":
      return await (await import("./order.ts")).order(request);
    case "check":
      return await (await import("./check.ts")).check(request.run);
    case "run":
      return await (await import("./run.ts")).run(request);
  }
}

/** A reader that is gone, as in `--help | head -1`, is no failure. */
async function print(stream: "stdout" | "stderr", text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) {
    const written = await currentCommandLine.write(stream, bytes.subarray(at)).catch(() => undefined);
    if (written === undefined) return;
    at += written;
  }
}
