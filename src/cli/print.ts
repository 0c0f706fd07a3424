/**
 * What a command has to say, on its own streams.
 *
 * @module
 */

import { currentCommandLine } from "../../runtimes/current_cli.ts";

/** Whether it was read: a reader that is gone, as in `--help | head -1`, is no failure. */
export async function print(stream: "stdout" | "stderr", text: string): Promise<boolean> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) {
    const written = await currentCommandLine.write(stream, bytes.subarray(at)).catch(() => undefined);
    if (written === undefined) return false;
    at += written;
  }
  return true;
}
