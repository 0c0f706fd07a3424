/**
 * What a command has to say, on its own streams.
 *
 * @module
 */

import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import type { OutputStream } from "./host.ts";

/** How long to wait for a stream that somebody made non-blocking and that is full. */
const RETRY_MS = 20;

/**
 * Writes a text; false if nobody reads it: a reader that is gone, as in `--help | head -1`, is no failure.
 *
 * @throws {Error} If it cannot be written for another reason, such as a full disk.
 */
export async function print(stream: OutputStream, text: string): Promise<boolean> {
  return await write(stream, new TextEncoder().encode(text));
}

/**
 * Writes all of it; false if the reader is gone.
 *
 * @throws {Error} If it cannot be written for another reason, such as a full disk.
 */
export async function write(stream: OutputStream, bytes: Uint8Array): Promise<boolean> {
  for (let at = 0; at < bytes.length;) {
    try {
      at += await currentCommandLine.write(stream, bytes.subarray(at));
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code === "EPIPE") return false;
      if (code !== "EAGAIN") throw await inSentence(stream, error);
      await new Promise<void>((resolve) => currentHost.setTimer(RETRY_MS, resolve));
    }
  }
  return true;
}

/** The same error, with what it was that failed. */
async function inSentence(stream: OutputStream, error: unknown): Promise<Error> {
  const { codeOf, inWords } = await import("./system_error.ts");
  const name = stream === "stdout" ? "standard output" : "standard error";
  const said = new Error(`Cannot write to ${name}: ${inWords(error)}`, { cause: error });
  return Object.assign(said, { code: codeOf(error) });
}
