/**
 * A worker's connection to its manager for what jobs are given and what they give: lines in both directions, beside the
 * control channel, so that neither waits for the other.
 *
 * @module
 */

import { encode, LineReader, PROTOCOL_VERSION } from "../protocol.ts";
import type { ControlConnection, ControlHandlers } from "../types.ts";
import type { WorkerSession } from "../worker.ts";

/** The least that is said: the manager listens, or has taken what was sent. */
export const OK = "ok";

/** Opens one. The manager speaks first. */
export async function openStream(
  { host, controlPath }: WorkerSession,
  token: string,
  take: (line: string) => void,
  closed: () => void,
): Promise<ControlConnection> {
  const connection = await host.connectControl(controlPath, { data: byLines(take), closed });
  connection.send(encode({ type: "hello", version: PROTOCOL_VERSION, token }));
  return connection;
}

/** Gives what comes line by line. */
export function byLines(take: (line: string) => void): ControlHandlers["data"] {
  const lines = new LineReader();
  return (chunk) => lines.push(chunk, take);
}

/** Tells the manager one thing. Resolves when it has heard it. */
export async function tell(session: WorkerSession, token: string, line: string): Promise<void> {
  const heard = Promise.withResolvers<void>();
  let isAsked = false;
  const take = (): void => {
    if (isAsked) return heard.resolve();
    isAsked = true;
    connection.send(`${line}\n`);
  };
  const connection = await openStream(session, token, take, () => {
    heard.reject(new Error("Cannot tell the manager what this job has given: it is gone"));
  });
  await heard.promise;
  connection.close();
}
