/**
 * Who may be told the state of a manager over HTTP.
 *
 * @module
 */

import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import process from "node:process";
import { requireFile } from "./files.ts";
import { UsageError } from "./usage_error.ts";

/** What an HTTP header carries as it is, so that it arrives as what the file says. */
const SENDABLE = /^[\t\x20-\x7e]$/;

/**
 * What clients must know.
 *
 * @throws {UsageError} If the file cannot be read, or holds nothing, or what no client can send.
 */
export function readToken(file: string): string {
  const text = readFileSync(requireFile("the --status-token-file", file, process.cwd()), "utf8").trim();
  if (text === "") {
    throw new UsageError(`Cannot use ${file} for --status-token-file: it is empty; write a secret into it`);
  }
  const at = [...text].findIndex((each) => !SENDABLE.test(each));
  if (at < 0) return text;
  throw new UsageError(
    `Cannot use ${file} for --status-token-file: no client can send character ${at + 1} of what it holds in an HTTP ` +
      "header; write a secret of one line into it, all of it ASCII",
  );
}

/** Whether a client knows the token, in a time that tells nothing of where they differ. */
export function knows(authorization: string | undefined, token: string): boolean {
  const given = /^Bearer +(.+)$/i.exec(authorization ?? "")?.[1] ?? "";
  const [a, b] = [given, token].map((text) => createHash("sha256").update(text).digest());
  return a !== undefined && b !== undefined && timingSafeEqual(a, b);
}

/**
 * Whether a request to a server on `address` is meant for it: a page of somebody else's whose name is made to mean this
 * machine is not to read what is only for this machine.
 */
export function isMeant(address: string, name: string | undefined): boolean {
  if (!isLoopback(address)) return true;
  const host = (name ?? "").toLowerCase().replace(/:\d+$/, "");
  return host === "localhost" || isLoopback(host.replace(/^\[(.*)\]$/, "$1"));
}

/** Whether only this machine reaches an address. */
export function isLoopback(host: string): boolean {
  return host === "::1" || /^(::ffff:)?127\.\d+\.\d+\.\d+$/.test(host);
}

/** Whether a browser asks on behalf of a page from elsewhere: another port of this machine is elsewhere, too. */
export function isForeign({ "sec-fetch-site": site, origin, host }: IncomingHttpHeaders): boolean {
  if (site !== undefined && site !== "same-origin" && site !== "none") return true;
  return origin !== undefined && origin.replace(/^https?:\/\//, "") !== host;
}

/** Whether that is somebody who follows a link, and sees for himself what comes. */
export function isVisit({ "sec-fetch-mode": mode, "sec-fetch-dest": dest }: IncomingHttpHeaders): boolean {
  return mode === "navigate" && dest === "document";
}
