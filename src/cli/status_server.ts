/**
 * The state of a manager over HTTP: for probes, for Prometheus, for scripts. Off unless it is asked for.
 *
 * @module
 */

import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { describeError, type PreforkEvent } from "../events.ts";
import { formatMetrics } from "../operator/metrics.ts";
import type { StatusReport } from "../operator/report.ts";
import { takeoverOn } from "../succession.ts";
import type { ProcessHost } from "../types.ts";
import { limitPatience } from "./http_patience.ts";
import type { Log } from "./log.ts";
import { outwait } from "./outwait.ts";
import { UsageError } from "./usage_error.ts";

/** How long a client may be silent, and how many there may be: the descriptors are for workers. */
const IDLE_MS = 10_000;
const MAX_CONNECTIONS = 64;

/** Where to listen. */
export interface StatusAddress {
  readonly host: string;
  readonly port: number;
}

/** What it takes. */
export interface StatusServerParts {
  readonly host: ProcessHost;
  readonly log: Log;
  readonly address: StatusAddress;
  /** What a client must know; nothing if undefined. Probes need not know it. */
  readonly token: string | undefined;
  /** Why the pool is not ready; undefined if it is. */
  readonly notReady: () => string | undefined;
  readonly status: () => Promise<StatusReport>;
}

interface Answer {
  readonly code: number;
  readonly type: string;
  readonly text: string;
}

/** Serves the state of one manager. */
export class StatusServer implements Disposable {
  readonly #parts: StatusServerParts;
  readonly #server: Server;
  #isOver = false;

  /**
   * Listens, unless this manager has yet to take over.
   *
   * @throws {UsageError} If the address cannot be listened on.
   */
  static async open(parts: StatusServerParts): Promise<StatusServer> {
    const server = new StatusServer(parts);
    if (takeoverOn(parts.host)?.elderPid !== undefined) return server;
    try {
      await server.#listen();
    } catch (error) {
      throw new UsageError(
        `Cannot listen on ${formatPlace(parts.address)} for --status-listen: ${describeError(error)}`,
      );
    }
    return server;
  }

  private constructor(parts: StatusServerParts) {
    this.#parts = parts;
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on("connection", (socket) => socket.setTimeout(IDLE_MS, () => socket.destroy()));
    limitPatience(this.#server, parts.host, IDLE_MS);
  }

  /** Something has happened in the pool. */
  heed(event: PreforkEvent): void {
    if (event.type === "takeover") void this.#takeOver();
    if (event.type === "upgraded") this.#close();
  }

  /** Serves nobody any more. */
  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#close();
  }

  #listen(): Promise<void> {
    const { host, port } = this.#parts.address;
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ host, port }, () => {
        this.#server.off("error", reject);
        this.#server.unref();
        this.#tell();
        resolve();
      });
    });
  }

  #tell(): void {
    const bound = this.#server.address();
    const port = typeof bound === "object" && bound !== null ? bound.port : this.#parts.address.port;
    const place = formatPlace({ ...this.#parts.address, port });
    this.#parts.log.tell("info", `tells its status at http://${place}/`, { event: "statusListen", address: place });
  }

  #close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** The old manager lets its address go when it knows of this one. */
  async #takeOver(): Promise<void> {
    const { host, log, address } = this.#parts;
    let last: unknown;
    const isBound = await outwait(host, () => this.#isOver, async () => {
      try {
        await this.#listen();
        return true;
      } catch (error) {
        last = error;
        return false;
      }
    });
    if (!isBound && !this.#isOver) {
      log.tell("warning", `cannot listen on ${formatPlace(address)}: ${describeError(last)}`);
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { code, type, text } = await this.#answer(request).catch((error: unknown): Answer => {
      return plain(500, describeError(error));
    });
    response.writeHead(code, {
      "content-type": type,
      "cache-control": "no-store",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
      "cross-origin-resource-policy": "same-origin",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      ...code === 401 ? { "www-authenticate": "Bearer" } : {},
      ...code === 405 ? { "allow": "GET, HEAD" } : {},
    });
    response.end(request.method === "HEAD" ? undefined : text);
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const { notReady, status, token } = this.#parts;
    const [pathname = "/"] = (request.url ?? "/").split("?");
    if (request.method !== "GET" && request.method !== "HEAD") return plain(405, "only GET is answered here");
    if (!this.#isMeant(request.headers.host)) return plain(421, "this server is known by another name");
    switch (pathname) {
      case "/healthz":
        return plain(200, "ok");
      case "/readyz": {
        const reason = notReady();
        return reason === undefined ? plain(200, "ready") : plain(503, reason);
      }
    }
    if (token !== undefined && !knows(request.headers.authorization, token)) return plain(401, "give the bearer token");
    switch (pathname) {
      case "/status.json":
        return { code: 200, type: "application/json", text: `${JSON.stringify(await status())}\n` };
      case "/metrics":
        return { code: 200, type: "text/plain; version=0.0.4; charset=utf-8", text: formatMetrics(await status()) };
      default:
        return plain(404, "there is /healthz, /readyz, /status.json and /metrics");
    }
  }

  /** A page of somebody else's whose name is made to mean this machine is not to read what is only for this machine. */
  #isMeant(name: string | undefined): boolean {
    if (!isLoopback(this.#parts.address.host)) return true;
    const host = (name ?? "").toLowerCase().replace(/:\d+$/, "");
    return host === "localhost" || isLoopback(host.replace(/^\[(.*)\]$/, "$1"));
  }
}

/**
 * What clients must know.
 *
 * @throws {UsageError} If the file cannot be read, or holds nothing.
 */
export function readToken(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new UsageError(`Cannot read ${file} for --status-token-file: ${describeError(error)}`);
  }
  if (text !== "") return text;
  throw new UsageError(`Cannot use ${file} for --status-token-file: it is empty; write a secret into it`);
}

function plain(code: number, text: string): Answer {
  return { code, type: "text/plain; charset=utf-8", text: `${text}\n` };
}

/** In a time that tells nothing of where they differ. */
function knows(authorization: string | undefined, token: string): boolean {
  const given = /^Bearer +(.+)$/i.exec(authorization ?? "")?.[1] ?? "";
  const [a, b] = [given, token].map((text) => createHash("sha256").update(text).digest());
  return a !== undefined && b !== undefined && timingSafeEqual(a, b);
}

function isLoopback(host: string): boolean {
  return host === "::1" || /^(::ffff:)?127\.\d+\.\d+\.\d+$/.test(host);
}

function formatPlace({ host, port }: StatusAddress): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
