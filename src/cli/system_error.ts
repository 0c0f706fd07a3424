/**
 * What a system says no to, in words: runtimes have words of their own for it, with numbers and names of functions.
 *
 * @module
 */

import { describeError } from "../events.ts";
import { errnoText } from "../libc.ts";

/** The failures that come of what was typed, as Linux numbers them. */
const NUMBERS: Readonly<Record<string, number>> = {
  EPERM: 1,
  ENOENT: 2,
  EACCES: 13,
  ENOTDIR: 20,
  EISDIR: 21,
  ENOSPC: 28,
  EROFS: 30,
  ENAMETOOLONG: 36,
  ELOOP: 40,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
};

/** What it is called, if the system said it. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** What went wrong, in the same words on every runtime. */
export function inWords(error: unknown): string {
  const number = NUMBERS[codeOf(error) ?? ""];
  return number === undefined ? describeError(error) : errnoText(number);
}

/** What went wrong with a file that was to be made, and what to do. */
export function inWordsOfFile(error: unknown, what = "file"): string {
  const code = codeOf(error);
  if (NUMBERS[code ?? ""] === undefined) return describeError(error);
  const mend = code === "ENOENT" ? "make it, or " : code === "EACCES" ? "let this user write there, or " : "";
  return `${inWords(error)}; ${mend}name another ${what}`;
}

/** What went wrong with a port that was to be listened on, and what to do. */
export function inWordsOfPort(error: unknown): string {
  switch (codeOf(error)) {
    case "EADDRINUSE":
      return "another process listens there; stop it, or choose another port";
    case "EADDRNOTAVAIL":
    case "EINVAL": // Deno calls it so
      return `${errnoText(99)}; choose another address`;
    case "EACCES":
      return "permission denied; ports below 1024 need root, choose a higher one";
    default:
      return describeError(error);
  }
}
