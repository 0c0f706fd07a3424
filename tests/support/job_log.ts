/**
 * The log that `tests/fixtures/gearman_functions.ts` writes, read back.
 *
 * @module
 */
import { existsSync, readFileSync } from "node:fs";
import { waitFor } from "./processes.ts";

/** One line of the log. */
export interface JobEvent {
  readonly event: string;
  readonly id: string;
  readonly pid: number;
}

/** What workers did so far. */
export class JobLog {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  events(): readonly JobEvent[] {
    if (!existsSync(this.path)) return [];
    // A killed writer may have left half a line; one being written has no newline yet.
    return readFileSync(this.path, "utf8").split("\n").slice(0, -1).map((line) => {
      const [event = "", id = "", pid = ""] = line.split(" ");
      return { event, id, pid: Number(pid) };
    });
  }

  /** How often each job was done. */
  done(): ReadonlyMap<string, number> {
    const times = new Map<string, number>();
    for (const { event, id } of this.events()) {
      if (event === "done") times.set(id, (times.get(id) ?? 0) + 1);
    }
    return times;
  }

  /** Waits until a job has begun, and gives the pid of the worker that has it; with `not`, of another one. */
  waitUntilBegun(id: string, not?: number): Promise<number> {
    return waitFor(
      () => this.events().find((line) => line.event === "begun" && line.id === id && line.pid !== not)?.pid,
      { what: `job ${id} to begin`, intervalMs: 5 },
    );
  }

  /** Waits until so many different jobs are done. */
  async waitUntilDone(count: number): Promise<void> {
    await waitFor(() => this.done().size >= count, {
      what: `${count} jobs to be done`,
      intervalMs: 20,
      timeoutMs: 90_000,
    });
  }

  /** The jobs that were begun by more than one worker, or twice by the same. */
  repeated(): readonly string[] {
    const begun = this.events().filter(({ event }) => event === "begun").map(({ id }) => id);
    return [...new Set(begun.filter((id, index) => begun.indexOf(id) !== index))];
  }
}
