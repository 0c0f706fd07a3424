/**
 * What the command line has a pool listen on.
 *
 * @module
 */

import { givenSockets } from "../activation.ts";
import { checkListen, INHERIT, isUnix, type ListenOptions } from "../listen.ts";
import { describeError } from "../events.ts";
import { takeoverOn } from "../succession.ts";
import type { ProcessHost } from "../types.ts";
import type { RunRequest } from "./request.ts";
import { UsageError } from "./usage_error.ts";
import { parseListen } from "./values.ts";
import type { Lookup } from "./variables.ts";

/** Where to listen, and who said so if that was not `-l`. */
export interface Sockets {
  readonly listen: readonly ListenOptions[];
  readonly origin: string | undefined;
}

/** Finds out where to listen: `-l`, else the sockets this process was given, else `PORT`. */
export async function findSockets(request: RunRequest, host: ProcessHost, lookup: Lookup): Promise<Sockets> {
  const { addresses, origin } = findAddresses(request, host, lookup);
  const { backlog, socketMode: mode, socketOwner } = request.options;
  const places = checkListen(addresses);
  const flag = mode !== undefined ? "--socket-mode" : socketOwner !== undefined ? "--socket-owner" : undefined;
  if (flag !== undefined && !places.some(isUnix)) {
    throw new UsageError(`Cannot use ${flag} without a Unix socket: add one, as in -l unix:/run/app.sock`);
  }
  if (backlog !== undefined && places.length === 0) {
    throw new UsageError("Cannot use --backlog without an address: add one, as in -l 8080");
  }
  const owner = socketOwner === undefined ? undefined : await (await import("./user.ts")).findOwner(host, socketOwner);
  const listen = places.map((place): ListenOptions => ({
    ...place,
    ...(backlog === undefined ? {} : { backlog }),
    ...(mode === undefined || !isUnix(place) ? {} : { mode }),
    ...(owner === undefined || !isUnix(place) ? {} : { owner }),
  }));
  return { listen, origin };
}

interface Addresses {
  readonly addresses: readonly string[];
  readonly origin: string | undefined;
}

function findAddresses({ options, target }: RunRequest, host: ProcessHost, lookup: Lookup): Addresses {
  if (options.listen !== undefined) return { addresses: options.listen, origin: undefined };
  if (countGiven(host) > 0) return { addresses: [INHERIT], origin: "inherited" };
  const port = lookup("PORT") ?? "";
  // A command that is told its port by PORT binds it itself.
  if (port === "" || target.type === "command") return { addresses: [], origin: undefined };
  return { addresses: [parseListen("from the variable PORT", port)], origin: "from PORT" };
}

function countGiven(host: ProcessHost): number {
  try {
    return takeoverOn(host)?.inheritance.count(INHERIT) ?? givenSockets(host).length;
  } catch (error) {
    throw new UsageError(describeError(error));
  }
}
