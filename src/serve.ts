/**
 * A worker that serves: each shared socket gets a server of the runtime, and all of them end together when the worker is
 * told to stop. Loaded by the first `serve` or `attach`.
 *
 * @module
 */

import { currentLibc } from "../runtimes/current_libc.ts";
import { currentServing } from "../runtimes/current_serving.ts";
import { adopt } from "./adoption.ts";
import { drain } from "./drain.ts";
import { reason } from "./host_common.ts";
import { relay } from "./relay.ts";
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
import type { ProcessHost } from "./types.ts";

/** How long a server may accept, at most, before it looks at the connections it has. */
const YIELD_MS = 5;

const F_SETFD = 2;
const FD_CLOEXEC = 1;

/** What serving takes of the worker it is in. */
export interface ServingWorker {
  readonly host: ProcessHost;
  readonly listeners: readonly WorkerListener[];
  /** Whether adoption is not switched off. */
  readonly adoption: boolean;
  readonly drainTimeoutMs: number;
  /** Aborts when the worker is told to stop. */
  readonly signal: AbortSignal;
  /** The worker can be told to stop from now on. */
  ready(): void;
  /** To be called as each request begins, where somebody counts. */
  readonly served: (() => void) | undefined;
}

/** A private server and what brings it the connections of a shared socket. */
export interface SharedServer {
  readonly native: PrivateServer;
  readonly acceptor: Acceptor;
}

/** Opens a private server, of the kind that is asked for. */
type Open = (kind: PrivateKind) => Promise<PrivateServer>;

/** Serves requests by the runtime's own server. */
export function serveRequests(
  worker: ServingWorker,
  handler: ServeHandler<never>,
  { listener, ...options }: ServeOptions,
): Promise<WorkerServer> {
  checkOptions(options);
  return serveOn(worker, choose(worker, listener), (kind) => currentServing.open(handler, options, kind));
}

/** Has a server of the user's accept from a shared socket. */
export function attachServer(
  worker: ServingWorker,
  server: AttachableServer,
  listener: string | undefined,
): Promise<WorkerServer> {
  const chosen = choose(worker, listener);
  const [first, second] = chosen;
  if (first !== undefined && second !== undefined) {
    const names = worker.listeners.map(({ name, text }) => name ?? text).join(", ");
    throw new TypeError(`Cannot attach one server to several sockets: name the one meant, of ${names}`);
  }
  return serveOn(worker, chosen, (kind) => currentServing.attach(server, kind));
}

const FIXED = ["port", "hostname", "host", "path", "unix", "fd", "reusePort", "signal"];

function checkOptions(options: Omit<ServeOptions, "listener">): void {
  const fixed = FIXED.find((name) => options[name] !== undefined);
  if (fixed === undefined) return;
  throw new TypeError(
    `Cannot use '${fixed}' in a worker: the manager decides where it listens (option listen, or -l), and when it stops`,
  );
}

function choose(
  { listeners }: ServingWorker,
  names: string | readonly string[] | undefined,
): readonly WorkerListener[] {
  if (listeners.length === 0) {
    throw new Error("Cannot serve: this pool listens on nothing; give it an address (option listen, or -l 8080)");
  }
  if (names === undefined) return listeners;
  return (typeof names === "string" ? [names] : names).map((name) => {
    const found = listeners.find((listener) => listener.name === name);
    if (found !== undefined) return found;
    const known = listeners.map((listener) => listener.name).filter((each) => each !== undefined);
    throw new TypeError(
      `Cannot serve on '${name}': ${
        known.length === 0 ? "no socket has a name" : `the sockets are ${known.join(", ")}`
      }`,
    );
  });
}

async function serveOn(worker: ServingWorker, listeners: readonly WorkerListener[], open: Open): Promise<WorkerServer> {
  const { signal } = worker; // from here on a stop is a drain
  const shared: SharedServer[] = [];
  for (const listener of listeners) shared.push(await share(worker, listener, open));
  worker.ready();
  return {
    listeners,
    servers: shared.map(({ native }) => native.server),
    finished: untilAborted(signal).then(() => drain(worker.host, shared, worker.drainTimeoutMs)),
  };
}

function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

async function share(worker: ServingWorker, listener: WorkerListener, open: Open): Promise<SharedServer> {
  const { native, acceptor } = await tryAdoption(worker, listener, open) ?? await shareByRelay(listener, open);
  native.correct(listener);
  if (worker.served) native.onRequest(worker.served);
  return { native, acceptor };
}

async function tryAdoption(
  { host, adoption }: ServingWorker,
  { address, fd, text }: WorkerListener,
  open: Open,
): Promise<SharedServer | undefined> {
  if (!adoption) return undefined;
  const libc = openLibc(host, text);
  if (libc === undefined) return undefined;
  libc.fcntl(fd, F_SETFD, FD_CLOEXEC); // what this worker starts is not to keep the socket open when all else is gone
  if (!isListening(libc, fd)) {
    throw new Error(`Cannot serve on ${text}: descriptor ${fd} is not its socket any more; something closed it`);
  }
  const kind: PrivateKind = address.type === "tcp"
    ? { type: "tcp" }
    : { type: "unix", path: `@prefork-${host.pid}-${fd}` };
  const native = await open(kind).catch((error: unknown) => {
    // The relay asks for the same, unless it is a matter of the kind.
    if (kind.type === "unix") sayRelay(host, text, reason(error));
    else throw error;
  });
  if (native === undefined) return undefined;
  try {
    const { arch } = currentServing;
    const acceptor = await adopt({ host, libc, arch, own: native.address, shared: fd });
    if (currentServing.acceptsWithoutEnd) yieldOften(host, native, acceptor);
    return { native, acceptor };
  } catch (error) {
    sayRelay(host, text, reason(error));
    await native.close();
    return undefined;
  }
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

function openLibc(host: ProcessHost, text: string): ReturnType<typeof currentLibc> | undefined {
  try {
    return currentLibc();
  } catch (error) {
    sayRelay(host, text, reason(error));
    return undefined;
  }
}

function sayRelay(host: ProcessHost, text: string, why: string): void {
  host.write(
    `prefork: relays the connections of ${text} to the server, since it cannot accept them itself: ${
      why.replace(/\.$/, "")
    }. ` +
      "Nothing is lost by that but speed and the addresses of clients\n",
  );
}

async function shareByRelay({ fd }: WorkerListener, open: Open): Promise<SharedServer> {
  const native = await open({ type: "tcp" });
  return { native, acceptor: await relay(await currentServing.net(), fd, native.address) };
}
