/**
 * A Gearman worker that knows nothing of prefork: it offers the functions its configuration names, does one job at a
 * time, and stops by itself on SIGTERM, after the job in hand.
 *
 *     deno run -A examples/gearman_worker.ts [CONFIG]
 *     bun run examples/gearman_worker.ts [CONFIG]
 *
 * @module
 */
import process from "node:process";
import { type Config, requireConfig } from "./gearman_config.ts";
import { type Job, ServerLink } from "./gearman_link.ts";

/** A sleeping worker asks for a job this often unasked, to notice a server that died without a word. */
const POLL_MS = 12_000;

type JobFunction = (payload: Uint8Array) => unknown;

/** Works until SIGTERM comes. `onReady` is called once SIGTERM can be handled and the functions are loaded. */
export async function runWorker(config: Config, onReady: () => void = () => {}): Promise<void> {
  const stop = new AbortController();
  const bell = new Bell();
  // Never removed: a second SIGTERM must not kill a worker on its way out.
  process.on("SIGTERM", () => {
    stop.abort();
    bell.ring();
  });
  const functions = await loadFunctions(config);
  const links = config.servers.map((server) => new ServerLink(server, config.functions, () => bell.ring()));
  onReady();
  await workUntil(stop.signal, links, functions, bell);
  await Promise.all(links.map((link) => link.close()));
}

async function workUntil(
  stop: AbortSignal,
  links: readonly ServerLink[],
  functions: ReadonlyMap<string, JobFunction>,
  bell: Bell,
): Promise<void> {
  while (true) {
    const hasWorked = await askEach(stop, links, functions);
    if (stop.aborted) return;
    if (hasWorked) continue;
    for (const link of links) link.sleep();
    // A stop wakes it for one more round: the server may have counted on this sleeper for a new job already.
    await bell.wait(POLL_MS);
  }
}

async function askEach(
  stop: AbortSignal,
  links: readonly ServerLink[],
  functions: ReadonlyMap<string, JobFunction>,
): Promise<boolean> {
  let hasWorked = false;
  for (const link of links) {
    const job = await link.grab();
    if (job === undefined) continue;
    await runJob(job, functions.get(job.name));
    hasWorked = true;
    if (stop.aborted) break;
  }
  return hasWorked;
}

async function runJob(job: Job, run: JobFunction | undefined): Promise<void> {
  try {
    if (run === undefined) throw new Error(`There is no function ${job.name} here`);
    const result = await run(job.payload);
    if (typeof result === "string" || result instanceof Uint8Array) return job.complete(result);
    throw new TypeError(`${job.name} returned ${typeof result}, neither a string nor bytes`);
  } catch (error) {
    job.fail(error instanceof Error ? error.message : String(error));
  }
}

async function loadFunctions({ module, functions }: Config): Promise<ReadonlyMap<string, JobFunction>> {
  const exported: Readonly<Record<string, unknown>> = await import(module);
  return new Map(functions.map((name) => {
    const value = exported[name];
    if (isJobFunction(value)) return [name, value];
    throw new TypeError(`${module} exports no function "${name}"; it has ${Object.keys(exported).join(", ")}`);
  }));
}

function isJobFunction(value: unknown): value is JobFunction {
  return typeof value === "function";
}

/** Wakes one sleeper, and remembers a ring that came while nobody slept. */
class Bell {
  #hasRung = false;
  #wake: () => void = () => {};

  ring(): void {
    this.#hasRung = true;
    this.#wake();
  }

  async wait(timeoutMs: number): Promise<void> {
    if (!this.#hasRung) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, timeoutMs);
      await promise;
      clearTimeout(timer);
    }
    this.#hasRung = false;
  }
}

if (import.meta.main) await runWorker(await requireConfig());
