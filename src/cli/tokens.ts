/**
 * Reads arguments one after the other: what a row of them says, wherever it stands. Pure.
 *
 * @module
 */

import { nearest } from "../nearest.ts";
import type { Relay, Relays, Signal } from "../types.ts";
import type { Given, RunOptions } from "./request.ts";
import { LONG_NAMES, optionNamed } from "./run_options.ts";
import { UsageError } from "./usage_error.ts";
import { parseTrap } from "./values.ts";

/** What a row of arguments says. */
export interface Said {
  readonly words: readonly string[];
  readonly options: RunOptions;
  readonly traps: Relays;
  readonly denoArgs: readonly string[];
  readonly given: readonly Omit<Given, "origin">[];
}

/** It says nothing, but asks. */
export interface Asked {
  readonly kind: "help" | "version";
}

const SHORT: Readonly<Record<string, string>> = {
  "-w": "--workers",
  "-l": "--listen",
  "-t": "--trap",
  "-h": "--help",
  "-V": "--version",
};

/**
 * Reads arguments, of which none is `--`.
 *
 * @throws {UsageError} If one is no option, or says what cannot be.
 */
export function readTokens(tokens: readonly string[]): Said | Asked {
  const words: string[] = [];
  const denoArgs: string[] = [];
  const traps: [Signal, Relay][] = [];
  const given: { name: string; text: string }[] = [];
  let options: RunOptions = {};
  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at] ?? "";
    if (!token.startsWith("-") || token === "-") {
      words.push(token);
      continue;
    }
    const { name, value } = splitOption(token);
    const option = optionNamed(name);
    let text = value ?? "";
    switch (option?.type) {
      case undefined:
        throw unknownOption(token, name);
      case "permission":
        denoArgs.push(token);
        break;
      case "flag":
        refuseValue(name, value, token);
        options = { ...options, ...option.says };
        break;
      case "question":
        refuseValue(name, value, token);
        return { kind: option.kind };
      case "trap":
      case "value":
        text = value ?? valueAt(tokens, ++at, token, option.example);
        if (text === "") throw withoutValue(name, option.example);
        if (option.type === "trap") traps.push([...parseTrap(text)]);
        else options = { ...options, ...option.read(text, options) };
    }
    given.push({ name, text });
  }
  return { words, options, traps: Object.fromEntries(traps), denoArgs, given };
}

/** `--name=value`, `-w=4` and `-w4` hold their value; short names become long ones. */
function splitOption(token: string): { readonly name: string; readonly value: string | undefined } {
  const equals = token.indexOf("=");
  const name = equals < 0 ? token : token.slice(0, equals);
  const value = equals < 0 ? undefined : token.slice(equals + 1);
  const attached = /^(-[wlt])([^=].*)$/.exec(token);
  if (attached) return { name: SHORT[attached[1] ?? ""] ?? name, value: attached[2] };
  return { name: SHORT[name] ?? name, value };
}

function refuseValue(name: string, value: string | undefined, token: string): void {
  if (value !== undefined) throw new UsageError(`Cannot use a value for ${name}, as in ${token}: it takes none`);
}

function valueAt(own: readonly string[], at: number, option: string, example: string): string {
  const value = own[at];
  if (value !== undefined && (!value.startsWith("-") || /^-\d/.test(value))) return value;
  throw withoutValue(option, example);
}

function withoutValue(option: string, example: string): UsageError {
  return new UsageError(`Cannot use ${option} without a value: give one, as in ${option} ${example}`);
}

function unknownOption(token: string, name: string): UsageError {
  const near = nearest(name, name.startsWith("--") ? LONG_NAMES : []);
  const hint = near === undefined ? "--help lists all" : `did you mean ${near}?`;
  return new UsageError(`Cannot understand ${token}: there is no such option; ${hint}`);
}
