/**
 * `--print-config`: what each option is, and who says so.
 *
 * @module
 */

import { currentCommandLine } from "../../runtimes/current_cli.ts";
import { stopTimeoutFor } from "../options.ts";
import type { ProcessHost } from "../types.ts";
import type { Given, RunRequest } from "./request.ts";
import { DEFAULT_TRAP_TEXTS, parseTrap } from "./values.ts";
import { readVariables } from "./variables.ts";

/** What holds where nobody says otherwise. Options that are not here are off. */
const DEFAULTS: Readonly<Record<string, string>> = {
  "--workers": "one for each CPU",
  "--standby": "0",
  "--surge": "1",
  "--unavailable": "0",
  "--boot-timeout": "30s",
  "--drain-timeout": "10s",
  "--backlog": "4095",
};

/** Variables that stand for an option which nobody gives. */
const VARIABLES: Readonly<Record<string, string>> = { "--workers": "WEB_CONCURRENCY", "--listen": "PORT" };

/**
 * A line for each option that holds, those by default last.
 *
 * @throws {UsageError} If the file of variables cannot be used.
 */
export function formatConfig(request: RunRequest, host: ProcessHost): string {
  const { target, targetOrigin, given } = request;
  const what = target.type === "module" ? target.module : target.command;
  const told = given.filter(({ name }) => name !== "--print-config" && name !== "--config");
  const byVariable = byVariables(request, host);
  const rows: readonly Given[] = [
    {
      name: target.type === "module" ? "worker" : "command",
      text: quoted([what, ...target.args]),
      origin: targetOrigin,
    },
    ...told,
    ...byVariable,
    ...byDefault([...given, ...byVariable], { "--stop-timeout": stopTimeout(request) }),
  ];
  const [name, text] = [widest(rows.map((row) => row.name)), widest(rows.map((row) => row.text))];
  return rows.map((row) => `${row.name.padEnd(name)}  ${row.text.padEnd(text)}  ${row.origin}\n`).join("");
}

/** Modules listen where PORT says; a command that is told its port by it does so itself. */
function byVariables({ target, given, options: { envFile } }: RunRequest, host: ProcessHost): readonly Given[] {
  const { filed, lookup } = readVariables(envFile, currentCommandLine.cwd(), host);
  return Object.entries(VARIABLES).flatMap(([name, variable]) => {
    const text = lookup(variable) ?? "";
    const isFor = text !== "" && !isGiven(given, name) && (name !== "--listen" || target.type === "module");
    const origin = Object.hasOwn(filed, variable) ? `${variable} in ${envFile}` : variable;
    return isFor ? [{ name, text, origin }] : [];
  });
}

function stopTimeout({ options: { drainTimeoutMs } }: RunRequest): string {
  return `${stopTimeoutFor(drainTimeoutMs) / 1000}s`;
}

function byDefault(said: readonly Given[], more: Readonly<Record<string, string>>): readonly Given[] {
  const trapped = new Set(said.filter(({ name }) => name === "--trap").map(({ text }) => parseTrap(text)[0]));
  return [
    ...DEFAULT_TRAP_TEXTS.filter((text) => !trapped.has(parseTrap(text)[0])).map((text) => ({ name: "--trap", text })),
    ...Object.entries({ ...DEFAULTS, ...more }).filter(([name]) => !isGiven(said, name)).map(([name, text]) => ({
      name,
      text,
    })),
  ].map((row) => ({ ...row, origin: "default" }));
}

function isGiven(given: readonly Given[], wanted: string): boolean {
  return given.some(({ name }) => name === wanted);
}

function widest(texts: readonly string[]): number {
  return Math.max(...texts.map((text) => text.length));
}

/** As a shell would want them. */
function quoted(words: readonly string[]): string {
  return words.map((word) => /^[\w./:@=,+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`).join(" ");
}
