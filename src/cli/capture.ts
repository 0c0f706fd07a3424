/**
 * Runs a small program and reads what it prints.
 *
 * @module
 */

import type { ProcessHost } from "../types.ts";

/** How a program is run. */
export interface CaptureOptions {
  /** When it is killed. */
  readonly timeoutMs?: number;
  readonly cwd?: string;
  /** Variables added to its environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Kills it when it aborts, or has it not started. */
  readonly signal?: AbortSignal;
  /** Where what it prints to standard error goes. */
  readonly stderr?: "inherit" | "null";
}

/** What a program printed to standard output, and how it ended. */
export interface Captured {
  readonly code: number;
  readonly text: string;
  /** Whether it was killed since it took too long. */
  readonly isLate: boolean;
}

/** Runs a program to its end. Undefined if it could not be started, or was not any more. */
export async function capture(
  host: ProcessHost,
  command: string,
  args: readonly string[],
  { timeoutMs = 60_000, cwd, env = {}, signal, stderr = "null" }: CaptureOptions = {},
): Promise<Captured | undefined> {
  if (signal?.aborted) return undefined;
  const decoder = new TextDecoder();
  const ended = Promise.withResolvers<void>();
  let text = "";
  let isLate = false;
  const stdout = (chunk: Uint8Array): void => {
    text += decoder.decode(chunk, { stream: true });
    if (chunk.length === 0) ended.resolve();
  };
  try {
    const place = cwd === undefined ? {} : { cwd };
    const { pid, exited } = host.spawn({ command, args, env: { ...env, LC_ALL: "C" }, stdout, stderr, ...place });
    const kill = (): void => void host.kill(-pid, "SIGKILL");
    using stack = new DisposableStack();
    const giveUp = (): void => {
      isLate = true;
      kill();
    };
    stack.use(host.setTimer(timeoutMs, giveUp));
    signal?.addEventListener("abort", kill);
    stack.defer(() => signal?.removeEventListener("abort", kill));
    const [status] = await Promise.all([exited, ended.promise]);
    return { code: status.type === "exited" ? status.code : 128, text, isLate };
  } catch {
    return undefined;
  }
}
