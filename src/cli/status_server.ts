/**
 * The state of a manager over HTTP: for probes, for Prometheus, for scripts, for people. Off unless it is asked for.
 *
 * @module
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { describeError, type PreforkEvent } from "../events.ts";
import { formatMetrics } from "../operator/metrics.ts";
import type { Past } from "../operator/history.ts";
import type { StatusReport } from "../operator/report.ts";
import { takeoverOn } from "../succession.ts";
import type { ProcessHost } from "../types.ts";
import { type Keep, limitPatience } from "./http_patience.ts";
import type { Log } from "./log.ts";
import { outwait } from "./outwait.ts";
import { isForeign, isLoopback, isMeant, isVisit, knows } from "./status_access.ts";
import { PAGE, PAGE_POLICY } from "./status_page.ts";
import { StatusRecord } from "./status_record.ts";
import { StatusStreams } from "./status_stream.ts";
import { inWordsOfPort } from "./system_error.ts";
import { UsageError } from "./usage_error.ts";

/**
 * How long a client may be silent, and how many there may be: the descriptors are for workers, but with few places a flood
 * of those who come anew would have a probe's taken before its request is read.
 */
const IDLE_MS = 5000;
const MAX_CONNECTIONS = 256;

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
  readonly uptimeMs: () => number;
  /** What a manager that has yet to take over has heard of the past. */
  readonly past: Past | undefined;
}

interface Answer {
  readonly code: number;
  readonly type: string;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Of who is told more from then on. A proxy is not to keep it. */
const STREAM: Answer = { code: 200, type: "text/event-stream", text: "", headers: { "x-accel-buffering": "no" } };

const HEADERS = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

/** Serves the state of one manager. */
export class StatusServer implements Disposable {
  readonly #parts: StatusServerParts;
  readonly #server: Server;
  readonly #keep: Keep;
  readonly #record: StatusRecord;
  readonly #streams: StatusStreams;
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
      server[Symbol.dispose]();
      throw new UsageError(
        `Cannot listen on ${formatPlace(parts.address)} for --status-listen: ${inWordsOfPort(error)}`,
      );
    }
    return server;
  }

  private constructor(parts: StatusServerParts) {
    this.#parts = parts;
    this.#record = new StatusRecord(parts.host, parts.status);
    if (parts.past !== undefined) this.#record.follow(parts.past, parts.uptimeMs());
    this.#streams = new StatusStreams({ ...parts, record: this.#record });
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.on("connection", (socket) => socket.setTimeout(IDLE_MS, () => socket.destroy()));
    this.#keep = limitPatience(this.#server, parts.host, { ms: IDLE_MS, places: MAX_CONNECTIONS });
  }

  /** What is to be known by the manager that takes over. */
  past(): Past {
    return this.#record.past(this.#parts.uptimeMs());
  }

  /** Something has happened in the pool. */
  heed(event: PreforkEvent): void {
    this.#record.heed(event);
    this.#streams.hurry();
    if (event.type === "takeover") void this.#takeOver();
    if (event.type === "upgraded") this.#close();
  }

  /** Serves nobody any more. */
  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#record[Symbol.dispose]();
    this.#close();
  }

  #listen(): Promise<void> {
    const { host, port } = this.#parts.address;
    return new Promise((resolve, reject) => {
      const bound = (): void => {
        this.#server.off("error", refused);
        this.#server.unref();
        this.#tell();
        resolve();
      };
      const refused = (error: Error): void => {
        this.#server.off("listening", bound);
        reject(error);
      };
      this.#server.once("error", refused);
      this.#server.once("listening", bound);
      this.#server.listen({ host, port });
    });
  }

  #tell(): void {
    const bound = this.#server.address();
    const port = typeof bound === "object" && bound !== null ? bound.port : this.#parts.address.port;
    const place = formatPlace({ ...this.#parts.address, port });
    const { log, token, address: { host } } = this.#parts;
    log.tell("info", `tells its status at http://${place}/`, { event: "statusListen", address: place });
    if (token !== undefined || isLoopback(host)) return;
    log.tell("warning", `whoever reaches ${place} is told its status: have them know a secret by --status-token-file`);
  }

  #close(): void {
    this.#streams[Symbol.dispose]();
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
      log.tell("warning", `cannot listen on ${formatPlace(address)}: ${inWordsOfPort(last)}`);
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = await this.#answer(request).catch((error: unknown) => plain(500, describeError(error)));
    const isRead = request.method !== "HEAD";
    const { code, type, text, headers } = answer;
    response.writeHead(code, { ...HEADERS, "content-type": type, ...headers });
    if (answer !== STREAM || !isRead) return void response.end(isRead ? text : undefined);
    request.socket.setTimeout(0); // a watcher says nothing, and Bun does not count what it is told
    this.#streams.add(response);
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const { address, notReady, status, token } = this.#parts;
    const { method, headers, url = "/" } = request;
    const [pathname = "/"] = url.split("?");
    if (method !== "GET" && method !== "HEAD") return plain(405, "only GET is answered here", { allow: "GET, HEAD" });
    if (!isMeant(address.host, headers.host)) {
      return plain(421, "this server is only for its own machine: ask it as localhost or 127.0.0.1");
    }
    if (isForeign(headers) && !(pathname === "/" && isVisit(headers))) {
      return plain(403, "pages from elsewhere are told nothing");
    }
    if (pathname === "/healthz") return plain(200, "ok");
    if (pathname === "/readyz") {
      const reason = notReady();
      return reason === undefined ? plain(200, "ready") : plain(503, reason);
    }
    const part = PAGE.get(pathname);
    if (part !== undefined) return { code: 200, ...part, headers: { "content-security-policy": PAGE_POLICY } };
    if (token !== undefined && !knows(headers.authorization, token)) {
      return plain(401, "give the bearer token", { "www-authenticate": "Bearer" });
    }
    this.#keep(request.socket); // from those who may be anybody, of whom there may be any number
    switch (pathname) {
      case "/status.json":
        return { code: 200, type: "application/json", text: `${JSON.stringify(await status())}\n` };
      case "/metrics":
        return { code: 200, type: "text/plain; version=0.0.4; charset=utf-8", text: formatMetrics(await status()) };
      case "/events":
        return this.#streams.isFull ? plain(503, "there are watchers enough; close a page elsewhere") : STREAM;
      default:
        return plain(404, "there is /, /events, /healthz, /readyz, /status.json and /metrics");
    }
  }
}

function plain(code: number, text: string, headers: Readonly<Record<string, string>> = {}): Answer {
  return { code, type: "text/plain; charset=utf-8", text: `${text}\n`, headers };
}

function formatPlace({ host, port }: StatusAddress): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
