/**
 * A worker that serves: each shared socket gets a server of the runtime, and all of them end together when the worker is
 * told to stop. Loaded by the first `serve` or `attach`.
 *
 * @module
 */

import { currentLibc } from "../runtimes/current_libc.ts";
import { currentServing } from "../runtimes/current_serving.ts";
import { ACTIVATION_VARIABLES } from "./activation.ts";
import { type AdoptionParts, isProven, prepareAdoption } from "./adoption.ts";
import { checkAttachable } from "./attachable.ts";
import { close, drain } from "./drain.ts";
import { reason, refusal } from "./host_common.ts";
import type { Libc } from "./libc.ts";
import { relay } from "./relay.ts";
import type { SelfCheck } from "./self_check.ts";
import type {
  Acceptor,
  AttachableServer,
  PrivateKind,
  PrivateServer,
  ServeHandler,
  ServeOptions,
  WorkerListener,
  WorkerServer,
} from "./serving.ts";
import { isListening } from "./socket_facts.ts";
import type { Stopwatch } from "./stopwatch.ts";
import type { ProcessHost } from "./types.ts";

/** How long a server may accept, at most, before it looks at the connections it has. */
const YIELD_MS = 5;

const F_SETFD = 2;
const FD_CLOEXEC = 1;

/** Of a worker that was told to stop before it took any connection. */
const NOBODY: Acceptor = { leave() {}, connections: () => 0, behind: () => 0, yield() {} };

/** Where a worker serves, as far as that is known before it begins. */
export interface ServingSite {
  readonly host: ProcessHost;
  readonly listeners: readonly WorkerListener[];
  /** Whether adoption is not switched off. */
  readonly adoption: boolean;
  /** What it asks its servers before they take a connection of anybody else. */
  readonly selfCheck: SelfCheck | undefined;
  /** Aborts when the worker is told to stop. */
  readonly signal: AbortSignal;
}

/** What serving takes of the worker it is in. */
export interface ServingWorker extends ServingSite {
  readonly drainTimeoutMs: number;
  /** The worker can be told to stop from now on. */
  ready(): void;
  /** Has the worker stop by itself. The reason is told as the end of a sentence that begins with "it". */
  leave(reason: string): void;
  /** To be called as each request begins, where somebody counts. */
  readonly served: () => void;
  /** Takes the time of each. */
  readonly stopwatch: Stopwatch;
}

/** A private server and what brings it the connections of a shared socket. */
export interface SharedServer {
  readonly native: PrivateServer;
  readonly acceptor: Acceptor;
}

/** A server that lacks nothing but the connections of its shared socket. */
export interface PreparedServer extends Beginning {
  readonly listener: WorkerListener;
}

/** How a server begins. */
interface Beginning {
  begin(): SharedServer | Promise<SharedServer>;
  /** Closes what was opened for a server that is not to begin, or could not. */
  giveUp(): Promise<void>;
}

/** Where private servers come from. */
interface Source {
  /** Opens one, of the kind that is asked for. */
  readonly open: (kind: PrivateKind) => Promise<PrivateServer>;
  /** Whether it is the program's own, which takes whoever connects for a client. */
  readonly isAttached: boolean;
}

/** Serves requests by the runtime's own server. */
export async function serveRequests(
  worker: ServingWorker,
  handler: ServeHandler<never>,
  options: ServeOptions,
): Promise<WorkerServer> {
  return await serveOn(worker, await prepareRequests(worker, handler, options));
}

/** Makes the servers of the runtime that will answer requests. */
export async function prepareRequests(
  site: ServingSite,
  handler: ServeHandler<never>,
  { listener, ...options }: ServeOptions,
): Promise<readonly PreparedServer[]> {
  checkOptions(options);
  const open: Source["open"] = (kind) => currentServing.open(handler, options, kind);
  return await prepareAll(site, choose(site, listener), { open, isAttached: false });
}

/** Has a server of the user's accept from a shared socket. */
export async function attachServer(
  worker: ServingWorker,
  server: AttachableServer,
  listener: string | undefined,
): Promise<WorkerServer> {
  checkAttachable(server);
  const chosen = choose(worker, listener);
  const [first, second] = chosen;
  if (first !== undefined && second !== undefined) {
    throw new TypeError(
      `Cannot attach one server to several sockets: give the name or the address of the one meant, of ${list(chosen)}`,
    );
  }
  const open: Source["open"] = (kind) => currentServing.attach(server, kind);
  return await serveOn(worker, await prepareAll(worker, chosen, { open, isAttached: true }));
}

/** Finds out how servers will serve here, so that it is known and all that takes is loaded when one is to be made. */
export async function rehearse(site: ServingSite): Promise<void> {
  if (!site.adoption) return;
  try {
    for (const listener of site.listeners) await prove(site, currentLibc(), kindOf(site, listener), listener);
  } catch {
    // Whoever serves in earnest will be told.
  }
}

/** Finds out by a server that nobody will use whether servers can accept from shared sockets of a kind here. */
async function prove(site: ServingSite, libc: Libc, kind: PrivateKind, listener: WorkerListener): Promise<void> {
  if (isProven(kind.type)) return;
  const native = await currentServing.open(() => new Response(), {}, kind);
  await prepareAdoption(partsOf(site, libc, native, listener)).finally(() => native.close());
}

const FIXED = ["port", "hostname", "host", "path", "unix", "fd", "reusePort", "signal"];

function checkOptions(options: Omit<ServeOptions, "listener">): void {
  const fixed = FIXED.find((name) => options[name] !== undefined);
  if (fixed === undefined) return;
  throw refusal(
    new TypeError(
      `Cannot use '${fixed}' in a worker: the manager decides where it listens (option listen, or -l), and when it stops`,
    ),
  );
}

function choose(
  { listeners }: ServingSite,
  names: string | readonly string[] | undefined,
): readonly WorkerListener[] {
  if (listeners.length === 0) {
    throw refusal(
      new Error("Cannot serve: this pool listens on nothing; give it an address (option listen, or -l 8080)"),
    );
  }
  if (names === undefined) return listeners;
  const asked = typeof names === "string" ? [names] : names;
  if (asked.length === 0) {
    throw refusal(new TypeError("Cannot serve on no socket: name one, or leave 'listener' out for all"));
  }
  const chosen = asked.flatMap((name) => {
    // systemd gives all of a unit one name; no name looks like an address.
    const found = listeners.filter((listener) => listener.name === name || listener.text === name);
    if (found.length > 0) return found;
    throw refusal(new TypeError(`Cannot serve on '${name}': the sockets are ${list(listeners)}`));
  });
  const twice = chosen.filter((listener, index) => chosen.indexOf(listener) < index);
  if (twice.length > 0) throw refusal(new TypeError(`Cannot serve twice on ${list(twice)}: name each socket once`));
  return chosen;
}

function list(listeners: readonly WorkerListener[]): string {
  return listeners.map(({ name, text }) => name === undefined ? text : `${name} (${text})`).join(", ");
}

/** Serves by servers that were made ready for it. */
export async function serveOn(worker: ServingWorker, prepared: readonly PreparedServer[]): Promise<WorkerServer> {
  const { signal } = worker;
  const shared: SharedServer[] = [];
  try {
    for (const one of prepared) {
      const server = await one.begin();
      shared.push(server); // before the program is told where it listens, and may fail: clients can come from here on
      introduce(worker, one.listener, server.native);
    }
  } catch (error) {
    await Promise.all([
      end(worker, shared), // those that have begun hold connections
      giveUp(prepared.slice(shared.length)),
    ]);
    throw error;
  }
  if (!signal.aborted) worker.ready();
  return {
    listeners: prepared.map(({ listener }) => listener),
    servers: shared.map(({ native }) => native.server),
    finished: untilOver(worker, prepared, shared).then(() => end(worker, shared)),
  };
}

/** A worker whose program closes one of its servers has done its work, and stops with all that it has. */
async function untilOver(
  { host, signal, leave }: ServingWorker,
  prepared: readonly PreparedServer[],
  shared: readonly SharedServer[],
): Promise<void> {
  const closed = shared.map(({ native }, index) => native.untilClosed().then(() => prepared[index]?.listener.text));
  const text = await Promise.race([untilAborted(signal), ...closed]);
  if (signal.aborted || text === undefined) return;
  host.write(`prefork: the program has closed its server on ${text}: this worker ends\n`);
  leave(`has closed its server on ${text}`);
}

function introduce({ served, stopwatch }: ServingWorker, listener: WorkerListener, native: PrivateServer): void {
  native.correct(listener);
  native.onRequest(served);
  native.timeBy(stopwatch);
}

/** Gives a private server when it is well. */
async function whenWell({ host, selfCheck, signal }: ServingSite, native: PrivateServer): Promise<PrivateServer> {
  if (selfCheck === undefined) return native;
  const { untilWell } = await import("./self_check.ts");
  await untilWell(host, selfCheck, native, signal);
  return native;
}

/** What a worker that took no connection has open is nothing but questions of its own. */
async function end({ host, drainTimeoutMs }: ServingWorker, shared: readonly SharedServer[]): Promise<void> {
  const hasServed = shared.some(({ acceptor }) => acceptor !== NOBODY);
  if (hasServed) await drain(host, shared, drainTimeoutMs);
  else await close(host, shared);
}

function untilAborted(signal: AbortSignal): Promise<undefined> {
  if (signal.aborted) return Promise.resolve(undefined);
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(undefined), { once: true }));
}

async function prepareAll(
  site: ServingSite,
  listeners: readonly WorkerListener[],
  source: Source,
): Promise<readonly PreparedServer[]> {
  const prepared: PreparedServer[] = [];
  try {
    for (const listener of listeners) {
      const beginning = await tryAdoption(site, listener, source) ?? byRelay(site, listener, source);
      prepared.push({ listener, ...beginning });
    }
  } catch (error) {
    await giveUp(prepared);
    throw error;
  }
  return prepared;
}

async function giveUp(prepared: readonly PreparedServer[]): Promise<void> {
  await Promise.all(prepared.map((one) => one.giveUp()));
}

/** Closes a server that serves nobody. One of the program's is left to it. */
async function abandon({ host }: ServingSite, { isAttached }: Source, native: PrivateServer): Promise<void> {
  if (!isAttached) await close(host, [{ native, acceptor: NOBODY }]);
}

/** Opens the server only as it begins. */
function byRelay(site: ServingSite, listener: WorkerListener, source: Source): Beginning {
  const begin = async (): Promise<SharedServer> => {
    const native = await source.open({ type: "tcp" });
    try {
      return await shareByRelay(site, listener, await whenWell(site, native));
    } catch (error) {
      await abandon(site, source, native);
      throw error;
    }
  };
  return { begin, giveUp: () => Promise.resolve() };
}

/** Gives what has the server accept from the shared socket; nothing where that takes another server, to relay to. */
async function tryAdoption(
  site: ServingSite,
  listener: WorkerListener,
  source: Source,
): Promise<Beginning | undefined> {
  const { host, adoption, signal } = site;
  const { fd, text } = listener;
  const libc = openLibc();
  // What this worker starts is not to keep the socket open when all else is gone, nor to look for it.
  for (const name of ACTIVATION_VARIABLES) host.unsetEnv(name);
  if (!(libc instanceof Error)) libc.fcntl(fd, F_SETFD, FD_CLOEXEC);
  if (!adoption || libc instanceof Error) {
    sayRelay(host, listener, adoption ? reason(libc) : "adoption is switched off");
    return undefined;
  }
  if (!isListening(libc, fd)) {
    throw refusal(
      new Error(`Cannot serve on ${text}: descriptor ${fd} is not its socket any more; something closed it`),
    );
  }
  const kind = kindOf(site, listener);
  const native = await source.open(kind).catch((error: unknown) => {
    // The relay asks for the same, unless it is a matter of the kind.
    if (kind.type === "unix") sayRelay(host, listener, reason(error));
    else throw error;
  });
  if (native === undefined) return undefined;
  const giveUp = (): Promise<void> => abandon(site, source, native);
  try {
    await whenWell(site, native);
  } catch (error) {
    await giveUp();
    throw error;
  }
  if (signal.aborted) return { begin: () => ({ native, acceptor: NOBODY }), giveUp };
  try {
    if (source.isAttached) await prove(site, libc, kindBeside(native), listener);
    const enter = await prepareAdoption(partsOf(site, libc, native, listener));
    const begin = (): SharedServer => {
      const acceptor = enter();
      if (currentServing.acceptsWithoutEnd) yieldOften(host, native, acceptor);
      return { native, acceptor };
    };
    return { begin, giveUp };
  } catch (error) {
    sayRelay(host, listener, reason(error));
    // Nothing has touched a server of the program's yet, nor is it to see itself close and listen anew.
    if (source.isAttached) return { begin: () => shareByRelay(site, listener, native), giveUp };
    await native.close();
    return undefined;
  }
}

function kindOf({ host }: ServingSite, { address, fd }: WorkerListener): PrivateKind {
  if (address.type === "tcp") return { type: "tcp" };
  // Whoever could guess the name might take it before.
  return { type: "unix", path: `@prefork-${host.pid}-${fd}-${crypto.randomUUID()}` };
}

/** The kind of a server, where another one of it can be. */
function kindBeside({ address }: PrivateServer): PrivateKind {
  return address.type === "tcp" ? { type: "tcp" } : { type: "unix", path: `${address.path}-proof` };
}

function partsOf({ host }: ServingSite, libc: Libc, native: PrivateServer, { fd }: WorkerListener): AdoptionParts {
  return { host, libc, arch: currentServing.arch, own: native.address, shared: fd };
}

/**
 * The queue of a shared socket may never be empty, so that a server that empties it first would not answer the
 * connections it has for as long as others keep coming.
 */
function yieldOften(host: ProcessHost, native: PrivateServer, acceptor: Acceptor): void {
  let last = host.now();
  native.onRequest(() => {
    const now = host.now();
    if (now - last < YIELD_MS) return;
    last = now;
    acceptor.yield(currentServing.nextTurn);
  });
}

function openLibc(): Libc | Error {
  try {
    return currentLibc();
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

function sayRelay(host: ProcessHost, { text, address }: WorkerListener, why: string): void {
  const lost = address.type === "unix"
    ? "What is lost by that is speed, and the protection of the socket's mode: the server is where every user of this " +
      "machine reaches it"
    : "Nothing is lost by that but speed and the addresses of clients";
  const cause = why.replace(/\.$/, "");
  host.write(
    `prefork: relays the connections of ${text} to the server, since it cannot accept them itself: ${cause}. ${lost}\n`,
  );
}

async function shareByRelay(
  site: ServingSite,
  { fd }: WorkerListener,
  native: PrivateServer,
): Promise<SharedServer> {
  if (site.signal.aborted) return { native, acceptor: NOBODY };
  return { native, acceptor: await relay(currentServing, fd, native.address) };
}
