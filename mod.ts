/**
 * A prefork server and daemon manager for Deno and Bun: a manager process, a pool of worker processes, signals,
 * graceful stops and reconfiguration, in one loop, after Perl's Parallel::Prefork.
 *
 * @example A pool of two workers that each work a while and end; SIGTERM stops it
 * ```ts ignore
 * import { Prefork } from "@prefork/prefork";
 *
 * await using pm = new Prefork({ maxWorkers: 2 });
 * while (pm.signalReceived !== "SIGTERM") {
 *   await pm.start(async (worker) => {
 *     worker.ready();
 *     await work(worker.signal);
 *   });
 * }
 * await pm.waitAllChildren();
 * ```
 *
 * @module
 */

import { currentHost } from "./runtimes/current.ts";

export { formatEvent, type PreforkEvent } from "./src/events.ts";
export type { PoolFigures, WorkerFigures } from "./src/figures.ts";
export type { Latency, LatencyBucket } from "./src/latency.ts";
export type { Listen, ListenOptions, SocketOwner } from "./src/listen.ts";
export type { Logger, PreforkOptions, RecycleOptions, WorkerOutput, WorkerUser } from "./src/options.ts";
export { fixedPool, type Policy, type PoolView, spareWorkers, type SpareWorkersOptions } from "./src/policy.ts";
export type { ReloadOptions, UpgradeOptions, WaitOptions } from "./src/call_options.ts";
export { Prefork, type WorkerCallback } from "./src/prefork.ts";
export type { ReadyByHttp, ReadyByTcp, ReadyTimes, ReadyWhen } from "./src/ready_when.ts";
export type {
  AttachableServer,
  BunSocketListener,
  DenoListener,
  Listener,
  NodeServer,
  ServeHandler,
  ServeOptions,
  WorkerListener,
  WorkerServer,
} from "./src/serving.ts";
export type { SocketAddress } from "./src/address.ts";
export type { SpanAttributes, Tracer, TracerSpan } from "./src/telemetry.ts";
export type * from "./src/types.ts";
export type { ModuleOptions, StartOptions } from "./src/work.ts";
export type { ChangeableOption, PoolChanges } from "./src/terms.ts";
export { currentWorker, isWorker, type Worker } from "./src/worker.ts";

if (import.meta.main) {
  const { main } = await import("./src/cli/main.ts");
  currentHost.exit(await main());
}
