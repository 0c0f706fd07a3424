/**
 * Managers of the command line, and their operators.
 *
 * @module
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { StatusReport } from "../../src/operator/report.ts";
import { type Program, type RunOptions, runProgram } from "./run.ts";

export const options = { skip: process.platform !== "linux", timeout: 120_000 };
export const prefork = fileURLToPath(new URL("../../mod.ts", import.meta.url));
export const hello = fileURLToPath(new URL("../../examples/hello.ts", import.meta.url));
export const web = [hello, "-l", "127.0.0.1:0"];
export const build = fileURLToPath(new URL("../fixtures/serve/build.ts", import.meta.url));

/** A manager of the command line, with its runtime directory. */
export function start(args: readonly string[], more: RunOptions = {}): Program {
  return runProgram(prefork, ["--log-format", "plain", ...args], more);
}

export interface Answer {
  readonly code: number | null;
  readonly out: string;
  readonly errors: string;
}

/** Runs a command for the managers whose runtime directory is that of `program`. */
export async function ask(program: { readonly temporary: string }, ...args: readonly string[]): Promise<Answer> {
  await using command = runProgram(prefork, args, { env: { XDG_RUNTIME_DIR: program.temporary } });
  const { code } = await command.waitForEnd();
  return { code, out: command.lines.join("\n"), errors: command.errorLines.join("\n") };
}

export async function statusOf(program: Program, ...args: readonly string[]): Promise<StatusReport> {
  const { code, out, errors } = await ask(program, "status", "--json", ...args);
  assert.equal(code, 0, errors);
  return JSON.parse(out);
}

export const socketOf = (program: Program, name: string) => join(program.temporary, "prefork", `${name}.sock`);

export async function ready(program: Program, count: number): Promise<void> {
  await program.waitForErrorLine(/ is ready$/, { count });
}

export async function end(program: Program, name = "hello"): Promise<void> {
  program.kill("SIGTERM");
  assert.deepEqual(await program.waitForEnd(), { code: 0, signal: null }, program.report());
  assert.equal(existsSync(socketOf(program, name)), false, "the socket's file");
}

export async function portOf(program: Program): Promise<number> {
  const line = await program.waitForErrorLine("listens on ");
  return Number(/:(\d+)( \(|$)/.exec(line)?.[1]);
}
