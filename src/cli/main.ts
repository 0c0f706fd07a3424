/**
 * The command line: `deno run -A mod.ts WORKER`, `bun run mod.ts WORKER`. Loads little before it knows what is asked.
 *
 * @module
 */

import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import type { Init } from "./init.ts";
import type { Request } from "./request.ts";
import { print } from "./print.ts";
import { isForbidden, UsageError } from "./usage_error.ts";

/** Does what `args` ask for, and gives the exit status. */
export async function main(args: readonly string[] = currentCommandLine.args): Promise<number> {
  try {
    return await obey(args);
  } catch (error) {
    const isMistake = error instanceof UsageError || isForbidden(error);
    if (!isMistake && !isOfSystem(error)) throw error;
    await print("stderr", `prefork: ${error.message}\n`).catch(() => false);
    return isMistake ? 2 : 1;
  }
}

/** Such as a full disk. */
function isOfSystem(error: unknown): error is Error {
  return error instanceof Error && "code" in error && typeof error.code === "string" && /^E[A-Z]+$/.test(error.code);
}

async function obey(args: readonly string[]): Promise<number> {
  const said = await sayAlone(args);
  if (said !== undefined) return said;
  using init = await listenAsInit();
  return await obeyAsRead(args, await import("./parse.ts"), init);
}

/** Answers whoever asks for nothing else; they wait for no parser. */
async function sayAlone(args: readonly string[]): Promise<number | undefined> {
  if (args.length !== 1) return undefined;
  if (args[0] === "--help" || args[0] === "-h") return await sayHelp();
  return args[0] === "--version" || args[0] === "-V" ? await sayVersion() : undefined;
}

async function sayHelp(): Promise<0> {
  await print("stdout", (await import("./help.ts")).HELP);
  return 0;
}

async function sayVersion(): Promise<0> {
  await print("stdout", `prefork ${(await import("../version.ts")).VERSION} (${currentCommandLine.version})\n`);
  return 0;
}

type Parser = typeof import("./parse.ts");

async function obeyAsRead(args: readonly string[], parser: Parser, init: Init | undefined): Promise<number> {
  await takeUp();
  const file = await findFile(args, parser);
  const request = file === undefined ? parser.parse(args) : await parseWithConfig(args, parser, file);
  switch (request.kind) {
    case "help":
      return await sayHelp();
    case "version":
      return await sayVersion();
    case "error":
      await print("stderr", `prefork: ${request.message}\n`);
      return 2;
    case "orderHelp":
      await print("stdout", (await import("./help.ts")).ORDER_HELP);
      return 0;
    case "completion":
      return await complete(request.shell);
    case "order":
    case "top":
    case "logs":
    case "list":
      return await (await import("./order.ts")).order(request);
    case "check":
      return await (await import("./check.ts")).check(request.run, init);
    case "run":
      if (request.options.printConfig) {
        await print("stdout", (await import("./print_config.ts")).formatConfig(request, currentHost));
        return 0;
      }
      if (request.options.daemonize) return await (await import("./daemonize.ts")).daemonize(request);
      return await (await import("./run.ts")).run(request, {
        init,
        reread: file === undefined ? undefined : () => parseWithConfig(args, parser, file),
      });
  }
}

/**
 * Process 1 listens before it starts any process, such as that of a configuration file: until then a signal is lost to
 * it, and from then on may be its end. Any other process loads nothing for that.
 */
async function listenAsInit(): Promise<Init | undefined> {
  return currentHost.pid === 1 ? (await import("./init.ts")).Init.open(currentHost) : undefined;
}

/**
 * A manager that is to take over from another takes what that has given it before it starts any process, such as that of a
 * configuration file, which could take it for its own.
 */
async function takeUp(): Promise<void> {
  const { UPGRADE_VARIABLE } = await import("../handover.ts");
  if (currentHost.getEnv(UPGRADE_VARIABLE) !== undefined) await import("../takeover.ts");
}

async function complete(shell: string | undefined): Promise<number> {
  try {
    await print("stdout", (await import("./completion.ts")).completionFor(shell));
    return 0;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    await print("stderr", `prefork: ${error.message}\n`);
    return 2;
  }
}

/** The configuration file that is named, or the first of those that may be there. */
async function findFile(args: readonly string[], { findConfig }: Parser): Promise<string | undefined> {
  const { file, isComplete } = findConfig(args);
  if (file !== undefined || isComplete) return file;
  return (await import("./config.ts")).findConfigFile(currentCommandLine.cwd());
}

async function parseWithConfig(args: readonly string[], { parse }: Parser, file: string): Promise<Request> {
  const { readConfig } = await import("./config.ts");
  try {
    return parse(args, await readConfig(currentHost, file, currentCommandLine.cwd()));
  } catch (error) {
    if (error instanceof UsageError) return { kind: "error", message: error.message };
    throw error;
  }
}
