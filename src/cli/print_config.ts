/**
 * `--print-config`: what each option is, and who says so.
 *
 * @module
 */

import { currentCommandLine } from "../../runtimes/current_cli.ts";
import { stopTimeoutFor } from "../options.ts";
import type { ProcessHost } from "../types.ts";
import type { Given, RunRequest } from "./request.ts";
import { UsageError } from "./usage_error.ts";
import { DEFAULT_TRAP_TEXTS, parseTrap } from "./values.ts";
import { readVariables, type Variables } from "./variables.ts";

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

/** A line for each option that holds, those by default last; and what is wrong with the file of variables. */
export function formatConfig(request: RunRequest, host: ProcessHost): string {
  const { target, targetOrigin, given } = request;
  const what = target.type === "module" ? target.module : target.command;
  const told = given.filter(({ name }) => name !== "--print-config" && name !== "--config");
  const { rows: byVariable, mistake } = byVariables(request, host);
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
  const lines = rows.map((row) => `${row.name.padEnd(name)}  ${row.text.padEnd(text)}  ${row.origin}\n`);
  return [...lines, ...mistake === undefined ? [] : [`${mistake}\n`]].join("");
}

interface ByVariables {
  readonly rows: readonly Given[];
  /** Why the file of variables cannot be used. */
  readonly mistake?: string;
}

/** Modules listen where PORT says; a command that is told its port by it does so itself. */
function byVariables({ target, given, options: { envFile } }: RunRequest, host: ProcessHost): ByVariables {
  const { variables, mistake } = tryVariables(envFile, host);
  const rows = Object.entries(VARIABLES).flatMap(([name, variable]) => {
    const text = variables.lookup(variable) ?? "";
    const isFor = text !== "" && !isGiven(given, name) && (name !== "--listen" || target.type === "module");
    const origin = Object.hasOwn(variables.filed, variable) ? `${variable} in ${envFile}` : variable;
    return isFor ? [{ name, text, origin }] : [];
  });
  return mistake === undefined ? { rows } : { rows, mistake };
}

/** Whoever asks what holds is told all the rest where the file cannot be read. */
function tryVariables(
  envFile: string | undefined,
  host: ProcessHost,
): { readonly variables: Variables; readonly mistake?: string } {
  const here = currentCommandLine.cwd();
  try {
    return { variables: readVariables(envFile, here, host) };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return { variables: readVariables(undefined, here, host), mistake: error.message };
  }
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
