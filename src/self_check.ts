/**
 * A worker that asks its own server whether it is well, before that takes a connection of anybody else.
 *
 * @module
 */

import { refusal } from "./host_common.ts";
import { ask, checkReach } from "./question.ts";
import { placeOf } from "./relay.ts";
import type { PrivateServer } from "./serving.ts";
import type { ProcessHost } from "./types.ts";

/** The check of one worker. */
export interface SelfCheck {
  /** What is asked for. */
  readonly path: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Whether one of the worker's servers has passed: then it is well, and so are all that come after. */
  passed: boolean;
  /** Tells the manager what was seen in the place of a good answer. */
  tell(saw: string): void;
}

/** Resolves when the worker is well, or was told to stop. */
export async function untilWell(
  host: ProcessHost,
  check: SelfCheck,
  native: PrivateServer,
  signal: AbortSignal,
): Promise<void> {
  if (check.passed) return;
  const what = `GET ${check.path}`;
  if (native.isRaw) {
    throw refusal(
      new Error(`Cannot check by ${what} whether a worker is ready: what it attached does not speak HTTP`),
    );
  }
  const question = { what, at: placeOf(native.address), get: { path: check.path, isTls: native.isTls } };
  checkReach(question);
  let told: string | undefined;
  while (!check.passed && !signal.aborted) {
    const saw = await ask(question, { host, timeoutMs: check.timeoutMs, signal });
    if (signal.aborted) return;
    if (saw === undefined) check.passed = true;
    else if (saw !== told) check.tell(told = saw);
    if (!check.passed) await pause(host, check.intervalMs, signal);
  }
}

async function pause(host: ProcessHost, delayMs: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const wake = (): void => resolve();
  signal.addEventListener("abort", wake, { once: true });
  using _timer = host.setTimer(delayMs, wake);
  await promise;
  signal.removeEventListener("abort", wake);
}
