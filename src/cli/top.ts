/**
 * `prefork top`: a manager and its workers, live, and keys to act on them. Leaves the terminal as it was.
 *
 * @module
 */

import { writeSync } from "node:fs";
import process from "node:process";
import { currentHost } from "../../runtimes/current.ts";
import { currentCommandLine } from "../../runtimes/current_cli.ts";
import { describeError } from "../events.ts";
import type { Order } from "../operator/words.ts";
import { ask, findManager, NoAnswerError } from "./client.ts";
import { meet } from "./meet.ts";
import { look, miss, render, tell, type TopState } from "./top_view.ts";
import { UsageError } from "./usage_error.ts";

const LOOK_MS = 1000;

/** The other screen of the terminal, without a cursor; and back. */
const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";

/** Shows a manager until a key ends it, and gives the exit status. */
export async function top(path: string): Promise<number> {
  if (!currentCommandLine.isTerminal("stdout") || !currentCommandLine.isTerminal("stdin")) {
    throw new UsageError(
      "Cannot show top without a terminal: use 'prefork status --watch' for one line after the other",
    );
  }
  const first = await meet(path); // before the screen changes, so that what is wrong can be read
  const screen = new Screen(path, look(undefined, first, currentHost.now()));
  return await screen.run();
}

/** A size that was asked for. */
interface Sizing {
  readonly workers: number;
  isAnswered: boolean;
}

class Screen {
  readonly #path: string;
  readonly #ended = Promise.withResolvers<number>();
  #state: TopState;
  /** What a second key is to confirm. */
  #asked: Order | undefined;
  /** The size asked for last, until a look shows what has come of it. */
  #sizing: Sizing | undefined;
  /** Resolves when all sizes are answered: of two connections a manager may hear the later one first. */
  #sized: Promise<void> = Promise.resolve();

  constructor(path: string, state: TopState) {
    this.#path = path;
    this.#state = state;
  }

  async run(): Promise<number> {
    using stack = new DisposableStack();
    this.#write(ENTER);
    stack.defer(() => this.#write(LEAVE));
    process.stdin.setRawMode(true);
    stack.defer(() => {
      process.stdin.setRawMode(false);
      process.stdin.pause();
    });
    const press = (keys: Uint8Array): void => {
      for (const key of new TextDecoder().decode(keys)) this.#press(key);
    };
    process.stdin.on("data", press);
    for (const signal of ["SIGTERM", "SIGHUP", "SIGINT"] as const) {
      stack.use(currentHost.onSignal(signal, () => this.#ended.resolve(0)));
    }
    stack.use(currentHost.onSignal("SIGWINCH", () => this.#draw()));
    this.#follow();
    this.#draw();
    void this.#lookOn();
    return await this.#ended.promise;
  }

  #draw(): void {
    const size = { columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 };
    const lines = render(this.#state, size).map((line) => `${line}\x1b[K`);
    this.#write(`\x1b[H${lines.join("\r\n")}`);
  }

  async #lookOn(): Promise<void> {
    while (true) {
      await new Promise<void>((resolve) => currentHost.setTimer(LOOK_MS, resolve).unref());
      const answered = this.#sizing?.isAnswered ? this.#sizing : undefined;
      try {
        const status = await findManager(currentHost, this.#path);
        this.#state = look(this.#state, status, currentHost.now());
        if (this.#sizing === answered) this.#sizing = undefined;
      } catch (error) {
        if (!(error instanceof NoAnswerError)) throw error;
        this.#state = miss(this.#state, error.message);
      }
      this.#draw();
    }
  }

  /** What happens in the pool, from now on. A manager that is replaced is followed on. */
  #follow(): void {
    const again = (): void => void currentHost.setTimer(LOOK_MS, () => this.#follow()).unref();
    ask(currentHost, this.#path, { do: "follow" }, (event) => {
      this.#state = tell(this.#state, event);
      this.#draw();
      return false;
    }).then(again, again);
  }

  #press(key: string): void {
    const asked = this.#asked;
    this.#asked = undefined;
    if (key === "q" || key === "\x03") return this.#ended.resolve(0);
    if (asked !== undefined) return key === "y" ? this.#do(asked) : this.#note("");
    switch (key) {
      case "r":
        return this.#do({ do: "reload" });
      case "+":
        return this.#resize(1);
      case "-":
        return this.#resize(-1);
      case "s":
        this.#asked = { do: "stop", now: false };
        return this.#note(`stop ${this.#state.status.name}? y, or any other key`);
      default:
        return this.#note("");
    }
  }

  /** Counts from what was asked for: whoever presses a key three times in a second means three. */
  #resize(by: number): void {
    const workers = Math.max(0, (this.#sizing?.workers ?? this.#state.status.maxWorkers) + by);
    const sizing: Sizing = { workers, isAnswered: false };
    this.#sizing = sizing;
    this.#note("scale...");
    this.#sized = this.#sized.then(async () => {
      const isDone = await this.#ask({ do: "scale", workers });
      sizing.isAnswered = true;
      if (!isDone && this.#sizing === sizing) this.#sizing = undefined;
    });
  }

  #do(order: Order): void {
    this.#note(`${order.do}...`);
    void this.#ask(order);
  }

  /** Has it done, and tells what has come of it, and whether that is what was asked for. */
  async #ask(order: Order): Promise<boolean> {
    try {
      const outcome = await ask(currentHost, this.#path, order);
      if (outcome?.type === "done") this.#note(outcome.text);
      if (outcome?.type === "failed") this.#note(outcome.reason);
      return outcome?.type === "done";
    } catch (error) {
      this.#note(describeError(error));
      return false;
    }
  }

  #note(note: string): void {
    this.#state = { ...this.#state, note };
    this.#draw();
  }

  /** At once: what is put off may be lost with this process, and the terminal would stay as it is. */
  #write(text: string): void {
    try {
      writeSync(1, text);
    } catch {
      // The terminal takes no more now; the next look shows all again.
    }
  }
}
