/**
 * Numbered lines that can be told whole from torn: what the workers of `fixtures/chatter.ts` print, read back.
 *
 * @module
 */

import type { WorkerInfo } from "../../mod.ts";

/** The standard streams, as they are named in the lines. */
export const VOICES = ["out", "err"] as const;

/** A standard stream of a worker. */
export type Voice = (typeof VOICES)[number];

/** One to four bytes each, so that a cut within a character shows. */
const FILLER = "0a,ß漢🙂 ";

/** How much is said in a line: mostly little, now and then more than a pipe takes at once. */
function lengthOf(number: number): number {
  if (number % 499 === 0) return 4000;
  if (number % 97 === 0) return 600;
  return number % 23;
}

/** What a worker is called: process ids come again in long runs, but not within a generation. */
export function nameOf({ generation, pid }: Pick<WorkerInfo, "generation" | "pid">): string {
  return `${generation}-${pid}`;
}

/** A line, without its end. */
export function chat(voice: Voice, name: string, number: number): string {
  return `${voice} ${name} ${number} ${FILLER.repeat(lengthOf(number))}`;
}

/** The last line of a voice. */
export function lastChat(voice: Voice, name: string, lines: number): string {
  return `${voice} ${name} ends after ${lines}`;
}

/** What was heard of a voice. */
interface Heard {
  readonly lines: number;
  /** How many it says it has said, in the end. */
  readonly said?: number;
  /** The last line broke off. */
  readonly isTorn?: boolean;
}

/** Hears lines of many workers, and notes whatever is not as it was said. */
export class Audience {
  /** What was not as it should be. */
  readonly problems: string[] = [];
  lines = 0;
  bytes = 0;
  readonly #heard = new Map<string, Heard>();
  readonly #isOther: (line: string) => boolean;

  /** @param isOther Whether a line is a whole one of somebody else's, such as one of the log. */
  constructor(isOther: (line: string) => boolean) {
    this.#isOther = isOther;
  }

  /** Hears a line. */
  hear(line: string): void {
    const [, voice, name = "", number] = /^(out|err) (\d+-\d+) (?:(\d+) |ends after )/.exec(line) ?? [];
    if (voice !== "out" && voice !== "err") {
      if (!this.#isOther(line)) this.#complain("neither said by a worker nor by the manager", line);
      return;
    }
    this.lines++;
    this.bytes += new TextEncoder().encode(line).length + 1;
    const heard = this.heardOf(voice, name);
    if (heard.isTorn || heard.said !== undefined) this.#complain("after the end", line);
    const next = number === undefined ? this.#hearLast(line, heard) : this.#hearOne(voice, line, Number(number), heard);
    this.#heard.set(`${voice} ${name}`, next);
  }

  /** What was heard of one so far. */
  heardOf(voice: Voice, name: string): Heard {
    return this.#heard.get(`${voice} ${name}`) ?? { lines: 0 };
  }

  /** The workers that were heard. */
  get names(): readonly string[] {
    return [...new Set([...this.#heard.keys()].map((key) => key.split(" ")[1] ?? ""))];
  }

  #hearOne(voice: Voice, line: string, number: number, heard: Heard): Heard {
    const [, name = ""] = line.split(" ");
    const whole = chat(voice, name, number);
    if (number !== heard.lines + 1) this.#complain(`in the place of number ${heard.lines + 1}`, line);
    if (line === whole) return { lines: number };
    if (!whole.startsWith(line.replace(/\ufffd+$/, ""))) this.#complain("not what was said", line);
    return { lines: heard.lines, isTorn: true };
  }

  #hearLast(line: string, heard: Heard): Heard {
    const said = Number(/\d+$/.exec(line)?.[0]);
    if (said !== heard.lines) this.#complain(`after ${heard.lines} lines`, line);
    return { ...heard, said };
  }

  #complain(what: string, line: string): void {
    if (this.problems.length < 20) this.problems.push(`${what}: ${JSON.stringify(line.slice(0, 200))}`);
  }
}
