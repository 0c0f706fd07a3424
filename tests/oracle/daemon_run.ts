/**
 * Drives one daemon of the oracle test, the real one or ours, through a scenario: a step is begun by a signal and over
 * when exactly the events it must cause have happened.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { processState, type Program, signalProcess, type TempDir, waitFor } from "../support/run.ts";

/** One line of a daemon. */
export interface OracleEvent {
  readonly event: string;
  readonly pid: number;
  readonly at: number;
  readonly child?: number;
  readonly status?: string;
  readonly signal?: string;
  readonly version?: number;
  readonly workers?: number;
  readonly left?: number;
  readonly manager?: number;
  readonly delayMs?: number;
  readonly failures?: number;
  readonly slot?: number;
}

/** An event and the step of the scenario it fell into. */
export interface StepEvent extends OracleEvent {
  readonly step: string;
}

/** How many events of each kind a step causes; kinds that are not named are not waited for. */
export type Expected = Readonly<Record<string, number>>;

/** What `load_config` finds. */
export interface DaemonConfig {
  readonly version: number;
  /** How many workers fail at once before the others work. */
  readonly failures?: number;
  /** How many SIGTERMs a worker takes without ending. */
  readonly ignoredTerms?: number;
  /** The status workers end with when told to. */
  readonly termCode?: number;
  /** A file without which `load_config` does not return. */
  readonly gate?: string;
}

/** Writes the configuration a daemon loads next. */
export function writeConfig(dir: TempDir, config: DaemonConfig): void {
  const all = { failures: 0, ignoredTerms: 0, termCode: 0, tokens: dir.path, gate: dir.path, ...config };
  writeFileSync(dir.file("config.json"), JSON.stringify(all));
}

/** A daemon that runs, and what it told so far. */
export class DaemonRun {
  readonly events: StepEvent[] = [];
  readonly program: Program;
  #taken = 0;

  constructor(program: Program) {
    this.program = program;
  }

  /** Does `action`, then waits until the step has caused what it must cause. */
  async step(name: string, expected: Expected, action: () => void | Promise<void> = () => {}): Promise<void> {
    const before = this.#taken;
    await action();
    try {
      for (const [event, count] of Object.entries(expected)) {
        const isOne = (line: string): boolean => this.#isEvent(line, event);
        const earlier = this.program.lines.slice(0, before).filter(isOne).length;
        await this.program.waitForLine(isOne, { count: earlier + count });
      }
    } catch (error) {
      throw new Error(`Step '${name}' waited for ${JSON.stringify(expected)}`, { cause: error });
    }
    this.#take(name);
  }

  /** Takes what was printed after the last step as part of `name`. */
  async end(name: string): Promise<void> {
    await this.program.waitForEnd();
    this.#take(name);
  }

  /**
   * Sends a signal to the manager once it sleeps: the ancestor does not notice one that comes just before it begins to
   * wait for its workers, until something else wakes it (Q4).
   */
  async signal(signal: NodeJS.Signals): Promise<void> {
    const { pid } = this.program;
    await waitFor(() => processState(pid) === "S", { what: "the manager to sleep", intervalMs: 2 });
    this.program.kill(signal);
  }

  /** Sends a signal to the worker that was started first of those alive. */
  signalWorker(signal: NodeJS.Signals): void {
    const [pid] = this.living();
    if (pid === undefined) throw new Error(`No worker to send ${signal} to\n${this.program.report()}`);
    signalProcess(pid, signal);
  }

  /** The workers that were started and not reaped. */
  living(): number[] {
    const gone = new Set(this.of("reap").map((event) => event.child));
    return this.of("after_fork").flatMap(({ child }) => child === undefined || gone.has(child) ? [] : [child]);
  }

  /** All events of a kind, in a step if one is given. */
  of(event: string, step?: string): StepEvent[] {
    return this.events.filter((each) => each.event === event && (step === undefined || each.step === step));
  }

  #take(step: string): void {
    const lines = this.program.lines.slice(this.#taken);
    this.#taken += lines.length;
    this.events.push(...lines.map((line) => ({ ...parseEvent(line), step })));
  }

  #isEvent(line: string, name: string): boolean {
    const event = parseEvent(line);
    return event.event === name && (event.pid === this.program.pid || event.event.startsWith("worker_"));
  }
}

function parseEvent(line: string): OracleEvent {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new Error(`Not an event: '${line}'`, { cause: error });
  }
}
