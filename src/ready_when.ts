/**
 * The option `readyWhen`: what is asked whether a worker is ready.
 *
 * @module
 */

import { checkKeys, checkLeast, show } from "./checks.ts";
import type { Question } from "./question.ts";

/** How a question is asked. Times are in milliseconds. */
export interface ReadyTimes {
  /** How long after one question the next one is asked. @default {100} */
  readonly intervalMs?: number;
  /** How long a question may wait for its answer. @default {1000} */
  readonly timeoutMs?: number;
}

/** Asks by HTTP: ready is who answers with a status from 200 to 299. */
export interface ReadyByHttp extends ReadyTimes {
  /**
   * A path, such as `/healthz`: the worker asks its own server, before that takes a connection of anybody else. Or a whole
   * address, such as `http://127.0.0.1:900{slot}/healthz`: the manager asks a worker that listens by itself. `{slot}` and
   * `{pid}` stand for those of the worker. Certificates are not checked.
   */
  readonly http: string;
}

/** Asks for a connection: ready is who takes it. */
export interface ReadyByTcp extends ReadyTimes {
  /** Where a worker listens by itself: `127.0.0.1:900{slot}`, or `unix:/run/app.{pid}.sock`. */
  readonly tcp: string;
}

/**
 * What a worker is asked, again and again, until it is ready.
 *
 * @example
 * ```ts
 * import type { ReadyWhen } from "@prefork/prefork";
 *
 * const itself: ReadyWhen = { http: "/healthz" }; // workers of worker.serve() and worker.attach()
 * const byTheManager: ReadyWhen = { tcp: "127.0.0.1:900{slot}", intervalMs: 500 }; // any program
 * console.log(itself, byTheManager);
 * ```
 */
export type ReadyWhen = ReadyByHttp | ReadyByTcp;

/** The option, checked, with defaults in place. */
export type Readiness =
  & Required<ReadyTimes>
  & (
    | {
      /** The worker asks its own server. */
      readonly by: "worker";
      readonly path: string;
    }
    | {
      /** The manager asks a worker that listens by itself. */
      readonly by: "manager";
      readonly kind: "http" | "tcp";
      readonly address: string;
    }
  );

/** What tells workers apart. */
interface WorkerName {
  readonly slot: number;
  readonly pid: number;
}

/**
 * Checks the option.
 *
 * @param slots How many slots there are to begin with: each must have an address.
 * @throws {TypeError} If it is of the wrong shape, or names no address.
 * @throws {RangeError} If a number is out of range.
 */
export function checkReadyWhen(option: ReadyWhen, listens: boolean, slots: number): Readiness {
  if (typeof option !== "object" || option === null) {
    throw new TypeError(
      `Cannot use 'readyWhen': it must be as { http: "/healthz" } or { tcp: "127.0.0.1:9000" }, not ${show(option)}`,
    );
  }
  checkKeys("readyWhen", option, ["http", "tcp", "intervalMs", "timeoutMs"]);
  const { intervalMs = 100, timeoutMs = 1000 } = option;
  const times = {
    intervalMs: checkLeast("readyWhen.intervalMs", intervalMs, 1),
    timeoutMs: checkLeast("readyWhen.timeoutMs", timeoutMs, 1),
  };
  const { kind, address } = choose(option);
  if (kind === "http" && address.startsWith("/")) {
    checkPath(address, listens);
    return { ...times, by: "worker", path: address };
  }
  const readiness = { ...times, by: "manager", kind, address } as const;
  for (const slot of [0, Math.max(0, slots - 1)]) questionFor(readiness, { slot, pid: 1 });
  return readiness;
}

function choose(option: ReadyWhen): { readonly kind: "http" | "tcp"; readonly address: string } {
  const given = (["http", "tcp"] as const).filter((kind) => kind in option);
  const [kind] = given;
  if (kind === undefined || given.length > 1) {
    throw new TypeError("Cannot use 'readyWhen': give it one of 'http' and 'tcp'");
  }
  const address: unknown = Reflect.get(option, kind);
  if (typeof address === "string") return { kind, address };
  throw new TypeError(`Cannot use 'readyWhen.${kind}': it must be text, not ${show(address)}`);
}

function checkPath(path: string, listens: boolean): void {
  if (!/^\/(?!\/)[!-~]*$/.test(path)) {
    throw new TypeError(`Cannot use 'readyWhen.http': '${path}' is no path of a URL; give one such as '/healthz'`);
  }
  if (listens) return;
  throw new TypeError(
    `Cannot use 'readyWhen.http' with the path '${path}': the pool listens on nothing, so its workers have no server to ` +
      "ask; set 'listen', or give a whole address such as 'http://127.0.0.1:900{slot}/healthz'",
  );
}

/** Whether a worker and the one that is to replace it would be asked at the same address. */
export function isShared(readiness: Readiness): boolean {
  return readiness.by === "manager" && !readiness.address.includes("{pid}");
}

/**
 * What the manager asks one worker.
 *
 * @throws {TypeError} If the worker has no address by that.
 */
export function questionFor(
  { kind, address }: Extract<Readiness, { by: "manager" }>,
  { slot, pid }: WorkerName,
): Question {
  const text = address.replaceAll("{slot}", String(slot)).replaceAll("{pid}", String(pid));
  const [strange] = /\{[^}]*\}?/.exec(text) ?? [];
  if (strange !== undefined) throw refused(kind, text, `only {slot} and {pid} are replaced, not ${strange}`);
  return kind === "http" ? httpQuestion(text) : tcpQuestion(text);
}

function httpQuestion(text: string): Question {
  if (!URL.canParse(text)) {
    throw refused("http", text, "it is no URL; give a path such as /healthz, or as http://127.0.0.1:9000/healthz");
  }
  const { protocol, hostname, port, pathname, search } = new URL(text);
  const isTls = protocol === "https:";
  if (!isTls && protocol !== "http:") throw refused("http", text, "it must begin with http:// or https://");
  const at = { host: withoutBrackets(hostname), port: Number(port || (isTls ? 443 : 80)) };
  return { what: `GET ${text}`, at, get: { path: pathname + search, isTls } };
}

function tcpQuestion(text: string): Question {
  const what = `connecting to ${text}`;
  const [, path] = /^unix:(.+)$/s.exec(text) ?? [];
  if (path !== undefined) return { what, at: { path } };
  const [, host = "", port = ""] = /^(\[[^\]]+\]|[^:[\]/]+):(\d{1,5})$/.exec(text) ?? [];
  if (host === "") throw refused("tcp", text, "give an address such as 127.0.0.1:9000 or unix:/run/app.sock");
  if (Number(port) < 1 || Number(port) > 65_535) throw refused("tcp", text, `there is no port ${port}`);
  return { what, at: { host: withoutBrackets(host), port: Number(port) } };
}

function withoutBrackets(host: string): string {
  return host.replace(/^\[(.*)\]$/, "$1");
}

function refused(kind: "http" | "tcp", text: string, why: string): TypeError {
  return new TypeError(`Cannot use 'readyWhen.${kind}' as in '${text}': ${why}`);
}
