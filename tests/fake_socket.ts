/**
 * Control connections of the {@linkcode FakeHost}: pairs in memory that deliver in microtasks.
 *
 * @module
 */
import type { ControlConnection, ControlHandlers } from "../src/types.ts";

export class FakeConnection implements ControlConnection {
  referenced = true;
  #handlers: ControlHandlers | undefined;
  #peer: FakeConnection | undefined;
  #open = true;
  readonly #unread: Uint8Array[] = [];
  #isBusy = false;
  /** Whether the other end has closed: what it has said before is heard first. */
  #isEnding = false;

  /** Two ends. What `accept` gives listens on the second, `handlers` on the first, which is returned. */
  static pair(handlers: ControlHandlers, accept: (connection: ControlConnection) => ControlHandlers): FakeConnection {
    const near = new FakeConnection();
    const far = new FakeConnection();
    near.#peer = far;
    far.#peer = near;
    near.#handlers = handlers;
    queueMicrotask(() => {
      far.#handlers = accept(far);
    });
    return near;
  }

  send(data: string | Uint8Array): void {
    if (!this.#open || data.length === 0) return;
    const peer = this.#peer;
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data.slice();
    if (peer !== undefined) queueMicrotask(() => peer.#receive(bytes));
  }

  async flush(): Promise<void> {
    await Promise.resolve();
  }

  close(): void {
    if (!this.#open) return;
    const peer = this.#peer;
    if (peer !== undefined) queueMicrotask(() => peer.#end());
    this.#open = false;
    queueMicrotask(() => this.#handlers?.closed());
  }

  ref(): void {
    this.referenced = true;
  }

  unref(): void {
    this.referenced = false;
  }

  #end(): void {
    this.#isEnding = true;
    if (!this.#isBusy) this.close();
  }

  #receive(chunk: Uint8Array): void {
    this.#unread.push(chunk);
    if (!this.#isBusy) this.#deliver();
  }

  #deliver(): void {
    this.#isBusy = false;
    for (let chunk = this.#unread.shift(); chunk !== undefined && this.#open; chunk = this.#unread.shift()) {
      const dealt = this.#handlers?.data(chunk);
      // Whoever keeps the chunk for later is found out.
      chunk.fill(0);
      if (!dealt) continue;
      this.#isBusy = true;
      return void dealt.then(() => this.#deliver());
    }
    if (this.#isEnding) this.close();
  }
}
