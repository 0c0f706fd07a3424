/** Fails to compile (`tsc` only: Deno has no types of Bun) where `runtimes/bun_api.ts` says what Bun does not. */
import type { BunProcess, BunRuntime } from "../../runtimes/bun_api.ts";

export const runtime: BunRuntime = Bun;
export const self: BunProcess = process;
