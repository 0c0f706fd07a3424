/**
 * A worker's connection to its manager for what jobs are given and what they give, beside the control channel, so that
 * neither waits for the other.
 *
 * @module
 */

import { encode as encodeMessage, PROTOCOL_VERSION } from "../protocol.ts";
import type { ControlConnection, ControlHandlers } from "../types.ts";
import type { WorkerSession } from "../worker.ts";
import type { Encoded } from "./codec.ts";
import { type Frame, FrameReader, sendFrame } from "./frames.ts";
import type { Parcels } from "./parcels.ts";

/** Opens one. The manager speaks first. */
export async function openStream(
  { host, controlPath }: WorkerSession,
  token: string,
  take: (frame: Frame) => void,
  closed: () => void,
  parcels?: () => Parcels | undefined,
): Promise<ControlConnection> {
  const connection = await host.connectControl(controlPath, { data: byFrames(take, parcels), closed });
  connection.send(encodeMessage({ type: "hello", version: PROTOCOL_VERSION, token }));
  return connection;
}

/** Gives what comes message by message. */
export function byFrames(
  take: (frame: Frame) => void,
  parcels?: () => Parcels | undefined,
): ControlHandlers["data"] {
  const frames = new FrameReader(parcels);
  return (chunk) => frames.push(chunk, take);
}

/** Gives the manager a value. Resolves when it has got it. */
export async function give(session: WorkerSession, token: string, value: Encoded): Promise<void> {
  const taken = Promise.withResolvers<void>();
  let isAsked = false;
  const take = (): void => {
    if (isAsked) return taken.resolve();
    isAsked = true;
    sendFrame(connection, "given", 0, value);
  };
  const connection = await openStream(session, token, take, () => {
    taken.reject(new Error("Cannot give the manager what this job has made: it is gone"));
  });
  await taken.promise;
  connection.close();
}
