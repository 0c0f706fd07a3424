/**
 * Runs a small program and reads what it prints.
 *
 * @module
 */

import type { ProcessHost } from "../types.ts";

/** What a program printed to standard output, and how it ended. */
export interface Captured {
  readonly code: number;
  readonly text: string;
}

/**
 * Runs a program to its end. Undefined if it could not be started.
 *
 * @param timeoutMs When it is killed.
 */
export async function capture(
  host: ProcessHost,
  command: string,
  args: readonly string[],
  timeoutMs = 60_000,
): Promise<Captured | undefined> {
  const decoder = new TextDecoder();
  const ended = Promise.withResolvers<void>();
  let text = "";
  const stdout = (chunk: Uint8Array): void => {
    text += decoder.decode(chunk, { stream: true });
    if (chunk.length === 0) ended.resolve();
  };
  try {
    const { pid, exited } = host.spawn({ command, args, env: { LC_ALL: "C" }, stdout, stderr: "null" });
    using _deadline = host.setTimer(timeoutMs, () => void host.kill(-pid, "SIGKILL"));
    const [status] = await Promise.all([exited, ended.promise]);
    return { code: status.type === "exited" ? status.code : 128, text };
  } catch {
    return undefined;
  }
}
