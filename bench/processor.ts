/**
 * What processes take of the processors. Linux only.
 *
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";

/**
 * Begins to measure, and gives what tells the processor time since, in microseconds, of all threads of these processes;
 * of threads that end meanwhile nothing is told.
 */
export function meterProcessor(pids: readonly number[]): () => number {
  const before = new Map(pids.flatMap(timesOf));
  const sum = (total: number, [task, us]: readonly [string, number]): number => total + us - (before.get(task) ?? 0);
  return () => pids.flatMap(timesOf).reduce(sum, 0);
}

/** Each thread of a process, and its time so far. */
function timesOf(pid: number): readonly (readonly [string, number])[] {
  return readdirSync(`/proc/${pid}/task`).map((task) => {
    const [nanoseconds] = readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ");
    return [task, Number(nanoseconds) / 1000];
  });
}
