/**
 * HTTP by hand: a test decides when each byte is sent, and sees each byte that comes.
 *
 * @module
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { waitFor } from "./processes.ts";

/** Where a server listens. A client that is half open says more after the server has said its last. */
export type Where =
  & ({ readonly port: number } | { readonly path: string })
  & { readonly allowHalfOpen?: boolean };

/** The body of a response over a connection of its own. */
export async function get(port: number, path: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: "close" } });
  return await response.text();
}

/** A connection by hand, so that a test decides when each byte is sent. */
export class Client implements Disposable {
  text = "";
  ended = false;
  /** Resolves once the system has made the connection, whoever accepts it later. */
  readonly connected: Promise<void>;
  readonly #socket: Socket;

  constructor(where: Where, open: (where: Where & { readonly host?: string }) => Socket = connect) {
    this.#socket = open("port" in where ? { ...where, host: "127.0.0.1" } : where);
    this.connected = new Promise((resolve) => this.#socket.once("connect", resolve));
    this.#socket.setEncoding("utf8");
    this.#socket.on("data", (text) => this.text += text);
    this.#socket.on("error", () => {});
    this.#socket.on("close", () => this.ended = true);
  }

  send(text: string): this {
    this.#socket.write(text);
    return this;
  }

  /** Says nothing more. */
  finish(): void {
    this.#socket.end();
  }

  /** Reads no more. */
  pause(): void {
    this.#socket.pause();
  }

  /** Reads what comes first, and no more: who pauses once it sees something may have read all of it by then. */
  async readFirst(): Promise<void> {
    this.#socket.once("data", () => this.pause());
    await once(this.#socket, "data");
  }

  /** Reads on. */
  resume(): void {
    this.#socket.resume();
  }

  async waitFor(pattern: RegExp): Promise<string> {
    const what = `${pattern} in what the server sends`;
    return (await waitFor(() => pattern.exec(this.text)?.[0], { what }).catch((error) => {
      throw new Error(`${error.message}; it sent ${JSON.stringify(this.text)}, ended: ${this.ended}`);
    }));
  }

  async waitForEnd(): Promise<void> {
    await waitFor(() => this.ended, { what: "the server to close the connection", intervalMs: 1 });
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

/** One that speaks TLS, and trusts everybody. */
export class SecureClient extends Client {
  constructor(where: Where) {
    super(where, (at) => connectTls({ ...at, rejectUnauthorized: false }));
  }
}

/** A request whose body is complete when the test says so: until then a worker has it in hand. */
export async function begin(where: Where): Promise<Client> {
  const client = new Client(where).send("GET /pid HTTP/1.1\r\nhost: x\r\n\r\n");
  await client.waitFor(/\r\n\r\n\d+/);
  return client.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf-");
}
