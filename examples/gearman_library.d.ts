// The npm package `gearman` 2.1.0 ships no types: these are the parts that gearman_link.ts uses.
declare module "gearman" {
  import type { Buffer } from "node:buffer";

  /** A job as the server hands it out. */
  export interface AssignedJob {
    readonly handle: string;
    readonly func_name: string;
    readonly payload: Buffer;
  }

  /** One connection to one server. It does not reconnect: a lost one is replaced by a new client. */
  export interface GearmanClient {
    connect(connected: () => void): void;
    close(): void;
    setWorkerId(id: string): void;
    addFunction(name: string): void;
    resetAbilities(): void;
    grabJob(): void;
    preSleep(): void;
    echo(payload: string): void;
    sendWorkComplete(handle: string, data: Buffer): void;
    sendWorkWarning(handle: string, warning: Buffer): void;
    sendWorkFail(handle: string): void;
    on(event: "JOB_ASSIGN", listener: (job: AssignedJob) => void): void;
    on(event: "NO_JOB" | "NOOP" | "ECHO_RES" | "close", listener: () => void): void;
    on(event: "ERROR", listener: (code: string, text: string) => void): void;
    on(event: "error", listener: (error: Error) => void): void;
  }

  export default function gearman(host: string, port: number): GearmanClient;
}
