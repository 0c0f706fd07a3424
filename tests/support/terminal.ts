/**
 * A terminal for programs that act otherwise where somebody looks: tmux, with nobody before it.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { type Program, runCommand, waitFor } from "./run.ts";
import { testSuite } from "./suite.ts";

/** A real terminal, with nobody before it. */
export class Terminal implements AsyncDisposable {
  readonly #server: Program;
  readonly #socket: string;
  readonly #command: readonly string[];

  /** Runs a shell command in a new terminal. */
  constructor(socket: string, command: string) {
    this.#socket = socket;
    const size = ["-x", "200", "-y", "50"];
    this.#server = runCommand("tmux", ["-D", "-S", socket, "-f", "/dev/null"], { env: { NO_COLOR: undefined } });
    this.#command = [...["new-session", "-d", ...size], `${command}; echo "status $?"; exec sleep 600`];
  }

  async open(): Promise<this> {
    await waitFor(() => this.#tmux(this.#command) !== undefined, { what: "a terminal" });
    return this;
  }

  /** What it shows. */
  screen(): string {
    return this.#tmux(["capture-pane", "-p", "-J", "-S", "-200"]) ?? "";
  }

  /** What it shows, escape sequences included. */
  colors(): string {
    return this.#tmux(["capture-pane", "-p", "-e", "-S", "-200"]) ?? "";
  }

  press(key: string): void {
    this.#tmux(["send-keys", key]);
  }

  close(): void {
    this.#tmux(["kill-session"]);
  }

  /** Waits until it shows something. */
  async shows(what: RegExp): Promise<string> {
    const found = () => what.test(this.screen());
    await waitFor(found, { what: `${what} on the screen`, intervalMs: 50 }).catch((error) => {
      throw new Error(`${error.message}:\n${this.screen()}`);
    });
    return this.screen();
  }

  #tmux(args: readonly string[]): string | undefined {
    // -N: a client that is quicker than the server would else start another, which nobody would end.
    const { status, stdout } = spawnSync("tmux", ["-N", "-S", this.#socket, ...args], {
      encoding: "utf8",
      env: { ...process.env, ...testSuite().env },
    });
    return status === 0 ? stdout : undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
  }
}
