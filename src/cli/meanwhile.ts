/**
 * A word for whoever waits, where what they wait for takes long.
 *
 * @module
 */

import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import { print } from "./print.ts";

/** How long nobody wonders. */
const SILENT_MS = 500;

/** Says on standard error what is waited for, unless that is over before somebody wonders. */
export function sayMeanwhile(text: string): Disposable {
  return currentHost.setTimer(SILENT_MS, () => {
    print("stderr", `  ${text}\n`).catch(() => {}); // what comes of it is told all the same
  });
}

/** The same, but for somebody at a terminal alone: who reads a file is told by what comes of it. */
export function sayAtTerminal(text: string): Disposable {
  return currentCommandLine.isTerminal("stderr") ? sayMeanwhile(text) : { [Symbol.dispose]() {} };
}
