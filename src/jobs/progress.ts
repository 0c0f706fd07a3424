/**
 * How far jobs have come.
 *
 * @module
 */

import type { ProcessHost } from "../types.ts";

/** How many jobs there are, and how far they have come. */
export interface Progress {
  /** Those that no worker has. */
  readonly waiting: number;
  /** Those that workers have. */
  readonly running: number;
  /** Those that are done. */
  readonly done: number;
  /** Those that have failed. */
  readonly failed: number;
  /** How many there are to be; undefined if that is not known. */
  readonly total: number | undefined;
}

declare const process: { readonly stderr?: { readonly isTTY?: boolean } } | undefined;

const WIDTH = 30;

/** How often a bar is drawn at most. */
const DRAW_MS = 100;

/** A bar on a terminal. Nothing where there is none. */
export class ProgressBar {
  readonly #host: Pick<ProcessHost, "now" | "write">;
  readonly #isShown: boolean;
  #drawnAt = -Infinity;
  /** What the line is to say; undefined if none is begun. */
  #last: Progress | undefined;

  constructor(
    host: Pick<ProcessHost, "now" | "write">,
    isShown: boolean = typeof process === "object" && process.stderr?.isTTY === true,
  ) {
    this.#host = host;
    this.#isShown = isShown;
  }

  /** Draws it anew, if it is time; where it is known how many jobs there are, the last one always. */
  readonly show = (progress: Progress): void => {
    if (!this.#isShown) return;
    this.#last = progress;
    if (progress.done + progress.failed === progress.total) return this.end();
    const now = this.#host.now();
    if (now - this.#drawnAt < DRAW_MS) return;
    this.#drawnAt = now;
    this.#host.write(lineOf(progress));
  };

  /** Draws the last of it, and leaves the line. */
  end(): void {
    if (this.#last === undefined) return;
    this.#host.write(`${lineOf(this.#last)}\n`);
    this.#last = undefined;
    this.#drawnAt = -Infinity;
  }
}

function lineOf(progress: Progress): string {
  return `\r${draw(progress)}\x1b[K`;
}

/** A bar, and what it says in numbers. */
export function draw({ running, waiting, done, failed, total }: Progress): string {
  const over = done + failed;
  const all = total ?? over + running + waiting;
  const filled = all === 0 ? WIDTH : Math.min(WIDTH, Math.floor(WIDTH * over / all));
  const bar = `[${"#".repeat(filled)}${"-".repeat(WIDTH - filled)}]`;
  return `${bar} ${over} of ${all}${failed === 0 ? "" : `, ${failed} failed`}`;
}
