/**
 * Reads the text of an environment file. Pure.
 *
 * @module
 */

import { UsageError } from "./usage_error.ts";

const NAME = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=[ \t]*/;
const BLANK = /^\s*(#.*)?$/;
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", '"': '"', "\\": "\\" };

/**
 * Gives the variables of a file of `NAME=value` lines, as dotenv reads them: `#` begins a comment, values may be quoted
 * with `'`, `"` or a backtick and then go over several lines, and `\n` is a newline between double quotes.
 *
 * @param file The file's name, for errors.
 */
export function parseEnvFile(file: string, text: string): ReadonlyMap<string, string> {
  const variables = new Map<string, string>();
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/);
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? "";
    if (BLANK.test(line)) continue;
    const [head, name] = NAME.exec(line) ?? [];
    if (head === undefined || name === undefined) throw mistake(file, at, "it is not NAME=value");
    const begin = line.slice(head.length);
    if (!/^['"`]/.test(begin)) {
      variables.set(name, begin.replace(/(^|\s)#.*$/, "").trimEnd());
      continue;
    }
    const { value, lastLine } = readQuoted(file, lines, at, begin);
    variables.set(name, value);
    at = lastLine;
  }
  return variables;
}

function readQuoted(
  file: string,
  lines: readonly string[],
  first: number,
  begin: string,
): { readonly value: string; readonly lastLine: number } {
  const quote = begin.charAt(0);
  let value = begin.slice(1);
  for (let at = first; at < lines.length; at++) {
    if (at > first) value += `\n${lines[at]}`;
    const end = findQuote(value, quote);
    if (end < 0) continue;
    const rest = value.slice(end + 1);
    if (!BLANK.test(rest)) throw mistake(file, at, `something stands after the closing ${quote}`);
    const inside = value.slice(0, end);
    return { value: quote === '"' ? inside.replace(/\\(.)/gs, unescape) : inside, lastLine: at };
  }
  throw mistake(file, first, `the ${quote} is never closed`);
}

function unescape(whole: string, character: string): string {
  return ESCAPES[character] ?? whole;
}

function findQuote(text: string, quote: string): number {
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "\\" && quote === '"') at++;
    else if (text[at] === quote) return at;
  }
  return -1;
}

/** What the line holds may be a secret, and this goes to the log. */
function mistake(file: string, line: number, what: string): UsageError {
  return new UsageError(`Cannot read ${file}, line ${line + 1}: ${what}`);
}
